"""Compressing a cohort on a Ray cluster. The only importer of ray, which is an extra: pip install ray==2.60.0."""

import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm import tqdm

import nic
from nic.compression.cluster_worker import ClusterWorker, Load, Work
from nic.compression.codes_folder import CodesFolder
from nic.compression.engines import CompressionReport, one_by_id
from nic.compression.records import Streak
from nic.compression.work import How, Outcome, or_away
from nic.encoder.spec import devices_of
from nic.errors import CrashingSlide, MissingExtra, NicError, UnreachedSlide, UnreachedSlides
from nic.graphs.files import graph_files, graph_in
from nic.slides.slide import SlideSource

if TYPE_CHECKING:
    from ray import ObjectRef

CRASHES = 2
"""Processes that may die of a slide: then it is the slide's fault, and no node survives it."""
LOSSES = 6
"""Nodes that may be lost, or run out of memory, under a slide, which is not its fault."""
AHEAD = 2
"""Slides handed to the cluster for each it can work on: a node that is done finds the next one waiting. And actors
asked of it for each that it has room for: one that grows learns what it could be used for."""
SLIDES_AT_ONCE = 2
"""Of an actor: while one is opened, masked or written, the device has the tiles of the other."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Ray itself hides no GPU from what asks for none: each process would take memory of the first."""


@dataclass(frozen=True)
class Cluster:
    """address: of a running cluster, auto to find it, or empty for one on this machine alone. cpus: cores of a slide,
    or of an actor; each whole one has a process that reads. gpus: of an actor, which works on two slides at a time;
    parts let several share a device. 0: slides are tasks, which see no GPU and encode with a thread a core."""

    address: str = "auto"
    cpus: float = 1.0
    gpus: float = 0.0

    @property
    def readers(self) -> int:
        return max(1, int(self.cpus))


def compress_on_ray(
    sources: Sequence[SlideSource], graph: Path, load: Load, out: Path, how: How, cluster: Cluster
) -> CompressionReport:
    """As compress_cohort, on the nodes of the cluster; the slides of a node that is lost go to the others.

    graph: the encoder's .onnx file, sent along with those of its weights and given to `load` once in each worker
    process. out: a folder that all nodes share, as slides without a URI are to lie on one. A slide that two processes
    died of goes into quarantine; one that the cluster cannot work on is unreached. Raises as compress_cohort,
    UnreachedSlides also when no actor starts, and MissingExtra when ray is not installed.
    """
    ray = imported()
    wanted, folder = [_absolute(source) for source in one_by_id(sources)], CodesFolder(out.absolute())
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
        work = ray.put(Work(files, load, folder, how, cluster.readers, on_gpu=cluster.gpus > 0))
        pool: Pool = Actors(ray, work, cluster) if cluster.gpus else Tasks(ray, work, cluster)
        try:
            with tqdm(total=len(wanted), desc="compress", unit="slide") as bar:
                cohort = Cohort(ray, pool, folder, bar)
                cohort.work_on(cohort.work_on(wanted, wait=False), wait=True)
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


def imported() -> Any:
    """The library. Raises MissingExtra."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("engine=ray wants Ray: pip install ray==2.60.0, here and on every node") from error
    return ray


class Pool(Protocol):
    """Who works on slides."""

    @property
    def starting(self) -> "Sequence[ObjectRef[Any]]":
        """Of those who will, and cannot yet."""
        ...

    @property
    def shared(self) -> str:
        """How the work was shared, in words."""
        ...

    def begin(self, source: SlideSource, wait: bool, alone: bool, left: int) -> "ObjectRef[Outcome | None] | None":
        """Its outcome, later; None while nobody has room for it. alone: beside no other slide that would be lost with
        the process. left: slides that nobody has begun."""
        ...

    def note_start(self, ref: "ObjectRef[Any]") -> None:
        """One of `starting` is done with that. Raises what its encoder raises, and UnreachedSlides when none starts."""
        ...

    def note_end(self, ref: "ObjectRef[Outcome | None]", error: Exception | None) -> bool:
        """A slide is done, or lost to an error of Ray. Whether the process died of it."""
        ...

    def close(self) -> None: ...


class Tasks:
    """Slides as tasks: Ray starts the processes that do them, uses them again, and ends those that are idle."""

    starting: "Sequence[ObjectRef[Any]]" = ()

    def __init__(self, ray: Any, work: "ObjectRef[Work]", cluster: Cluster) -> None:
        self._ray, self._work, self._cluster = ray, work, cluster
        self._running = 0
        how = {"num_cpus": cluster.cpus, "max_retries": 0, "runtime_env": {"env_vars": NO_GPU}}
        self._task = ray.remote(**how)(_as_a_task)

    @property
    def shared(self) -> str:
        each = self._cluster.readers
        return f"tasks on a Ray cluster, each with {_reading(each)} and as many threads that encode"

    def begin(self, source: SlideSource, wait: bool, alone: bool, left: int) -> "ObjectRef[Outcome | None] | None":
        """As many as keep the cluster in work, as large as it is now, and not a million at once."""
        if self._running >= AHEAD * max(1, int(self._ray.cluster_resources().get("CPU", 1))):
            return None
        self._running += 1
        ref: ObjectRef[Outcome | None] = self._task.remote([self._work], source, wait)
        return ref

    def note_start(self, ref: "ObjectRef[Any]") -> None:
        raise AssertionError("tasks start by themselves")

    def note_end(self, ref: "ObjectRef[Outcome | None]", error: Exception | None) -> bool:
        self._running -= 1
        return isinstance(error, self._ray.exceptions.WorkerCrashedError)

    def close(self) -> None:
        return


_KEPT: "dict[ObjectRef[Work], ClusterWorker]" = {}
"""Of this process, where it does tasks: that of the last work."""


def _as_a_task(work: "list[ObjectRef[Work]]", source: SlideSource, wait: bool) -> Outcome | None:
    """work: in a list, or Ray would fetch all of it for each slide."""
    if work[0] not in _KEPT:
        for other in _KEPT.values():
            other.close()
        _KEPT.clear()
        _KEPT[work[0]] = ClusterWorker(imported().get(work[0]))
    return _KEPT[work[0]].take(source, wait)


class _Actor:
    """A process of the cluster with a share of a GPU, the only one that it sees."""

    def __init__(self, work: "list[ObjectRef[Work]]") -> None:
        self._work = work

    def start(self) -> tuple[str, str]:
        """Load the encoder. The node that this is, and the device."""
        ray = imported()
        self._worker = ClusterWorker(ray.get(self._work[0]))
        return ray.get_runtime_context().get_node_id(), devices_of(self._worker.encoder)

    def take(self, source: SlideSource, wait: bool) -> Outcome | None:
        return self._worker.take(source, wait)


@dataclass
class Hired:
    """An actor as the driver sees it. alone: whether its slide is to have no other beside it."""

    actor: Any
    node: str = ""
    device: str = ""
    slides: "set[ObjectRef[Outcome | None]]" = field(default_factory=set)
    alone: bool = False
    done: int = 0


class Actors:
    """Slides go to actors, one for each share of a GPU that the cluster has, now or later; each keeps its session."""

    def __init__(self, ray: Any, work: "ObjectRef[Work]", cluster: Cluster) -> None:
        self._ray, self._work, self._cluster = ray, work, cluster
        how = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_concurrency": SLIDES_AT_ONCE}
        self._kind = ray.remote(**how)(_Actor)
        self._starting: dict[ObjectRef[Any], Hired] = {}
        self._hired: list[Hired] = []
        self._ended: list[Hired] = []
        self._failures = 0  # to start, one after the other
        self._failure: Exception | None = None

    @property
    def starting(self) -> "Sequence[ObjectRef[Any]]":
        return list(self._starting)

    @property
    def shared(self) -> str:
        each, all_of_them = self._cluster.readers, [*self._ended, *self._hired]
        did = ", ".join(f"{hired.device or 'a device'} ({hired.done} slides)" for hired in all_of_them)
        return (
            f"{len(all_of_them)} {'actor' if len(all_of_them) == 1 else 'actors'} on a Ray cluster, "
            f"each with {_reading(each)}; encoded on {did}"
        )

    def begin(self, source: SlideSource, wait: bool, alone: bool, left: int) -> "ObjectRef[Outcome | None] | None":
        self._hire(left)
        most = 1 if alone else SLIDES_AT_ONCE
        able = [hired for hired in self._hired if len(hired.slides) < most and not (hired.alone and hired.slides)]
        if not able:
            return None
        hired = min(able, key=lambda hired: len(hired.slides))
        ref: ObjectRef[Outcome | None] = hired.actor.take.remote(source, wait)
        hired.slides.add(ref)
        hired.alone = alone
        return ref

    def note_start(self, ref: "ObjectRef[Any]") -> None:
        hired = self._starting[ref]  # `close` ends it when its encoder cannot be loaded
        try:
            hired.node, hired.device = _gotten(self._ray, ref)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._failures, self._failure = self._failures + 1, error
        else:
            self._failures = 0
            self._hired.append(hired)
        del self._starting[ref]

    def note_end(self, ref: "ObjectRef[Outcome | None]", error: Exception | None) -> bool:
        """An actor that failed is let go of; that a node took along died of no slide."""
        hired = next(hired for hired in [*self._hired, *self._ended] if ref in hired.slides)
        hired.slides.remove(ref)
        if error is None:
            hired.done += 1
            return False
        if hired in self._hired:
            self._hired.remove(hired)
            self._ended.append(hired)
            self._ray.kill(hired.actor)
        lives = any(node["NodeID"] == hired.node and node["Alive"] for node in self._ray.nodes())
        return lives and isinstance(error, self._ray.exceptions.ActorDiedError)

    def close(self) -> None:
        for hired in (*self._starting.values(), *self._hired):
            self._ray.kill(hired.actor)

    def _hire(self, left: int) -> None:
        """As many as the cluster has room for, and more, in case it grows. Raises UnreachedSlides when none starts."""
        has, wants = self._ray.cluster_resources(), {"GPU": self._cluster.gpus, "CPU": self._cluster.cpus}
        room = min(int(has.get(kind, 0) / share) for kind, share in wants.items() if share)
        if self._failures >= LOSSES:
            if not (self._hired or self._starting):
                raise UnreachedSlides(f"no actor of the Ray cluster starts: {_first_line(self._failure)}")
            return
        while len(self._starting) + len(self._hired) < min(AHEAD * max(1, room), left + len(self._hired)):
            actor = self._kind.remote([self._work])
            self._starting[actor.start.remote()] = Hired(actor)


def _reading(count: int) -> str:
    return "1 process that reads" if count == 1 else f"{count} processes that read"


def _first_line(error: Exception | None) -> str:
    said = (str(error).strip() or "no reason given").splitlines()[0]
    return f"{type(error).__name__}: {said}"


def _gotten(ray: Any, ref: "ObjectRef[Any]") -> Any:
    """Raises an error of ours as it was raised there, and RayError."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:  # an error, not a death
        raise error.cause if isinstance(error.cause, NicError) else error from None


class Cohort:
    """The slides of a run, and what came of them."""

    def __init__(self, ray: Any, pool: Pool, folder: CodesFolder, bar: "tqdm[Any]") -> None:
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
            outcome: Outcome | None = _gotten(self._ray, ref)
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
        why = or_away(source, CrashingSlide(f"{slide_id}: {CRASHES} processes died of it"))
    else:
        why = UnreachedSlide(f"{slide_id}: no node of the cluster could work on it: {_first_line(error)}")
    with folder.claim(slide_id, wait=True):
        return Outcome(slide_id, left_out=folder.leave_out(slide_id, why))
