"""Intervals agree with scipy's, and patients are drawn within their folds."""

import numpy as np
import pytest
from scipy.stats import bootstrap, pearsonr

from nic.evaluation.bootstrap import acceleration, bca, by_fold, draws_of, members_of, percentile
from nic.evaluation.endpoint_figures import (
    classification_figures,
    deciding_figure,
    probability_figures,
    prognosis_figures,
    regression_figures,
    survival_figures,
)
from nic.evaluation.figure import Figure, estimate
from nic.evaluation.regression import pearson

RNG = np.random.default_rng(0)
LABEL = RNG.exponential(size=60)
SCORE = LABEL + RNG.exponential(size=60)


@pytest.mark.parametrize(("ours", "theirs"), [(percentile, "percentile"), (bca, "BCa")])
def test_intervals_are_those_of_scipy(ours, theirs: str) -> None:
    figure = Figure.of("r", pearson, (LABEL,), SCORE, 0.0)
    estimated = estimate(figure, seed=1, resamples=20_000, interval=ours)
    oracle = bootstrap(
        (LABEL, SCORE),
        lambda x, y, axis: pearsonr(x, y, axis=axis).statistic,
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method=theirs,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert (estimated.low, estimated.high) == pytest.approx((oracle.low, oracle.high), abs=0.012)


@pytest.mark.parametrize(("n", "error"), [(200, 1e-6), (5000, 0.5)])
def test_acceleration_of_a_mean_is_its_skewness(n: int, error: float) -> None:
    """Efron's closed form: the third standardised moment over 6 root n; nearly so where patients go out in groups."""
    values = RNG.exponential(size=n)
    standard = (values - values.mean()) / values.std()
    skewness = acceleration(lambda counts: counts @ values / counts.sum(1), n)
    assert skewness == pytest.approx((standard**3).mean() / (6 * np.sqrt(n)), rel=error)


def test_a_draw_holds_as_many_patients_of_each_fold_as_there_are() -> None:
    fold = np.repeat([0, 1, 2], [5, 11, 2])
    seen: list[np.ndarray] = []

    def figure(counts: np.ndarray) -> np.ndarray:
        seen.append(counts)
        return counts.sum(1)

    draws = draws_of(figure, fold, 50, np.random.default_rng(0))
    assert (draws == 18).all()
    for members in members_of(fold):
        assert (np.concatenate(seen)[:, members].sum(1) == len(members)).all()


def test_folds_weigh_as_many_patients_as_they_have_and_those_without_a_figure_none() -> None:
    halves = [
        (np.arange(4), lambda counts: np.ones(len(counts))),
        (np.arange(4, 6), lambda counts: 4 * np.ones(len(counts))),
    ]
    assert by_fold(halves)(np.ones((3, 6))).tolist() == [2.0] * 3
    nothing = (np.arange(4, 6), lambda counts: np.full(len(counts), np.nan))
    assert by_fold([halves[0], nothing])(np.ones((1, 6))).tolist() == [1.0]


def test_where_all_draws_are_alike_the_interval_is_a_point() -> None:
    perfect = estimate(deciding_figure("classification", (np.arange(20) > 9,), np.arange(20.0)), seed=0)
    assert (perfect.low, perfect.value, perfect.high) == (1, 1, 1)


def test_every_figure_lies_within_its_interval() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=200)
    months, event = rng.exponential(np.exp(-score)) * 30 + 0.1, rng.random(200) < 0.6
    labels = (months, event)
    curves = lambda at: np.exp(-np.exp(score)[:, None] * at / 30)  # noqa: E731
    for figures in (
        regression_figures(score + rng.normal(size=200), score, 0.0),
        classification_figures(event, score, 0.0) + probability_figures(event, rng.random(200), 0.6),
        survival_figures(labels, score, [12]) + prognosis_figures(labels, curves, [12]),
    ):
        for figure in figures:
            estimated = estimate(figure, seed=0)
            assert estimated.low < estimated.value < estimated.high, figure.name
