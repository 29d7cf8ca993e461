"""Processes that read slides: started once, each with one job at a time. A file that crashes or holds up its reader
costs its own slide."""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType

from nic.slides import reading_process  # by its name, so that digests of code follow it
from nic.slides.jobs import NO_DEADLINE, Answer, CheckedTiles, Job
from nic.slides.messages import ReaderFault, error_of
from nic.slides.reading_process import KILL_S, LentTiles, ReadingProcess, StuckProcesses, exit_reason
from nic.threads import cores

GRACE_S = 2.0
"""Past a deadline, for a job that is at its last batch; then the process ends, wherever it is."""
SILENT_S = 300.0
"""Without a word, after which a process is taken to hang."""
LOOK_S = 0.5
"""Between two looks whether a process that says nothing waits for who asks."""


class ReaderDied(RuntimeError):
    """The process died of its job, as often as it was tried. how: the signal, or the exit code."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the process that read it ended by {how}")
        self.how = how


class ReaderHung(RuntimeError):
    """The process said nothing for too long, and was ended."""


class ReaderLate(RuntimeError):
    """The job was not done at its deadline."""


class ReadersBusy(RuntimeError):
    """No process was free, or had started, before the deadline."""


@dataclass
class Task:
    """A job that is offered. events: tiles with the process that lent them, then an Answer or an exception."""

    job: Job
    slide: object
    deadline_s: float
    events: "SimpleQueue[Event]"
    tried: int = 0
    begun: bool = False
    withdrawn: bool = False


Event = LentTiles | Answer | Exception


@dataclass
class Done:
    """What one process did."""

    tiles: int = 0
    jobs: int = 0
    ends: Counter[str] = field(default_factory=Counter)


class SubprocessReader:
    """`count` processes and the jobs that wait for them; threads may share it. One that ended is replaced.

    most_mb: memory of each; 0: as much as there is. tries: how often a job is begun that its process died of.
    silent_s: see SILENT_S. modules: imported as a process starts. quiet: see ReadingProcess. at_once: whether all start
    now, or each when there is work for it. Use it as a context, or close it.
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
        self.did = [Done() for _ in range(self.count)]
        self.running: list[ReadingProcess | None] = [None] * self.count
        self._stuck = StuckProcesses()
        self._waiting: list[Task] = []
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End them, once each is done with its job."""
        self.stop()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """As `close`, without waiting for it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def ask(self, job: Job, deadline_s: float = NO_DEADLINE) -> Answer:
        """What a job returns. deadline_s: of the monotonic clock.

        Raises what the job raised; ReaderDied, ReaderHung, ReaderLate, ReadersBusy; ReaderFault for an error that
        nobody foresaw, in the job or when a process starts.
        """
        for event in self._events([job], deadline_s):
            if not isinstance(event, LentTiles):
                return event
        raise AssertionError("a task ends with an answer")

    def stream(self, jobs: Sequence[Job], deadline_s: float = NO_DEADLINE) -> Generator[CheckedTiles, None, None]:
        """The tiles of all jobs, in any order. Raises as `ask`. Whoever may leave before the last closes it
        (contextlib.closing)."""
        for event in self._events(jobs, deadline_s):
            if isinstance(event, LentTiles):
                yield event.tiles

    def _events(self, jobs: Sequence[Job], deadline_s: float) -> Generator[LentTiles | Answer, None, None]:
        """Tiles, given back when the next event is asked for, and the answer of each job."""
        events: SimpleQueue[Event] = SimpleQueue()
        tasks = [Task(job, job.source, deadline_s, events) for job in jobs]
        with self._changed:
            if self._closed:
                raise ReaderFault("the processes that read slides have ended")
            self._waiting += tasks
            self._changed.notify_all()
        try:
            left = len(tasks)
            while left:
                event = self._next_event(tasks, events, deadline_s)
                if isinstance(event, Exception):
                    raise event
                left -= not isinstance(event, LentTiles)
                try:
                    yield event
                finally:
                    if isinstance(event, LentTiles):
                        event.give_back()
        finally:
            self._withdraw(tasks, events)

    def _next_event(self, tasks: Sequence[Task], events: "SimpleQueue[Event]", deadline_s: float) -> Event:
        while True:
            try:
                return events.get(
                    timeout=None if deadline_s == NO_DEADLINE else max(0.0, deadline_s - time.monotonic())
                )
            except Empty:
                with self._changed:
                    if not any(task.begun for task in tasks):
                        return ReadersBusy("all processes that read slides are busy")
                # What has begun is ended by the thread that serves it, soon after the deadline.
                deadline_s = NO_DEADLINE

    def _withdraw(self, tasks: Sequence[Task], events: "SimpleQueue[Event]") -> None:
        with self._changed:
            for task in tasks:
                task.withdrawn = True
            self._waiting = [task for task in self._waiting if not task.withdrawn]
            while not events.empty():
                event = events.get()
                if isinstance(event, LentTiles):
                    event.give_back()

    def _put(self, task: Task, event: Event) -> None:
        with self._changed:
            if not task.withdrawn:
                task.events.put(event)
            elif isinstance(event, LentTiles):
                event.give_back()

    def _serve(self, number: int) -> None:
        """The life of a process, and of those that come after it."""
        process: ReadingProcess | None = None
        while process or self._is_needed():
            try:
                process = process or self._started(number)
            except Exception as error:
                if task := self._next(None):  # whoever asks is answered with why no process starts
                    self._put(task, error)
                continue
            task = self._next(process.slide)
            if task is None:
                process.end(self._stuck)
                return
            try:
                self._do(process, task, self.did[number])
                with self._changed:
                    self._idle += 1
            except _Ended as ended:
                code = process.end(self._stuck, kill=ended.kill)
                process = self.running[number] = None
                self._after(task, ended.error or _death(code), self.did[number])

    def _is_needed(self) -> bool:
        """Wait until there is work for one process more than there are. False when no more comes."""
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
            while process.hear(time.monotonic() + LOOK_S) is None:
                if self._closed:
                    raise EOFError
        except (EOFError, ValueError, KeyError, TypeError):
            self.running[number] = None
            raise ReaderFault(
                f"a process that reads slides did not start (exit code {process.end(self._stuck)})"
            ) from None
        return process

    def _next(self, last: object) -> Task | None:
        """A job of the slide `last`; of one that nobody has begun; or of the one with most left to do. None when
        no more come."""
        with self._changed:
            while not (self._waiting or self._closed):
                self._changed.wait()
            self._idle -= 1
            if not self._waiting:
                return None
            waiting = Counter(task.slide for task in self._waiting)
            task = min(
                self._waiting,
                key=lambda task: (task.slide != last, task.slide in self._begun, -waiting[task.slide]),
            )
            self._waiting.remove(task)
            task.begun, task.tried = True, task.tried + 1
            self._begun[task.slide] = None
            while len(self._begun) > 4 * self.count:
                self._begun.pop(next(iter(self._begun)))
            return task

    def _do(self, process: ReadingProcess, task: Task, did: Done) -> None:
        """Raises _Ended when the process is to be replaced."""
        left_s = task.deadline_s - time.monotonic()
        process.slide = task.slide
        process.ask(task.job, 0.0 if task.deadline_s == NO_DEADLINE else max(0.0, left_s) + GRACE_S)
        process.heard_s = time.monotonic()
        while True:
            try:
                values = process.hear(time.monotonic() + LOOK_S)
                if values is None:
                    self._check_time(process, task)
                elif "slot" in values:
                    lent = process.lend(values)
                    did.tiles += len(lent.tiles.tiles)
                    self._put(task, lent)
                else:
                    values.pop("answer", None)
                    did.jobs += 1
                    self._put(task, error_of(values) if "error" in values else values)
                    return
            except EOFError:
                raise _Ended(None) from None
            except (ValueError, KeyError, TypeError) as error:
                raise _Ended(ReaderDied("an answer that is none"), kill=True) from error

    def _check_time(self, process: ReadingProcess, task: Task) -> None:
        now = time.monotonic()
        if self._closed and task.withdrawn:
            raise _Ended(ReaderHung("nobody waits for it"), kill=True)
        if now > task.deadline_s + GRACE_S + KILL_S:
            raise _Ended(ReaderHung("reading it hung"), kill=True)
        if process.waits:
            process.heard_s = now
        if now - process.heard_s > self.silent_s:
            raise _Ended(ReaderHung(f"reading it said nothing for {self.silent_s:.0f} s"), kill=True)

    def _after(self, task: Task, error: Exception, did: Done) -> None:
        did.ends[str(error)] += 1
        with self._changed:
            if isinstance(error, ReaderDied) and task.tried < self.tries and not (task.withdrawn or self._closed):
                self._waiting.append(task)
                self._changed.notify_all()
                return
        self._put(task, error)


class _Ended(Exception):
    """A process is to be replaced. error: of its job; None where it died by itself."""

    def __init__(self, error: Exception | None, *, kill: bool = False) -> None:
        super().__init__()
        self.error, self.kill = error, kill


def _death(code: int) -> Exception:
    if code == -signal.SIGALRM:
        return ReaderLate("not done in time")
    return ReaderDied(exit_reason(code))
