"""Work done ahead: in order, never far ahead, and its errors reach whoever takes it."""

import threading
import time
from contextlib import closing

import pytest

from nic.threads import cores, map_ahead


def test_results_come_in_order_and_few_wait() -> None:
    begun = []
    most = 3 * cores() + 1
    for taken, result in enumerate(map_ahead(lambda i: begun.append(i) or i, range(500))):  # type: ignore[func-returns-value]
        assert result == taken
        assert len(begun) <= taken + most + 1
    assert sorted(begun) == list(range(500))


def test_errors_reach_the_taker() -> None:
    taken = []
    with pytest.raises(ZeroDivisionError):
        taken.extend(map_ahead(lambda i: 1 / (i - 3), range(9)))
    assert taken == [-1 / 3, -1 / 2, -1.0]


def test_whoever_leaves_early_waits_for_what_runs_and_what_waits_is_not_begun() -> None:
    begun, ended, go = [], [], threading.Event()

    def slow(item: int) -> int:
        begun.append(item)
        if item:
            go.wait(10)
            time.sleep(0.05)
        ended.append(item)
        return item

    with closing(map_ahead(slow, range(50), threads=2)) as results:
        assert next(results) == 0
        go.set()
    at_close = len(begun)
    assert sorted(begun) == sorted(ended)
    assert at_close < 6
    time.sleep(0.1)
    assert len(begun) == at_close
