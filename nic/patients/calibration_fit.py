"""Calibrations from the out-of-fold scores of the training patients: by networks that never saw them.

Slopes are fitted on what the ensemble is expected to score (nic.patients.out_of_fold). An interval is as wide as the
residuals of single networks; the ensemble errs less than each of them, so that it is, if anything, too wide. What both
come to on new patients is simulated in docs/results/calibration.md.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from nic.patients.calibration import (
    Calibration,
    GradeProbabilities,
    IsotonicProbability,
    PlattProbability,
    Prognosis,
    ResidualInterval,
    SoftmaxProbabilities,
)
from nic.patients.out_of_fold import OutOfFold
from nic.patients.proportional_odds import fit_proportional_odds
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values

Floats = NDArray[np.float64]
LEVEL = 0.9
"""Share of labels that an interval is to hold."""
ISOTONIC_PATIENTS = 1000
"""From as many on, the probabilities' shape is learned too; with fewer, isotonic regression follows noise."""
STATED_MONTHS = (12.0, 24.0, 36.0, 60.0, 120.0)
LEAST_AT_RISK = 10
"""Training patients followed beyond a month for it to be stated."""
PRIOR = 0.1
"""Ridge of a slope, of a score of deviation 1: as much as a few patients, so that perfect order has an end."""
PERCENTS = 101


def fit_calibration(targets: Targets, out_of_fold: OutOfFold) -> Calibration:
    """The calibration of an endpoint's kind, for the scores of the networks together."""
    return _fit(targets, out_of_fold.mean_score, out_of_fold.expected, out_of_fold.as_ensemble)


def fit_by_fold(targets: Targets, out_of_fold: OutOfFold, fold: NDArray[np.intp]) -> list[Calibration]:
    """For the patients of each fold the calibration that is fitted on all others. fold: [N], from 0 on."""
    scores = out_of_fold.mean_score, out_of_fold.expected, out_of_fold.as_ensemble
    others = [fold != number for number in range(int(fold.max()) + 1)]
    return [_fit(targets.take(index), *(score[index] for score in scores)) for index in others]


def _fit(targets: Targets, mean_score: Floats, expected: Floats, as_ensemble: Floats) -> Calibration:
    """Scores [N], or of several classes [N, C], as OutOfFold has them under these names."""
    match targets:
        case Values(value):
            return residual_interval(value, mean_score)
        case Classes(positive, _):
            fit = isotonic if len(positive) >= ISOTONIC_PATIENTS else platt
            return fit(positive, expected)
        case Categories(index, names):
            return recalibrated_softmax(index, names, expected)
        case Grades(index, names):
            return proportional_odds(index, names, expected)
        case Survival(time_months, event):
            return prognosis(time_months, event, expected, as_ensemble)


def residual_interval(value: Floats, prediction: Floats, level: float = LEVEL) -> ResidualInterval:
    """The interval that held the residuals of all but a share of the patients, counted with the one to come.

    prediction: [N], out of fold. With fewer than level / (1 - level) patients the largest residual is taken, and the
    level stated is n / (n + 1). The rank is that of split conformal intervals (Lei et al. 2018); their guarantee does
    not hold here, see ResidualInterval.
    """
    residuals, n = np.sort(np.abs(value - prediction)), len(value)
    rank = min(math.ceil((n + 1) * level), n)
    return ResidualInterval(min(level, n / (n + 1)), float(residuals[rank - 1]))


def platt(positive: NDArray[np.bool_], logit: Floats) -> PlattProbability:
    """Logistic regression of the class on the logit, towards targets a little inside (0, 1).

    Such targets keep the slope finite where the classes part. A falling slope becomes 0: a score that did not order the
    training patients says nothing. Source: Platt 1999.
    """
    ours, others = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (ours + 1) / (ours + 2), 1 / (others + 2))
    both = np.r_[np.ones_like(positive), np.zeros_like(positive)]  # each patient is partly positive, partly not
    fit = LogisticRegression(C=np.inf).fit(np.tile(logit, 2)[:, None], both, np.r_[target, 1 - target])
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope <= 0:
        share = float(target.mean())
        slope, intercept = 0.0, math.log(share / (1 - share))
    return PlattProbability(slope, intercept, best_threshold(positive, logit))


def isotonic(positive: NDArray[np.bool_], logit: Floats) -> IsotonicProbability:
    """The rising step curve closest to the classes."""
    fit = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logit, positive.astype(float))
    scores, probabilities = fit.X_thresholds_.tolist(), fit.y_thresholds_.tolist()
    return IsotonicProbability(tuple(scores), tuple(probabilities), best_threshold(positive, logit))


def recalibrated_softmax(index: NDArray[np.intp], names: tuple[str, ...], scores: Floats) -> SoftmaxProbabilities:
    """Multinomial regression of the class on the scores [N, C], with one slope for all classes and a bias for each.

    It has as many numbers as there are classes, few enough for some ten patients a class. Its targets lie a little
    inside (0, 1), as Platt's: a patient of a class of n patients counts (n + 1) / (n + 2) for it, and the rest evenly
    for the others. Scores that did not part the training patients have the slope 0.
    """
    count = len(names)
    own = (np.bincount(index, minlength=count)[index] + 1) / (np.bincount(index, minlength=count)[index] + 2)
    target = np.repeat((1 - own) / (count - 1), count).reshape(-1, count)  # [N, C]
    target[np.arange(len(index)), index] = own

    def loss_and_slope(free: Floats) -> tuple[float, Floats]:
        """free: the slope, then the biases. They are unique once their mean is 0, where they begin and stay."""
        log_probability = log_softmax(free[0] * scores + free[1:], axis=1)
        surplus = np.exp(log_probability) - target
        return -float((target * log_probability).sum()), np.r_[(surplus * scores).sum(), surplus.sum(0)]

    bounds = [(0.0, None)] + [(None, None)] * count
    slope, *biases = minimize(
        loss_and_slope, np.r_[1.0, np.zeros(count)], jac=True, method="L-BFGS-B", bounds=bounds
    ).x.tolist()
    return SoftmaxProbabilities(names, slope, tuple((np.array(biases) - np.mean(biases)).tolist()))


def proportional_odds(index: NDArray[np.intp], names: tuple[str, ...], score: Floats) -> GradeProbabilities:
    """Proportional-odds regression of the grade on the score [N].

    A slope below 0 becomes 0: the score did not order the training patients, and every patient gets their shares.
    """
    deviation = float(score.std()) or 1.0
    fit = fit_proportional_odds((score / deviation)[:, None], index, len(names), PRIOR)
    if fit.coefficients[0] < 0:
        fit = fit_proportional_odds(np.zeros((len(score), 1)), index, len(names), PRIOR)
    return GradeProbabilities(names, float(fit.coefficients[0]) / deviation, tuple(fit.thresholds.tolist()))


def best_threshold(positive: NDArray[np.bool_], score: Floats) -> float:
    """The score at and above which calling a patient positive gives the best balanced accuracy."""
    false_positive, true_positive, thresholds = roc_curve(positive, score, drop_intermediate=False)
    return float(thresholds[1:][(true_positive - false_positive)[1:].argmax()])


def prognosis(
    time_months: Floats, event: NDArray[np.bool_], log_hazard: Floats, population: Floats | None = None
) -> Prognosis:
    """Cox regression on the log hazard and Breslow's baseline.

    population: log hazards among which a patient has his percentile; None for the same.
    A slope below 0 becomes 0: the score does not predict survival, and every patient gets the survival of the cohort.
    """
    population = log_hazard if population is None else population
    deviation = float(log_hazard.std()) or 1.0
    outcome = Surv.from_arrays(event, time_months)
    standard = (log_hazard / deviation)[:, None]
    fit = CoxPHSurvivalAnalysis(alpha=PRIOR, ties="efron").fit(standard, outcome)
    if fit.coef_[0] < 0:
        fit = CoxPHSurvivalAnalysis(alpha=PRIOR).fit(np.zeros_like(standard), outcome)
    baseline = fit.cum_baseline_hazard_
    deaths = np.diff(baseline.y, prepend=0.0) > 0
    return Prognosis(
        slope=float(fit.coef_[0]) / deviation,
        months=tuple(baseline.x[deaths].tolist()),
        cumulative_hazard=tuple(baseline.y[deaths].tolist()),
        stated_months=tuple(month for month in STATED_MONTHS if (time_months > month).sum() >= LEAST_AT_RISK),
        deviation=float(population.std()) or 1.0,
        quantiles=tuple(np.quantile(population, np.linspace(0, 1, PERCENTS)).tolist()),
    )
