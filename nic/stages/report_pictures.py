"""Predictions of a cohort's patients as the table and the picture that both training and evaluation log."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nic.evaluation import plots
from nic.evaluation.figure import Estimate
from nic.patients.cohort import Labelled
from nic.patients.out_of_fold import OutOfFold
from nic.patients.spec import PatientModelSpec
from nic.patients.targets import Classes, Survival, Targets, Values

Floats = NDArray[np.float64]


def table_of(labelled: Labelled, score: Floats, prediction: Floats) -> pd.DataFrame:
    """One row a patient: site, labels, score and prediction."""
    match labelled.targets:
        case Values(value):
            labels: dict[str, Any] = {"label": value}
        case Classes(positive, _):
            labels = {"label": positive.astype(int)}
        case Survival(time_months, event):
            labels = {"time_months": time_months, "event": event.astype(int)}
    patients = {"patient": [p.patient_id for p in labelled.patients], "site": [p.site for p in labelled.patients]}
    return pd.DataFrame({**patients, **labels, "score": score, "prediction": prediction})


def cross_validated_table(labelled: Labelled, out_of_fold: OutOfFold, spec: PatientModelSpec) -> pd.DataFrame:
    """One row a training patient: as `table_of`, of networks that never saw him, and `score_as_ensemble`.

    A class has the probability of the score that the ensemble is expected to give, for which the probability is
    calibrated. score_as_ensemble: with the spread that the ensemble's scores have, to be compared with those.
    """
    scores = out_of_fold.mean_score
    predictions = spec.predictions(out_of_fold.expected) if spec.kind == "classification" else scores
    return table_of(labelled, scores, predictions).assign(score_as_ensemble=out_of_fold.as_ensemble)


def figure_of(targets: Targets, score: Floats, estimate: Estimate, title: str, median: float | None = None) -> Figure:
    """Scatter, ROC or Kaplan-Meier. median: of the training patients, where risk groups part; else of these."""
    match targets:
        case Values(value):
            return plots.scatter(value, score, estimate, title)
        case Classes(positive, _):
            return plots.roc(positive, score, estimate, title)
        case Survival(months, event):
            threshold = float(np.median(score)) if median is None else median
            return plots.kaplan_meier(months, event, score, threshold, estimate, title)
