"""Calibrated answers hold on unseen patients, and a calibration survives its journey in the model's spec."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.calibration import _SigmoidCalibration
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from nic.patients.calibration import (
    Calibration,
    PlattProbability,
    Prognosis,
    ResidualInterval,
    calibration_from,
    grade_values,
    most_probable,
    scores_of_classes,
)
from nic.patients.calibration_fit import (
    best_threshold,
    fit_calibration,
    isotonic,
    platt,
    prognosis,
    proportional_odds,
    recalibrated_softmax,
    residual_interval,
)
from nic.patients.out_of_fold import OutOfFold
from nic.patients.targets import Categories, Classes, Grades, Survival, Values


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def classes(seed: int, n: int, steepness: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Classes and logits that promise twice as much as they keep."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, n)
    return rng.random(n) < logistic(steepness * logit - 0.4), logit


def deaths(seed: int, n: int, effect: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    log_hazard = rng.normal(0, 1.5, n)
    death, censored = rng.exponential(40 * np.exp(-effect * log_hazard)), rng.uniform(10, 90, n)
    return np.minimum(death, censored) + 0.01, death <= censored, log_hazard


def several(seed: int, n: int, slope: float = 0.5) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Classes, names, and scores that promise more than they keep; the third class is rare."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (n, 3))
    odds = np.exp(slope * scores + [0.5, 0.2, -0.7])
    draws = rng.random(n)[:, None] > np.cumsum(odds / odds.sum(1, keepdims=True), axis=1)
    return draws.sum(1), ("a", "b", "c"), scores


def graded(seed: int, n: int, slope: float = 0.5) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, n)
    return np.digitize(slope * score + rng.logistic(size=n), [-0.5, 1.0]), ("1", "2", "3"), score


FITTED: dict[str, Calibration] = {
    "residuals": residual_interval(np.arange(30.0), np.arange(30.0)[::-1]),
    "platt": platt(*classes(0, 80)),
    "isotonic": isotonic(*classes(0, 80)),
    "softmax": recalibrated_softmax(*several(0, 80)),
    "proportional-odds": proportional_odds(*graded(0, 80)),
    "breslow": prognosis(*deaths(0, 80)),
}


@pytest.mark.parametrize("method", FITTED)
def test_a_calibration_survives_json(method: str) -> None:
    fitted = FITTED[method]
    assert calibration_from(json.loads(json.dumps(asdict(fitted)))) == fitted
    assert fitted.method == method
    answer = fitted.of(np.array([0.3, 0.0, -0.3])) if method == "softmax" else fitted.of(0.3)
    assert tuple(answer) == fitted.names
    json.dumps(answer, allow_nan=False)


def test_the_half_width_is_the_residual_that_counts_the_patient_to_come() -> None:
    """Of 9 residuals and one to come, the ninth holds 9 of 10."""
    fitted = residual_interval(np.arange(1.0, 10), np.zeros(9))
    assert (fitted.level, fitted.half_width) == (0.9, 9.0)
    assert residual_interval(np.arange(1.0, 20), np.zeros(19)).half_width == 18.0
    assert fitted.of(5.0) == {"low": -4.0, "high": 14.0}


def test_too_few_patients_promise_less() -> None:
    fitted = residual_interval(np.arange(1.0, 5), np.zeros(4))
    assert fitted.level == pytest.approx(0.8)
    assert fitted.half_width == 4.0


def test_an_interval_holds_what_it_promises() -> None:
    rng = np.random.default_rng(0)
    held = [
        np.mean(
            np.abs(rng.exponential(size=100)) <= residual_interval(rng.exponential(size=39), np.zeros(39)).half_width
        )
        for _ in range(300)
    ]
    assert np.mean(held) == pytest.approx(0.9, abs=0.01)


def test_platt_is_that_of_scikit_learn() -> None:
    positive, logit = classes(1, 200)

    fitted = platt(positive, logit)
    found = fitted.probability(np.array([-2.0, 0.0, 1.0]))
    wanted = _SigmoidCalibration().fit(logit, positive).predict(np.array([-2.0, 0.0, 1.0]))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("fit", [platt, isotonic])
def test_probabilities_are_kept_on_other_patients(fit) -> None:
    fitted = fit(*classes(2, 3000))
    positive, logit = classes(3, 20_000)
    probability = fitted.probability(logit)
    for low in np.arange(0.1, 0.9, 0.2):
        chosen = (low <= probability) & (probability < low + 0.2)
        assert positive[chosen].mean() == pytest.approx(probability[chosen].mean(), abs=0.04)


def test_perfect_order_has_a_finite_slope_and_inverted_order_a_slope_of_0() -> None:
    positive, logit = np.arange(20) > 9, np.arange(20.0)
    fitted = platt(positive, logit)
    assert 0 < fitted.slope < 10
    assert fitted.threshold == 10.0
    turned = platt(positive, -logit)
    assert turned.probability(np.array([-3.0, 8.0])) == pytest.approx(0.5)


def test_the_threshold_is_the_best_of_all() -> None:
    positive, logit = classes(4, 60)

    def balanced(threshold: float) -> float:
        called = logit >= threshold
        return (called[positive].mean() + (~called[~positive]).mean()) / 2

    assert balanced(best_threshold(positive, logit)) == max(map(balanced, logit))


def test_survival_is_scikit_survivals() -> None:
    """The slope is that of a Cox regression, the curve Breslow's of it."""
    time, event, log_hazard = deaths(5, 150)
    fitted = prognosis(time, event, log_hazard)
    scaled = (log_hazard / log_hazard.std())[:, None]
    theirs = CoxPHSurvivalAnalysis(alpha=0.1, ties="efron").fit(scaled, Surv.from_arrays(event, time))
    assert fitted.slope == pytest.approx(theirs.coef_[0] / log_hazard.std())
    months = np.array([1.0, 12.0, 30.0])
    wanted = [curve(months) for curve in theirs.predict_survival_function(scaled[:5])]
    np.testing.assert_allclose(fitted.survival(log_hazard[:5], months), wanted)


def test_survival_is_kept_on_other_patients() -> None:
    fitted = prognosis(*deaths(6, 2000))
    _, _, log_hazard = deaths(7, 4000)
    alive = fitted.survival(log_hazard, np.array([24.0]))[:, 0]
    np.testing.assert_allclose(alive, np.exp(-24 / 40 * np.exp(0.5 * log_hazard)), atol=0.06)
    assert fitted.slope == pytest.approx(0.5, abs=0.08)  # log hazards twice as far apart as they should be: told apart


def test_higher_log_hazards_live_shorter_and_stand_higher() -> None:
    fitted = prognosis(*deaths(8, 200))
    low, high = fitted.of(-1.0), fitted.of(1.0)
    assert low["percentile"] < 50 < high["percentile"]
    stated = [name for name in fitted.names if name.startswith("survival")]
    assert stated == ["survival_12m", "survival_24m", "survival_36m", "survival_60m"]
    assert all(low[name] > high[name] for name in stated)
    assert sorted(low[name] for name in stated) == [low[name] for name in reversed(stated)]
    assert (fitted.of(-99.0)["percentile"], fitted.of(99.0)["percentile"]) == (0, 100)


def test_a_log_hazard_that_orders_nobody_gives_all_the_cohorts_survival() -> None:
    time, event, log_hazard = deaths(9, 300)
    fitted = prognosis(time, event, -log_hazard)
    assert fitted.slope == 0
    assert fitted.of(-2.0)["survival_12m"] == fitted.of(2.0)["survival_12m"]


def of_one(score: np.ndarray) -> OutOfFold:
    """Scores of one network."""
    return OutOfFold(score[None], np.zeros((1, len(score)), int))


def test_an_interval_of_an_older_model_is_read() -> None:
    fields = {"level": 0.9, "half_width": 2.0, "method": "conformal"}
    assert calibration_from(fields).of(1.0) == {"low": -1.0, "high": 3.0}


def test_each_kind_of_endpoint_has_its_calibration() -> None:
    rng = np.random.default_rng(0)
    assert isinstance(fit_calibration(Values(rng.normal(size=20)), of_one(rng.normal(size=20))), ResidualInterval)
    positive, logit = classes(0, 80)
    assert fit_calibration(Classes(positive, ("a", "b")), of_one(logit)).method == "platt"
    many, logits = classes(0, 1200)
    assert fit_calibration(Classes(many, ("a", "b")), of_one(logits)).method == "isotonic"
    time, event, log_hazard = deaths(0, 80)
    assert isinstance(fit_calibration(Survival(time, event), of_one(log_hazard)), Prognosis)


@pytest.mark.parametrize("log_odds", [-300.0, 300.0])
def test_an_answer_of_certainty_is_no_crash(log_odds: float) -> None:
    """Networks may saturate."""
    positive = np.arange(20) % 2 == 0
    fitted = fit_calibration(Classes(positive, ("a", "b")), of_one(np.where(positive, log_odds, 0.0)))
    assert isinstance(fitted, PlattProbability)
    with np.errstate(over="raise"):
        assert np.isfinite(fitted.probability(np.array([-1e6, 40.0, 1e6]))).all()


def test_survival_with_one_death_and_equal_answers_is_no_crash() -> None:
    event = np.arange(15) == 4
    fitted = prognosis(np.arange(1.0, 16), event, np.zeros(15))
    assert len(fitted.months) == 1
    assert 0 < fitted.survival(np.zeros(1), np.array([10.0]))[0, 0] < 1


def test_the_slope_and_the_biases_of_several_classes_are_recovered() -> None:
    fitted = recalibrated_softmax(*several(0, 20_000))
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(fitted.biases, [0.5, 0.2, -0.7], atol=0.05)
    assert sum(fitted.biases) == pytest.approx(0, abs=1e-12)


def test_with_two_classes_the_softmax_is_platts_fit() -> None:
    """A logit is the difference of two scores."""
    positive, logit = classes(0, 80)
    fitted = recalibrated_softmax(positive.astype(int), ("no", "yes"), np.stack([-logit / 2, logit / 2], axis=1))
    scores = np.linspace(-5, 5, 11)
    found = fitted.probabilities(np.stack([-scores / 2, scores / 2], axis=1))[:, 1]
    np.testing.assert_allclose(found, platt(positive, logit).probability(scores), atol=1e-4)


def test_the_slope_and_the_thresholds_of_grades_are_recovered() -> None:
    fitted = proportional_odds(*graded(0, 20_000))
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(fitted.thresholds, [-0.5, 1.0], atol=0.05)


def test_probabilities_of_several_classes_sum_to_1_and_mean_the_classes_shares() -> None:
    index, _, scores = several(1, 400)
    grade, _, score = graded(1, 400)
    for fitted, labels, given in (
        (FITTED["softmax"], index, scores),
        (recalibrated_softmax(*several(1, 400)), index, scores),
        (proportional_odds(*graded(1, 400)), grade, score),
    ):
        probabilities = fitted.probabilities(given)  # type: ignore[union-attr]
        np.testing.assert_allclose(probabilities.sum(1), 1)
        assert (probabilities >= 0).all()
        if fitted is not FITTED["softmax"]:
            np.testing.assert_allclose(probabilities.mean(0), np.bincount(labels) / 400, atol=0.01)


def test_scores_that_say_nothing_or_the_opposite_give_everybody_the_shares() -> None:
    index, names, scores = several(0, 300)
    fitted = recalibrated_softmax(index, names, -scores)
    assert fitted.slope == 0
    np.testing.assert_allclose(fitted.probabilities(scores[0]), np.bincount(index) / 300, atol=0.01)
    grade, names, score = graded(0, 300)
    of_grades = proportional_odds(grade, names, -score)
    assert of_grades.slope == 0
    np.testing.assert_allclose(of_grades.probabilities(score[0]), np.bincount(grade) / 300, atol=0.01)


def test_classes_and_grades_that_part_have_finite_slopes() -> None:
    index = np.repeat([0, 1, 2], 10)
    assert 1 < recalibrated_softmax(index, ("a", "b", "c"), 3.0 * np.eye(3)[index]).slope < 20
    assert 1 < proportional_odds(index, ("1", "2", "3"), 1.0 * index).slope < 50


def test_the_expected_grade_is_in_the_grades_own_numbers_or_counted_from_1() -> None:
    assert grade_values(("0", "1", "2.5")) == (0.0, 1.0, 2.5)
    assert grade_values(("low", "2", "high")) == (1.0, 2.0, 3.0)
    fitted = proportional_odds(*graded(0, 80))
    score = np.array([-4.0, 0.0, 4.0])
    np.testing.assert_allclose(fitted.expected(score), fitted.probabilities(score) @ [1, 2, 3])
    assert (np.diff(fitted.expected(score)) > 0).all()


def test_the_most_probable_class_and_its_score() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.4, 0.4, 0.2]])
    assert most_probable(scores).tolist() == [1, 0, 0]
    assert scores_of_classes(scores, np.array([2, 0, 1])).tolist() == [0.3, 0.6, 0.4]


def test_several_classes_are_calibrated_on_what_the_ensemble_is_expected_to_score() -> None:
    """By scores of networks with levels of their own, which no calibration may see."""
    index, names, scores = several(0, 900)
    fold = np.arange(900) % 3
    levels = np.array([[3.0, 0, -3], [0, 0, 0], [-2, 4, -2]])
    out_of_fold = OutOfFold((scores + levels[fold])[None], fold[None], ((scores + levels[:, None]),))
    fitted = fit_calibration(Categories(index, names), out_of_fold)
    plain = recalibrated_softmax(index, names, scores)
    assert fitted.slope == pytest.approx(plain.slope, rel=1e-3)
    grade, names, score = graded(0, 900)
    shifted = OutOfFold((score + levels[fold, 0])[None], fold[None], (score + levels[:, :1],))
    again = fit_calibration(Grades(grade, names), shifted)
    assert again.slope == pytest.approx(proportional_odds(grade, names, score).slope, rel=1e-3)
