"""The grid of a slide's tiles: every conversion between pixels, micrometres and (row, col), by arithmetic alone."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of a slide lie.

    tile_px, tile_mpp: a tile as the encoder takes it. slide_mpp: um/px at level 0. origin_l0px: (x, y) of the
    top-left corner. overlap_px: how many of a tile's tile_px the next one shows again; 0: tiles lie side by side.
    A tile's side is rarely a whole number of level-0 px, so each origin is computed from the grid's and rounded by
    itself: the error never exceeds half a pixel, however wide the slide.
    """

    tile_px: int
    tile_mpp: float
    slide_mpp: float
    origin_l0px: tuple[int, int]
    rows: int
    cols: int
    overlap_px: float = 0

    @classmethod
    def covering(
        cls,
        bounds_l0px: tuple[int, int, int, int],
        slide_mpp: float,
        tile_px: int,
        tile_mpp: float,
        overlap_px: float = 0,
    ) -> "TileGrid":
        """The grid that covers bounds (x, y, width, height); its last row and column may reach beyond them."""
        x, y, width, height = bounds_l0px
        stride = (tile_px - overlap_px) * tile_mpp / slide_mpp
        overlap = overlap_px * tile_mpp / slide_mpp
        # Less than a billionth of a stride beyond the last tile is the rounding of floats, and no tissue.
        rows, cols = (max(1, math.ceil((side - overlap) / stride - 1e-9)) for side in (height, width))
        return cls(tile_px, tile_mpp, slide_mpp, (x, y), rows, cols, overlap_px)

    @property
    def side_l0px(self) -> float:
        """Side of a tile in level-0 px: exact, rarely whole."""
        return self.tile_px * self.tile_mpp / self.slide_mpp

    @property
    def stride_l0px(self) -> float:
        """From one tile to the next in level-0 px: exact, rarely whole; a tile's side less the overlap."""
        return (self.tile_px - self.overlap_px) * self.tile_mpp / self.slide_mpp

    @property
    def stride_um(self) -> float:
        """From one tile to the next, which is the side of a cell."""
        return (self.tile_px - self.overlap_px) * self.tile_mpp

    def tile_origin_l0px(self, row: int, col: int) -> tuple[int, int]:
        """Top-left (x, y) of a cell's tile."""
        x, y = self.origin_l0px
        return x + round(col * self.stride_l0px), y + round(row * self.stride_l0px)

    def cell_origin_l0px(self, row: int, col: int) -> tuple[int, int]:
        """Top-left (x, y) of a cell: the square of one stride about the middle of its tile; without overlap the tile.

        Cells never overlap: maps paint cells, and areas are counted in cells.
        """
        (x, y), margin = self.origin_l0px, self._margin_l0px
        return x + round(col * self.stride_l0px + margin), y + round(row * self.stride_l0px + margin)

    @property
    def _margin_l0px(self) -> float:
        """From a tile's edge to its cell's."""
        return (self.side_l0px - self.stride_l0px) / 2
