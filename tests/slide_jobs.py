"""Jobs that make their process misbehave. Reading processes import this module by its name."""

import os
import signal
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nic.compression.tissue_rule import Mask, MaskFolder
from nic.slides.jobs import BLURRED, ENCODE, Answer, CheckedTiles, LastSlide
from nic.slides.slide import Slide
from nic.slides.source import SlideSource

NOWHERE = SlideSource("nowhere", Path("nowhere.tif"))


@dataclass(frozen=True)
class YieldsBatches:
    """Batches of three cells, the second of which is blurred; the grey value of their tiles is the batch's number."""

    batches: int
    source: SlideSource = NOWHERE

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        for number in range(self.batches):
            tiles = np.full((2, 8, 8, 3), number % 256, np.uint8)
            row, col = np.full(3, number, np.int32), np.arange(3, dtype=np.int32)
            yield CheckedTiles(tiles, row, col, np.array([ENCODE, BLURRED, ENCODE], np.uint8))
        return {"batches": self.batches, "halves": np.arange(self.batches) / 2}


@dataclass(frozen=True)
class Dies:
    """Ends its process by signal `how`, or by exit code -`how`; with a `mark`, only until that file exists."""

    how: int
    mark: Path | None = None
    source: SlideSource = NOWHERE

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        if self.mark:
            if self.mark.exists():
                return {"lived": True}
            self.mark.touch()
        if self.how > 0:
            os.kill(os.getpid(), self.how)
        os._exit(-self.how)


@dataclass(frozen=True)
class Sleeps:
    seconds: float
    source: SlideSource = NOWHERE

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        time.sleep(self.seconds)
        return {}


@dataclass(frozen=True)
class Raises:
    error: Any
    cause: Any = None
    source: SlideSource = NOWHERE

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        raise self.error from self.cause


@dataclass(frozen=True)
class AllocatesMemory:
    """Allocates so many megabytes."""

    megabytes: int
    source: SlideSource = NOWHERE

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        return {"bytes": len(bytearray(self.megabytes << 20))}


@dataclass(frozen=True)
class DescribesItself:
    source: SlideSource = NOWHERE

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        return {"environment": dict(os.environ), "pid": os.getpid()}


@dataclass(frozen=True)
class SendsNonsense:
    """Writes to the parent what a decoder might that a slide has taken over."""

    content: bytes
    source: SlideSource = NOWHERE

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        for fd in range(3, 32):  # whichever of them it is
            try:
                os.write(fd, self.content)
            except OSError:
                continue
        time.sleep(60)
        return {}


@dataclass(frozen=True)
class Deadly(MaskFolder):
    """Masks of everything, that end the process or hold it up, at slides whose name begins so."""

    folder: Path = Path("nowhere")
    crash: str = "crash"
    hang: str = "hang"

    def digest(self, slide_id: str) -> Mask:
        return Mask("0" * 16)

    def mask(self, slide: Slide, thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
        if slide.slide_id.startswith(self.crash):
            os.kill(os.getpid(), signal.SIGABRT)
        if slide.slide_id.startswith(self.hang):
            if slide.slide_id.endswith("away"):
                slide.path.unlink()
            time.sleep(600)
        return np.ones(thumbnail.shape[:2], bool)
