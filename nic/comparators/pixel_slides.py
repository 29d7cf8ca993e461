"""Slides as pixels: an encoder that keeps every pixel of a tile, and windows that are read from its codes.

So slides are read, tested, quarantined, kept in files and mapped from them as any other codes, on the same cells.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nic.encoder.spec import EncoderSpec, check_tiles
from nic.patients.crops import SlideCells
from nic.slides.d4 import d4_variant

CHANNELS = 3
WHITE = 255.0
"""Where there is no tissue, and beyond the edges."""


@dataclass(frozen=True)
class PixelEncoder:
    """The code of a tile is the tile: its values, 0 to 255, which float16 holds exactly. mpp: um/px. tile_px: side."""

    mpp: float
    tile_px: int

    @property
    def spec(self) -> EncoderSpec:
        name = f"pixels of {self.tile_px} px at {self.mpp:g} um/px"
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        return EncoderSpec(CHANNELS * self.tile_px**2, self.tile_px, self.mpp, self.mpp, "pixels", (), sha256)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] to codes [N, tile_px * tile_px * 3]."""
        check_tiles(tiles, self.spec)
        return tiles.reshape(len(tiles), -1).astype(np.float32)


class PixelSlide:
    """The pixels of a slide's cells, in one of its D4 variants; read when they are asked for.

    tissue: bool [rows, cols], cells that have pixels. tile_px: side of a cell.
    """

    def __init__(self, cells: SlideCells, tile_px: int, d4_number: int = 0) -> None:
        turned = cells.d4_variant(d4_number)
        self.tile_px, self._d4_number = tile_px, d4_number
        self._tiles = turned.codes.view(-1, tile_px, tile_px, CHANNELS)
        self._number = np.full(turned.shape, -1)
        self._number[turned.row, turned.col] = np.arange(len(turned.row))
        self.tissue = self._number >= 0

    def window(self, top: int, left: int, height: int, width: int) -> Tensor:
        """Values from 0 to 255, [3, height, width] float32; WHITE where there is no tissue. A Window of `stream`."""
        px = self.tile_px
        rows, cols = (
            np.arange(start // px, -(-(start + side) // px)) for start, side in ((top, height), (left, width))
        )
        number = self._numbers(rows, cols)
        canvas = np.full((*number.shape, px, px, CHANNELS), WHITE, np.float32)
        tiles = self._tiles[torch.from_numpy(number[number >= 0])].float().numpy()
        canvas[number >= 0] = d4_variant(tiles, self._d4_number)
        image = canvas.transpose(4, 0, 2, 1, 3).reshape(CHANNELS, len(rows) * px, len(cols) * px)
        top, left = top - rows[0] * px, left - cols[0] * px
        return torch.from_numpy(image[:, top : top + height, left : left + width].copy())

    def _numbers(self, rows: NDArray[np.int_], cols: NDArray[np.int_]) -> NDArray[np.int_]:
        """Numbers of the cells in some rows and columns, -1 where there is none, also beyond the edges."""
        inside = [(n >= 0) & (n < side) for n, side in zip((rows, cols), self._number.shape, strict=True)]
        numbers = np.full((len(rows), len(cols)), -1)
        numbers[np.ix_(*inside)] = self._number[np.ix_(rows[inside[0]], cols[inside[1]])]
        return numbers
