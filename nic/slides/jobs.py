"""Jobs: work on a slide that this process or another can do, and the tiles and answers that come back."""

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
"""State of a cell: its tile is to be encoded, cannot be decoded, or is out of focus."""
BATCH_BYTES = 2 << 20
"""Of the tiles in one batch, unless a single one is larger."""
MOST_TOGETHER = 128
"""Tiles in one batch."""
NO_DEADLINE = float("inf")


@dataclass(frozen=True)
class CheckedTiles:
    """A batch of cells. row, col: int32 [m]. state: uint8 [m], of ENCODE, FAILED and BLURRED. tiles: those to encode,
    in the order of their cells, uint8 [k, tile_px, tile_px, 3] RGB. The next batch overwrites them."""

    tiles: NDArray[np.uint8]
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    state: NDArray[np.uint8]


@dataclass(frozen=True)
class TileShape:
    """The tiles of an encoder. tile_px, tile_mpp: size and resolution. read_mpp: see EncoderSpec. overlap_px: pixels of
    a tile that the next one shows again."""

    tile_px: int
    tile_mpp: float
    read_mpp: float
    overlap_px: int = 0

    @property
    def together(self) -> int:
        """Tiles in one batch."""
        return max(1, min(MOST_TOGETHER, BATCH_BYTES // (3 * self.tile_px**2)))


class LastSlide:
    """Keeps the last slide open, because the next job is often on it."""

    def __init__(self) -> None:
        self._key: tuple[SlideSource, TileShape] | None = None
        self._reader: TileReader | None = None

    def reader(self, source: SlideSource, shape: TileShape) -> TileReader:
        """A reader of the slide's tiles. Raises SlideError."""
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
    """Work on one slide. It is pickled to reach another process."""

    @property
    def source(self) -> SlideSource: ...

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        """Yields batches of tiles, if it reads any, and returns an answer. Raises NicError, OSError, MemoryError."""
        ...


class Reader(Protocol):
    """Does jobs: an InProcessReader or a SubprocessReader. Threads may share it."""

    def ask(self, job: Job, deadline_s: float = NO_DEADLINE) -> Answer:
        """The answer of a job. deadline_s: of the monotonic clock."""
        ...

    def stream(self, jobs: Sequence[Job], deadline_s: float = NO_DEADLINE) -> Generator[CheckedTiles, None, None]:
        """The tiles of all jobs, in any order. A caller that may stop early closes it (contextlib.closing)."""
        ...


class InProcessReader:
    """Does jobs in the caller's thread, for slides that one trusts. No job is ended at a deadline."""

    def ask(self, job: Job, deadline_s: float = NO_DEADLINE) -> Answer:
        last = LastSlide()
        try:
            return _answer(job.run(last))
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


def _answer(steps: Generator[CheckedTiles, None, Answer]) -> Answer:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
