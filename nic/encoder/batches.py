"""How many tiles a graph is run on at a time, by the memory of its device."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nic.errors import OutOfMemory
from nic.graphs.device import Device
from nic.threads import cores

log = logging.getLogger(__name__)
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

CPU_TILES, CPU_TILE_PX, CPU_PX = 64, 64, 1 << 17
"""On a CPU a batch is 64 tiles of up to 64 px, or as many larger ones as have 1 << 17 pixels, which is 2 of 224 px. The
layers of larger batches leave the caches, and ONNX Runtime is slower (ViT-S: 2 tiles are 1.04 times as fast as 4)."""
GPU_PX = tuple(tiles * 64**2 for tiles in (1024, 256, 64))
"""Pixels of a batch on a GPU, the largest first; the first that fits is used."""
RUNS_AT_ONCE = 4
"""Runs on one GPU: one computes while the others copy. Four gave 1.7 times as many tiles as one, sixteen 1.4 times."""


class Batches:
    """Runs a graph on as many tiles at a time as its device takes; threads may share it.

    run: tiles uint8 [N, tile_px, tile_px, 3] to codes float32 [N, D]. name: of the encoder, for the log.
    """

    def __init__(self, run: Run, device: Device, tile_px: int, name: str) -> None:
        self._run, self._tile_px, self._name = run, tile_px, name
        self._on_gpu = device.kind == "cuda"
        self._room = threading.BoundedSemaphore(RUNS_AT_ONCE) if self._on_gpu else None
        self._lock = threading.Lock()
        self._most: int | None = None  # tiles, once a batch did not fit

    @property
    def at_once(self) -> int:
        """How many threads it pays to encode with at the same time."""
        return RUNS_AT_ONCE if self._on_gpu else cores()

    @property
    def tiles(self) -> int:
        """Tiles of a batch: fixed on a CPU; on a GPU the largest of a few sizes that fits, tried at the first call. It
        is halved when a batch does not fit."""
        return self._start if self._most is None else min(self._start, self._most)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes of any number of tiles, in parts that fit. Raises OutOfMemory when a single tile does not."""
        parts: list[NDArray[np.float32]] = []
        first = 0
        while first < len(tiles) or not parts:
            part = tiles[first : first + self._part(len(tiles))]
            try:
                parts.append(self._one(part))
            except OutOfMemory as error:
                if len(part) < 2:
                    raise
                self._halve(len(part), error)
                continue
            first += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _part(self, count: int) -> int:
        """A GPU is given all tiles at once: only memory bounds it. A CPU is faster with small parts."""
        if not self._on_gpu:
            return self.tiles
        return count if self._most is None else min(count, self._most)

    def _one(self, part: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._room is None:
            return self._run(part)
        with self._room:
            return self._run(part)

    def _halve(self, tiles: int, error: OutOfMemory) -> None:
        with self._lock:
            if self._most is None or tiles <= self._most:
                log.log(
                    logging.INFO if self._most else logging.WARNING,
                    "%s: no memory for %d tiles at a time, goes on with %d: %s", self._name, tiles, tiles // 2, error,
                )  # fmt: skip
                self._most = tiles // 2

    @cached_property
    def _start(self) -> int:
        if not self._on_gpu:
            return CPU_TILES if self._tile_px <= CPU_TILE_PX else _power_of_two(CPU_PX // self._tile_px**2)
        sizes = [_power_of_two(px // self._tile_px**2) for px in GPU_PX]
        return next((size for size in sizes[:-1] if self._fits(size)), sizes[-1])

    def _fits(self, size: int) -> bool:
        """Whether RUNS_AT_ONCE such batches fit together."""
        blank = np.zeros((size, self._tile_px, self._tile_px, 3), np.uint8)
        try:
            with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
                list(pool.map(self._one, [blank] * RUNS_AT_ONCE))
        except OutOfMemory:
            log.info("%s: no memory for %d runs of %d tiles at once", self._name, RUNS_AT_ONCE, size)
            return False
        return True


def _power_of_two(most: int) -> int:
    """The largest that is at most this number, and at least 1."""
    return int(1 << max(0, most.bit_length() - 1))
