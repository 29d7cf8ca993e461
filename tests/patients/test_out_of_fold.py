"""Scores out of fold are made comparable with the ensemble's: without the networks' levels, and with their spread."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from nic.patients.calibration_fit import fit_calibration
from nic.patients.out_of_fold import LEAST_COMMON, OutOfFold
from nic.patients.targets import Classes, Survival, Values

PATIENTS, FOLDS = 2000, 5


class Networks:
    """Networks whose score of a patient is what all of them see, a noise of their own, and a level of their own."""

    def __init__(self, partitions: int, noise: float, level: float = 0.0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.common = rng.normal(size=PATIENTS)
        shape = (partitions, FOLDS, PATIENTS)
        self.of_each = self.common + noise * rng.normal(size=shape) + level * rng.normal(size=(*shape[:2], 1))
        fold = np.stack([rng.permutation(PATIENTS) % FOLDS for _ in range(partitions)])
        score = np.stack([s[f, np.arange(PATIENTS)] for s, f in zip(self.of_each, fold, strict=True)])
        self.out_of_fold = OutOfFold(score, fold, tuple(self.of_each))
        self.ensemble = self.of_each.mean((0, 1))
        self.positive = rng.random(PATIENTS) < 1 / (1 + np.exp(-self.common))
        self.time = rng.exponential(30 * np.exp(-self.common / 2)) + 0.01


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_the_spread_is_that_of_the_ensembles_scores(partitions: int, noise: float) -> None:
    of = Networks(partitions, noise, level=2.0)
    assert of.out_of_fold.between == pytest.approx(noise**2, rel=0.05, abs=1e-12)
    assert of.out_of_fold.as_ensemble.std() == pytest.approx(of.ensemble.std(), rel=0.04)
    wanted = (1 + noise**2 / partitions) / (1 + noise**2 / partitions / FOLDS)
    assert of.out_of_fold.shrinkage == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("level", [0.0, 2.0])
def test_probabilities_are_as_steep_as_the_ensembles(partitions: int, level: float) -> None:
    """The slope on the ensemble's scores, which no patient of the training has; scores of one network are too flat."""
    of = Networks(partitions, noise=1.0, level=level)
    fitted = fit_calibration(Classes(of.positive, ("a", "b")).take(np.arange(900)), first(of.out_of_fold, 900))
    oracle = LogisticRegression(C=np.inf).fit(of.ensemble[:, None], of.positive).coef_[0, 0]
    flat = LogisticRegression(C=np.inf).fit(of.out_of_fold.mean_score[:, None], of.positive).coef_[0, 0]
    assert fitted.slope == pytest.approx(oracle, rel=0.2)
    assert flat < 0.85 * oracle


def test_survival_is_as_steep_and_percentiles_are_spread_evenly() -> None:
    of = Networks(1, noise=1.0, level=1.0)
    fitted = fit_calibration(Survival(of.time, np.ones(PATIENTS, bool)), of.out_of_fold)
    outcome = Surv.from_arrays(np.ones(PATIENTS, bool), of.time)
    oracle = CoxPHSurvivalAnalysis().fit(of.ensemble[:, None], outcome).coef_[0]
    flat = CoxPHSurvivalAnalysis().fit(of.out_of_fold.mean_score[:, None], outcome).coef_[0]
    assert fitted.slope == pytest.approx(oracle, rel=0.12)
    assert flat < 0.6 * oracle
    percentiles = np.array([fitted.of(score)["percentile"] for score in of.ensemble])
    assert ((percentiles > 25) & (percentiles < 75)).mean() == pytest.approx(0.5, abs=0.05)


def test_networks_that_agree_change_nothing() -> None:
    of = Networks(1, noise=0.0)
    assert of.out_of_fold.shrinkage == pytest.approx(1)
    assert of.out_of_fold.expected.mean() == pytest.approx(of.common.mean())
    assert np.corrcoef(of.out_of_fold.expected, of.common)[0, 1] > 0.999


def test_two_networks_and_older_scores_say_nothing_of_their_agreement() -> None:
    rng = np.random.default_rng(0)
    score, fold = rng.normal(size=(1, 40)), np.arange(40)[None] % 2
    for of_each in ((), (rng.normal(size=(2, 40)),)):
        assert OutOfFold(score, fold, of_each).between == 0
        assert OutOfFold(score, fold, of_each).shrinkage == pytest.approx(1)


def test_nothing_in_common_has_an_end() -> None:
    """Without signal the correction is bounded, and equal scores are no crash."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, FOLDS, 50))
    fold = np.arange(50)[None] % FOLDS
    score = noise[0][fold[0], np.arange(50)][None]
    assert OutOfFold(score, fold, tuple(noise)).shrinkage <= 1 / (LEAST_COMMON + (1 - LEAST_COMMON) / FOLDS) + 1e-9
    still = OutOfFold(np.ones((1, 50)), fold, (np.ones((FOLDS, 50)),))
    assert still.expected.tolist() == still.as_ensemble.tolist() == [1.0] * 50


def test_intervals_are_of_the_answers_as_they_were_given() -> None:
    """A network's level is part of what it errs by."""
    of = Networks(1, noise=0.2, level=1.0)
    fitted = fit_calibration(Values(of.common), of.out_of_fold)
    assert fitted.half_width == pytest.approx(np.quantile(np.abs(of.out_of_fold.score[0] - of.common), 0.9), rel=0.01)


def first(of: OutOfFold, count: int) -> OutOfFold:
    return OutOfFold(of.score[:, :count], of.fold[:, :count], tuple(s[:, :count] for s in of.of_each))


def test_several_classes_have_a_level_each_and_one_shrinkage() -> None:
    """Two classes of opposite scores carry what a single score carries; without all networks' scores too."""
    of = Networks(2, noise=1.0, level=2.0).out_of_fold
    both = OutOfFold(
        np.stack([of.score, -of.score], axis=-1), of.fold, tuple(np.stack([s, -s], axis=-1) for s in of.of_each)
    )
    assert both.variance == pytest.approx(2 * of.variance)
    assert both.shrinkage == pytest.approx(of.shrinkage)
    for name in ("mean_score", "expected", "as_ensemble"):
        alone, several = getattr(of, name), getattr(both, name)
        np.testing.assert_allclose(several, np.stack([alone, -alone], axis=-1))
    kept = OutOfFold(both.score, of.fold).expected
    np.testing.assert_allclose(kept[:, 0], OutOfFold(of.score, of.fold).expected)
    once = OutOfFold(both.score[:1], of.fold[:1], both.of_each[:1])
    assert once.between == pytest.approx(2 * OutOfFold(of.score[:1], of.fold[:1], of.of_each[:1]).between)
