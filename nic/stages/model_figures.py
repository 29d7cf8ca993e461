"""All figures of a registered model on the patients of one part of a cohort."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.errors import EndpointError
from nic.evaluation.cox import hazard_estimates
from nic.evaluation.endpoint_figures import (
    class_figures,
    classification_figures,
    grade_figures,
    interval_figures,
    multiclass_figures,
    ordinal_figures,
    probability_figures,
    prognosis_figures,
    regression_figures,
    survival_figures,
)
from nic.evaluation.figure import Estimate, Figure, differences, estimate
from nic.patients.calibration import (
    GradeProbabilities,
    IsotonicProbability,
    PlattProbability,
    Prognosis,
    ResidualInterval,
    SoftmaxProbabilities,
)
from nic.patients.cohort import Labelled
from nic.patients.covariates import covariates_of
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import PatientPrediction, stacked_scores
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values

Floats = NDArray[np.float64]


def model_estimates(
    labelled: Labelled,
    answers: Sequence[PatientPrediction],
    spec: PatientModelSpec,
    covariates: Sequence[str],
    seed: int,
) -> list[Estimate]:
    """Estimates of the deciding figure and of all others; NaN where one of the others is not defined.

    answers: of the labelled patients, in their order. covariates: columns of the cohort's table that a hazard ratio is
    adjusted for. Raises EndpointError when the deciding figure is not defined.
    """
    estimates = estimate_each(model_figures(labelled.targets, answers, spec), seed)
    if isinstance(labelled.targets, Survival) and isinstance(spec.calibration, Prognosis):
        known = covariates_of(labelled.patients, covariates)
        scores = np.array([answer.score for answer in answers])
        estimates += hazard_estimates(
            labelled.targets.arrays, scores, spec.median, spec.calibration.deviation, known.values
        )
    return estimates


def estimate_each(figures: Sequence[Figure], seed: int) -> list[Estimate]:
    """One a figure. Raises EndpointError when the first, which decides, is not defined."""
    deciding, *others = figures
    return [estimate(deciding, seed=seed).required(), *(estimate(figure, seed=seed) for figure in others)]


def model_figures(targets: Targets, answers: Sequence[PatientPrediction], spec: PatientModelSpec) -> list[Figure]:
    """The figures of the scores and, where the model is calibrated, of the calibrated answers.

    Raises EndpointError when the labels are of another kind than the model's endpoint.
    """
    scores = stacked_scores(answers)
    predictions = np.array([answer.prediction for answer in answers])
    calibrated = calibrated_columns(answers)
    match targets, spec.kind, spec.calibration:
        case Values(value), "regression", None:
            return regression_figures(value, scores, spec.guess)
        case Values(value), "regression", ResidualInterval(level):
            intervals = interval_figures(value, calibrated["low"], calibrated["high"], level)
            return [*regression_figures(value, scores, spec.guess), *intervals]
        case Classes(positive, _), "classification", None:
            return classification_figures(positive, scores, 0.0)
        case Classes(positive, _), "classification", PlattProbability() | IsotonicProbability() as calibration:
            probabilities = probability_figures(positive, predictions, spec.guess)
            return [*classification_figures(positive, scores, calibration.threshold), *probabilities]
        case Categories(index, names), "multiclass", SoftmaxProbabilities():
            of_classes = class_figures(
                index, probabilities_of(answers, names), called_of(answers, names), names, spec.shares
            )
            return [*multiclass_figures(index, scores, names), *of_classes]
        case Grades(index, names), "ordinal", GradeProbabilities():
            of_grades = grade_figures(
                index, probabilities_of(answers, names), called_of(answers, names), names, spec.shares
            )
            return [*ordinal_figures(index, scores), *of_grades]
        case Survival(), "survival", None:
            return survival_figures(targets.arrays, scores)
        case Survival(), "survival", Prognosis(stated_months=months) as calibration:
            prognoses = prognosis_figures(targets.arrays, lambda at: calibration.survival(scores, at), months)
            return [*survival_figures(targets.arrays, scores, months), *prognoses]
    raise EndpointError(f"model {spec.endpoint} is of {spec.kind}, the labels are {type(targets).__name__}")


def comparison_table(first: Sequence[Figure], second: Sequence[Figure], seed: int) -> pd.DataFrame:
    """One row a figure: both models with their intervals, and their paired difference, first minus second."""
    model, other = ({f.name: str(estimate(f, seed=seed)) for f in figures} for figures in (first, second))
    rows = [
        {
            "figure": d.name,
            "model": model[d.name],
            "other": other[d.name],
            "difference": d.value,
            "low": d.low,
            "high": d.high,
            "better": d.direction,
            "n": d.n,
        }
        for d in differences(first, second, seed=seed)
    ]
    return pd.DataFrame(rows)


def calibrated_columns(answers: Sequence[PatientPrediction]) -> dict[str, Floats]:
    """The calibrated answers by name, arrays [N]; empty where the model is not calibrated."""
    names = answers[0].calibrated if answers else ()
    return {name: np.array([answer.calibrated[name] for answer in answers]) for name in names}


def probabilities_of(answers: Sequence[PatientPrediction], names: Sequence[str]) -> Floats:
    """The calibrated probability of each of several classes or grades, [N, K]."""
    return np.array([[answer.calibrated[f"probability_{name}"] for name in names] for answer in answers])


def called_of(answers: Sequence[PatientPrediction], names: Sequence[str]) -> NDArray[np.intp]:
    """The place of the called one among several classes or grades, [N]."""
    return np.array([names.index(answer.class_name) for answer in answers], np.intp)
