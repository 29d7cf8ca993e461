"""A statistic of a draw agrees with an independent library, where each patient is written out as often as drawn."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from nic.evaluation import classification, regression, survival
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import estimate

N, DRAWS = 30, 4
seeds = st.integers(0, 100_000)
few = settings(max_examples=30, deadline=None)


def drawn(rng: np.random.Generator) -> np.ndarray:
    return rng.multinomial(N, np.full(N, 1 / N), DRAWS).astype(float)


def written_out(values: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    return [np.repeat(values, of_draw.astype(int), axis=0) for of_draw in counts]


def tied(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 9, N).astype(float)


@pytest.mark.parametrize(
    ("ours", "oracle"),
    [
        (regression.spearman, lambda value, score: spearmanr(value, score).statistic),
        (regression.pearson, lambda value, score: pearsonr(value, score).statistic),
        (regression.mean_absolute_error, mean_absolute_error),
        (regression.r2, r2_score),
    ],
)
@few
@given(seed=seeds)
def test_regression(ours, oracle, seed: int) -> None:
    rng = np.random.default_rng(seed)
    value, score, counts = tied(rng), tied(rng), drawn(rng)
    expected = [oracle(v, s) for v, s in zip(written_out(value, counts), written_out(score, counts), strict=True)]
    np.testing.assert_allclose(ours(value, score, counts), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("ours", "oracle"),
    [
        (classification.auc, roc_auc_score),
        (classification.average_precision, average_precision_score),
        (partial(classification.balanced_accuracy, threshold=0.5), lambda y, p: balanced_accuracy_score(y, p >= 0.5)),
        (classification.brier, brier_score_loss),
        (classification.calibration_in_the_large, lambda y, p: p.mean() - y.mean()),
    ],
)
@few
@given(seed=seeds)
def test_classification(ours, oracle, seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, probability, counts = rng.permutation(np.arange(N) < 11), tied(rng) / 9, drawn(rng)
    classes, probabilities = written_out(positive, counts), written_out(probability, counts)
    assume(all(0 < c.sum() < len(c) for c in classes))
    expected = [oracle(y, p) for y, p in zip(classes, probabilities, strict=True)]
    np.testing.assert_allclose(ours(positive, probability, counts), expected, atol=1e-10)


@few
@given(seed=seeds)
def test_the_calibration_slope_is_that_of_a_logistic_regression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, N)
    positive, counts = rng.random(N) < 1 / (1 + np.exp(-0.7 * logit)), drawn(rng)
    slopes = classification.calibration_slope(positive, 1 / (1 + np.exp(-logit)), counts)
    for slope, y, x in zip(slopes, written_out(positive, counts), written_out(logit, counts), strict=True):
        if np.isfinite(slope) and abs(slope) < 10:
            expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], y).coef_[0, 0]
            assert slope == pytest.approx(expected, abs=2e-3)


def test_probabilities_that_separate_the_classes_or_are_equal_have_no_slope() -> None:
    positive = np.arange(N) < 11
    for probability in (np.where(positive, 0.9, 0.1), np.full(N, 0.4)):
        assert np.isnan(classification.calibration_slope(positive, probability, np.ones((1, N)))).all()


class Followed:
    """Patients with ties and censoring; whoever is seen last is alive, alone in his month, and in every draw."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.time, self.event = (
            np.r_[rng.integers(1, 30, N - 1), 40].astype(float),
            np.r_[rng.random(N - 1) < 0.6, False],
        )
        self.score, self.counts = rng.integers(-4, 5, N) / 3, drawn(rng)
        self.counts[:, -1] += 1
        self.outcomes = [
            Surv.from_arrays(e, t)
            for e, t in zip(written_out(self.event, self.counts), written_out(self.time, self.counts), strict=True)
        ]
        assume(all(o["event"].sum() > 2 and o["time"].min() < 8 for o in self.outcomes))
        self.scores = written_out(self.score, self.counts)
        self.labels = (self.time, self.event)


@few
@given(seed=seeds)
def test_harrell(seed: int) -> None:
    of = Followed(seed)
    expected = [
        concordance_index_censored(o["event"], o["time"], s)[0] for o, s in zip(of.outcomes, of.scores, strict=True)
    ]
    np.testing.assert_allclose(survival.harrell(*of.labels, of.score, of.counts), expected, atol=1e-10)


@few
@given(seed=seeds)
def test_uno(seed: int) -> None:
    of = Followed(seed)
    expected = [concordance_index_ipcw(o, o, s)[0] for o, s in zip(of.outcomes, of.scores, strict=True)]
    np.testing.assert_allclose(survival.uno(*of.labels, of.score, of.counts), expected, atol=1e-10)


@few
@given(seed=seeds, month=st.integers(8, 19))
def test_auc_at_a_month(seed: int, month: int) -> None:
    of = Followed(seed)
    assume(all((o["event"] & (o["time"] <= month)).any() for o in of.outcomes))
    expected = [cumulative_dynamic_auc(o, o, s, [month])[0][0] for o, s in zip(of.outcomes, of.scores, strict=True)]
    values = survival.auc_at(*of.labels, of.score, of.counts, month=month)
    np.testing.assert_allclose(values, expected, atol=1e-10)


@few
@given(seed=seeds)
def test_integrated_brier(seed: int) -> None:
    of = Followed(seed)
    months = np.linspace(8, 19, 7)
    alive = np.exp(-0.03 * np.exp(of.score)[:, None] * months)
    expected = [
        integrated_brier_score(o, o, a, months) for o, a in zip(of.outcomes, written_out(alive, of.counts), strict=True)
    ]
    values = survival.integrated_brier(*of.labels, alive, of.counts, months=months)
    np.testing.assert_allclose(values, expected, atol=1e-10)


@few
@given(seed=seeds, month=st.integers(1, 39))
def test_calibration_is_the_prediction_minus_kaplan_meiers_share(seed: int, month: int) -> None:
    of = Followed(seed)
    predicted = np.linspace(0.2, 0.9, N)
    seen = [kaplan_meier_estimator(o["event"], o["time"]) for o in of.outcomes]
    shares = [np.r_[1.0, alive][np.searchsorted(months, month, "right")] for months, alive in seen]
    expected = [p.mean() - share for p, share in zip(written_out(predicted, of.counts), shares, strict=True)]
    values = survival.calibration_at(*of.labels, predicted, of.counts, month=month)
    np.testing.assert_allclose(values, expected, atol=1e-10)


def test_without_censoring_calibration_is_the_prediction_minus_the_share_alive() -> None:
    time, event = np.random.default_rng(0).uniform(1, 40, N), np.ones(N, bool)
    for month in (20, 60):  # all are known to have died by month 60
        values = survival.calibration_at(time, event, np.full(N, 0.7), np.ones((1, N)), month=month)
        assert values[0] == pytest.approx(0.7 - (time > month).mean())


def test_true_probabilities_are_calibrated_however_long_patients_are_followed() -> None:
    """Exponential survival, followed for 90, 30 and 15 months; month 24 is not defined for the last."""
    rng, everybody = np.random.default_rng(1), np.ones((1, 40_000))
    death = rng.exponential(30, 40_000)
    predicted = np.full(len(death), np.exp(-24 / 30))
    for followed in (90, 30, 15):
        censored = rng.uniform(0, followed, len(death))
        time, event = np.minimum(death, censored), death <= censored
        bias = survival.calibration_at(time, event, predicted, everybody, month=24)[0]
        assert np.isnan(bias) if followed < 24 else abs(bias) < 0.02
        months = np.linspace(1, 24, 12)
        alive = np.tile(np.exp(-months / 30), (len(death), 1))
        brier = survival.integrated_brier(time, event, alive, everybody, months=months)[0]
        expected = np.trapezoid(np.exp(-months / 30) * (1 - np.exp(-months / 30)), months) / 23
        assert np.isnan(brier) if followed < 24 else brier == pytest.approx(expected, abs=0.01)
        at = survival.auc_at(time, event, -death, everybody, month=24)[0]
        assert np.isnan(at) if followed < 24 else at == pytest.approx(1)


@few
@given(seed=seeds)
def test_a_draw_of_one_class_does_not_define_the_statistic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, score = np.arange(N) < 3, tied(rng)
    counts = np.stack([np.ones(N), np.ones(N) * ~positive, np.ones(N) * positive])
    for statistic in (classification.auc, classification.average_precision):
        assert np.isfinite(statistic(positive, score, counts)).tolist() == [True, False, False]


@pytest.mark.parametrize("seed", range(3))
def test_an_inverted_event_column_takes_the_signal_away(seed: int) -> None:
    """Censoring is independent of the hazard: the interval of C for the inverted column includes chance."""
    rng = np.random.default_rng(seed)
    log_hazard = rng.normal(size=600)
    death, censored = rng.exponential(30 * np.exp(-log_hazard)), rng.uniform(5, 60, 600)
    time, event = np.minimum(death, censored), death <= censored
    right, inverted = (estimate(deciding_figure("survival", (time, e), log_hazard), seed=0) for e in (event, ~event))
    assert right.low > 0.65
    assert inverted.low < 0.5 < inverted.high


@few
@given(seed=seeds)
def test_the_pairs_of_all_patients_are_harrells(seed: int) -> None:
    """Each pair counts for both of its patients."""
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, 15, 25).astype(float), rng.random(25) < 0.6
    event[0], time[0] = True, 0.5  # at least one pair is comparable
    score = rng.integers(-3, 4, 25) / 2
    _, concordant, discordant, _, _ = concordance_index_censored(event, time, score)
    pairs = survival.pairs_in_order(time, event, score)
    assert 25 * pairs.sum() == pytest.approx(2 * (concordant - discordant))


def test_the_patient_who_died_first_with_the_lowest_hazard_is_worst() -> None:
    time, event = np.array([1.0, 10, 20, 30]), np.array([True, True, True, False])
    assert survival.pairs_in_order(time, event, np.array([-5.0, 3, 2, 1])).argmin() == 0
