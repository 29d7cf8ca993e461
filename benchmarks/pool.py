"""A pool of reading processes that has started and read each slide, to measure without start-up."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from nic.compression.codes_folder import CodesFolder
from nic.compression.compress_slide import DEFAULT_TILING
from nic.compression.slide_of_cohort import CompressionOptions, Workers, take
from nic.compression.tile_jobs import PlanTiles, ReadTiles, SlidePlan
from nic.encoder.spec import Encoder, EncoderSpec, at_once_of, batch_tiles_of
from nic.slides.jobs import TileShape
from nic.slides.slide import SlideSource
from nic.slides.subprocess_reader import SubprocessReader
from nic.threads import SharedThreads

READING, COHORT, ONE, FREE = "reading", "compression", "one slide", "free encoder"


@dataclass(frozen=True)
class Figure:
    """Of one round. wall_s; cpu_s: of all processes; main_s: processor time of the one that encodes."""

    tiles: int
    wall_s: float
    cpu_s: float
    main_s: float


class FreeEncoder:
    """Codes of zeros, made beforehand."""

    def __init__(self, spec: EncoderSpec, batch_tiles: int) -> None:
        self.spec, self.batch_tiles = spec, batch_tiles
        self._codes = np.zeros((batch_tiles, spec.code_size), np.float32)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._codes[: len(tiles)]


class Pool:
    """Processes that read and threads that encode, started and warm, for one cohort.

    cores: that this process, and what it starts, is bound to.
    """

    def __init__(self, cores: Sequence[int], sources: Sequence[SlideSource], encoder: Encoder) -> None:
        os.sched_setaffinity(0, cores)
        self.sources, self.encoder = sources, encoder
        self.free = FreeEncoder(encoder.spec, batch_tiles_of(encoder))
        self.reading = SubprocessReader(len(cores), modules=["nic.compression.tile_jobs"])
        self.encoding = SharedThreads(at_once_of(encoder))
        spec = encoder.spec
        self.shape = TileShape(spec.tile_px, spec.tile_mpp, spec.read_mpp)
        self.jobs = self._jobs()
        self.read()
        self.compress(sources[:1], self.encoder)

    def _jobs(self) -> list[ReadTiles]:
        jobs: list[ReadTiles] = []
        for source in self.sources:
            plan = SlidePlan.of(self.reading.ask(PlanTiles(source, self.shape, DEFAULT_TILING)))
            jobs += plan.jobs(source, self.shape, test_focus="blurred" in DEFAULT_TILING.exclude)
        return jobs

    def read(self) -> int:
        with closing(self.reading.stream(self.jobs)) as batches:
            return sum(len(batch.tiles) for batch in batches)

    def compress(self, sources: Sequence[SlideSource], encoder: Encoder) -> int:
        """As compress_cohort, with processes and threads that are there."""
        before = sum(done.tiles for done in self.reading.counts)
        workers, options = Workers(self.reading, self.encoding), CompressionOptions()
        with tempfile.TemporaryDirectory() as out, ThreadPoolExecutor(self.reading.count + 1) as slides:
            folder = CodesFolder(Path(out))
            outcomes = slides.map(lambda source: take(folder, source, encoder, options, workers, wait=True), sources)
            assert all(outcome and not outcome.left_out for outcome in outcomes)
        return sum(done.tiles for done in self.reading.counts) - before

    def measured(self, what: str) -> Figure:
        work: dict[str, Callable[[], int]] = {
            READING: self.read,
            COHORT: lambda: self.compress(self.sources, self.encoder),
            ONE: lambda: self.compress(self.sources[:1], self.encoder),
            FREE: lambda: self.compress(self.sources, self.free),
        }
        wall_s, main_s, readers_s = time.perf_counter(), time.process_time(), self.readers_s()
        tiles = work[what]()
        main_s = time.process_time() - main_s
        return Figure(tiles, time.perf_counter() - wall_s, main_s + self.readers_s() - readers_s, main_s)

    def readers_s(self) -> float:
        """Processor time of the processes so far."""
        times = [psutil.Process(process.pid).cpu_times() for process in self.reading.running if process]
        return sum(each.user + each.system for each in times)

    def close(self) -> None:
        self.reading.close()
