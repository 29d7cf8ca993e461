"""The best and the worst patients are those who make the figure that decides good or bad."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.metrics import concordance_index_censored

from nic.evaluation.cases import best_and_worst, nearness, own_class_probability, pairs_in_order


@given(st.integers(0, 100_000))
@settings(max_examples=40, deadline=None)
def test_patients_share_harrells_pairs(seed: int) -> None:
    """Each pair counts for both of its patients."""
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, 15, 25).astype(float), rng.random(25) < 0.6
    event[0], time[0] = True, 0.5  # a pair to know
    score = rng.integers(-3, 4, 25) / 2
    _, concordant, discordant, _, _ = concordance_index_censored(event, time, score)
    assert 25 * pairs_in_order(time, event, score).sum() == pytest.approx(2 * (concordant - discordant))


def test_who_died_first_with_the_lowest_hazard_is_worst() -> None:
    time, event = np.array([1.0, 10, 20, 30]), np.array([True, True, True, False])
    goodness = pairs_in_order(time, event, np.array([-5.0, 3, 2, 1]))
    assert best_and_worst(goodness, 1)[1] == [0]


def test_near_labels_and_right_classes_are_good() -> None:
    assert nearness(np.array([1.0, 2.0]), np.array([1.5, 2.1])).argmax() == 1
    given = own_class_probability(np.array([True, False]), np.array([0.9, 0.8]))
    np.testing.assert_allclose(given, [0.9, 0.2])


@pytest.mark.parametrize(("patients", "shown"), [(1, 0), (2, 1), (5, 2), (20, 3)])
def test_nobody_is_both_best_and_worst(patients: int, shown: int) -> None:
    goodness = np.random.default_rng(0).permutation(patients).astype(float)
    best, worst = best_and_worst(goodness, 3)
    assert len(best) == len(worst) == shown
    assert not set(best) & set(worst)
    assert goodness[best].tolist() == sorted(goodness, reverse=True)[:shown]
    assert goodness[worst].tolist() == sorted(goodness)[:shown]
