"""How long the compression of a folder of slides takes on this machine, and how much its codes weigh."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nic.compression.compress_slide import compress_slide
from nic.encoder.encoder_graph import folded
from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.encoder.network import random_encoder, scaled
from nic.errors import SlideError
from nic.patients.cohort import SlideRow
from nic.slides.slide import SlideSource
from nic.stages.check_study import BYTES_A_NUMBER, BYTES_A_PLACE, TRAINED_HERE
from nic.stages.slide_sample import opened
from nic.threads import cores
from nic.tracking.registry import encoder_file

UNTRAINED = "nic's own network, untrained (its weights do not change the time)"
OPENED = 6
"""Slides that are opened to count their tiles."""
TIMED_TILES, TIMED_S = 1000, 20.0
"""Most tiles that are read and encoded to time them, and most seconds."""


@dataclass(frozen=True)
class CompressionEstimate:
    """hours: of the compression on this machine. gigabytes: of all codes. how: from what they follow, in sentences.

    Both are None where no slide could be used. faults: of the opened slides, why one cannot be compressed, by its id.
    """

    hours: float | None
    gigabytes: float | None
    how: tuple[str, ...]
    faults: dict[str, str]


class _Enough(Exception):
    """As many tiles were read as are timed."""


def estimated(rows: Sequence[SlideRow], encoder: str) -> CompressionEstimate:
    """Open some slides, count their tiles, and read and encode a part of one.

    encoder: a registered version or a graph's path; empty where there is none yet: nic's own network is timed then.
    """
    loaded: LoadedEncoder | _Untrained = load_encoder(encoder_file(encoder)) if encoder else _Untrained()
    slides = opened(_spread(rows), loaded.spec, {})
    faults = {slide.row.slide.slide_id: slide.fault for slide in slides if slide.tiles is None}
    usable = sorted((slide.tiles, slide.row.slide.slide_id, slide.row.slide) for slide in slides if slide.tiles)
    tiles = [count for count, _, _ in usable]
    timed = _timed([source for _, _, source in usable[len(usable) // 2 :] + usable[: len(usable) // 2]], loaded)
    if timed is None:
        return CompressionEstimate(None, None, (f"None of {len(slides)} opened slides can be used.",), faults)
    mean, code_bytes = float(np.mean(tiles)), BYTES_A_NUMBER * loaded.spec.code_size + BYTES_A_PLACE
    whole = mean * len(rows)
    how = (
        f"{len(tiles)} of {len(rows)} slides were opened: {min(tiles)} to {max(tiles)} tiles of "
        f"tissue, {mean:.0f} on average, so about {whole:.0f} in all.",
        f"{timed.tiles} tiles of {timed.slide_id} were read and encoded by {encoder or UNTRAINED}, on "
        f"{loaded.device_note}: {1000 * timed.core_s / timed.tiles:.1f} ms of one core for each tile; {cores()} cores "
        "work at a time.",
        f"A tile's code takes {code_bytes} bytes.",
    )
    hours = whole * timed.core_s / timed.tiles / cores() / 3600
    return CompressionEstimate(hours, whole * code_bytes / 1e9, how, faults)


class _Untrained:
    """nic's own network with random weights, in PyTorch on one core."""

    spec = TRAINED_HERE
    device_note = "cpu (PyTorch)"

    def __init__(self) -> None:
        self._layers = folded(random_encoder(0).eval())

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, 64, 64, 3] to codes float32 [N, D]."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                return np.asarray(self._layers(scaled(torch.from_numpy(tiles))).numpy(), np.float32)
        finally:
            torch.set_num_threads(threads)


def _spread(rows: Sequence[SlideRow]) -> list[SlideRow]:
    """Some slides from the smallest to the largest file."""
    by_size = sorted(rows, key=lambda row: row.slide.path.stat().st_size)
    places = np.linspace(0, len(by_size) - 1, min(OPENED, len(by_size)))
    return [by_size[round(place)] for place in places]


@dataclass(frozen=True)
class _Timed:
    """tiles: that were read and encoded. core_s: seconds of processors that this took."""

    slide_id: str
    tiles: int
    core_s: float


class _Watch:
    """Counts the tiles that were read; raises _Enough at TIMED_TILES or after TIMED_S."""

    def __init__(self) -> None:
        self.tiles, self._began = 0, time.monotonic()

    def __call__(self, tiles: int) -> None:
        self.tiles = tiles
        if tiles >= TIMED_TILES or time.monotonic() - self._began > TIMED_S:
            raise _Enough


def _timed(slides: Sequence[SlideSource], encoder: LoadedEncoder | _Untrained) -> _Timed | None:
    """Tiles of the first slide that can be read; None where no slide can."""
    encoder.encode(np.zeros((1, encoder.spec.tile_px, encoder.spec.tile_px, 3), np.uint8))  # the first call is slow
    for source in slides:
        watch, start = _Watch(), time.process_time()
        try:
            compress_slide(source, encoder, watch=watch)
        except _Enough:
            pass
        except SlideError:
            continue
        return _Timed(source.slide_id, max(watch.tiles, 1), time.process_time() - start)
    return None
