"""Each patient is in one group of a column, and the figure of a group is that of its patients alone."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import Figure
from nic.evaluation.subgroups import groups_of, subgroups_of


def auc_among(positive: np.ndarray, score: np.ndarray) -> Callable[[np.ndarray], Figure]:
    return lambda members: deciding_figure("classification", (positive[members],), score[members])


cells = st.lists(st.sampled_from(["", "aspen", "birch", "3", "41.5", "7", "8", "12", "55", "70"]), min_size=1)


@given(cells)
def test_every_patient_is_in_one_group(column: list[str]) -> None:
    groups = groups_of(column)
    np.testing.assert_array_equal(sum(group.astype(int) for group in groups.values()), 1)
    assert all(group.any() for group in groups.values())


def test_text_and_few_numbers_are_taken_as_they_are_and_the_unknown_comes_last() -> None:
    assert list(groups_of(["b", "", "a", "b"])) == ["a", "b", "not known"]
    assert list(groups_of(["2", "1", "2"])) == ["1", "2"]


def test_many_numbers_are_split_at_their_median() -> None:
    ages = [str(age) for age in range(40, 60)]
    groups = groups_of([*ages, ""])
    assert list(groups) == ["below 49.5", "49.5 and above", "not known"]
    assert [int(group.sum()) for group in groups.values()] == [10, 10, 1]


def test_the_figure_of_a_group_is_of_its_patients() -> None:
    rng = np.random.default_rng(0)
    positive, score = rng.random(80) < 0.5, rng.normal(size=80)
    sites = ["aspen" if n % 3 else "birch" for n in range(79)] + ["lone"]
    columns = {"site": sites, "same": ["x"] * 80}
    subgroups = list(subgroups_of(auc_among(positive, score), 80, columns, seed=0))
    assert [(group.column, group.name) for group in subgroups] == [
        ("", "all"), ("site", "aspen"), ("site", "birch"), ("site", "lone"),
    ]  # fmt: skip
    for group in subgroups[1:3]:
        members = np.array([site == group.name for site in sites])
        assert group.estimate.value == pytest.approx(roc_auc_score(positive[members], score[members]))
        assert group.estimate.n == members.sum()
    assert math.isnan(subgroups[3].estimate.value)


def test_a_few_patients_have_a_figure_without_an_interval() -> None:
    """The classes are separated, so that every draw would have the same value."""
    positive = np.arange(40) % 2 == 0
    columns = {"site": ["a"] * 4 + ["b"] * 36}
    subgroups = subgroups_of(auc_among(positive, positive.astype(float)), 40, columns, seed=0)
    few = {group.name: group.estimate for group in subgroups}["a"]
    assert (few.value, few.n) == (1.0, 4)
    assert math.isnan(few.low)
    assert math.isnan(few.high)
