"""The proportional-odds model of ordered grades, fitted by maximum likelihood.

P(grade <= k) = logistic(threshold k - features @ coefficients): one direction orders the patients, and thresholds part
the grades along it. Source: McCullagh 1980.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

Floats = NDArray[np.float64]
LEAST_LOG_DISTANCE = -12.0
"""Of two thresholds: closer ones tell no grade apart."""


@dataclass(frozen=True)
class ProportionalOdds:
    """coefficients: [P]; higher features times them, a higher grade. thresholds: [C - 1], rising."""

    coefficients: Floats
    thresholds: Floats

    def loss(self, features: Floats, grade: NDArray[np.intp], weight: Floats) -> float:
        """Mean negative log-likelihood. features: [N, P]. grade: [N], 0 = lowest. weight: [N] of the patients."""
        return float(-(weight @ log_likelihood(features @ self.coefficients, grade, self.thresholds)) / len(grade))


def log_likelihood(score: Floats, grade: NDArray[np.intp], thresholds: Floats) -> Floats:
    """Log probability of each patient's own grade, [N], finite for scores of any size."""
    upper, lower, distance = _bounds(score, grade, thresholds)
    return np.asarray(log_expit(upper) + log_expit(-lower) + np.log(-np.expm1(-distance)))


def fit_proportional_odds(
    features: Floats, grade: NDArray[np.intp], grades: int, penalty: float, weight: Floats | None = None
) -> ProportionalOdds:
    """features: [N, P]. grade: [N], 0 = lowest. grades: how many there are. weight: [N] of the patients; None: 1 each.

    penalty: half of it times the sum of squared coefficients is added to the summed loss, as scikit-learn's 1 / C.
    """
    weight = np.ones(len(grade)) if weight is None else weight
    count = features.shape[1]
    each = np.bincount(grade, weight, grades) + 1  # a grade without a patient has a place too
    below = np.cumsum(each)[:-1] / each.sum()
    first = np.log(below / (1 - below))
    start = np.r_[np.zeros(count), first[0], np.log(np.maximum(np.diff(first), 1e-3))]

    def value_and_slope(free: Floats) -> tuple[float, Floats]:
        """free: coefficients, the lowest threshold, and logarithms of the distances between thresholds."""
        coefficients, thresholds = free[:count], _thresholds(free[count:])
        score = features @ coefficients
        upper, lower, distance = _bounds(score, grade, thresholds)
        own = log_expit(upper) + log_expit(-lower) + np.log(-np.expm1(-distance))
        at_upper, at_lower = weight * expit(-upper), -weight * expit(lower)  # slopes by what lies above, and below
        apart = weight / np.expm1(np.minimum(distance, 700.0))  # a wider distance has no slope in double precision
        by_threshold = np.zeros(grades - 1)
        inner, outer = grade < grades - 1, grade > 0
        np.add.at(by_threshold, grade[inner], (at_upper + apart)[inner])
        np.add.at(by_threshold, grade[outer] - 1, (at_lower - apart)[outer])
        by_coefficient = features.T @ (at_upper + at_lower)  # the score enters with the other sign
        tail = np.cumsum(by_threshold[::-1])[::-1]  # a distance moves all thresholds above it
        slope = np.r_[-by_coefficient, tail[0], tail[1:] * np.diff(thresholds)]
        value = -float(weight @ own) + 0.5 * penalty * float(coefficients @ coefficients)
        return value, -slope + np.r_[penalty * coefficients, np.zeros(grades - 1)]

    bounds = [(None, None)] * (count + 1) + [(LEAST_LOG_DISTANCE, None)] * (grades - 2)
    fit = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    return ProportionalOdds(fit.x[:count], _thresholds(fit.x[count:]))


def _thresholds(free: Floats) -> Floats:
    """From the lowest and the logarithms of the distances."""
    return np.asarray(free[0] + np.r_[0.0, np.cumsum(np.exp(free[1:]))])


def _bounds(score: Floats, grade: NDArray[np.intp], thresholds: Floats) -> tuple[Floats, Floats, Floats]:
    """From the score to the thresholds above and below its grade, and between these two; infinite where none is."""
    edges = np.r_[-np.inf, thresholds, np.inf]
    upper, lower = edges[grade + 1], edges[grade]
    return upper - score, lower - score, upper - lower
