"""Two models on the same patients: differences with the sign, the pairing and the width that they should have."""

import numpy as np
import pytest

from nic.errors import EndpointError
from nic.evaluation.bootstrap import bca
from nic.evaluation.comparison import differences, paired_difference
from nic.evaluation.endpoint_figures import interval_measures, regression_measures
from nic.evaluation.figure import METRICS, estimate

RNG = np.random.default_rng(0)
LABEL = RNG.normal(size=120)
GOOD, POOR = LABEL + 0.5 * RNG.normal(size=120), LABEL + 2 * RNG.normal(size=120)
SPEARMAN = METRICS["regression"]


def test_the_better_model_is_better_and_the_order_turns_the_sign() -> None:
    found = paired_difference(SPEARMAN, (LABEL,), GOOD, POOR, seed=0)
    assert found.low > 0
    turned = paired_difference(SPEARMAN, (LABEL,), POOR, GOOD, seed=0)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_the_difference_is_that_of_the_figures() -> None:
    apart = [estimate(SPEARMAN, (LABEL,), score, seed=0).value for score in (GOOD, POOR)]
    assert paired_difference(SPEARMAN, (LABEL,), GOOD, POOR, seed=0).value == pytest.approx(apart[0] - apart[1])


@pytest.mark.parametrize("interval", [bca, None])
def test_a_model_differs_from_itself_by_nothing(interval) -> None:
    options = {"interval": interval} if interval else {}
    found = paired_difference(SPEARMAN, (LABEL,), GOOD, GOOD, seed=0, **options)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_pairs_are_tighter_than_two_intervals_apart() -> None:
    """Two models that err alike: each figure is unsure, their difference is not."""
    noise = RNG.normal(size=120)
    first, second = LABEL + noise, LABEL + noise + 0.1 * RNG.normal(size=120)
    paired = paired_difference(SPEARMAN, (LABEL,), first, second, seed=0)
    alone = estimate(SPEARMAN, (LABEL,), first, seed=0)
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_models_without_a_difference_hold_zero_as_often_as_promised() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for number in range(200):
        label = rng.normal(size=60)
        first, second = label + rng.normal(size=60), label + rng.normal(size=60)
        found = paired_difference(SPEARMAN, (label,), first, second, seed=number, resamples=300)
        held += found.low <= 0 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_measures_that_both_models_have_are_compared_and_targets_are_not() -> None:
    ours = [*regression_measures(LABEL, GOOD, 0.0), *interval_measures(LABEL, GOOD - 1, GOOD + 1, 0.9)]
    others = [*regression_measures(LABEL, POOR, 0.0), *interval_measures(LABEL, POOR - 1, POOR + 1, 0.9)]
    found = differences(ours, others, seed=0)
    assert [d.name for d in found] == ["spearman", "pearson", "mae", "r2"]
    assert [np.sign(d.value) for d in found] == [1, 1, -1, 1]


def test_answers_of_other_patients_are_refused() -> None:
    with pytest.raises(EndpointError, match="120 and for 119 patients"):
        paired_difference(SPEARMAN, (LABEL,), GOOD, POOR[1:], seed=0)
