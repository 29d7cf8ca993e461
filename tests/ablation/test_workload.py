"""What is left of an ablation follows the pace of what this run has worked on."""

import pytest

from nic.ablation.workload import Workload


def test_what_is_left_follows_the_pace_of_this_run() -> None:
    work = Workload({"train a": 360.0, "train b": 360.0, "compress": 720.0})
    assert work.hours_left == pytest.approx(0.4)
    work.finish("train a", 720.0)  # twice as long as expected
    assert work.hours_left == pytest.approx(0.6)
    work.finish("train b", 0.0)  # an earlier run finished it, which says nothing of the pace
    assert work.hours_left == pytest.approx(0.4)
    assert str(work) == "2 of 3 parts are finished; about 0.4 hours are left"
    work.finish("mitosis counting", 60.0)  # not expected, so it changes nothing
    assert work.hours_left == pytest.approx(0.4)
