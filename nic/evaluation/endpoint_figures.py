"""All figures of an endpoint: which metrics, of which answers, against which labels.

The first of each list is the figure that decides. A measure is closed over what its own model brings of its training:
the threshold, and what guessing says. What patients were followed for is that of the patients who are measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nic.evaluation import classification, cox, regression, survival
from nic.evaluation.figure import METRICS, RESAMPLES, Estimate, Labels, Metric, estimate_or_nan

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
BRIER_MONTHS = 40
"""Times over which the Brier score of survival is integrated."""


@dataclass(frozen=True)
class Measure:
    """A metric of some answers. labels: arrays [n]. score: [n, ...], as the metric takes it."""

    metric: Metric
    labels: Labels
    score: Floats


def estimates_of(
    measures: Sequence[Measure],
    *,
    seed: int,
    fold: NDArray[np.intp] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> list[Estimate]:
    """Each measure with its bootstrap interval; NaN where one is not defined of these patients."""
    options = {"seed": seed, "fold": fold, "resamples": resamples, "level": level}
    return [estimate_or_nan(m.metric, m.labels, m.score, **options) for m in measures]  # type: ignore[arg-type]


def regression_measures(value: Floats, prediction: Floats, guess: float | None) -> list[Measure]:
    """Figures of predicted values. guess: the median of the training patients' values; None where it is not known."""
    by_guessing = None if guess is None else float(np.abs(value - guess).mean())
    metrics = (
        METRICS["regression"],
        Metric("pearson", regression.pearson, 0.0),
        Metric("mae", regression.mean_absolute_error, by_guessing, "lower"),
        Metric("r2", regression.r2, 0.0),
    )
    return [Measure(metric, (value,), prediction) for metric in metrics]


def interval_measures(value: Floats, low: Floats, high: Floats, level: float) -> list[Measure]:
    """Figures of intervals that promise to hold `level` of the labels."""
    return [Measure(Metric("coverage", regression.coverage, level, "target"), (value,), np.stack([low, high], axis=1))]


def classification_measures(positive: Bools, score: Floats, threshold: float) -> list[Measure]:
    """Figures of scores that order patients. threshold: the model's own, at and above which it calls positive."""
    metrics = (
        METRICS["classification"],
        Metric("average_precision", classification.average_precision, float(positive.mean())),
        Metric("balanced_accuracy", partial(classification.balanced_accuracy, threshold=threshold), 0.5),
    )
    return [Measure(metric, (positive,), score) for metric in metrics]


def probability_measures(positive: Bools, probability: Floats, guess: float | None) -> list[Measure]:
    """Figures of calibrated probabilities. guess: share of positives in training; None where it is not known."""
    by_guessing = None if guess is None else float(((guess - positive) ** 2).mean())
    metrics = (
        Metric("brier", classification.brier, by_guessing, "lower"),
        Metric("calibration_in_the_large", classification.calibration_in_the_large, 0.0, "target"),
        Metric("calibration_slope", classification.calibration_slope, 1.0, "target"),
    )
    return [Measure(metric, (positive,), probability) for metric in metrics]


def survival_measures(labels: tuple[Floats, Bools], log_hazard: Floats, months: Sequence[float] = ()) -> list[Measure]:
    """Figures of log hazards that order patients. labels: (time_months, event). months: of the AUC of death."""
    metrics = (
        METRICS["survival"],
        Metric("uno_c", survival.uno, 0.5),
        *(Metric(f"auc_{month:g}m", partial(survival.auc_at, month=month), 0.5) for month in months),
    )
    return [Measure(metric, labels, log_hazard) for metric in metrics]


def prognosis_measures(
    labels: tuple[Floats, Bools], survival_at: Callable[[Floats], Floats], months: Sequence[float] = ()
) -> list[Measure]:
    """Figures of survival probabilities.

    survival_at: months [T] -> [n, T]. months: at which promised and seen survival are compared. The Brier score is
    integrated up to the month that a fifth of the patients were followed to; guessing gives everybody these patients'
    own Kaplan-Meier curve, which is more than a model could know before.
    """
    grid = np.linspace(0, _last_judged(labels[0]), BRIER_MONTHS + 1)[1:]
    brier = partial(survival.integrated_brier, months=grid)
    curve = np.tile(survival.kaplan_meier(*labels, grid), (len(labels[0]), 1))
    by_guessing = float(brier(*labels, curve, np.ones((1, len(curve))))[0])
    stated = [
        Measure(
            Metric(f"calibration_{month:g}m", partial(survival.calibration_at, month=month), 0.0, "target"),
            labels,
            survival_at(np.array([month]))[:, 0],
        )
        for month in months
    ]
    return [Measure(Metric("integrated_brier", brier, by_guessing, "lower"), labels, survival_at(grid)), *stated]


def _last_judged(time_months: Floats) -> float:
    """The month that a fifth of the patients were followed to, but one beyond which somebody was followed."""
    earlier = time_months[time_months < time_months.max()]
    return float(min(np.quantile(time_months, 0.8), earlier.max() if len(earlier) else np.inf))


def hazard_estimates(
    labels: tuple[Floats, Bools],
    log_hazard: Floats,
    median: float,
    deviation: float,
    covariates: Floats | None = None,
    level: float = 0.95,
) -> list[Estimate]:
    """Risk groups and hazard ratios, with the intervals of their theory.

    median, deviation: of the training patients' log hazards; where groups part, and the unit of the ratios. covariates:
    [n, p] what is known of the patients beside the score, NaN where it is not; those patients are left out of the
    adjusted ratio.
    """
    high, risk = log_hazard > median, log_hazard / deviation
    found = [
        cox.log_rank(*labels, high, level),
        cox.hazard_ratio("hazard_ratio_high_risk", *labels, high[:, None], level),
        cox.hazard_ratio("hazard_ratio_per_deviation", *labels, risk[:, None], level),
    ]
    if covariates is None or not covariates.shape[1]:
        return found
    known, (time_months, event) = np.isfinite(covariates).all(1), labels
    design = np.column_stack([risk, covariates])[known]
    return [*found, cox.hazard_ratio("hazard_ratio_adjusted", time_months[known], event[known], design, level)]
