"""Compressing a cohort on a Ray cluster. The only importer of ray, which is an extra: pip install ray==2.60.0."""

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

import nic
from nic.compression.codes_folder import CodesFolder
from nic.compression.engines import CompressionReport, one_by_id
from nic.compression.records import Streak
from nic.compression.work import How, Outcome, or_away, take
from nic.encoder.spec import Encoder
from nic.errors import CrashingSlide, MissingExtra, NicError, UnreachedSlide
from nic.slides.slide import SlideSource

if TYPE_CHECKING:
    from ray import ObjectRef

Load = Callable[[Path], Encoder]
CRASHES = 2
"""Processes that may die of a slide: then it is the slide's fault, and no node survives it."""
LOSSES = 6
"""Nodes that may be lost, or run out of memory, under a slide, which is not its fault."""
AHEAD = 2
"""Slides handed to the cluster for each it can work on: a node that is done finds the next one waiting."""


@dataclass(frozen=True)
class Cluster:
    """address: of a running cluster, auto to find it, or empty for one on this machine alone. cpus, gpus: of a slide;
    parts of a device let several slides share it. Each whole core is a thread that reads, and one that encodes."""

    address: str = "auto"
    cpus: float = 1.0
    gpus: float = 0.0


def compress_on_ray(
    sources: Sequence[SlideSource], graph: Path, load: Load, out: Path, how: How, cluster: Cluster
) -> CompressionReport:
    """As compress_cohort, each slide a task of the cluster; the slides of a node that is lost go to the others.

    graph: the encoder's file, sent along and given to `load` once in each worker process. out: a folder that all nodes
    share, as slides without a URI are to lie on one. A slide that two processes died of goes into quarantine; one that
    the cluster cannot work on is unreached. Raises as compress_cohort, and MissingExtra when ray is not installed.
    """
    ray = imported()
    wanted, folder = [_absolute(source) for source in one_by_id(sources)], CodesFolder(out.absolute())
    folder.sweep()
    started = not ray.is_initialized()
    if started:
        ray.init(
            address=cluster.address or None,
            runtime_env={"py_modules": [str(Path(nic.__file__).parent)]},
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    try:
        content = ray.put(graph.read_bytes())
        task = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=0)(_on_a_node)

        def begin(source: SlideSource, wait: bool) -> "ObjectRef[Outcome | None]":
            return task.remote(content, load, folder, source, how, wait)

        with tqdm(total=len(wanted), desc="compress", unit="slide") as bar:
            streak = Streak()
            outcomes, busy = _all(ray, begin, wanted, False, bar, folder, streak)
            others, _ = _all(ray, begin, busy, True, bar, folder, streak)
    finally:
        if started:
            ray.shutdown()
        folder.write_tables()
    return CompressionReport.of([*outcomes, *others])


def _absolute(source: SlideSource) -> SlideSource:
    """A worker has a working directory of its own."""
    return source if source.uri else replace(source, path=source.path.absolute())


def imported() -> Any:
    """The library. Raises MissingExtra."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("engine=ray wants Ray: pip install ray==2.60.0, here and on every node") from error
    return ray


def _all(
    ray: Any,
    begin: Any,
    sources: Sequence[SlideSource],
    wait: bool,
    bar: "tqdm[Any]",
    folder: CodesFolder,
    streak: Streak,
) -> tuple[list[Outcome], list[SlideSource]]:
    """Outcomes of the slides that were ours, and those that another run holds."""
    outcomes: list[Outcome] = []
    busy: list[SlideSource] = []
    left, running, failures = iter(sources), dict[Any, SlideSource](), Counter[tuple[str, bool]]()
    _refill(ray, begin, left, wait, running)
    while running:
        (ready,), _ = ray.wait(list(running), num_returns=1)
        source = running.pop(ready)
        try:
            outcome = ray.get(ready)
        except ray.exceptions.RayTaskError as error:  # an error of ours, not a death
            raise error.cause if isinstance(error.cause, NicError) else error from None
        except ray.exceptions.RayError as error:
            crashed = isinstance(error, ray.exceptions.WorkerCrashedError)
            failures[source.slide_id, crashed] += 1
            if _may_help(ray, error) and failures[source.slide_id, crashed] < (CRASHES if crashed else LOSSES):
                running[begin(source, wait)] = source
                continue
            outcome = _given_up(folder, source, crashed, error)
        if outcome is None:
            busy.append(source)
        else:
            outcomes.append(outcome)
            bar.update()
            streak.note(outcome.left_out)
        _refill(ray, begin, left, wait, running)
    return outcomes, busy


def _may_help(ray: Any, error: Exception) -> bool:
    """Whether another try may help: an environment that cannot be set up on a node is so the next time too."""
    return not isinstance(error, ray.exceptions.RuntimeEnvSetupError)


def _given_up(folder: CodesFolder, source: SlideSource, crashed: bool, error: Exception) -> Outcome:
    """Refuse a slide that processes died of, unless it cannot be had; note one that had no process as unreached."""
    slide_id = source.slide_id
    if crashed:
        why = or_away(source, CrashingSlide(f"{slide_id}: {CRASHES} processes died of it"))
    else:
        said = (str(error).strip() or "no reason given").splitlines()[0]
        why = UnreachedSlide(f"{slide_id}: no node of the cluster could work on it: {type(error).__name__}: {said}")
    with folder.claim(slide_id, wait=True):
        return Outcome(slide_id, left_out=folder.leave_out(slide_id, why))


def _refill(ray: Any, begin: Any, left: Iterator[SlideSource], wait: bool, running: dict[Any, SlideSource]) -> None:
    """Keep the cluster in work, as large as it is now, without handing it a million slides at once."""
    most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    while len(running) < most and (source := next(left, None)) is not None:
        running[begin(source, wait)] = source


def _on_a_node(
    graph: bytes, load: Load, folder: CodesFolder, source: SlideSource, how: How, wait: bool
) -> Outcome | None:
    return take(folder, source, _encoder(graph, load), how, wait=wait)


@lru_cache(maxsize=1)
def _encoder(graph: bytes, load: Load) -> Encoder:
    """Loaded once in a process, from a file that is gone again."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "encoder.onnx"
        path.write_bytes(graph)
        return load(path)
