"""The pool of processes that read slides. Each does one job at a time; a file that crashes or blocks its process costs
its own job alone."""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from nic.slides import reading_process  # run by its name; the import lets digests of code follow it
from nic.slides.jobs import NO_DEADLINE, Answer, CheckedTiles, Job
from nic.slides.messages import ReaderFault, error_of
from nic.slides.reading_process import KILL_S, LentTiles, ReadingProcess, StuckProcesses, exit_reason
from nic.threads import cores

GRACE_S = 2.0
"""After a deadline, for a job at its last batch; then the kernel ends the process."""
SILENT_S = 300.0
"""Without a message, after which a process counts as hanging."""
CHECK_S = 0.5
"""Between two checks whether a silent process hangs or waits for its parent."""


class ReaderDied(RuntimeError):
    """The process died of its job, as often as it was tried. how: the signal or exit code."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the process that read it ended by {how}")
        self.how = how


class ReaderHung(RuntimeError):
    """The process was silent for too long, and was ended."""


class ReaderLate(RuntimeError):
    """The job was not done at its deadline."""


class ReadersBusy(RuntimeError):
    """No process was free, or had started, before the deadline."""


@dataclass
class QueuedJob:
    """A job and its caller's queue. events: batches of tiles, then an Answer or an exception."""

    job: Job
    slide: object
    deadline_s: float
    events: "SimpleQueue[Event]"
    tries: int = 0
    begun: bool = False
    withdrawn: bool = False


Event = LentTiles | Answer | Exception


@dataclass
class WorkerCounts:
    """What one place of the pool has done. ends: how often its processes ended, by the error."""

    tiles: int = 0
    jobs: int = 0
    ends: Counter[str] = field(default_factory=Counter)


class SubprocessReader:
    """A Reader with `count` processes; threads may share it. A process that ends is replaced.

    most_mb: memory of each; 0: no limit. tries: how often a job is begun whose process dies. silent_s: see SILENT_S.
    modules: imported when a process starts. quiet: see ReadingProcess. at_once: start all now, or each when there is
    work for it. Use it as a context, or close it.
    """

    def __init__(
        self,
        count: int | None = None,
        *,
        most_mb: int = 0,
        tries: int = 2,
        silent_s: float = SILENT_S,
        modules: Sequence[str] = (),
        quiet: bool = False,
        at_once: bool = True,
    ) -> None:
        self.count = count or cores()
        self.command = [sys.executable, "-m", reading_process.__name__, str(most_mb), "{fd}", *modules]
        self.tries, self.silent_s, self.quiet = tries, silent_s, quiet
        self.counts = [WorkerCounts() for _ in range(self.count)]
        self.running: list[ReadingProcess | None] = [None] * self.count
        self._stuck = StuckProcesses()
        self._waiting: list[QueuedJob] = []
        self._idle = 0  # processes without a job, also those that are starting
        self._at_once = at_once
        self._begun: dict[object, None] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(self.count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "SubprocessReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, each after its job."""
        self.stop()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """As `close`, without waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def ask(self, job: Job, deadline_s: float = NO_DEADLINE) -> Answer:
        """The answer of a job. deadline_s: of the monotonic clock.

        Raises what the job raised; ReaderDied, ReaderHung, ReaderLate, ReadersBusy; ReaderFault for an unforeseen
        error, in the job or when a process starts.
        """
        for event in self._events([job], deadline_s):
            if not isinstance(event, LentTiles):
                return event
        raise AssertionError("a job ends with an answer")

    def stream(self, jobs: Sequence[Job], deadline_s: float = NO_DEADLINE) -> Generator[CheckedTiles, None, None]:
        """The tiles of all jobs, in any order. Raises as `ask`. A caller that may stop before the last closes it
        (contextlib.closing)."""
        for event in self._events(jobs, deadline_s):
            if isinstance(event, LentTiles):
                yield event.tiles

    def _events(self, jobs: Sequence[Job], deadline_s: float) -> Generator[LentTiles | Answer, None, None]:
        """Tiles, given back when the caller takes the next event, and the answer of each job."""
        events: SimpleQueue[Event] = SimpleQueue()
        queued = [QueuedJob(job, job.source, deadline_s, events) for job in jobs]
        with self._changed:
            if self._closed:
                raise ReaderFault("the processes that read slides have ended")
            self._waiting += queued
            self._changed.notify_all()
        try:
            left = len(queued)
            while left:
                event = self._next_event(queued, events, deadline_s)
                if isinstance(event, Exception):
                    raise event
                left -= not isinstance(event, LentTiles)
                try:
                    yield event
                finally:
                    if isinstance(event, LentTiles):
                        event.give_back()
        finally:
            self._withdraw(queued, events)

    def _next_event(self, queued: Sequence[QueuedJob], events: "SimpleQueue[Event]", deadline_s: float) -> Event:
        while True:
            try:
                return events.get(
                    timeout=None if deadline_s == NO_DEADLINE else max(0.0, deadline_s - time.monotonic())
                )
            except Empty:
                with self._changed:
                    if not any(entry.begun for entry in queued):
                        return ReadersBusy("all processes that read slides are busy")
                # A job that has begun is ended by the thread that serves it, soon after the deadline.
                deadline_s = NO_DEADLINE

    def _withdraw(self, queued: Sequence[QueuedJob], events: "SimpleQueue[Event]") -> None:
        with self._changed:
            for entry in queued:
                entry.withdrawn = True
            self._waiting = [entry for entry in self._waiting if not entry.withdrawn]
            while not events.empty():
                event = events.get()
                if isinstance(event, LentTiles):
                    event.give_back()

    def _put(self, entry: QueuedJob, event: Event) -> None:
        with self._changed:
            if not entry.withdrawn:
                entry.events.put(event)
            elif isinstance(event, LentTiles):
                event.give_back()

    def _serve(self, number: int) -> None:
        """The loop of one thread, which starts a process, gives it jobs, and replaces it."""
        process: ReadingProcess | None = None
        while process or self._is_needed():
            try:
                process = process or self._started(number)
            except Exception as error:
                if entry := self._next(None):  # the caller gets the reason why no process starts
                    self._put(entry, error)
                continue
            entry = self._next(process.slide)
            if entry is None:
                process.end(self._stuck)
                return
            try:
                self._do(process, entry, self.counts[number])
                with self._changed:
                    self._idle += 1
            except _Ended as ended:
                code = process.end(self._stuck, kill=ended.kill)
                process = self.running[number] = None
                self._after(entry, ended.error or _death(code), self.counts[number])

    def _is_needed(self) -> bool:
        """Wait until there is work for one more process. False when no more work comes."""
        with self._changed:
            while not (self._at_once or self._closed or len(self._waiting) > self._idle):
                self._changed.wait()
            if self._closed and not self._waiting:
                return False
            self._idle += 1
            return True

    def _started(self, number: int) -> ReadingProcess:
        """A process that is ready. Raises ReaderFault, UnreachedSlide."""
        self._stuck.check()
        process = self.running[number] = ReadingProcess(self.command, quiet=self.quiet)
        try:
            while process.hear(time.monotonic() + CHECK_S) is None:
                if self._closed:
                    raise EOFError
        except (EOFError, ValueError, KeyError, TypeError):
            self.running[number] = None
            raise ReaderFault(
                f"a process that reads slides did not start (exit code {process.end(self._stuck)})"
            ) from None
        return process

    def _next(self, last: object) -> QueuedJob | None:
        """A job of the slide `last`, else of one that no process has begun, else of the one with most jobs left. None
        when no more come."""
        with self._changed:
            while not (self._waiting or self._closed):
                self._changed.wait()
            self._idle -= 1
            if not self._waiting:
                return None
            waiting = Counter(entry.slide for entry in self._waiting)
            entry = min(
                self._waiting,
                key=lambda entry: (entry.slide != last, entry.slide in self._begun, -waiting[entry.slide]),
            )
            self._waiting.remove(entry)
            entry.begun, entry.tries = True, entry.tries + 1
            self._begun[entry.slide] = None
            while len(self._begun) > 4 * self.count:
                self._begun.pop(next(iter(self._begun)))
            return entry

    def _do(self, process: ReadingProcess, entry: QueuedJob, counts: WorkerCounts) -> None:
        """Raises _Ended when the process is to be replaced."""
        left_s = entry.deadline_s - time.monotonic()
        process.slide = entry.slide
        process.ask(entry.job, 0.0 if entry.deadline_s == NO_DEADLINE else max(0.0, left_s) + GRACE_S)
        process.heard_s = time.monotonic()
        while True:
            try:
                values = process.hear(time.monotonic() + CHECK_S)
                if values is None:
                    self._check_time(process, entry)
                elif "slot" in values:
                    lent = process.lend(values)
                    counts.tiles += len(lent.tiles.tiles)
                    self._put(entry, lent)
                else:
                    values.pop("answer", None)
                    counts.jobs += 1
                    self._put(entry, error_of(values) if "error" in values else values)
                    return
            except EOFError:
                raise _Ended(None) from None
            except (ValueError, KeyError, TypeError) as error:
                raise _Ended(ReaderDied("a malformed answer"), kill=True) from error

    def _check_time(self, process: ReadingProcess, entry: QueuedJob) -> None:
        now = time.monotonic()
        if self._closed and entry.withdrawn:
            raise _Ended(ReaderHung("its caller has gone"), kill=True)
        if now > entry.deadline_s + GRACE_S + KILL_S:
            raise _Ended(ReaderHung("reading it hung"), kill=True)
        if process.waits:
            process.heard_s = now
        if now - process.heard_s > self.silent_s:
            raise _Ended(ReaderHung(f"reading it was silent for {self.silent_s:.0f} s"), kill=True)

    def _after(self, entry: QueuedJob, error: Exception, counts: WorkerCounts) -> None:
        counts.ends[str(error)] += 1
        with self._changed:
            if isinstance(error, ReaderDied) and entry.tries < self.tries and not (entry.withdrawn or self._closed):
                self._waiting.append(entry)
                self._changed.notify_all()
                return
        self._put(entry, error)


class _Ended(Exception):
    """A process must be replaced. error: of its job; None if it died by itself."""

    def __init__(self, error: Exception | None, *, kill: bool = False) -> None:
        super().__init__()
        self.error, self.kill = error, kill


def _death(code: int) -> Exception:
    if code == -signal.SIGALRM:
        return ReaderLate("not done in time")
    return ReaderDied(exit_reason(code))
