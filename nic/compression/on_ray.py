"""Compressing a cohort on a Ray cluster. The only importer of ray, which is an extra: pip install ray==2.60.0."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

import nic
from nic.compression.codes_folder import CodesFolder, Quarantined
from nic.compression.engines import CompressionReport, one_by_id
from nic.compression.work import How, Outcome, take
from nic.encoder.spec import Encoder
from nic.errors import CrashingSlide, MissingExtra
from nic.slides.slide import SlideSource

if TYPE_CHECKING:
    from ray import ObjectRef

Load = Callable[[Path], Encoder]
RETRIES = 5
"""Of a slide whose process died: it may be the slide's fault, and then no node survives it."""
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
    share, as slides without a URI are to lie on one. Raises CodesError, MissingExtra when ray is not installed.
    """
    ray = imported()
    how = replace(how, threads=max(1, int(cluster.cpus)))
    wanted, folder = [_absolute(source) for source in one_by_id(sources)], CodesFolder(out.absolute())
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
        task = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=RETRIES)(_on_a_node)

        def begin(source: SlideSource, wait: bool) -> "ObjectRef[Outcome | None]":
            return task.remote(content, load, folder, source, how, wait)

        with tqdm(total=len(wanted), desc="compress", unit="slide") as bar:
            outcomes, busy = _all(ray, begin, wanted, False, bar, folder)
            others, _ = _all(ray, begin, busy, True, bar, folder)
    finally:
        if started:
            ray.shutdown()
    folder.write_table()
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
    ray: Any, begin: Any, sources: Sequence[SlideSource], wait: bool, bar: "tqdm[Any]", folder: CodesFolder
) -> tuple[list[Outcome], list[SlideSource]]:
    """Outcomes of the slides that were ours, and those that another run holds."""
    outcomes: list[Outcome] = []
    busy: list[SlideSource] = []
    left, running = iter(sources), dict[Any, SlideSource]()
    _refill(ray, begin, left, wait, running)
    while running:
        (ready,), _ = ray.wait(list(running), num_returns=1)
        source = running.pop(ready)
        try:
            outcome = ray.get(ready)
        except ray.exceptions.RayError as error:
            if isinstance(error, ray.exceptions.RayTaskError):
                raise  # an error of ours, not a death
            outcome = _given_up(folder, source, error)
        if outcome is None:
            busy.append(source)
        else:
            outcomes.append(outcome)
            bar.update()
        _refill(ray, begin, left, wait, running)
    return outcomes, busy


def _given_up(folder: CodesFolder, source: SlideSource, error: Exception) -> Outcome:
    """Into quarantine with a slide that took down every process it was given to."""
    evidence = f"{source.slide_id}: {RETRIES + 1} processes died of it or with their nodes: {type(error).__name__}"
    refusal = Quarantined.because(source.slide_id, CrashingSlide(evidence))
    with folder.claim(source.slide_id, wait=True):
        folder.quarantine(refusal)
    return Outcome(source.slide_id, refusal=refusal)


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
