"""Masks of slides: images whose pixel values are labels, as of PESO, and the cells of a grid that lie in them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffFileError

from nic.errors import TaskError
from nic.slides.grid import TileGrid
from nic.tasks.areas import EXCLUDED, SUB, cells_of_dots
from nic.tasks.entries import SlidesEntry
from nic.tasks.tile_source import IGNORED

SUFFIXES = (".tif", ".tiff")
MOST_PIXELS = 1 << 30
"""Of the level of a mask that is read; a pyramid has a level that is far smaller."""
MOST_STRETCHED = 0.02
"""How far the shape of a mask may be from its slide's."""


def masks_of(entry: SlidesEntry) -> dict[str, Path]:
    """The masks by slide; those of no slide by their own name. Raises TaskError for a folder that does not exist."""
    if not entry.annotations.is_dir():
        raise TaskError(f"{entry.name}: {entry.annotations}: no such folder of annotations")
    masks = [path for path in sorted(entry.annotations.glob("[!.]*")) if path.suffix.lower() in SUFFIXES]
    suffix = entry.mask_suffix or ""
    return {path.stem.removesuffix(suffix): path for path in masks if path.stem.endswith(suffix)}


def masked_cells(
    mask: Path, size_l0px: tuple[int, int], grid: TileGrid, label_of: Mapping[str, int], least_share: float
) -> NDArray[np.int64]:
    """The label of each cell [rows, cols], IGNORED where it has none.

    size_l0px: of the slide, all of which the mask covers, at any resolution. label_of: of each pixel value, as text.
    A cell has the class of its centre, if least_share of the cell has it too. Raises TaskError naming the mask: not
    readable, of another shape, or with a value of no class.
    """
    values = _values(mask, size_l0px, grid.side_l0px / SUB)
    dots = _dots(values, size_l0px, grid)
    codes = np.full(256, EXCLUDED, np.uint8)
    for value in np.unique(dots).tolist():
        if (label := label_of.get(str(value))) is None:
            raise TaskError(f"{mask.name}: value {value} belongs to no class; name it under a class, or under exclude")
        codes[value] = EXCLUDED if label == IGNORED else label + 1
    return cells_of_dots(codes[dots], grid, least_share)[0]


def _values(mask: Path, size_l0px: tuple[int, int], dot_l0px: float) -> NDArray[np.uint8]:
    """The coarsest level of a mask [h, w] that has a pixel for each dot. dot_l0px: distance of two dots."""
    try:
        with TiffFile(mask) as file:
            levels = file.series[0].levels
            fine = [level for level in levels if size_l0px[0] / level.shape[1] <= dot_l0px]
            level = fine[-1] if fine else levels[0]
            _check_level(mask.name, level.shape, level.dtype, size_l0px)
            values: NDArray[np.uint8] = level.asarray()
            return values
    except (OSError, TiffFileError, IndexError) as error:
        raise TaskError(f"{mask.name}: cannot be read as a mask: {error}") from error


def _check_level(name: str, shape: tuple[int, ...], kind: np.dtype[Any], size_l0px: tuple[int, int]) -> None:
    if len(shape) != 2 or kind != np.uint8:
        raise TaskError(f"{name}: {kind} {list(shape)}, wanted a mask of uint8 [h, w]")
    if math.prod(shape) > MOST_PIXELS:
        raise TaskError(f"{name}: {list(shape)} px without a smaller level; save it as a pyramid")
    height, width = shape
    if abs(width / height / (size_l0px[0] / size_l0px[1]) - 1) > MOST_STRETCHED:
        size = f"{size_l0px[0]} x {size_l0px[1]}"
        raise TaskError(f"{name}: {width} x {height} px, wanted a mask of the whole slide, whose shape is {size}")


def _dots(values: NDArray[np.uint8], size_l0px: tuple[int, int], grid: TileGrid) -> NDArray[np.uint8]:
    """The value at SUB x SUB dots of each cell, [rows x SUB, cols x SUB]."""
    places = []
    for axis, cells in ((1, grid.rows), (0, grid.cols)):
        middle = grid.origin_l0px[axis] + (np.arange(cells * SUB) + 0.5) / SUB * grid.side_l0px
        pixels = values.shape[1 - axis]
        places.append(np.minimum((middle / size_l0px[axis] * pixels).astype(np.intp), pixels - 1))
    return values[np.ix_(*places)]
