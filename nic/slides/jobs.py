"""Work on slides that a process of its own can do: what is asked, and what comes back."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nic.slides.grid import TileGrid
from nic.slides.reader import TileReader
from nic.slides.slide import Slide
from nic.slides.source import SlideSource

Answer = Mapping[str, Any]
"""Values that JSON knows, and arrays."""

ENCODE, FAILED, BLURRED = range(3)
"""What becomes of a cell: its tile is to be encoded, could not be decoded, or is out of focus."""
BATCH_BYTES = 2 << 20
"""Of the tiles that are handed over together, unless one alone is larger."""
MOST_TOGETHER = 128
NO_DEADLINE = float("inf")


@dataclass(frozen=True)
class CheckedTiles:
    """Some cells of a slide. row, col: int32 [m]. state: uint8 [m], of ENCODE, FAILED and BLURRED. tiles: those to
    encode, in the order of their cells: uint8 [k, tile_px, tile_px, 3] RGB; they are overwritten once the next ones are
    asked for."""

    tiles: NDArray[np.uint8]
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    state: NDArray[np.uint8]


@dataclass(frozen=True)
class TileShape:
    """How an encoder's tiles lie on a slide. tile_px, tile_mpp: of a tile. read_mpp: see EncoderSpec. overlap_px: of a
    tile, that the next one shows again."""

    tile_px: int
    tile_mpp: float
    read_mpp: float
    overlap_px: int = 0

    @property
    def together(self) -> int:
        """Tiles that are handed over at a time."""
        return max(1, min(MOST_TOGETHER, BATCH_BYTES // (3 * self.tile_px**2)))


class LastSlide:
    """The slide that was opened last; it stays open, because the next job is often on it."""

    def __init__(self) -> None:
        self._key: tuple[SlideSource, TileShape] | None = None
        self._reader: TileReader | None = None

    def reader(self, source: SlideSource, shape: TileShape) -> TileReader:
        """Its tiles. Raises SlideError."""
        if self._reader is None or self._key != (source, shape):
            self.close()
            slide = Slide.open(source)
            try:
                grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, shape.tile_px, shape.tile_mpp, shape.overlap_px)
                self._reader = TileReader(slide, grid, shape.read_mpp)
            except BaseException:
                slide.close()
                raise
            self._key = source, shape
        return self._reader

    def close(self) -> None:
        if self._reader:
            self._reader.close()
            self._reader.slide.close()
            self._reader = None

    @property
    def is_open(self) -> bool:
        return self._reader is not None


class Job(Protocol):
    """A value that can be pickled."""

    @property
    def source(self) -> SlideSource: ...

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        """Tiles, if it is asked for such, and what it returns. Raises NicError, OSError, MemoryError."""
        ...


class Reader(Protocol):
    """Does jobs, in this process or in others; threads may share it."""

    def ask(self, job: Job, deadline_s: float = NO_DEADLINE) -> Answer:
        """What a job returns. deadline_s: of the monotonic clock."""
        ...

    def stream(self, jobs: Sequence[Job], deadline_s: float = NO_DEADLINE) -> Generator[CheckedTiles, None, None]:
        """The tiles of all jobs, in any order. Whoever may leave before the last closes it (contextlib.closing)."""
        ...


class InProcessReader:
    """Does jobs in the thread that asks: one's own slides, or a process that may die of them. Nothing ends a job."""

    def ask(self, job: Job, deadline_s: float = NO_DEADLINE) -> Answer:
        last = LastSlide()
        try:
            return _exhausted(job.run(last))
        finally:
            last.close()

    def stream(self, jobs: Sequence[Job], deadline_s: float = NO_DEADLINE) -> Generator[CheckedTiles, None, None]:
        last = LastSlide()
        try:
            for job in jobs:
                yield from job.run(last)
        finally:
            last.close()


IN_PROCESS = InProcessReader()


def _exhausted(steps: Generator[CheckedTiles, None, Answer]) -> Answer:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
