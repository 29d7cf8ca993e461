"""What is left of an ablation follows the pace of what this run has worked on."""

import pytest

from nic.ablation.workload import Workload


def test_what_is_left_follows_the_pace_of_this_run() -> None:
    work = Workload({"train a": 360.0, "train b": 360.0, "compress": 720.0})
    assert work.hours_left == pytest.approx(0.4)
    work.finish("train a", 720.0)  # twice as long as expected
    assert work.hours_left == pytest.approx(0.6)
    work.finish("train b", 3.0, new=0.0)  # an earlier run finished it, which says nothing of the pace
    assert work.hours_left == pytest.approx(0.4)
    assert str(work) == "2 of 3 parts are finished; about 0.4 hours are left"
    work.finish("mitosis counting", 60.0)  # not expected, so it changes nothing
    assert work.hours_left == pytest.approx(0.4)


def test_what_an_earlier_run_did_of_a_part_says_nothing_of_the_pace() -> None:
    work = Workload({"compress": 720.0, "networks": 3600.0})
    work.finish("compress", 2.0, share=0.75, new=0.0)  # all files were there, and were looked at
    assert work.hours_left == pytest.approx(1.05)
    assert str(work).startswith("0 of 2 parts")
    work.finish("compress", 135.0, share=0.25, new=0.5)  # half of these slides were there; 90 seconds were expected
    assert work.hours_left == pytest.approx(1.5)
    assert str(work) == "1 of 2 parts are finished; about 1.5 hours are left"


def test_a_part_that_takes_the_place_of_another_has_its_seconds() -> None:
    work = Workload({"train mitosis, seed 1": 720.0})
    work.replace("train mitosis, seed 1", "train tissue, seed 1")
    assert str(work) == "0 of 1 parts are finished; about 0.2 hours are left"
    work.finish("train tissue, seed 1", 720.0)
    assert str(work) == "1 of 1 parts are finished; about 0.0 hours are left"
