"""A slide as batches of tiles at the encoder's resolution, cut at the exact um/px whatever its levels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.errors import ResolutionTooLow, UnreadableSlide
from nic.slides.jpeg_tiles import JpegTiles
from nic.slides.slide import Slide
from nic.slides.tiling import TileGrid

TOLERANCE = 1.1
"""A level may be this much coarser than asked: scanners that say 0.5 mean 0.497 to 0.55."""
CHUNK = 16
"""Cells of a row read at once: long strips cost OpenSlide less than single tiles."""


@dataclass(frozen=True)
class TileBatch:
    """tiles: uint8 [n, tile_px, tile_px, 3] RGB. row, col: int [n]. failed: bool [n], cells that cannot be decoded."""

    tiles: NDArray[np.uint8]
    row: NDArray[np.intp]
    col: NDArray[np.intp]
    failed: NDArray[np.bool_]


class TileReader:
    """Reads the tiles of a grid from the coarsest level that is at or finer than read_mpp, averaging by area.

    read_mpp: um/px to read at, the same for all slides: a stored coarser level is not the finer one averaged.
    Raises ResolutionTooLow when the finest level is coarser than that.
    """

    def __init__(self, slide: Slide, grid: TileGrid, read_mpp: float) -> None:
        self.slide, self.grid = slide, grid
        fit = [i for i, d in enumerate(slide.level_downsamples) if slide.mpp * d <= read_mpp * TOLERANCE]
        if not fit:
            raise ResolutionTooLow(
                f"{slide.slide_id}: {slide.mpp:.4g} um/px at its finest level, wanted {read_mpp} um/px or finer"
            )
        self.level = fit[-1]
        self.downsample = slide.level_downsamples[self.level]
        self._jpeg = _verified_jpeg(slide, self.level)

    @property
    def way(self) -> str:
        """How pixels are read: "jpeg tiles" or "openslide"; the pixels are the same."""
        return "jpeg tiles" if self._jpeg else "openslide"

    def close(self) -> None:
        if self._jpeg:
            self._jpeg.close()

    def batches(self, rows: NDArray[np.intp], cols: NDArray[np.intp], batch_size: int = 64) -> Iterator[TileBatch]:
        """The tiles of the cells asked for, sorted by (row, col)."""
        order = np.lexsort((cols, rows))
        pending: list[tuple[NDArray[np.uint8], int, int, bool]] = []
        for row in np.unique(rows):
            wanted = cols[order][rows[order] == row]
            for first in range(0, len(wanted), CHUNK):
                pending += self._strip(int(row), wanted[first : first + CHUNK])
                while len(pending) >= batch_size:
                    yield _batch(pending[:batch_size])
                    pending = pending[batch_size:]
        if pending:
            yield _batch(pending)

    def _strip(self, row: int, cols: NDArray[np.intp]) -> list[tuple[NDArray[np.uint8], int, int, bool]]:
        """Tiles of one stretch of a row; when the stretch cannot be decoded, each cell is tried by itself."""
        left, right = int(cols.min()), int(cols.max())
        side = self.grid.side_l0px / self.downsample
        x, y = (v / self.downsample for v in self.grid.cell_origin_l0px(row, left))
        last_x = self.grid.cell_origin_l0px(row, right)[0] / self.downsample
        x_px, y_px = math.floor(x), math.floor(y)
        try:
            strip = self._region(x_px, y_px, math.ceil(last_x + side) - x_px, math.ceil(y + side) - y_px)
        except UnreadableSlide:
            if len(cols) > 1:
                return [tile for col in cols for tile in self._strip(row, np.array([col]))]
            blank = np.zeros((self.grid.tile_px, self.grid.tile_px, 3), np.uint8)
            return [(blank, row, int(cols[0]), True)]
        starts = [self.grid.cell_origin_l0px(row, int(c))[0] / self.downsample - x_px for c in cols]
        return [(self._tile(strip, start, y - y_px), row, int(c), False) for start, c in zip(starts, cols, strict=True)]

    def _region(self, x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Pixels at (x_px, y_px) of the level read from."""
        if self._jpeg:
            return self._jpeg.read(x_px, y_px, width_px, height_px)
        x_l0px, y_l0px = round(x_px * self.downsample), round(y_px * self.downsample)
        return self.slide.read_region(x_l0px, y_l0px, self.level, width_px, height_px)

    def _tile(self, strip: NDArray[np.uint8], x: float, y: float) -> NDArray[np.uint8]:
        """The tile that begins at (x, y) of a strip, averaged by area."""
        side, tile_px = self.grid.side_l0px / self.downsample, self.grid.tile_px
        left, top = math.floor(x), math.floor(y)
        if x == left and y == top and side % tile_px == 0:
            cut = strip[top : top + round(side), left : left + round(side)]
            return np.asarray(cv2.resize(cut, (tile_px, tile_px), interpolation=cv2.INTER_AREA))
        cut = strip[top : math.ceil(y + side), left : math.ceil(x + side)].astype(np.float32)
        down = area_weights(tile_px, side, y - top, cut.shape[0])
        across = area_weights(tile_px, side, x - left, cut.shape[1])
        narrow = np.einsum("oh,hwc->owc", down, cut, optimize=True)
        tile = np.einsum("ow,hwc->hoc", across, narrow, optimize=True)
        return np.asarray(np.rint(tile).clip(0, 255).astype(np.uint8))


def _verified_jpeg(slide: Slide, level: int) -> JpegTiles | None:
    """The level's raw JPEG tiles, if it has them and they give OpenSlide's pixels on some random regions."""
    if slide.path.is_dir() or slide.path.suffix.lower() not in (".svs", ".tif", ".tiff"):
        return None
    try:
        jpeg = JpegTiles(slide.path, slide.level_sizes_px[level])
    except UnreadableSlide:
        return None
    width, height = slide.level_sizes_px[level]
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        downsample = slide.level_downsamples[level]
        expected = slide.read_region(round(x * downsample), round(y * downsample), level, 64, 64)
        if not np.array_equal(jpeg.read(x, y, 64, 64), expected):
            jpeg.close()
            return None
    return jpeg


@lru_cache(maxsize=256)
def area_weights(tile_px: int, side_px: float, start_px: float, source_px: int) -> NDArray[np.float32]:
    """Weights [tile_px, source_px] that average a span of `side_px` source pixels, from start_px on, by exact area."""
    edges = start_px + np.arange(tile_px + 1) * side_px / tile_px
    pixels = np.arange(source_px)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    weights = np.maximum(0, high - low)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _batch(pending: list[tuple[NDArray[np.uint8], int, int, bool]]) -> TileBatch:
    tiles, row, col, failed = zip(*pending, strict=True)
    return TileBatch(np.stack(tiles), np.array(row), np.array(col), np.array(failed))
