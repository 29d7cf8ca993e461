"""The cores that one may use, and work that is done on them ahead of whoever takes it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import joblib

A = TypeVar("A")
B = TypeVar("B")


def cores() -> int:
    """What this process is given of the machine: a job of a queue or a container often has a part of it."""
    return int(joblib.cpu_count())


def done_ahead(function: Callable[[A], B], items: Iterable[A], threads: int | None = None) -> Iterator[B]:
    """The function of each item, in order; no more than a few wait, so that memory does not grow with the items.

    threads: as many as there are cores, unless said otherwise.
    """
    threads = threads or cores()
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
