"""QC tests: tissue that must not be encoded, because of pen marks, darkness, or lack of focus."""

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.errors import UnknownQCTest
from nic.slides.tissue import large_parts

QC_TESTS = ("", "pen", "dark", "blurred")
"""By their numbers in the file of codes, which say what test a cell failed; 0: none."""
INKS = ((35, 94, 60), (95, 116, 120))
"""(first hue, last hue, least saturation) of green to cyan, and of blue; hue is 0-179 as in OpenCV, saturation of 255.
Haematoxylin, eosin and DAB have other hues. Red ink is not tested for: blood and eosin have its hue."""
STROKE_PX = 400
"""Area below which an inked spot is stain; about 160 um across at 8 um/px."""
DARKEST_TISSUE = 50
"""Brightest channel, of 255, of black ink, the cores of folds, coverslip edges and the scanner's border."""
LEAST_DETAIL = 0.01
"""Share of a tile's grey variance that is finer than a Gaussian of 1 um. In focus, 0.3% of 1,000 tiles of lymph
nodes and none of 216 of breast lie below; blurred by a Gaussian of 3 um, 99% do, by one of 2 um, 63 to 90%."""


def pen_marks(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Green, cyan and blue ink on a thumbnail [h, w, 3] RGB at about 8 um/px."""
    hue, saturation, value = cv2.split(cv2.cvtColor(cv2.medianBlur(thumbnail, 3), cv2.COLOR_RGB2HSV))
    inked = np.zeros(hue.shape, bool)
    for first, last, least in INKS:
        inked |= (hue >= first) & (hue <= last) & (saturation >= least) & (value > DARKEST_TISSUE)
    return large_parts(inked, STROKE_PX)


def dark_regions(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Darker than any stained tissue, on a thumbnail [h, w, 3] RGB at about 8 um/px."""
    return large_parts(cv2.medianBlur(thumbnail, 3).max(axis=2) <= DARKEST_TISSUE, STROKE_PX)


def cells_failing_qc(
    usable: NDArray[np.float64], failing: dict[str, NDArray[np.float64]], min_tissue: float
) -> NDArray[np.uint8]:
    """Number of the test in QC_TESTS that each cell fails, [rows, cols].

    usable: share of each cell that is clean tissue. failing: share by test. A cell fails if it has enough tissue only
    together with what fails; it fails the test with the largest share.
    """
    if not failing:
        return np.zeros(usable.shape, np.uint8)
    shares = np.stack(list(failing.values()))
    excluded = (usable < min_tissue) & (usable + shares.sum(axis=0) >= min_tissue)
    numbers = np.array([QC_TESTS.index(test) for test in failing], np.uint8)
    return np.where(excluded, numbers[shares.argmax(axis=0)], 0).astype(np.uint8)


def out_of_focus(tiles: NDArray[np.uint8], tile_mpp: float) -> NDArray[np.bool_]:
    """Which tiles [n, px, px, 3] RGB are out of focus, [n]. Tiles coarser than 2 um/px do not show it: none is."""
    if tile_mpp > 2 or not len(tiles):
        return np.zeros(len(tiles), bool)
    count, px = tiles.shape[:2]
    # One tall picture: the rows at the edges, into which the blur carries other tiles, are left out.
    grey = cv2.cvtColor(tiles.reshape(count * px, px, 3), cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1 / tile_mpp)
    edge = min(round(4 / tile_mpp), px // 4)
    of_fine, of_all = (g.reshape(count, px, px)[:, edge:-edge].var(axis=(1, 2)) for g in (fine, grey))
    return np.asarray(of_fine < LEAST_DETAIL * (of_all + 1e-3))


def qc_tests_named(text: str) -> tuple[str, ...]:
    """The tests in a text such as "pen,blurred". Raises UnknownQCTest."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := [name for name in names if name not in QC_TESTS[1:]]:
        raise UnknownQCTest(f"exclude={text}: no QC test {unknown[0]!r}; wanted some of {', '.join(QC_TESTS[1:])}")
    return names
