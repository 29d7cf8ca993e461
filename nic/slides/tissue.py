"""Where the tissue is on a thumbnail: saturation above Otsu's threshold or above a given one."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.slides.grid import TileGrid

OVERVIEW_MPP = 8.0
"""um/px of the thumbnail that the mask is made of; sizes below are areas in its pixels."""
MOST_PX = 4096
SATURATIONS = (12.0, 30.0)
"""Bounds of Otsu's threshold, of 255. On glass alone it would split noise, on tissue alone pink from blue."""
LEAST_VALUE = 40
"""Of 255. Darker pixels are a scanner's border or ink, whatever their saturation."""
MOST_SPREAD, GREY_BUT_FOR = 8, 1e-3
"""Largest difference of the channels of a grey pixel, of 255, errors of JPEG included; largest share of coloured
pixels in a grey slide."""
SPECK_PX = 60
"""Area below which a stained spot is dust; about 60 um across."""
HOLE_PX = 160
"""Area below which a gap belongs to the tissue around it: lumina, vessels, fat; about 100 um across."""


def overview_px(size_l0px: tuple[int, int], slide_mpp: float) -> int:
    """Longer side of the thumbnail for `tissue_mask`."""
    return min(MOST_PX, math.ceil(max(size_l0px) * slide_mpp / OVERVIEW_MPP))


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tissue of a thumbnail [h, w, 3] RGB at about 8 um/px, dust removed and small gaps closed."""
    saturation, lit = _saturation(thumbnail)
    otsu, _ = cv2.threshold(saturation[lit], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU) if lit.any() else (0.0, None)
    return _clean(saturation > np.clip(otsu, *SATURATIONS), lit)


def stained(thumbnail: NDArray[np.uint8], saturation_above: float) -> NDArray[np.bool_]:
    """As tissue_mask, with a given threshold, of 255."""
    saturation, lit = _saturation(thumbnail)
    return _clean(saturation > saturation_above, lit)


def is_grey(thumbnail: NDArray[np.uint8]) -> bool:
    """Whether a thumbnail [h, w, 3] RGB has hardly any colour."""
    spread = thumbnail.max(axis=2) - thumbnail.min(axis=2)
    return bool((spread > MOST_SPREAD).mean() < GREY_BUT_FOR)


def _saturation(thumbnail: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Saturation, and which pixels are brighter than ink, both [h, w]."""
    hsv = cv2.cvtColor(cv2.medianBlur(thumbnail, 3), cv2.COLOR_RGB2HSV)
    return np.asarray(hsv[..., 1], np.uint8), np.asarray(hsv[..., 2] > LEAST_VALUE)


def _clean(coloured: NDArray[np.bool_], lit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    cleaned = ~large_parts(~large_parts(coloured & lit, SPECK_PX), HOLE_PX)
    return np.asarray(cleaned & lit)


def large_parts(mask: NDArray[np.bool_], least_px: int) -> NDArray[np.bool_]:
    """The connected parts of at least that area."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = statistics[:, cv2.CC_STAT_AREA] >= least_px
    large[0] = False  # the background
    return np.asarray(large[parts])


def tissue_fraction(mask: NDArray[np.bool_], size_l0px: tuple[int, int], grid: TileGrid) -> NDArray[np.float64]:
    """Share of each tile that is tissue, [rows, cols]; beyond the slide's edge is none."""
    scale = np.array(mask.shape[::-1]) / size_l0px
    integral = np.asarray(cv2.integral(mask.astype(np.uint8)))  # of int32: a thumbnail has fewer pixels
    x0, y0 = grid.origin_l0px
    left, top = x0 + np.arange(grid.cols) * grid.stride_l0px, y0 + np.arange(grid.rows) * grid.stride_l0px
    right, bottom = left + grid.side_l0px, top + grid.side_l0px
    down = _between(integral, bottom * scale[1]) - _between(integral, top * scale[1])
    tissue = _between(down.T, right * scale[0]) - _between(down.T, left * scale[0])  # [cols, rows]
    return np.asarray(tissue.T / ((grid.side_l0px**2) * scale[0] * scale[1]))


def _between(lines: NDArray[Any], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lines [n, m] of an integral image at fractional places [k]: [k, m]. Exact, because it is linear in between."""
    place = place.clip(0, len(lines) - 1)
    first = np.minimum(place.astype(int), len(lines) - 2)
    share = (place - first)[:, None]
    return np.asarray(lines[first] * (1 - share) + lines[first + 1] * share)
