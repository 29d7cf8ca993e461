"""The D4 variants of a square: its eight rotations and mirror images, numbered alike for tiles and for grids."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

D4_VARIANTS = 8
"""Their number. Of a variant's number, bit 0 mirrors rows, bit 1 mirrors columns, bit 2 swaps both, in this order."""


def d4_variant(squares: NDArray[T], number: int) -> NDArray[T]:
    """One variant of each of the squares [N, side, side, ...]; 0 is the square itself."""
    squares = squares[:, ::-1] if number & 1 else squares
    squares = squares[:, :, ::-1] if number & 2 else squares
    return squares.swapaxes(1, 2) if number & 4 else squares
