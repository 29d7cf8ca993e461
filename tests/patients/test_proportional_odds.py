"""The proportional-odds fit recovers what was planted, and is logistic regression where there are two grades."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from nic.patients.proportional_odds import ProportionalOdds, fit_proportional_odds


def graded(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    return x, np.digitize(x @ [1.2, -0.7] + rng.logistic(size=n), [-1.0, 0.2, 2.0])


def test_what_was_planted_is_recovered() -> None:
    fit = fit_proportional_odds(*graded(20_000), 4, 0.0)
    np.testing.assert_allclose(fit.coefficients, [1.2, -0.7], atol=0.05)
    np.testing.assert_allclose(fit.thresholds, [-1.0, 0.2, 2.0], atol=0.05)


@pytest.mark.parametrize("penalty", [1e-9, 3.0])
def test_two_grades_are_a_logistic_regression_with_the_same_penalty_and_weights(penalty: float) -> None:
    x, grade = graded(120)
    weight = np.random.default_rng(1).uniform(0.2, 3, 120)
    fit = fit_proportional_odds(x, np.minimum(grade, 1), 2, penalty, weight)
    oracle = LogisticRegression(C=1 / penalty, tol=1e-10).fit(x, np.minimum(grade, 1), weight)
    np.testing.assert_allclose(fit.coefficients, oracle.coef_[0], rtol=1e-3)
    np.testing.assert_allclose(-fit.thresholds, oracle.intercept_, rtol=1e-3)


def test_the_fit_is_where_every_step_aside_costs() -> None:
    x, grade = graded(80)
    weight, fit = np.ones(80), fit_proportional_odds(*graded(80), 4, 0.0)
    least = fit.loss(x, grade, weight)
    own = expit(np.r_[fit.thresholds, np.inf][grade] - x @ fit.coefficients)
    below = expit(np.r_[-np.inf, fit.thresholds][grade] - x @ fit.coefficients)
    assert least == pytest.approx(-np.log(own - below).mean())
    for place in range(3):
        for step in (-0.02, 0.02):
            moved = fit.thresholds + step * (np.arange(3) == place)
            assert ProportionalOdds(fit.coefficients, moved).loss(x, grade, weight) > least
    for place in range(2):
        for step in (-0.02, 0.02):
            moved = fit.coefficients + step * (np.arange(2) == place)
            assert ProportionalOdds(moved, fit.thresholds).loss(x, grade, weight) > least


def test_grades_that_part_and_a_grade_without_a_patient_have_finite_fits() -> None:
    x = np.linspace(-2, 2, 40)[:, None]
    for grade, grades in ((np.repeat([0, 1, 2], [15, 10, 15]), 3), (np.repeat([0, 2], 20), 4)):
        fit = fit_proportional_odds(x, grade, grades, 0.1)
        assert np.isfinite(fit.coefficients).all()
        assert (np.diff(fit.thresholds) > 0).all()
        assert fit.coefficients[0] > 1
