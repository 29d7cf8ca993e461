"""The usable cores, and work that threads do ahead of its consumer."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore
from typing import TypeVar

import joblib

A = TypeVar("A")
B = TypeVar("B")


def cores() -> int:
    """The number of cores that this process may use; in a job of a queue or in a container often not all."""
    return int(joblib.cpu_count())


class SharedThreads:
    """`count` threads for work that several other threads submit; those wait while too much is queued."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count)
        self._room = BoundedSemaphore(2 * count)

    def __enter__(self) -> "SharedThreads":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable[[A], B], item: A) -> Future[B]:
        """Queue a call. Returns at once, unless 2 x count calls are queued or run already."""
        self._room.acquire()
        future = self._pool.submit(function, item)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def map_ahead(self, function: Callable[[A], B], items: Iterable[A]) -> Generator[B, None, None]:
        """As `map_ahead`, on the shared threads; yields results in order, as soon as they are ready."""
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


def map_ahead(function: Callable[[A], B], items: Iterable[A], threads: int | None = None) -> Generator[B, None, None]:
    """function(item) of each item, in order, computed ahead of the consumer; only a few results wait, so that memory
    does not grow with the items. threads: the number of cores by default.

    A consumer that may stop early closes the generator (contextlib.closing): queued calls are then dropped, and running
    ones have ended when `close` returns. Only after that may it close what the function reads.
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
