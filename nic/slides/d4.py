"""The eight turns and mirror images of a square, numbered the same way for tiles and for grids."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

D4_VARIANTS = 8
"""Bit 0 mirrors rows, bit 1 mirrors columns, bit 2 swaps the two, in this order; 0 leaves all as it is."""


def d4_variant(squares: NDArray[T], turn: int) -> NDArray[T]:
    """Squares [N, side, side, ...], each turned alike."""
    squares = squares[:, ::-1] if turn & 1 else squares
    squares = squares[:, :, ::-1] if turn & 2 else squares
    return squares.swapaxes(1, 2) if turn & 4 else squares
