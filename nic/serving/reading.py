"""A slide to its codes, in this process. Slides of strangers are read by `nic.serving.apart`, which asks this there."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nic.compression.compress import BATCH_TILES, compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.cutting import AS_USUAL, Cutting
from nic.compression.setting import Setting
from nic.encoder.spec import Encoder, EncoderSpec
from nic.errors import OverLimit
from nic.slides.slide import Slide, SlideSource


@dataclass(frozen=True)
class Look:
    """What is known of a slide before it is read. made_of: equal for the same pixels at the same um/px. px: in all."""

    made_of: str
    px: int


@dataclass(frozen=True)
class Effort:
    """What a slide may cost one request.

    tiles: of tissue, at most. batch_tiles: encoded at a time. deadline_s: of the monotonic clock.
    """

    tiles: int
    deadline_s: float
    batch_tiles: int = BATCH_TILES


class Reading(Protocol):
    """Opens slides. deadline_s: of the monotonic clock. Each method raises SlideError, or OverLimit when it is late.

    cutting: which tiles of them get a code.
    """

    @property
    def spec(self) -> EncoderSpec: ...

    @property
    def cutting(self) -> Cutting: ...

    def look(self, source: SlideSource, deadline_s: float) -> Look: ...

    def compress(self, source: SlideSource, effort: Effort) -> CompressedSlide: ...


@dataclass(frozen=True)
class Here:
    """In this process: one's own slides, or a process that may die of them. The deadline is looked at at each batch.

    threads: of a slide.
    """

    encoder: Encoder
    cutting: Cutting = AS_USUAL
    threads: int = 1

    @property
    def spec(self) -> EncoderSpec:
        return self.encoder.spec

    def look(self, source: SlideSource, deadline_s: float) -> Look:
        with Slide.open(source) as slide:
            width, height = slide.size_l0px
            return Look(f"{slide.fingerprint} {slide.mpp}", width * height)

    def compress(self, source: SlideSource, effort: Effort) -> CompressedSlide:
        bounded = Bounded(self.encoder, effort.tiles, effort.deadline_s, [])
        setting = Setting.like(self.cutting)
        return compress_slide(source, bounded, setting, batch_tiles=effort.batch_tiles, threads=self.threads)


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
