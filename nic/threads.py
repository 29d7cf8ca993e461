"""The cores that one may use, and work that is done on them ahead of whoever takes it."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore
from types import TracebackType
from typing import TypeVar

import joblib

A = TypeVar("A")
B = TypeVar("B")


def cores() -> int:
    """What this process is given of the machine: a job of a queue or a container often has a part of it."""
    return int(joblib.cpu_count())


class SharedThreads:
    """`count` threads for work that comes from several others, each of which waits when it is far ahead."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count)
        self._room = BoundedSemaphore(2 * count)

    def __enter__(self) -> "SharedThreads":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable[[A], B], item: A) -> Future[B]:
        """Begun as soon as a thread is free; returns at once unless many wait already."""
        self._room.acquire()
        future = self._pool.submit(function, item)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def done_ahead(self, function: Callable[[A], B], items: Iterable[A]) -> Generator[B, None, None]:
        """As the function below; results are yielded as soon as they are there, in order."""
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(self.submit(function, item))
                while waiting and waiting[0].done():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            wait([future for future in waiting if not future.cancel()])


def done_ahead(function: Callable[[A], B], items: Iterable[A], threads: int | None = None) -> Generator[B, None, None]:
    """The function of each item, in order; no more than a few wait, so that memory does not grow with the items.

    threads: as many as there are cores, unless said otherwise.
    Whoever may leave before the last item closes it (contextlib.closing): what waits is not begun then, and what runs
    has ended when `close` returns. What the function reads may be closed after that, not before.
    """
    threads = threads or cores()
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
