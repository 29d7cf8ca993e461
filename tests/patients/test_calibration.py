"""Calibrated answers hold on unseen patients, and a calibration survives its journey in the model's spec."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.calibration import _SigmoidCalibration
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from nic.patients.calibration import Calibration, PlattProbability, Prognosis, ResidualInterval, calibration_from
from nic.patients.calibration_fit import best_threshold, fit_calibration, isotonic, platt, prognosis, residual_interval
from nic.patients.out_of_fold import OutOfFold
from nic.patients.targets import Classes, Survival, Values


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


FITTED: dict[str, Calibration] = {
    "residuals": residual_interval(np.arange(30.0), np.arange(30.0)[::-1]),
    "platt": platt(*classes(0, 80)),
    "isotonic": isotonic(*classes(0, 80)),
    "breslow": prognosis(*deaths(0, 80)),
}


@pytest.mark.parametrize("method", FITTED)
def test_a_calibration_survives_json(method: str) -> None:
    fitted = FITTED[method]
    assert calibration_from(json.loads(json.dumps(asdict(fitted)))) == fitted
    assert fitted.method == method
    answer = fitted.of(0.3)
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
