"""Figures agree with independent implementations; their intervals, and the paired differences of two models, behave."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored

from nic.errors import EndpointError
from nic.evaluation.bootstrap import bca
from nic.evaluation.endpoint_figures import deciding_figure, interval_figures, regression_figures
from nic.evaluation.figure import Figure, difference, differences, estimate

seeds = st.integers(0, 10_000)


def value_of(kind: str, *labels_and_score: np.ndarray) -> float:
    *labels, score = labels_and_score
    return deciding_figure(kind, tuple(labels), score).value


def tied(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 12, n).astype(float)


@given(seeds)
def test_spearman_agrees_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    value, score = tied(rng, 30), tied(rng, 30)
    assert value_of("regression", value, score) == pytest.approx(spearmanr(value, score).statistic)


@given(seeds)
def test_auc_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(40) < 13)
    score = tied(rng, 40)
    assert value_of("classification", positive, score) == pytest.approx(roc_auc_score(positive, score))


@given(seeds)
def test_concordance_agrees_with_scikit_survival(seed: int) -> None:
    rng = np.random.default_rng(seed)
    time, event, hazard = 1 + tied(rng, 40), rng.random(40) < 0.5, tied(rng, 40)
    event[time.argmin()] = True
    oracle = concordance_index_censored(event, time, hazard)[0]
    assert value_of("survival", time, event, hazard) == pytest.approx(oracle)


def test_a_higher_log_hazard_dies_earlier() -> None:
    time = np.array([1.0, 2, 3, 4])
    assert value_of("survival", time, np.ones(4, bool), -time) == 1
    assert value_of("survival", time, np.ones(4, bool), time) == 0


def test_the_same_seed_gives_the_same_interval_and_it_holds_the_value() -> None:
    rng = np.random.default_rng(0)
    value = rng.normal(size=80)
    score = value + rng.normal(size=80)
    first, second = (estimate(deciding_figure("regression", (value,), score), seed=3, resamples=300) for _ in range(2))
    assert first == second
    assert first.low < first.value < first.high
    assert first.n == 80


def test_scores_of_folds_are_never_mixed() -> None:
    """Perfect within each fold, but shifted between folds so that a mixed list would be far from perfect."""
    value = np.tile(np.arange(10.0), 5)
    fold = np.repeat(np.arange(5), 10)
    score = value - 100 * fold
    assert deciding_figure("regression", (value,), score, fold).value == pytest.approx(1)
    assert value_of("regression", value, score) < 0.5


def test_draws_without_both_classes_are_left_out() -> None:
    positive = np.array([True] + [False] * 11)
    figure = deciding_figure("classification", (positive,), np.arange(12.0)[::-1])
    estimated = estimate(figure, seed=0, resamples=200)
    assert (estimated.value, estimated.low, estimated.high) == (1, 1, 1)


def test_without_signal_the_interval_holds_chance() -> None:
    rng = np.random.default_rng(5)
    estimated = estimate(deciding_figure("classification", (rng.random(100) < 0.4,), rng.normal(size=100)), seed=0)
    assert estimated.low < estimated.chance < estimated.high


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("regression", (np.ones(9),)),
        ("classification", (np.ones(9, bool),)),
        ("ordinal", (np.ones(9, int),)),
        ("survival", (np.arange(1.0, 10), np.zeros(9, bool))),
    ],
)
def test_a_figure_that_is_not_defined_is_nan_and_refused_where_it_is_required(
    kind: str, labels: tuple[np.ndarray, ...]
) -> None:
    estimated = estimate(deciding_figure(kind, labels, np.arange(9.0)), seed=0)
    assert np.isnan([estimated.value, estimated.low, estimated.high]).all()
    with pytest.raises(EndpointError, match="of 9 patients is not defined"):
        estimated.required()


def spearman(score: np.ndarray, label: np.ndarray) -> Figure:
    return deciding_figure("regression", (label,), score)


RNG = np.random.default_rng(0)
LABEL = RNG.normal(size=120)
GOOD, POOR = LABEL + 0.5 * RNG.normal(size=120), LABEL + 2 * RNG.normal(size=120)


def test_the_better_model_is_better_and_the_order_turns_the_sign() -> None:
    forth = difference(spearman(GOOD, LABEL), spearman(POOR, LABEL), seed=0)
    assert forth.low > 0
    back = difference(spearman(POOR, LABEL), spearman(GOOD, LABEL), seed=0)
    assert (back.value, back.low, back.high) == pytest.approx((-forth.value, -forth.high, -forth.low))


def test_the_difference_is_that_of_the_figures() -> None:
    apart = [estimate(spearman(score, LABEL), seed=0).value for score in (GOOD, POOR)]
    assert difference(spearman(GOOD, LABEL), spearman(POOR, LABEL), seed=0).value == pytest.approx(apart[0] - apart[1])


@pytest.mark.parametrize("interval", [bca, None])
def test_a_model_differs_from_itself_by_nothing(interval) -> None:
    options = {"interval": interval} if interval else {}
    itself = difference(spearman(GOOD, LABEL), spearman(GOOD, LABEL), seed=0, **options)
    assert (itself.value, itself.low, itself.high) == (0, 0, 0)


def test_pairs_are_tighter_than_two_intervals_apart() -> None:
    """Two models that err alike: each figure is unsure, their difference is not."""
    noise = RNG.normal(size=120)
    first, second = LABEL + noise, LABEL + noise + 0.1 * RNG.normal(size=120)
    paired = difference(spearman(first, LABEL), spearman(second, LABEL), seed=0)
    alone = estimate(spearman(first, LABEL), seed=0)
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_models_without_a_difference_hold_zero_as_often_as_promised() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for number in range(200):
        label = rng.normal(size=60)
        first, second = label + rng.normal(size=60), label + rng.normal(size=60)
        paired = difference(spearman(first, label), spearman(second, label), seed=number, resamples=300)
        held += paired.low <= 0 <= paired.high
    assert 0.90 <= held / 200 <= 0.99


def test_figures_that_both_models_have_are_compared_and_targets_are_not() -> None:
    ours = [*regression_figures(LABEL, GOOD, 0.0), *interval_figures(LABEL, GOOD - 1, GOOD + 1, 0.9)]
    others = [*regression_figures(LABEL, POOR, 0.0), *interval_figures(LABEL, POOR - 1, POOR + 1, 0.9)]
    compared = differences(ours, others, seed=0)
    assert [d.name for d in compared] == ["spearman", "pearson", "mae", "r2"]
    assert [np.sign(d.value) for d in compared] == [1, 1, -1, 1]


def test_answers_of_other_patients_are_refused() -> None:
    with pytest.raises(EndpointError, match="120 and for 119 patients"):
        difference(spearman(GOOD, LABEL), spearman(POOR[1:], LABEL), seed=0)
