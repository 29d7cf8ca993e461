"""Hazard ratios and their errors: against R, against derivatives taken by hand, and in the right direction."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime
from sksurv.compare import compare_survival
from sksurv.datasets import load_veterans_lung_cancer
from sksurv.util import Surv

from nic.errors import EndpointError
from nic.evaluation.cox import fit_cox, hazard_estimates, hazard_ratio, log_rank, observed_information


def veterans() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    table, outcome = load_veterans_lung_cancer()
    cells = pd.DataFrame(
        {
            "trt": table["Treatment"] == "test",
            **{level: table["Celltype"] == level for level in ("smallcell", "adeno", "large")},
            "karno": table["Karnofsky_score"],
            "diagtime": table["Months_from_Diagnosis"],
            "age": table["Age_in_years"],
            "prior": 10 * (table["Prior_therapy"] == "yes"),
        }
    ).astype(float)
    return outcome["Survival_in_days"], outcome["Status"], cells


def test_coefficients_and_errors_are_those_of_r() -> None:
    """survival::coxph(Surv(time, status) ~ trt + celltype + karno + diagtime + age + prior, veteran), Efron's ties."""
    time, event, cells = veterans()
    fit = fit_cox(time, event, cells.to_numpy())
    coefficients = [2.946e-01, 8.616e-01, 1.196e00, 4.013e-01, -3.282e-02, 8.132e-05, -8.706e-03, 7.159e-03]
    errors = [2.075e-01, 2.753e-01, 3.009e-01, 2.827e-01, 5.508e-03, 9.136e-03, 9.300e-03, 2.323e-02]
    np.testing.assert_allclose(fit.coefficients, coefficients, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(fit.standard_errors, errors, rtol=1e-3)


def followed(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 12, n).astype(float), rng.random(n) < 0.6, rng.normal(size=(n, 2))


def efron_log_likelihood(beta: np.ndarray, time: np.ndarray, event: np.ndarray, covariates: np.ndarray) -> float:
    hazard, total = np.exp(covariates @ beta), 0.0
    for month in sorted(set(time[event])):
        dying = [i for i in range(len(time)) if event[i] and time[i] == month]
        at_risk = [i for i in range(len(time)) if time[i] >= month]
        for gone in range(len(dying)):
            left = sum(hazard[i] for i in at_risk) - gone / len(dying) * sum(hazard[i] for i in dying)
            total += np.log(hazard[dying[gone]]) - np.log(left)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_information_is_minus_the_second_derivative(seed: int) -> None:
    time, event, covariates = followed(seed)
    at = np.array([0.3, -0.5])

    def slope(beta: np.ndarray) -> np.ndarray:
        return approx_fprime(beta, efron_log_likelihood, 1e-5, time, event, covariates)

    expected = -np.stack([(slope(at + step) - slope(at - step)) / 2e-3 for step in 1e-3 * np.eye(2)])
    np.testing.assert_allclose(observed_information(time, event, covariates, at), expected, rtol=1e-2, atol=1e-2)


def test_errors_are_those_of_lifelines() -> None:
    lifelines = pytest.importorskip("lifelines")
    time, event, covariates = followed(7, 120)
    table = pd.DataFrame(covariates, columns=["a", "b"]).assign(time=time, event=event)
    theirs = lifelines.CoxPHFitter().fit(table, "time", "event")
    ours = fit_cox(time, event, covariates)
    np.testing.assert_allclose(ours.coefficients, theirs.params_, rtol=1e-4)
    np.testing.assert_allclose(ours.standard_errors, theirs.standard_errors_, rtol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_log_rank_is_scikit_survivals_with_the_sign_of_who_dies(seed: int) -> None:
    time, event, covariates = followed(seed)
    high = covariates[:, 0] > 0
    z = log_rank(time, event, high)
    chi_square, p = compare_survival(Surv.from_arrays(event, time), high)
    assert z.value**2 == pytest.approx(chi_square)
    assert (z.low > 0 or z.high < 0) == (p < 0.05)
    assert log_rank(time, event, ~high).value == pytest.approx(-z.value)


def planted(seed: int = 0, n: int = 300) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Hazard grows with age and with a score of its own; what is measured also follows age."""
    rng = np.random.default_rng(seed)
    age, own = rng.normal(size=n), rng.normal(size=n)
    death, censored = rng.exponential(30 * np.exp(-0.8 * age - 0.5 * own)), rng.exponential(60, n)
    return (np.minimum(death, censored) + 0.01, death <= censored), age, own


def test_a_hazard_ratio_is_what_was_planted() -> None:
    labels, age, own = planted()
    ratio = hazard_ratio("own", *labels, np.column_stack([own, age]))
    assert ratio.low < np.exp(0.5) < ratio.high


def test_adjusting_removes_the_effect_of_age_and_leaves_the_rest() -> None:
    labels, age, own = planted()
    table = np.column_stack([age, np.random.default_rng(1).normal(size=len(age))])
    table[:30, 0] = np.nan  # of whom the age is not known
    of_age = {e.name: e for e in hazard_estimates(labels, age + 0.1 * own, 0.0, 1.0, table)}
    assert of_age["hazard_ratio_per_deviation"].low > 1.5
    assert of_age["hazard_ratio_adjusted"].n == len(age) - 30
    of_own = {e.name: e for e in hazard_estimates(labels, own, 0.0, 1.0, table)}
    assert of_own["hazard_ratio_adjusted"].low > 1
    assert of_own["log_rank_z"].low > 0
    assert of_own["hazard_ratio_high_risk"].low > 1


def test_an_empty_risk_group_has_no_hazard_ratio() -> None:
    labels, _, own = planted()
    estimates = hazard_estimates(labels, own, median=99.0, deviation=1.0)
    assert [e.name for e in estimates if np.isnan(e.value)] == ["log_rank_z", "hazard_ratio_high_risk"]


def test_no_optimum_is_refused_by_name() -> None:
    labels, age, _ = planted()
    with pytest.raises(EndpointError, match=r"300 patients.*2 covariates has no finite optimum"):
        fit_cox(*labels, np.column_stack([age, age]))
    time = np.arange(1.0, 21)
    with pytest.raises(EndpointError, match="no finite optimum"):
        fit_cox(time, np.ones(20, bool), (time[:, None] < 10).astype(float))
