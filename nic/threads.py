"""The cores that one may use, and work that is done on them ahead of whoever takes it."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import joblib

A = TypeVar("A")
B = TypeVar("B")


def cores() -> int:
    """What this process is given of the machine: a job of a queue or a container often has a part of it."""
    return int(joblib.cpu_count())


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
