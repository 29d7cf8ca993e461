"""Compressing a cohort on a Ray cluster: which slide goes to whom, and what follows when one is lost."""

import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

import nic
from nic.compression.codes_folder import CodesFolder
from nic.compression.compress_cohort import CompressionReport, one_by_id
from nic.compression.left_out import Streak
from nic.compression.ray_workers import (
    LOSSES,
    Actors,
    Cluster,
    Load,
    SharedWork,
    Tasks,
    WorkerPool,
    first_line,
    import_ray,
    result_of,
)
from nic.compression.slide_of_cohort import CompressionOptions, Outcome, error_or_away
from nic.errors import CrashingSlide, UnreachedSlide
from nic.graphs.files import graph_files, graph_in
from nic.slides.slide import SlideSource

if TYPE_CHECKING:
    from ray import ObjectRef

CRASHES = 2
"""Processes that may die of a slide: then it is the slide's fault, and no node survives it."""


def compress_on_ray(
    sources: Sequence[SlideSource], graph: Path, load: Load, out: Path, options: CompressionOptions, cluster: Cluster
) -> CompressionReport:
    """As compress_cohort, on the nodes of the cluster; the slides of a node that is lost go to the others.

    graph: the encoder's .onnx file, sent along with those of its weights and given to `load` once in each worker
    process. out: a folder that all nodes share, as slides without a URI are to lie on one. A slide that two processes
    died of goes into quarantine; one that the cluster cannot work on is unreached. Raises as compress_cohort,
    UnreachedSlides also when no actor starts, and MissingExtra when ray is not installed.
    """
    ray = import_ray()
    slides, folder = [_absolute(source) for source in one_by_id(sources)], CodesFolder(out.absolute())
    folder.sweep()
    files = {file.name: np.fromfile(file, np.uint8) for file in graph_files(graph_in(graph))}
    started = not ray.is_initialized()
    if started:
        ray.init(
            address=cluster.address or None,
            runtime_env={"py_modules": [str(Path(nic.__file__).parent)]},
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    try:
        work = ray.put(SharedWork(files, load, folder, options, cluster.readers, on_gpu=cluster.gpus > 0))
        pool: WorkerPool = Actors(ray, work, cluster) if cluster.gpus else Tasks(ray, work, cluster)
        try:
            with tqdm(total=len(slides), desc="compress", unit="slide") as bar:
                cohort = CohortRun(ray, pool, folder, bar)
                cohort.work_on(cohort.work_on(slides, wait=False), wait=True)
        finally:
            pool.close()
    finally:
        if started:
            ray.shutdown()
        folder.write_tables()
    return CompressionReport.of(cohort.outcomes, pool.shared)


def _absolute(source: SlideSource) -> SlideSource:
    """A worker has a working directory of its own."""
    return source if source.uri else replace(source, path=source.path.absolute())


class CohortRun:
    """The slides of a run, and what became of them."""

    def __init__(self, ray: Any, pool: WorkerPool, folder: CodesFolder, bar: "tqdm[Any]") -> None:
        self._ray, self._pool, self._folder, self._bar = ray, pool, folder, bar
        self._failures = Counter[tuple[str, bool]]()
        self._streak = Streak()
        self.outcomes: list[Outcome] = []

    def work_on(self, sources: Sequence[SlideSource], wait: bool) -> list[SlideSource]:
        """Those that another run holds; with `wait` there are none."""
        busy: list[SlideSource] = []
        left, running = deque(sources), dict[Any, SlideSource]()
        while left or running:
            self._refill(left, running, wait)
            (ready,), _ = self._ray.wait([*running, *self._pool.starting], num_returns=1)
            if ready not in running:
                self._pool.note_start(ready)
                continue
            source = running.pop(ready)
            try:
                outcome = self._outcome(ready, source)
            except _Again:
                left.appendleft(source)
                continue
            if outcome is None:
                busy.append(source)
                continue
            self.outcomes.append(outcome)
            self._bar.update()
            self._streak.note(outcome.left_out)
        return busy

    def _refill(self, left: "deque[SlideSource]", running: dict[Any, SlideSource], wait: bool) -> None:
        while left:
            suspect = self._failures[left[0].slide_id, True] > 0
            ref = self._pool.begin(left[0], wait, suspect, len(left))
            if ref is None:
                return
            running[ref] = left.popleft()

    def _outcome(self, ref: "ObjectRef[Outcome | None]", source: SlideSource) -> Outcome | None:
        """None when another run holds the slide. Raises _Again when it is to be tried again."""
        try:
            outcome: Outcome | None = result_of(self._ray, ref)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            crashed = self._pool.note_end(ref, error)
            self._failures[source.slide_id, crashed] += 1
            if self._may_help(error) and self._failures[source.slide_id, crashed] < (CRASHES if crashed else LOSSES):
                raise _Again from None
            return _given_up(self._folder, source, crashed, error)
        self._pool.note_end(ref, None)
        return outcome

    def _may_help(self, error: Exception) -> bool:
        """Whether another try may help: an environment that cannot be set up on a node is so the next time too."""
        return not isinstance(error, self._ray.exceptions.RuntimeEnvSetupError)


class _Again(Exception):
    """A slide is to be tried once more."""


def _given_up(folder: CodesFolder, source: SlideSource, crashed: bool, error: Exception) -> Outcome:
    """Refuse a slide that processes died of, unless it cannot be had; note one that had no process as unreached."""
    slide_id = source.slide_id
    if crashed:
        why = error_or_away(source, CrashingSlide(f"{slide_id}: {CRASHES} processes died of it"))
    else:
        why = UnreachedSlide(f"{slide_id}: no node of the cluster could work on it: {first_line(error)}")
    with folder.claim(slide_id, wait=True):
        return Outcome(slide_id, left_out=folder.leave_out(slide_id, why))
