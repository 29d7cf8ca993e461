"""Every conversion between pixels, micrometres and (row, col): pure arithmetic."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of a slide lie.

    tile_px, tile_mpp: a tile as the encoder takes it. slide_mpp: um/px at level 0. origin_l0px: (x, y) of the
    top-left corner. A tile's side is rarely a whole number of level-0 px, so each origin is computed from the
    grid's and rounded by itself: the error never exceeds half a pixel, however wide the slide.
    """

    tile_px: int
    tile_mpp: float
    slide_mpp: float
    origin_l0px: tuple[int, int]
    rows: int
    cols: int

    @classmethod
    def covering(
        cls, bounds_l0px: tuple[int, int, int, int], slide_mpp: float, tile_px: int, tile_mpp: float
    ) -> "TileGrid":
        """The grid that covers bounds (x, y, width, height); its last row and column may hang over, onto glass."""
        x, y, width, height = bounds_l0px
        side = tile_px * tile_mpp / slide_mpp
        return cls(tile_px, tile_mpp, slide_mpp, (x, y), math.ceil(height / side), math.ceil(width / side))

    @property
    def side_l0px(self) -> float:
        """Side of a tile in level-0 px: exact, rarely whole."""
        return self.tile_px * self.tile_mpp / self.slide_mpp

    def cell_origin_l0px(self, row: int, col: int) -> tuple[int, int]:
        """Top-left (x, y) of a cell."""
        x, y = self.origin_l0px
        return x + round(col * self.side_l0px), y + round(row * self.side_l0px)

    def cell_at(self, x_l0px: int, y_l0px: int) -> tuple[int, int]:
        """(row, col) of the cell that holds the middle of a pixel; it may lie outside the grid."""
        x, y = self.origin_l0px
        return math.floor((y_l0px - y + 0.5) / self.side_l0px), math.floor((x_l0px - x + 0.5) / self.side_l0px)
