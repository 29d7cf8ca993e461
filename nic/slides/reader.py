"""Reads a slide's tiles in batches, at the exact um/px of the encoder whatever the slide's levels."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.errors import ResolutionTooLow, UnreadableSlide
from nic.slides.grid import TileGrid
from nic.slides.jpeg_tiles import JpegTiles
from nic.slides.slide import Slide
from nic.slides.source import suffix

TOLERANCE = 1.1
"""A level may be this much coarser than read_mpp: scanners that state 0.5 mean 0.497 to 0.55."""
BAND_CELLS = 64
"""Columns of a band, which is read from top to bottom: what is decoded for one row is soon needed for the next."""
STRIP_PX = 1 << 22
"""Most pixels of one row of a band, so that memory does not grow with the slide's width; large tiles make narrow bands.
A strip takes 3 bytes a pixel; decoded JPEG tiles and OpenSlide's cache have bounds of their own."""
WIDEST_GAP = 3
"""Columns between two cells; a wider gap of glass costs more to read than a new strip."""

LINES_TOGETHER = 8
"""Lines of a tile that one product averages: with fewer, calls take the time; with more, products with zero."""
BLOCK_CELLS = 4
"""Neighbouring tiles whose rows one product averages: as many as fit into a core's cache."""
WEIGHT_BITS = 16
"""Weights of rows are multiples of 2 ** -16: float32 sums of them are exact in any order, so that a tile's pixels do
not depend on the tiles that are averaged with it."""

PIXEL_VERSION = 3
"""Version of the arithmetic from `TileReader._strip` on; each file of codes states it. Codes of another version differ
by rounding, at most one grey value of a pixel: they are used, and reported.
1: a strip with a gap between its cells was averaged in floats, rounded half to even; one without in whole numbers,
rounded half up. 2: cells of whole pixels are averaged in whole numbers, whatever lies beside them. 3: weights have
WEIGHT_BITS, where a tile is not a whole number of pixels."""

RAW_SUFFIXES = (".svs", ".tif", ".tiff", ".ptif", ".ptiff", ".btf", ".tf2", ".tf8", ".qptiff")
RAW, DIFFERENT = "jpeg tiles", "openslide, for raw tiles differ from it"
"""Ways of reading pixels, beside `openslide` and `tifffile`."""


@dataclass(frozen=True)
class TileBatch:
    """tiles: uint8 [n, tile_px, tile_px, 3] RGB. row, col: int [n]. failed: bool [n], tiles that cannot be decoded."""

    tiles: NDArray[np.uint8]
    row: NDArray[np.intp]
    col: NDArray[np.intp]
    failed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def part(self, start: int, stop: int) -> "TileBatch":
        part = np.s_[start:stop]
        return TileBatch(self.tiles[part], self.row[part], self.col[part], self.failed[part])

    @classmethod
    def joined(cls, batches: Sequence["TileBatch"]) -> "TileBatch":
        return cls(
            np.concatenate([batch.tiles for batch in batches]),
            np.concatenate([batch.row for batch in batches]),
            np.concatenate([batch.col for batch in batches]),
            np.concatenate([batch.failed for batch in batches]),
        )


class TileReader:
    """Reads the tiles of a grid from the coarsest level that is at or finer than read_mpp, averaging by area.

    read_mpp: um/px to read at, the same for all slides, because a stored coarser level is not the average of a finer
    one. A level may be a tenth coarser, because stated resolutions are nominal.
    way: how pixels are read: RAW, DIFFERENT, `openslide` or `tifffile`; the pixels are the same.
    A tile's pixels depend on its place alone, not on which other cells are read.
    Raises ResolutionTooLow when the finest level is coarser than read_mpp or than the tiles.
    """

    def __init__(self, slide: Slide, grid: TileGrid, read_mpp: float) -> None:
        self.slide, self.grid = slide, grid
        read_mpp = min(read_mpp, grid.tile_mpp)  # a level coarser than the tiles would be enlarged
        fit = [i for i, d in enumerate(slide.level_downsamples) if slide.mpp * d <= read_mpp * TOLERANCE]
        if not fit:
            raise ResolutionTooLow(
                f"{slide.slide_id}: {slide.mpp:.4g} um/px at its finest level, wanted {read_mpp} um/px or finer"
            )
        self.level = fit[-1]
        self.downsample = slide.level_downsamples[self.level]
        side_px = grid.side_l0px / self.downsample
        self.band_cells = max(1, min(BAND_CELLS, int(STRIP_PX / (side_px * grid.stride_l0px / self.downsample))))
        window_px = self.band_cells * grid.stride_l0px / self.downsample, side_px
        # OpenSlide takes whole level-0 px; at a level between them it shifts each region by a fraction of a pixel.
        self._shifts = self.downsample != round(self.downsample)
        slide.keep_decoded(self.level, *window_px)
        self._jpeg, self.way = _verified_jpeg(slide, self.level, window_px)

    def __enter__(self) -> "TileReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the raw tiles; the slide stays open."""
        if self._jpeg:
            self._jpeg.close()

    def batches(self, rows: NDArray[np.intp], cols: NDArray[np.intp], batch_size: int = 64) -> Iterator[TileBatch]:
        """The tiles of the given cells, band by band, each batch but the last of `batch_size`."""
        pending: list[TileBatch] = []
        for row, together in _strips(rows, cols, self.band_cells):
            strip = self._strip(row, together)
            if len(strip) == batch_size and not pending:
                yield strip
                continue
            pending.append(strip)
            if sum(map(len, pending)) >= batch_size:
                joined = TileBatch.joined(pending)
                whole = len(joined) // batch_size * batch_size
                yield from (joined.part(i, i + batch_size) for i in range(0, whole, batch_size))
                pending = [joined.part(whole, len(joined))] if whole < len(joined) else []
        if pending:
            yield TileBatch.joined(pending)

    def _strip(self, row: int, cols: NDArray[np.intp]) -> TileBatch:
        """Tiles of neighbouring cells of a row. If the strip cannot be decoded, each cell is read by itself.

        So it is where OpenSlide would shift a cell by a fraction that depends on where the strip begins.
        """
        if len(cols) > 1 and self._shifts and not self._jpeg:
            return TileBatch.joined([self._strip(row, cols[i : i + 1]) for i in range(len(cols))])
        side = self.grid.side_l0px / self.downsample
        x = np.array([self.grid.tile_origin_l0px(row, int(col))[0] for col in cols]) / self.downsample
        y = self.grid.tile_origin_l0px(row, 0)[1] / self.downsample
        x_px, y_px = math.floor(x[0]), math.floor(y)
        try:
            size_px = math.ceil(x[-1] + side) - x_px, math.ceil(y + side) - y_px
            strip = self._region(x_px, y_px, *size_px, alone=len(cols) == 1)
        except UnreadableSlide:
            if len(cols) > 1:
                return TileBatch.joined([self._strip(row, cols[i : i + 1]) for i in range(len(cols))])
            blank = np.zeros((1, self.grid.tile_px, self.grid.tile_px, 3), np.uint8)
            return TileBatch(blank, np.array([row]), cols, np.array([True]))
        tiles = cut_tiles(strip, x - x_px, y - y_px, side, self.grid.tile_px)
        return TileBatch(tiles, np.full(len(cols), row), cols, np.zeros(len(cols), bool))

    def _region(self, x_px: int, y_px: int, width_px: int, height_px: int, *, alone: bool = True) -> NDArray[np.uint8]:
        """Pixels at (x_px, y_px) of the level; by OpenSlide where raw tiles may be damaged.

        alone: whether it is of one cell. Raises UnreadableSlide.
        """
        if self._jpeg:
            try:
                return self._jpeg.read(x_px, y_px, width_px, height_px)
            except UnreadableSlide:
                if self._shifts and not alone:
                    raise
        return _openslide_region(self.slide, self.level, x_px, y_px, width_px, height_px)


def _openslide_region(
    slide: Slide, level: int, x_px: int, y_px: int, width_px: int, height_px: int
) -> NDArray[np.uint8]:
    downsample = slide.level_downsamples[level]
    return slide.read_region(round(x_px * downsample), round(y_px * downsample), level, width_px, height_px)


def _strips(rows: NDArray[np.intp], cols: NDArray[np.intp], band_cells: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Cells as (row, neighbouring columns), row after row of one band after the other."""
    order = in_bands(rows, cols, band_cells)
    rows, cols = rows[order], cols[order]
    apart = (np.diff(rows) != 0) | (np.diff(cols) > WIDEST_GAP) | (np.diff(cols // band_cells) != 0)
    for run in np.split(np.arange(len(rows)), np.flatnonzero(apart) + 1):
        if len(run):
            yield int(rows[run[0]]), cols[run]


def in_bands(rows: NDArray[np.intp], cols: NDArray[np.intp], band_cells: int = BAND_CELLS) -> NDArray[np.intp]:
    """The order in which cells are read: band by band of columns, each from top to bottom."""
    return np.lexsort((cols, rows, cols // band_cells))


def cut_tiles(
    strip: NDArray[np.uint8], x: NDArray[np.float64], y: float, side_px: float, tile_px: int
) -> NDArray[np.uint8]:
    """Squares of a strip [h, w, 3], averaged by exact area: [n, tile_px, tile_px, 3].

    x: [n] left edges; y: their top; side_px: of a square; all in the strip's pixels, fractions allowed.
    """
    tiles = np.empty((len(x), tile_px, tile_px, 3), np.uint8)
    if y == 0 and side_px % tile_px == 0 and (x == np.floor(x)).all():
        for run in np.split(np.arange(len(x)), np.flatnonzero(np.diff(x) != side_px) + 1):
            left, right = int(x[run[0]]), int(x[run[-1]] + side_px)
            tiles[run] = _whole_cells(strip[: int(side_px), left:right], len(run), tile_px)
        return tiles
    starts = np.floor(x).astype(int)
    width = math.ceil(side_px) + 1
    columns = np.zeros((0, 0), np.float32)
    for number, (tile, left, start) in enumerate(zip(tiles, x, starts, strict=True)):
        if number % BLOCK_CELLS == 0:
            first, last = start, starts[number : number + BLOCK_CELLS][-1]
            rows = _averaged_rows(strip[:, first : last + width], y, side_px, tile_px)
            columns = cv2.transpose(rows).reshape(-1, tile_px * 3)
        offset = round(left - start, 6)
        # Just the columns that the tile needs: its place among others must not change the arithmetic.
        source = columns[start - first :][: math.ceil(round(offset + side_px, 6))]
        across = np.empty((tile_px, tile_px * 3), np.float32)
        for out, lines, weights in _weights(tile_px, side_px, offset, len(source)):
            np.matmul(weights, source[lines], out=across[out])
        cv2.transpose(np.rint(across).astype(np.uint8).reshape(tile_px, tile_px, 3), tile)
    return tiles


def _averaged_rows(strip: NDArray[np.uint8], y: float, side_px: float, tile_px: int) -> NDArray[np.float32]:
    """A strip [h, w, 3] averaged to [tile_px, w, 3], by products of few rows, since few rows make a mean."""
    means = np.empty((tile_px, strip.shape[1], 3), np.float32)
    flat = means.reshape(tile_px, -1)
    for out, lines, weights in _weights(tile_px, side_px, y, len(strip)):
        source = strip[lines].astype(np.float32)
        np.matmul(weights, source.reshape(len(source), -1), out=flat[out])
    return means


def _whole_cells(run: NDArray[np.uint8], count: int, tile_px: int) -> NDArray[np.uint8]:
    """Cells side by side [side, count * side, 3], side a multiple of tile_px: [count, tile_px, tile_px, 3]."""
    row = cv2.resize(run, (count * tile_px, tile_px), interpolation=cv2.INTER_AREA)
    return np.asarray(row.reshape(tile_px, count, tile_px, 3).transpose(1, 0, 2, 3))


@lru_cache(maxsize=256)
def _weights(
    tile_px: int, side_px: float, start_px: float, source_px: int
) -> list[tuple[slice, slice, NDArray[np.float32]]]:
    """Blocks of LINES_TOGETHER output lines: (output lines, source lines, weights [output, source])."""
    dense = rounded_weights(area_weights(tile_px, side_px, start_px, source_px))
    blocks = []
    for first in range(0, tile_px, LINES_TOGETHER):
        weights = dense[first : first + LINES_TOGETHER]
        used = np.flatnonzero(weights.any(axis=0))
        lines = slice(int(used[0]), int(used[-1]) + 1)
        blocks.append((slice(first, first + len(weights)), lines, weights[:, lines].copy()))
    return blocks


def area_weights(tile_px: int, side_px: float, start_px: float, source_px: int) -> NDArray[np.float64]:
    """Weights [tile_px, source_px] that average a span of `side_px` source pixels, from start_px on, by exact area."""
    edges = start_px + np.arange(tile_px + 1) * side_px / tile_px
    pixels = np.arange(source_px)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    weights = np.maximum(0, high - low)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def rounded_weights(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights [n, m] as multiples of 2 ** -WEIGHT_BITS; each row still adds up to 1."""
    whole = np.rint(weights * 2**WEIGHT_BITS)
    largest = np.arange(len(whole)), whole.argmax(axis=1)
    whole[largest] += 2**WEIGHT_BITS - whole.sum(axis=1)
    return np.asarray(whole / 2**WEIGHT_BITS, np.float32)


def _verified_jpeg(slide: Slide, level: int, window_px: tuple[float, float]) -> tuple[JpegTiles | None, str]:
    """The level's raw JPEG tiles if they have the slide's own pixels where it shows most, and the way of reading."""
    if suffix(slide.path.name) not in RAW_SUFFIXES:
        return None, slide.opened_by
    try:
        jpeg = JpegTiles(slide.path, slide.level_sizes_px[level], window_px)
    except UnreadableSlide:
        return None, slide.opened_by
    comparisons = [_same_pixels(slide, level, jpeg, x, y) for x, y in jpeg.fullest(4)]
    differs = False in comparisons
    if any(comparisons) and not differs:
        return jpeg, RAW
    jpeg.close()
    return None, DIFFERENT if differs else slide.opened_by


def _same_pixels(slide: Slide, level: int, jpeg: JpegTiles, x: int, y: int, side_px: int = 64) -> bool | None:
    """Whether raw tiles and OpenSlide agree near (x, y) of a level; None if either cannot decode it."""
    downsample = slide.level_downsamples[level]
    (x, x_off), (y, y_off) = (
        _aligned(near, size - side_px, downsample)
        for near, size in zip((x, y), slide.level_sizes_px[level], strict=True)
    )
    try:
        raw = jpeg.read(x, y, side_px, side_px)
        reference = _openslide_region(slide, level, x, y, side_px, side_px)
    except UnreadableSlide:
        return None
    most = 0 if x_off == y_off == 0 else 2
    return bool(np.abs(raw.astype(int) - reference).max() <= most)


def _aligned(near_px: int, stop_px: int, downsample: float) -> tuple[int, float]:
    """The level pixel nearest to `near_px` on which a whole level-0 pixel falls, and by how much it misses.

    OpenSlide takes whole level-0 pixels, and interpolates at a level that is, say, 2.0003 times smaller.
    """
    pixels = np.arange(max(1, stop_px))
    miss = np.abs(pixels - np.rint(pixels * downsample) / downsample)
    hit = np.flatnonzero(miss < 0.002)
    best = int(hit[np.abs(hit - near_px).argmin()])
    return best, float(miss[best])
