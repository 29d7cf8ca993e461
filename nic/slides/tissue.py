"""Where the tissue is: Otsu's threshold on the saturation of a thumbnail."""

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.slides.tiling import TileGrid

LEAST_SATURATION = 12
"""Of 255. On glass alone Otsu would split noise; stained tissue lies above this."""
LEAST_VALUE = 40
"""Of 255. Darker is a scanner's border or ink, whatever its saturation."""


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tissue of a thumbnail [h, w, 3] RGB at about 8 um/px, specks removed and small holes closed."""
    hue_saturation_value = cv2.cvtColor(cv2.medianBlur(thumbnail, 5), cv2.COLOR_RGB2HSV)
    saturation, value = hue_saturation_value[..., 1], hue_saturation_value[..., 2]
    threshold, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mask = (saturation > max(threshold, LEAST_SATURATION)) & (value > LEAST_VALUE)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, disc[1:-1, 1:-1]) > 0)


def tissue_fraction(mask: NDArray[np.bool_], size_l0px: tuple[int, int], grid: TileGrid) -> NDArray[np.float64]:
    """Share of each cell that is tissue, [rows, cols]; what hangs over the slide's edge is none."""
    scale = np.array(mask.shape[::-1]) / size_l0px
    integral = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0))).astype(float)
    x0, y0 = grid.origin_l0px
    x = (x0 + np.arange(grid.cols + 1) * grid.side_l0px) * scale[0]
    y = (y0 + np.arange(grid.rows + 1) * grid.side_l0px) * scale[1]
    corners = _interpolate(integral, y, x)
    area = (grid.side_l0px**2) * scale[0] * scale[1]
    return np.asarray(np.diff(np.diff(corners, axis=0), axis=1) / area)


def _interpolate(integral: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral image between its pixels, exactly, because it is bilinear there."""
    rows = np.stack([np.interp(y, np.arange(len(integral)), column) for column in integral.T], axis=1)
    return np.stack([np.interp(x, np.arange(integral.shape[1]), row) for row in rows])
