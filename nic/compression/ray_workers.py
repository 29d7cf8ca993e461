"""Who works on slides on a Ray cluster: tasks on CPUs, actors on GPUs, and what their processes keep.

The only importer of ray, which is an extra: pip install ray==2.60.0.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nic.compression.codes_folder import CodesFolder
from nic.compression.slide_of_cohort import CompressionOptions, Outcome, Workers, take
from nic.encoder.spec import Encoder, at_once_of, devices_of
from nic.errors import MissingExtra, NicError, UnreachedSlides
from nic.slides.slide import SlideSource
from nic.slides.subprocess_reader import SubprocessReader
from nic.threads import SharedThreads

if TYPE_CHECKING:
    from ray import ObjectRef

LOSSES = 6
"""Nodes that may be lost, or run out of memory, under a slide, which is not its fault."""
AHEAD = 2
"""Slides handed to the cluster for each it can work on: a node that is done finds the next one waiting. And actors
asked of it for each that it has room for: one that grows learns what it could be used for."""
SLIDES_AT_ONCE = 2
"""Of an actor: while one is opened, masked or written, the device has the tiles of the other."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Ray itself hides no GPU from what asks for none: each process would take memory of the first."""
Load = Callable[[Path], Encoder]


def import_ray() -> Any:
    """The library. Raises MissingExtra."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("engine=ray wants Ray: pip install ray==2.60.0, here and on every node") from error
    return ray


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


@dataclass(frozen=True)
class SharedWork:
    """What all slides of a cohort have in common; it is sent once to each process.

    files: bytes of the encoder's files by name, uint8, the graph first. readers: processes that read. on_gpu: whether
    as many threads encode as the encoder says, or as many as there are readers.
    """

    files: Mapping[str, NDArray[np.uint8]]
    load: Load
    folder: CodesFolder
    options: CompressionOptions
    readers: int
    on_gpu: bool


class SlideWorker:
    """Compresses slides, several at once where threads ask. Raises EncoderError when the encoder cannot be loaded."""

    def __init__(self, work: SharedWork) -> None:
        self._folder, self._options = work.folder, work.options
        self.encoder = _encoder_of(work)
        self._held = ExitStack()
        reading = SubprocessReader(work.readers, silent_s=work.options.silent_s, modules=["nic.compression.tile_jobs"])
        threads = SharedThreads(at_once_of(self.encoder) if work.on_gpu else work.readers)
        self._workers = Workers(self._held.enter_context(reading), self._held.enter_context(threads))

    def take(self, source: SlideSource, wait: bool) -> Outcome | None:
        """See nic.compression.slide_of_cohort."""
        return take(self._folder, source, self.encoder, self._options, self._workers, wait=wait)

    def close(self) -> None:
        """End the processes that read."""
        self._held.close()


def _encoder_of(work: SharedWork) -> Encoder:
    """From files that are gone again."""
    with tempfile.TemporaryDirectory(prefix="nic-") as folder:
        paths = [Path(folder) / name for name in work.files]
        for path, content in zip(paths, work.files.values(), strict=True):
            content.tofile(path)
        return work.load(paths[0])


class WorkerPool(Protocol):
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

    def __init__(self, ray: Any, work: "ObjectRef[SharedWork]", cluster: Cluster) -> None:
        self._ray, self._work, self._cluster = ray, work, cluster
        self._running = 0
        resources = {"num_cpus": cluster.cpus, "max_retries": 0, "runtime_env": {"env_vars": NO_GPU}}
        self._task = ray.remote(**resources)(_compress_in_task)

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


_KEPT_WORKER: "dict[ObjectRef[SharedWork], SlideWorker]" = {}
"""Of this process, where it does tasks: that of the last work."""


def _compress_in_task(work: "list[ObjectRef[SharedWork]]", source: SlideSource, wait: bool) -> Outcome | None:
    """work: in a list, or Ray would fetch all of it for each slide."""
    if work[0] not in _KEPT_WORKER:
        for other in _KEPT_WORKER.values():
            other.close()
        _KEPT_WORKER.clear()
        _KEPT_WORKER[work[0]] = SlideWorker(import_ray().get(work[0]))
    return _KEPT_WORKER[work[0]].take(source, wait)


class _ActorProcess:
    """A process of the cluster with a share of a GPU, the only one that it sees."""

    def __init__(self, work: "list[ObjectRef[SharedWork]]") -> None:
        self._work = work

    def start(self) -> tuple[str, str]:
        """Load the encoder. The node that this is, and the device."""
        ray = import_ray()
        self._worker = SlideWorker(ray.get(self._work[0]))
        return ray.get_runtime_context().get_node_id(), devices_of(self._worker.encoder)

    def take(self, source: SlideSource, wait: bool) -> Outcome | None:
        return self._worker.take(source, wait)


@dataclass
class StartedActor:
    """An actor as the driver sees it. node, device: its place. compressed: how many slides. alone: whether its slide is
    to have no other beside it."""

    handle: Any
    node: str = ""
    device: str = ""
    slides: "set[ObjectRef[Outcome | None]]" = field(default_factory=set)
    alone: bool = False
    compressed: int = 0


class Actors:
    """Slides go to actors, one for each share of a GPU that the cluster has, now or later; each keeps its session."""

    def __init__(self, ray: Any, work: "ObjectRef[SharedWork]", cluster: Cluster) -> None:
        self._ray, self._work, self._cluster = ray, work, cluster
        resources = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_concurrency": SLIDES_AT_ONCE}
        self._kind = ray.remote(**resources)(_ActorProcess)
        self._starting: dict[ObjectRef[Any], StartedActor] = {}
        self._started: list[StartedActor] = []
        self._ended: list[StartedActor] = []
        self._failures = 0  # to start, one after the other
        self._failure: Exception | None = None

    @property
    def starting(self) -> "Sequence[ObjectRef[Any]]":
        return list(self._starting)

    @property
    def shared(self) -> str:
        each, actors = self._cluster.readers, [*self._ended, *self._started]
        devices = ", ".join(f"{actor.device or 'a device'} ({actor.compressed} slides)" for actor in actors)
        return (
            f"{len(actors)} {'actor' if len(actors) == 1 else 'actors'} on a Ray cluster, "
            f"each with {_reading(each)}; encoded on {devices}"
        )

    def begin(self, source: SlideSource, wait: bool, alone: bool, left: int) -> "ObjectRef[Outcome | None] | None":
        self._start(left)
        most = 1 if alone else SLIDES_AT_ONCE
        free = [a for a in self._started if len(a.slides) < most and not (a.alone and a.slides)]
        if not free:
            return None
        actor = min(free, key=lambda a: len(a.slides))
        ref: ObjectRef[Outcome | None] = actor.handle.take.remote(source, wait)
        actor.slides.add(ref)
        actor.alone = alone
        return ref

    def note_start(self, ref: "ObjectRef[Any]") -> None:
        actor = self._starting[ref]  # `close` ends it when its encoder cannot be loaded
        try:
            actor.node, actor.device = result_of(self._ray, ref)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._failures, self._failure = self._failures + 1, error
        else:
            self._failures = 0
            self._started.append(actor)
        del self._starting[ref]

    def note_end(self, ref: "ObjectRef[Outcome | None]", error: Exception | None) -> bool:
        """An actor that failed is let go of; that a node took along died of no slide."""
        actor = next(actor for actor in [*self._started, *self._ended] if ref in actor.slides)
        actor.slides.remove(ref)
        if error is None:
            actor.compressed += 1
            return False
        if actor in self._started:
            self._started.remove(actor)
            self._ended.append(actor)
            self._ray.kill(actor.handle)
        lives = any(node["NodeID"] == actor.node and node["Alive"] for node in self._ray.nodes())
        return lives and isinstance(error, self._ray.exceptions.ActorDiedError)

    def close(self) -> None:
        for actor in (*self._starting.values(), *self._started):
            self._ray.kill(actor.handle)

    def _start(self, left: int) -> None:
        """As many as the cluster has room for, and more, in case it grows. Raises UnreachedSlides when none starts."""
        has, needs = self._ray.cluster_resources(), {"GPU": self._cluster.gpus, "CPU": self._cluster.cpus}
        room = min(int(has.get(kind, 0) / share) for kind, share in needs.items() if share)
        if self._failures >= LOSSES:
            if not (self._started or self._starting):
                raise UnreachedSlides(f"no actor of the Ray cluster starts: {first_line(self._failure)}")
            return
        while len(self._starting) + len(self._started) < min(AHEAD * max(1, room), left + len(self._started)):
            handle = self._kind.remote([self._work])
            self._starting[handle.start.remote()] = StartedActor(handle)


def _reading(count: int) -> str:
    return "1 process that reads" if count == 1 else f"{count} processes that read"


def first_line(error: Exception | None) -> str:
    text = str(error).strip() or "no reason given"
    return f"{type(error).__name__}: {text.splitlines()[0]}"


def result_of(ray: Any, ref: "ObjectRef[Any]") -> Any:
    """Raises an error of ours as it was raised there, and RayError."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:  # an error, not a death
        raise error.cause if isinstance(error.cause, NicError) else error from None
