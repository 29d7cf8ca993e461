"""Cox regression with standard errors: hazard ratios of a score, alone and adjusted for covariates."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from nic.errors import EndpointError
from nic.evaluation.figure import Estimate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class CoxFit:
    """Log hazard ratios of covariates and their standard errors, [p] each."""

    coefficients: Floats
    standard_errors: Floats


def fit_cox(time_months: Floats, event: Bools, covariates: Floats) -> CoxFit:
    """Cox regression with Efron's ties. covariates: [n, p].

    The coefficients are scikit-survival's; the errors come from the observed information there. Raises EndpointError
    when there is no finite optimum: a covariate is constant, repeats others, or separates the deaths.
    """
    # Here: only survival needs it, and it takes a second to import.
    from sklearn.exceptions import ConvergenceWarning
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    model = CoxPHSurvivalAnalysis(ties="efron")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.simplefilter("error", RuntimeWarning)
            model.fit(covariates, Surv.from_arrays(event, time_months))
        information = observed_information(time_months, event, covariates, model.coef_)
        errors = np.sqrt(np.diag(np.linalg.inv(information)))
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, ConvergenceWarning, RuntimeWarning) as error:
        raise _no_optimum(event, covariates, str(error)) from error
    if not (np.isfinite(errors).all() and (errors < 1e3).all()):
        raise _no_optimum(event, covariates, "no end to a coefficient")
    return CoxFit(model.coef_, errors)


def observed_information(time_months: Floats, event: Bools, covariates: Floats, coefficients: Floats) -> Floats:
    """Minus the second derivative of Efron's partial log-likelihood, [p, p]; oracle R survival::coxph.

    At a time with d deaths, the l-th of them is compared with the risk set less l/d of the deaths; each gives the
    covariance of the covariates in that set, weighted by hazard.
    """
    hazard = np.exp(covariates @ coefficients)
    information = np.zeros((covariates.shape[1],) * 2)
    for month in np.unique(time_months[event]):
        at_risk, dying = time_months >= month, event & (time_months == month)
        for gone in np.arange(dying.sum()) / dying.sum():
            weight = hazard * (at_risk - gone * dying)
            information += np.cov(covariates, rowvar=False, aweights=weight, ddof=0)
    return information


def hazard_ratio(
    name: str,
    time_months: Floats,
    event: Bools,
    covariates: NDArray[np.floating | np.bool_],
    level: float = 0.95,
) -> Estimate:
    """Hazard ratio per unit of the first covariate, the others held fixed, with Wald's interval. covariates: [n, p].

    NaN where there is no finite optimum: a group may be empty, or without deaths.
    """
    try:
        fit = fit_cox(time_months, event, covariates.astype(float))
    except EndpointError:
        return Estimate(name, math.nan, math.nan, math.nan, level, len(event), 1.0)
    half = ndtri((1 + level) / 2) * fit.standard_errors[0]
    value, low, high = np.exp(fit.coefficients[0] + np.array([0, -half, half]))
    return Estimate(name, float(value), float(low), float(high), level, len(event), 1.0)


def log_rank(time_months: Floats, event: Bools, high: Bools, level: float = 0.95) -> Estimate:
    """Z of the log-rank test, above 0 where the group `high` dies earlier; NaN where a group is empty.

    Its square is the test's chi-square. The interval assumes a variance of 1: it excludes 0 where p < 1 - level.
    """
    # Here: only survival needs it, and it takes a second to import.
    from sksurv.compare import compare_survival
    from sksurv.util import Surv

    n = len(event)
    if high.all() or not high.any() or not event.any():
        return Estimate("log_rank_z", math.nan, math.nan, math.nan, level, n, 0.0)
    chi_square, _, table, _ = compare_survival(Surv.from_arrays(event, time_months), high, return_stats=True)
    z = math.copysign(math.sqrt(chi_square), table.loc[True, "statistic"])
    half = float(ndtri((1 + level) / 2))
    return Estimate("log_rank_z", z, z - half, z + half, level, n, 0.0)


def hazard_estimates(
    labels: tuple[Floats, Bools],
    log_hazard: Floats,
    median: float,
    deviation: float,
    covariates: Floats | None = None,
    level: float = 0.95,
) -> list[Estimate]:
    """Risk groups and hazard ratios of a model's log hazards, with the intervals of their theory.

    median, deviation: of the training patients' log hazards: where the groups part, and the unit of the ratios.
    covariates: [n, p] of the patients, NaN where not known; those patients are left out of the adjusted ratio.
    """
    high, risk = log_hazard > median, log_hazard / deviation
    unadjusted = [
        log_rank(*labels, high, level),
        hazard_ratio("hazard_ratio_high_risk", *labels, high[:, None], level),
        hazard_ratio("hazard_ratio_per_deviation", *labels, risk[:, None], level),
    ]
    if covariates is None or not covariates.shape[1]:
        return unadjusted
    known, (time_months, event) = np.isfinite(covariates).all(1), labels
    design = np.column_stack([risk, covariates])[known]
    return [*unadjusted, hazard_ratio("hazard_ratio_adjusted", time_months[known], event[known], design, level)]


def _no_optimum(event: Bools, covariates: Floats, evidence: str) -> EndpointError:
    return EndpointError(
        f"Cox regression of {len(event)} patients, {event.sum()} events, on {covariates.shape[1]} covariates has no "
        f"finite optimum ({evidence}); wanted covariates that vary and do not repeat one another, and more events"
    )
