"""Figures agree with independent implementations, ties and censoring included; intervals behave."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored

from nic.errors import EndpointError
from nic.evaluation.figure import METRICS, estimate

seeds = st.integers(0, 10_000)


def figure(kind: str, *labels_and_score: np.ndarray) -> float:
    return METRICS[kind].statistic(*labels_and_score, np.ones((1, len(labels_and_score[0]))))[0]


def tied(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 12, n).astype(float)


@given(seeds)
def test_spearman_agrees_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    value, score = tied(rng, 30), tied(rng, 30)
    assert figure("regression", value, score) == pytest.approx(spearmanr(value, score).statistic)


@given(seeds)
def test_auc_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(40) < 13)
    score = tied(rng, 40)
    assert figure("classification", positive, score) == pytest.approx(roc_auc_score(positive, score))


@given(seeds)
def test_concordance_agrees_with_scikit_survival(seed: int) -> None:
    rng = np.random.default_rng(seed)
    time, event, hazard = 1 + tied(rng, 40), rng.random(40) < 0.5, tied(rng, 40)
    event[time.argmin()] = True
    assert figure("survival", time, event, hazard) == pytest.approx(concordance_index_censored(event, time, hazard)[0])


def test_a_higher_log_hazard_dies_earlier() -> None:
    time = np.array([1.0, 2, 3, 4])
    assert figure("survival", time, np.ones(4, bool), -time) == 1
    assert figure("survival", time, np.ones(4, bool), time) == 0


def test_the_same_seed_gives_the_same_interval_and_it_holds_the_value() -> None:
    rng = np.random.default_rng(0)
    value = rng.normal(size=80)
    score = value + rng.normal(size=80)
    first, second = (estimate(METRICS["regression"], (value,), score, seed=3, resamples=300) for _ in range(2))
    assert first == second
    assert first.low < first.value < first.high
    assert first.n == 80


def test_scores_of_folds_are_never_mixed() -> None:
    """Perfect within each fold, but shifted between folds so that a mixed list would be far from perfect."""
    value = np.tile(np.arange(10.0), 5)
    fold = np.repeat(np.arange(5), 10)
    score = value - 100 * fold
    assert estimate(METRICS["regression"], (value,), score, seed=0, fold=fold, resamples=50).value == pytest.approx(1)
    assert figure("regression", value, score) < 0.5


def test_draws_without_both_classes_are_left_out() -> None:
    positive = np.array([True] + [False] * 11)
    found = estimate(METRICS["classification"], (positive,), np.arange(12.0)[::-1], seed=0, resamples=200)
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_without_signal_the_interval_holds_chance() -> None:
    rng = np.random.default_rng(5)
    found = estimate(METRICS["classification"], (rng.random(100) < 0.4,), rng.normal(size=100), seed=0)
    assert found.low < found.chance < found.high


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("regression", (np.ones(9),)),
        ("classification", (np.ones(9, bool),)),
        ("survival", (np.arange(1.0, 10), np.zeros(9, bool))),
    ],
)
def test_a_figure_that_is_not_defined_is_refused(kind: str, labels: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(EndpointError, match="of 9 patients is not defined"):
        estimate(METRICS[kind], labels, np.arange(9.0), seed=0)
