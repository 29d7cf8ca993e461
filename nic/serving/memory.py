"""The memory that an answer for a compressed slide needs, computed from its shapes, and how requests share it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import h5py
import numpy as np

from nic.errors import OverLimit

MB = 1 << 20
GRID_BYTES = 24
"""For each cell of the grid: four masks, and a score map with the copies that its picture needs."""
DENSE_COPIES = 3
"""Of the dense codes, float32: the grid itself, the output of the first layer, and a margin. Measured with five
networks: 2.2 in all with 1024 numbers in a code (grid-cnn and attention-mil), 1.7 with 128, beside the activations."""
ACTIVATION_BYTES = 1024
"""For each dense cell, whatever the code's size: the networks' own layers. Measured: some 500."""


@dataclass(frozen=True)
class Footprint:
    """codes: how many, of `code_size` numbers. grid: rows and columns of the slide. extent: rows and columns of the
    smallest part of it that holds all codes, which is made dense."""

    codes: int
    code_size: int
    grid: tuple[int, int]
    extent: tuple[int, int]

    @classmethod
    def of(cls, file: h5py.File) -> "Footprint":
        """Of an open file of codes; reads the row and column of each code. Raises KeyError, ValueError."""
        codes, code_size = (int(size) for size in file["features"].shape)
        rows, cols = int(file.attrs["rows"]), int(file.attrs["cols"])
        extent = tuple(_extent(file[axis][:]) for axis in ("row", "col"))
        return cls(codes, code_size, (rows, cols), (extent[0], extent[1]))

    @property
    def bytes(self) -> int:
        """To hold the codes, and to answer from them with a map."""
        per_cell = 4 * DENSE_COPIES * self.code_size + ACTIVATION_BYTES
        dense = self.extent[0] * self.extent[1] * per_cell
        return dense + self.grid[0] * self.grid[1] * GRID_BYTES + self.codes * (self.code_size * 2 + 8)

    def check(self, most_bytes: int) -> None:
        """Raises OverLimit."""
        if self.bytes > most_bytes:
            rows, cols = self.extent
            raise OverLimit(
                f"codes spread over {rows} x {cols} cells of a grid of {self.grid[0]} x {self.grid[1]} need "
                f"{self.bytes // MB} MB of memory, wanted at most {most_bytes // MB}; the operator sets NIC_MEMORY_MB"
            )


def _extent(indices: np.ndarray) -> int:
    return int(indices.max()) - int(indices.min()) + 1 if len(indices) else 0


class Memory:
    """`most_bytes` that threads share: each waits until there is room for it."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, footprint: Footprint, deadline_s: float) -> Iterator[None]:
        """Room for one slide while the context lasts. Raises OverLimit when there is none in time, or never can be."""
        footprint.check(self.most_bytes)
        needed = footprint.bytes
        with self._changed:
            left_s = min(max(0.0, deadline_s - time.monotonic()), threading.TIMEOUT_MAX)
            if not self._changed.wait_for(lambda: self._taken + needed <= self.most_bytes, left_s):
                raise OverLimit("the server's memory is taken by other slides; ask again")
            self._taken += needed
        try:
            yield
        finally:
            with self._changed:
                self._taken -= needed
                self._changed.notify_all()
