"""All figures of a registered model on the patients of one part of a cohort."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.errors import EndpointError
from nic.evaluation.comparison import differences
from nic.evaluation.endpoint_figures import (
    Measure,
    classification_measures,
    estimates_of,
    hazard_estimates,
    interval_measures,
    probability_measures,
    prognosis_measures,
    regression_measures,
    survival_measures,
)
from nic.evaluation.figure import Estimate, estimate
from nic.patients.calibration import IsotonicProbability, PlattProbability, Prognosis, ResidualInterval
from nic.patients.cohort import Labelled
from nic.patients.covariates import covariates_of
from nic.patients.predictor import PatientPrediction
from nic.patients.spec import PatientModelSpec
from nic.patients.targets import Classes, Survival, Targets, Values

Floats = NDArray[np.float64]


def measured(
    labelled: Labelled,
    answers: Sequence[PatientPrediction],
    spec: PatientModelSpec,
    covariates: Sequence[str],
    seed: int,
) -> list[Estimate]:
    """The figure that decides, and all others; NaN where one of the others is not defined.

    answers: of the labelled patients, in their order. covariates: columns of the cohort's table that a hazard ratio is
    adjusted for. Raises EndpointError when the first is not defined.
    """
    measures = measures_of(labelled.targets, answers, spec)
    first = measures[0]
    found = [
        estimate(first.metric, first.labels, first.score, seed=seed),
        *estimates_of(measures[1:], seed=seed),
    ]
    if isinstance(labelled.targets, Survival) and isinstance(spec.calibration, Prognosis):
        known = covariates_of(labelled.patients, covariates)
        scores = np.array([answer.score for answer in answers])
        found += hazard_estimates(
            labelled.targets.arrays, scores, spec.median, spec.calibration.deviation, known.values
        )
    return found


def measures_of(targets: Targets, answers: Sequence[PatientPrediction], spec: PatientModelSpec) -> list[Measure]:
    """What is measured of answers: how they order patients, and what they promise where the model is calibrated.

    What the figures need of the training, the spec holds. Raises EndpointError when the labels are of another kind than
    the model answers.
    """
    scores = np.array([answer.score for answer in answers])
    predictions = np.array([answer.prediction for answer in answers])
    promised = calibrated_columns(answers)
    match targets, spec.kind, spec.calibration:
        case Values(value), "regression", None:
            return regression_measures(value, scores, spec.guess)
        case Values(value), "regression", ResidualInterval(level):
            intervals = interval_measures(value, promised["low"], promised["high"], level)
            return [*regression_measures(value, scores, spec.guess), *intervals]
        case Classes(positive, _), "classification", None:
            return classification_measures(positive, scores, 0.0)
        case Classes(positive, _), "classification", PlattProbability() | IsotonicProbability() as calibration:
            probabilities = probability_measures(positive, predictions, spec.guess)
            return [*classification_measures(positive, scores, calibration.threshold), *probabilities]
        case Survival(), "survival", None:
            return survival_measures(targets.arrays, scores)
        case Survival(), "survival", Prognosis(stated_months=months) as calibration:
            prognoses = prognosis_measures(targets.arrays, lambda at: calibration.survival(scores, at), months)
            return [*survival_measures(targets.arrays, scores, months), *prognoses]
    raise EndpointError(f"model {spec.endpoint} is of {spec.kind}, the labels are {type(targets).__name__}")


def comparison_table(first: Sequence[Measure], second: Sequence[Measure], seed: int) -> pd.DataFrame:
    """One row a figure: that of either model with its interval, and their paired difference, first less second."""
    found = [{e.name: str(e) for e in estimates_of(measures, seed=seed)} for measures in (first, second)]
    rows = [
        {
            "figure": d.name,
            "model": found[0][d.name],
            "other": found[1][d.name],
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
    """What calibrated answers say, one array [N] a name; nothing where the model is not calibrated."""
    names = answers[0].calibrated if answers else ()
    return {name: np.array([answer.calibrated[name] for answer in answers]) for name in names}
