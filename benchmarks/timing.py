"""Timing things against one another on a machine that is never quiet."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def seconds(*works: Callable[[], object], repeats: int) -> NDArray[np.float64]:
    """[repeats, works]: in turns, so that all suffer alike when the machine is busy."""
    taken = np.empty((repeats, len(works)))
    for turn in range(repeats):
        for place, work in enumerate(works):
            start = time.perf_counter()
            work()
            taken[turn, place] = time.perf_counter() - start
    return taken
