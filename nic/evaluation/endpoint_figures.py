"""The figures of an endpoint by its kind: how each is measured, what it is called, and what its number says.

The first figure of each list decides. What guessing gets and the threshold come from the model's own training; the
follow-up is that of the patients who are measured.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nic.errors import EndpointError
from nic.evaluation import classification, regression, survival
from nic.evaluation.figure import Figure, Folds, Labels

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
BRIER_MONTHS = 40
"""Times over which the Brier score of survival is integrated."""


def deciding_figure(
    kind: Literal["regression", "classification", "multiclass", "ordinal", "survival"],
    labels: Labels,
    score: Floats,
    fold: Folds | None = None,
) -> Figure:
    """The figure by which models of this kind are chosen and promoted. labels: arrays [n]. score: [n]."""
    match kind:
        case "regression":
            return Figure.of("spearman", regression.spearman, labels, score, 0.0, fold=fold)
        case "classification":
            return Figure.of("auc", classification.auc, labels, score, 0.5, fold=fold)
        case "survival":
            return Figure.of("c_index", survival.harrell, labels, score, 0.5, fold=fold)
        case _:
            raise EndpointError(f"no figure decides an endpoint of kind {kind}")


def regression_figures(
    value: Floats, prediction: Floats, guess: float | None, fold: Folds | None = None
) -> list[Figure]:
    """Of predicted values. guess: the median of the training patients' values; None where it is not known."""
    labels, guessing = (value,), None if guess is None else float(np.abs(value - guess).mean())
    return [
        deciding_figure("regression", labels, prediction, fold),
        Figure.of("pearson", regression.pearson, labels, prediction, 0.0, fold=fold),
        Figure.of("mae", regression.mean_absolute_error, labels, prediction, guessing, "lower", fold),
        Figure.of("r2", regression.r2, labels, prediction, 0.0, fold=fold),
    ]


def interval_figures(value: Floats, low: Floats, high: Floats, level: float) -> list[Figure]:
    """Of intervals that should hold `level` of the labels."""
    return [Figure.of("coverage", regression.coverage, (value,), np.stack([low, high], axis=1), level, "target")]


def classification_figures(positive: Bools, score: Floats, threshold: float, fold: Folds | None = None) -> list[Figure]:
    """Of scores that order patients. threshold: of this model, which calls scores from there on positive."""
    labels, called = (positive,), partial(classification.balanced_accuracy, threshold=threshold)
    prevalence = float(positive.mean())
    return [
        deciding_figure("classification", labels, score, fold),
        Figure.of("average_precision", classification.average_precision, labels, score, prevalence, fold=fold),
        Figure.of("balanced_accuracy", called, labels, score, 0.5, fold=fold),
    ]


def probability_figures(positive: Bools, probability: Floats, guess: float | None) -> list[Figure]:
    """Of calibrated probabilities. guess: share of positives in training; None where it is not known."""
    labels, guessing = (positive,), None if guess is None else float(((guess - positive) ** 2).mean())
    in_the_large = classification.calibration_in_the_large
    return [
        Figure.of("brier", classification.brier, labels, probability, guessing, "lower"),
        Figure.of("calibration_in_the_large", in_the_large, labels, probability, 0.0, "target"),
        Figure.of("calibration_slope", classification.calibration_slope, labels, probability, 1.0, "target"),
    ]


def survival_figures(
    labels: tuple[Floats, Bools], log_hazard: Floats, months: Sequence[float] = (), fold: Folds | None = None
) -> list[Figure]:
    """Of log hazards that order patients. labels: (time_months, event). months: of the AUC of death."""
    auc_at = {month: partial(survival.auc_at, month=month) for month in months}
    return [
        deciding_figure("survival", labels, log_hazard, fold),
        Figure.of("uno_c", survival.uno, labels, log_hazard, 0.5, fold=fold),
        *(Figure.of(f"auc_{month:g}m", auc, labels, log_hazard, 0.5, fold=fold) for month, auc in auc_at.items()),
    ]


def prognosis_figures(
    labels: tuple[Floats, Bools], survival_at: Callable[[Floats], Floats], months: Sequence[float] = ()
) -> list[Figure]:
    """Of survival probabilities.

    survival_at: months [T] -> [n, T]. months: at which predicted and observed survival are compared. The Brier score is
    integrated up to the month that a fifth of the patients were followed to. Guessing gives everybody these patients'
    own Kaplan-Meier curve, which is more than a model could know before.
    """
    times = np.linspace(0, _last_judged(labels[0]), BRIER_MONTHS + 1)[1:]
    brier = partial(survival.integrated_brier, months=times)
    curve = np.tile(survival.kaplan_meier(*labels, times), (len(labels[0]), 1))
    guessing = float(brier(*labels, curve, np.ones((1, len(curve))))[0])
    calibration = [
        Figure.of(
            f"calibration_{month:g}m",
            partial(survival.calibration_at, month=month),
            labels,
            survival_at(np.array([month]))[:, 0],
            0.0,
            "target",
        )
        for month in months
    ]
    return [Figure.of("integrated_brier", brier, labels, survival_at(times), guessing, "lower"), *calibration]


def _last_judged(time_months: Floats) -> float:
    """The month that a fifth of the patients were followed to, but one beyond which somebody was followed."""
    earlier = time_months[time_months < time_months.max()]
    return float(min(np.quantile(time_months, 0.8), earlier.max() if len(earlier) else np.inf))


WORDS = {
    "spearman": ("Spearman's rank correlation", "1: answers order patients as their labels do; 0: not at all"),
    "pearson": ("Pearson's correlation", "1: answers and labels lie on one rising line; 0: no linear relation"),
    "mae": ("Mean absolute error", "in the label's unit"),
    "r2": ("R², variance explained", "1: all of it; 0 or less: no better than predicting the mean for everybody"),
    "coverage": ("Coverage of the intervals", "share of labels that lie inside the interval of their answer"),
    "auc": ("AUC, area under the ROC curve", "chance that a positive patient scores above a negative one"),
    "average_precision": ("Average precision", "precision over all thresholds; guessing gets the share of positives"),
    "balanced_accuracy": ("Balanced accuracy", "mean of sensitivity and specificity at the training threshold"),
    "brier": ("Brier score", "mean squared error of the probability; 0 is perfect"),
    "calibration_in_the_large": ("Calibration in the large", "mean probability minus share of positives; 0 is right"),
    "calibration_slope": ("Calibration slope", "below 1: probabilities too extreme; above 1: too moderate"),
    "c_index": ("Harrell's C-index", "chance that, of two patients, the one with the higher hazard dies earlier"),
    "uno_c": ("Uno's C-index", "Harrell's C-index, corrected for the censoring of these patients"),
    "integrated_brier": (
        "Integrated Brier score",
        "mean squared error of survival probabilities over time; 0 is perfect",
    ),
    "log_rank_z": ("Log-rank z", "high against low risk; beyond 1.96 the curves differ at p < 0.05"),
    "hazard_ratio_high_risk": ("Hazard ratio, high against low risk", "how many times as fast the high group dies"),
    "hazard_ratio_per_deviation": ("Hazard ratio per standard deviation", "of the model's log hazard"),
    "hazard_ratio_adjusted": ("Hazard ratio, adjusted", "per standard deviation, adjusted for the study's covariates"),
}
"""By the stored name: what people call the figure, and what its number says."""
WORDS_AT_A_MONTH = {
    "auc": ("AUC of death by month {}", "chance that a patient who died by then scores above one still alive"),
    "calibration": ("Calibration at month {}", "mean predicted survival minus observed survival; 0 is right"),
}


def title_of(figure: str) -> str:
    """What people call the figure."""
    return _words_of(figure)[0]


def meaning_of(figure: str) -> str:
    """What its number says; empty where the figure has no words."""
    meaning = _words_of(figure)[1]
    return meaning[:1].upper() + meaning[1:]


def _words_of(figure: str) -> tuple[str, str]:
    if (at_month := re.fullmatch(r"(auc|calibration)_([\d.]+)m", figure)) is not None:
        title, meaning = WORDS_AT_A_MONTH[at_month[1]]
        return title.format(at_month[2]), meaning
    return WORDS.get(figure, (figure.replace("_", " "), ""))
