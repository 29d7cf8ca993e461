"""The figures of an endpoint by its kind, and how each is measured. nic.evaluation.figure_words has their names.

The first figure of each list decides. What guessing gets and the threshold come from the model's own training; the
follow-up is that of the patients who are measured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nic.evaluation import classification, multiclass, ordinal, regression, survival
from nic.evaluation.figure import Figure, Folds, Labels
from nic.evaluation.figure_words import slugs

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Index = NDArray[np.intp]
BRIER_MONTHS = 40
"""Times over which the Brier score of survival is integrated."""


def deciding_figure(
    kind: Literal["regression", "classification", "multiclass", "ordinal", "survival"],
    labels: Labels,
    score: Floats,
    fold: Folds | None = None,
) -> Figure:
    """The figure by which models of this kind are chosen and promoted. labels: arrays [n]. score: [n]; several classes
    [n, K].

    Grades have the C-index, not the kappa that pathologists know. The C-index needs scores alone, so it is defined
    before a model is calibrated and in folds whose thresholds differ; it does not change with the mix of grades; and it
    is steadier: of two models that differ, 64 patients show the better one in 72 of 100 simulated cohorts, by kappa in
    61. Kappa is measured beside it, and a gate can bound it.
    """
    match kind:
        case "regression":
            return Figure.of("spearman", regression.spearman, labels, score, 0.0, fold=fold)
        case "classification":
            return Figure.of("auc", classification.auc, labels, score, 0.5, fold=fold)
        case "multiclass":
            return Figure.of("macro_auc", multiclass.macro_auc, labels, score, 0.5, fold=fold)
        case "ordinal":
            return Figure.of("grade_c_index", ordinal.concordance, labels, score, 0.5, fold=fold)
        case "survival":
            return Figure.of("c_index", survival.harrell, labels, score, 0.5, fold=fold)


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


def multiclass_figures(index: Index, logits: Floats, names: Sequence[str], fold: Folds | None = None) -> list[Figure]:
    """Of class scores that order patients. index: [n], the class. logits: [n, K]."""
    labels = (index,)
    auc_of = {slug: partial(multiclass.auc_of, label=label) for label, slug in enumerate(slugs(names))}
    return [
        deciding_figure("multiclass", labels, logits, fold),
        *(Figure.of(f"auc_of_{slug}", auc, labels, logits, 0.5, fold=fold) for slug, auc in auc_of.items()),
    ]


def class_figures(
    index: Index, probability: Floats, called: Index, names: Sequence[str], shares: Sequence[float]
) -> list[Figure]:
    """Of calibrated probabilities [n, K] and of the called class [n]. shares: of the training patients, by class.

    Guessing gives every patient these shares as probabilities.
    """
    labels, guess, everybody = (index,), np.tile(shares, (len(index), 1)), np.ones((1, len(index)))
    losses = {"multiclass_brier": multiclass.brier, "log_loss": multiclass.log_loss}
    events = {slug: (index == label, probability[:, label]) for label, slug in enumerate(slugs(names))}
    return [
        *_recalls(index, called, names),
        *(
            Figure.of(name, loss, labels, probability, float(loss(index, guess, everybody)[0]), "lower")
            for name, loss in losses.items()
        ),
        *_calibrations(events),
    ]


def ordinal_figures(index: Index, score: Floats, fold: Folds | None = None) -> list[Figure]:
    """Of scores that order patients by grade. index: [n], the grade from 0 on. score: [n]."""
    return [
        deciding_figure("ordinal", (index,), score, fold),
        Figure.of("spearman", regression.spearman, (index,), score, 0.0, fold=fold),
    ]


def grade_figures(
    index: Index, probability: Floats, called: Index, names: Sequence[str], shares: Sequence[float]
) -> list[Figure]:
    """Of calibrated probabilities [n, K] and of the called grade [n]. shares: of the training patients, by grade.

    Guessing calls every patient the median grade of the training patients, and gives these shares as probabilities.
    """
    labels, everybody = (index,), np.ones((1, len(index)))
    guess, median = np.tile(shares, (len(index), 1)), int(np.searchsorted(np.cumsum(shares), 0.5))
    by_shares = float(ordinal.ranked_probability_score(index, guess, everybody)[0])
    by_median, score = float(np.abs(index - median).mean()), ordinal.ranked_probability_score
    events = {
        f"at_least_{slug}": (index >= grade, ordinal.at_least(probability)[:, grade - 1])
        for grade, slug in enumerate(slugs(names))
        if grade > 0
    }
    return [
        Figure.of("quadratic_kappa", ordinal.quadratic_kappa, labels, called, 0.0),
        Figure.of("grade_error", ordinal.grade_error, labels, called, by_median, "lower"),
        *_recalls(index, called, names),
        Figure.of("ranked_probability_score", score, labels, probability, by_shares, "lower"),
        *_calibrations(events),
    ]


def _recalls(index: Index, called: Index, names: Sequence[str]) -> list[Figure]:
    """The share of each class's patients who are called it, and the mean of these shares first.

    Guessing as often as the model calls a class gets that share of its patients.
    """
    classes = len(names)
    balanced = partial(multiclass.balanced_accuracy, classes=classes)
    figures = [Figure.of("balanced_accuracy", balanced, (index,), called, 1 / classes)]
    for label, slug in enumerate(slugs(names)):
        recall, share = partial(multiclass.recall_of, label=label), float((called == label).mean())
        figures.append(Figure.of(f"recall_of_{slug}", recall, (index,), called, share))
    return figures


def _calibrations(events: Mapping[str, tuple[Bools, Floats]]) -> Iterator[Figure]:
    """By name whether each patient has the event, [n], and its probability, [n]."""
    for name, (happened, probability) in events.items():
        labels, in_the_large = (happened,), classification.calibration_in_the_large
        yield Figure.of(f"calibration_of_{name}", in_the_large, labels, probability, 0.0, "target")
    for name, (happened, probability) in events.items():
        slope = classification.calibration_slope
        yield Figure.of(f"calibration_slope_of_{name}", slope, (happened,), probability, 1.0, "target")


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
