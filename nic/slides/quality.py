"""What must not be encoded though it may be tissue: pen marks, dark regions, and what is out of focus."""

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.errors import UnknownQCTest
from nic.slides.tissue import large_parts

REASONS = ("", "pen", "dark", "blurred")
"""Why a cell has no code, by the number that stands in the file; 0 for cells that nothing excludes."""
INKS = ((35, 94, 60), (95, 116, 120))
"""(first hue, last hue, least saturation) in OpenCV's 0-179 and of 255: green and cyan, blue. Neither haematoxylin nor
eosin nor DAB is so; red ink is not among them, because blood and eosin are."""
STROKE_PX = 400
"""Smaller inked spots, of about 160 um across at 8 um/px, are stain."""
DARKEST_TISSUE = 50
"""Of 255, the brightest channel: darker are black ink, folds' cores, coverslip edges and the scanner's border."""
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


def spoilt_cells(
    usable: NDArray[np.float64], spoilt: dict[str, NDArray[np.float64]], min_tissue: float
) -> NDArray[np.uint8]:
    """Which of REASONS keeps a cell from being encoded, [rows, cols].

    usable: share of each cell that is clean tissue. spoilt: share by reason. A cell that would have had enough tissue
    is excluded for the reason with the largest share.
    """
    if not spoilt:
        return np.zeros(usable.shape, np.uint8)
    shares = np.stack(list(spoilt.values()))
    excluded = (usable < min_tissue) & (usable + shares.sum(axis=0) >= min_tissue)
    numbers = np.array([REASONS.index(reason) for reason in spoilt], np.uint8)
    return np.where(excluded, numbers[shares.argmax(axis=0)], 0).astype(np.uint8)


def blurred(tiles: NDArray[np.uint8], tile_mpp: float) -> NDArray[np.bool_]:
    """Which tiles [n, px, px, 3] RGB are out of focus, [n]; nothing can be said of tiles coarser than 2 um/px."""
    if tile_mpp > 2 or not len(tiles):
        return np.zeros(len(tiles), bool)
    count, px = tiles.shape[:2]
    # One tall picture: what the blur carries from tile to tile lies in the rows that are left out.
    grey = cv2.cvtColor(tiles.reshape(count * px, px, 3), cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1 / tile_mpp)
    edge = min(round(4 / tile_mpp), px // 4)
    of_fine, of_all = (g.reshape(count, px, px)[:, edge:-edge].var(axis=(1, 2)) for g in (fine, grey))
    return np.asarray(of_fine < LEAST_DETAIL * (of_all + 1e-3))


def reasons_named(text: str) -> tuple[str, ...]:
    """The tests of a text like "pen,blurred". Raises UnknownQCTest."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := [name for name in names if name not in REASONS[1:]]:
        raise UnknownQCTest(f"exclude={text}: no test {unknown[0]!r}; there are {', '.join(REASONS[1:])}")
    return names
