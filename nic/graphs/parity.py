"""Whether a graph gives the same numbers as what it was made from."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]


def parity(pairs: Iterable[tuple[Numbers, Numbers]]) -> float:
    """The largest difference between the arrays of each pair: expected numbers, and those of the graph.

    Of an array with numbers above 1 it is a share of the largest one: float32 rounds a large number more than a small
    one, and the cell that an attention rests on can score hundreds. NaN where a number is not finite.
    """
    shares = [np.abs(expected - graph).max() / max(1.0, np.abs(expected).max()) for expected, graph in pairs]
    return float(np.max(shares))  # Python's max may hide a NaN
