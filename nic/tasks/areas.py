"""Areas outlined on a slide, and the cells of its grid that lie in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.errors import TaskError
from nic.slides.grid import TileGrid
from nic.tasks.tile_source import IGNORED

UNLABELLED = "None"
"""Label of an annotation without group or class, as ASAP writes it."""
Ring = NDArray[np.float64]
SUB = 16
"""Areas are drawn with SUB x SUB dots in each cell: shares are accurate to a dot, a few um, along the outline."""
NOTHING, EXCLUDED = 0, 255


@dataclass(frozen=True, eq=False)
class Area:
    """An outlined area. label: its group or class. rings: float [n, 2] (x, y) l0px, the outline and then its holes."""

    label: str
    rings: tuple[Ring, ...]


def ring_of(points: Any, name: str) -> Ring:
    """Corners as [n, 2]. Raises TaskError, which begins with `name`, for fewer than three, or no pairs of numbers."""
    try:
        ring = np.array(points, np.float64)
    except (ValueError, TypeError) as error:
        raise TaskError(f"{name}: a corner is no pair of numbers: {error}") from error
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise TaskError(f"{name}: corners {list(ring.shape)}, wanted three or more pairs of finite numbers")
    return ring


def annotated_cells(
    areas: Sequence[Area], labels: Sequence[int], excluded: Sequence[Area], grid: TileGrid, least_share: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The label of each cell [rows, cols], IGNORED where it has none; and which cells are free of areas.

    Where areas overlap the smallest counts; excluded areas have no class. See `cells_of_dots`.
    """
    dots = np.full((grid.rows * SUB, grid.cols * SUB), NOTHING, np.uint8)
    for i in sorted(range(len(areas)), key=lambda i: -_size(areas[i])):
        _draw(dots, areas[i], EXCLUDED if labels[i] == IGNORED else labels[i] + 1, grid)
    for area in excluded:
        _draw(dots, area, EXCLUDED, grid)
    return cells_of_dots(dots, grid, least_share)


def cells_of_dots(
    dots: NDArray[np.uint8], grid: TileGrid, least_share: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The label of each cell [rows, cols], IGNORED where it has none; and which cells are free.

    dots: [rows x SUB, cols x SUB], label + 1 of each, NOTHING or EXCLUDED. A cell has the class of its centre, if
    least_share of the cell has it too. It is free if at most a row of its dots is not NOTHING, as where an outline runs
    along its edge.
    """
    cells = dots.reshape(grid.rows, SUB, grid.cols, SUB)
    own = cells[:, SUB // 2, :, SUB // 2]
    share = (cells == own[:, None, :, None]).mean((1, 3))
    labelled = (own != NOTHING) & (own != EXCLUDED) & (share >= least_share)
    return np.where(labelled, own.astype(np.int64) - 1, IGNORED), np.asarray((cells != NOTHING).mean((1, 3)) <= 1 / SUB)


def _size(area: Area) -> float:
    return float(cv2.contourArea(area.rings[0].astype(np.float32)))


def _draw(dots: NDArray[np.uint8], area: Area, value: int, grid: TileGrid, bits: int = 4) -> None:
    """Fill an area without its holes. OpenCV counts from the middle of a dot, in parts of 2 ** -bits."""
    rings = [(ring - grid.origin_l0px) / grid.side_l0px * SUB - 0.5 for ring in area.rings]
    cv2.fillPoly(dots, [np.rint(ring * 2**bits).astype(np.int32) for ring in rings], value, shift=bits)
