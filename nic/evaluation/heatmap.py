"""Score maps laid over a slide's thumbnail, each pixel coloured by the tile that holds it."""

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from nic.slides.grid import TileGrid

COLOURS = "RdBu_r"
OPACITY = 0.7


def on_thumbnail(
    score_map: NDArray[np.floating], grid: TileGrid, thumbnail_px: tuple[int, int], size_l0px: tuple[int, int]
) -> NDArray[np.float64]:
    """The score at every pixel of a thumbnail of the whole slide: [height, width], NaN where there is none.

    score_map: [rows, cols], NaN where there is no code. thumbnail_px: (width, height). size_l0px: (width, height) of
    level 0. Pixels are looked up by their centres among the tiles' own origins, so that nothing drifts.
    """
    columns = [grid.cell_origin_l0px(0, col)[0] for col in range(grid.cols + 1)]
    rows = [grid.cell_origin_l0px(row, 0)[1] for row in range(grid.rows + 1)]
    col = _place(columns, thumbnail_px[0], size_l0px[0])
    row = _place(rows, thumbnail_px[1], size_l0px[1])
    framed = np.pad(np.asarray(score_map, np.float64), 1, constant_values=np.nan)  # around the grid there is no score
    return framed[np.ix_(row, col)]


def colour_scale(score_map: NDArray[np.floating]) -> Normalize:
    """Blue to red about the mean of the scores, which is the patient's score; the farthest 2% share the last colours.

    Told apart by every kind of colour sight.
    """
    middle = float(np.nanmean(score_map))
    reach = float(np.nanquantile(np.abs(score_map - middle), 0.98)) or 1.0
    return Normalize(middle - reach, middle + reach)


def overlay(
    score_map: NDArray[np.floating],
    grid: TileGrid,
    thumbnail: NDArray[np.uint8],
    size_l0px: tuple[int, int],
    scale: Normalize | None = None,
) -> NDArray[np.uint8]:
    """The thumbnail, uint8 [height, width, 3], tinted where tiles have scores. scale: else that of these scores.

    Tissue loses its own colours, pink and violet, which would mix with those of the scores.
    """
    height, width = thumbnail.shape[:2]
    scores = on_thumbnail(score_map, grid, (width, height), size_l0px)
    colours = 255 * colormaps[COLOURS]((scale or colour_scale(score_map))(scores))[..., :3]
    grey = np.repeat(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    opacity = np.where(np.isfinite(scores), OPACITY, 0.0)[..., None]
    tinted: NDArray[np.uint8] = np.rint((1 - opacity) * grey + opacity * colours).astype(np.uint8)
    return tinted


def _place(origins_l0px: list[int], pixels: int, size_l0px: int) -> NDArray[np.intp]:
    """For each pixel of an axis the tile that holds its centre, from 1; 0 before the first and N + 1 after the last."""
    centres = (np.arange(pixels) + 0.5) * size_l0px / pixels
    return np.searchsorted(origins_l0px, centres, side="right")
