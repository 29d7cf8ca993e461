"""Work done ahead: in order, never far ahead, and its errors reach whoever takes it."""

import pytest

from nic.threads import cores, done_ahead


def test_results_come_in_order_and_few_wait() -> None:
    begun = []
    most = 3 * cores() + 1
    for taken, result in enumerate(done_ahead(lambda i: begun.append(i) or i, range(500))):  # type: ignore[func-returns-value]
        assert result == taken
        assert len(begun) <= taken + most + 1
    assert sorted(begun) == list(range(500))


def test_errors_reach_the_taker() -> None:
    taken = []
    with pytest.raises(ZeroDivisionError):
        taken.extend(done_ahead(lambda i: 1 / (i - 3), range(9)))
    assert taken == [-1 / 3, -1 / 2, -1.0]
