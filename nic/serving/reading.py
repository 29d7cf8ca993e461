"""A slide to its codes, in this process. Slides of strangers are read by `nic.serving.apart`, which asks this there."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nic.compression.compress import compress_slide
from nic.compression.cutting import AS_USUAL, Cutting
from nic.compression.setting import Setting
from nic.encoder.spec import Encoder, EncoderSpec
from nic.errors import ForeignCodes, NicError, OverLimit
from nic.serving.codes_file import check_codes
from nic.serving.confined import Roots, opened
from nic.serving.effort import Effort
from nic.slides.slide import Slide, SlideSource


@dataclass(frozen=True)
class Look:
    """What is known of a slide before it is read. made_of: equal for the same pixels at the same um/px. px: in all."""

    made_of: str
    px: int


class Reading(Protocol):
    """Opens slides and files of codes. deadline_s: of the monotonic clock. roots: folders that a path may lead to.

    cutting: which tiles of them get a code. Each method raises SlideError, CodesError, RequestRefused (OutsideRoots;
    OverLimit when it is late or large); `spec` and `compress` raise ForeignCodes where the encoder is of another tool.
    """

    @property
    def spec(self) -> EncoderSpec: ...

    @property
    def cutting(self) -> Cutting: ...

    def look(self, source: SlideSource, roots: Roots, deadline_s: float) -> Look: ...

    def compress(self, source: SlideSource, roots: Roots, effort: Effort, into: Path) -> None:
        """Leaves the codes in the file `into`."""

    def features(self, source: SlideSource, roots: Roots, effort: Effort, into: Path) -> Path:
        """A file of codes that may be loaded: `into`, or the row's own where nobody is a stranger."""


@dataclass(frozen=True)
class Here:
    """In this process: one's own slides, or a process that may die of them. The deadline is looked at at each batch.

    encoder: None where the codes are of another tool. threads: of a slide.
    """

    encoder: Encoder | None
    cutting: Cutting = AS_USUAL
    threads: int = 1

    @property
    def spec(self) -> EncoderSpec:
        return self._encoder.spec

    @property
    def _encoder(self) -> Encoder:
        if self.encoder is None:
            raise no_encoder()
        return self.encoder

    def look(self, source: SlideSource, roots: Roots, deadline_s: float) -> Look:
        with _confined(source, roots) as there, Slide.open(there) as slide:
            width, height = slide.size_l0px
            return Look(f"{slide.fingerprint} {slide.mpp}", width * height)

    def compress(self, source: SlideSource, roots: Roots, effort: Effort, into: Path) -> None:
        bounded = Bounded(self._encoder, effort.tiles, effort.deadline_s, [])
        setting = Setting.like(self.cutting)
        with _confined(source, roots) as there:
            slide = compress_slide(there, bounded, setting, batch_tiles=effort.batch_tiles, threads=self.threads)
        slide.save(into)

    def features(self, source: SlideSource, roots: Roots, effort: Effort, into: Path) -> Path:
        with _confined(source, roots) as there:
            check_codes(there.path, effort)
            return there.path


@contextmanager
def _confined(source: SlideSource, roots: Roots) -> Iterator[SlideSource]:
    """The slide by its resolved path; messages name it as the row does, not by the name that a symlink leads to."""
    path = opened(source.path, roots)
    try:
        yield replace(source, path=path)
    except NicError as error:
        raise type(error)(str(error).replace(path.name, source.slide_id)) from error


def no_encoder() -> ForeignCodes:
    return ForeignCodes("pixels, and the encoder is of another tool; give a file of its codes as features")


@dataclass(frozen=True)
class Bounded:
    """An encoder that stops: after `tiles` tiles, or at `deadline_s` of the monotonic clock. For one slide."""

    encoder: Encoder
    tiles: int
    deadline_s: float
    encoded: list[int]

    @property
    def spec(self) -> EncoderSpec:
        return self.encoder.spec

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raises OverLimit."""
        self.encoded.append(len(tiles))
        if sum(self.encoded) > self.tiles:
            raise OverLimit(f"more than {self.tiles} tiles of tissue; compress it, and give the file of its codes")
        if time.monotonic() > self.deadline_s:
            raise OverLimit("not done in time; compress it, and give the file of its codes")
        return self.encoder.encode(tiles)
