"""Cross-validation of a registered model: each training patient is answered by networks that never saw that patient.

A study without external patients is measured in this way. nic.patients.out_of_fold makes the scores comparable.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import EmptyCohort, RegistryError
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
from nic.evaluation.figure import Estimate, Figure
from nic.patients.calibration import (
    Calibration,
    GradeProbabilities,
    IsotonicProbability,
    PlattProbability,
    Prognosis,
    ResidualInterval,
    SoftmaxProbabilities,
    most_probable,
    scores_of_classes,
)
from nic.patients.calibration_fit import fit_by_fold
from nic.patients.cohort import Labelled, Patient
from nic.patients.covariates import covariates_of
from nic.patients.model_spec import PatientModelSpec
from nic.patients.out_of_fold import OutOfFold
from nic.patients.predictor import PatientModel, PatientPrediction, answered, score_map, stacked_scores
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values, label_columns
from nic.stages.model_figures import calibrated_columns, called_of, estimate_each, probabilities_of
from nic.tracking.recorded_estimates import artifact_text
from nic.tracking.registry import RegisteredVersion
from nic.tracking.training_data import PATIENTS_FILE

CROSS_VALIDATED = "cross_validated"
"""The name of this part of a cohort in the names of figures, such as cross_validated.auc."""
MANY = SoftmaxProbabilities | GradeProbabilities
"""Calibrations of several classes or grades."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CrossValidated:
    """Answers of N training patients by networks that never saw them.

    answered: [M] of the patients of the table, N of them true. fold: [N], of the first partition, by which scores are
    compared. by_fold: a calibration for each fold, fitted on the patients of the others. expected: [N], or of several
    classes [N, C], the scores without the networks' levels, on which calibrations are fitted.
    """

    answered: NDArray[np.bool_]
    answers: Sequence[PatientPrediction]
    fold: NDArray[np.intp]
    by_fold: Sequence[Calibration]
    expected: Floats


@dataclass(frozen=True)
class _Scored:
    """One patient before calibration.

    scores: of each network [K], or of several classes [K, C]. score_maps: of the networks that never saw the patient.
    """

    scores: Floats
    score_maps: tuple[NDArray[np.float32], ...]
    tiles: int
    codes_differ: tuple[str, ...]


def cross_validated(version: RegisteredVersion, model: PatientModel, labelled: Labelled, codes: Path) -> CrossValidated:
    """The answers for the labelled patients who have a fold and codes.

    Raises RegistryError when the folds of the training are gone, EmptyCohort when there is no such patient.
    """
    folds, known = folds_of_training(version, [patient.patient_id for patient in labelled.patients])
    networks = _networks(folds)
    every = [
        _scored(model, patient, networks[:, i], codes) if known[i] else None
        for i, patient in enumerate(tqdm(labelled.patients, desc="cross-validated", unit="patient"))
    ]
    answered = np.array([patient is not None for patient in every])
    if not answered.any():
        raise EmptyCohort(f"{version.uri}: no training patient of this table has a fold and codes in {codes}")
    scored = [patient for patient in every if patient is not None]
    out_of_fold = _out_of_fold(scored, folds[:, answered], networks[:, answered])
    fold = folds[0, answered]
    calibrated = model.spec.calibration is not None
    by_fold = fit_by_fold(labelled.targets.take(answered), out_of_fold, fold) if calibrated else []
    own = [by_fold[number] if by_fold else None for number in fold]
    rows = zip(scored, out_of_fold.score.swapaxes(0, 1), out_of_fold.expected, own, strict=True)
    answers = [_answer(patient, model.spec, *of_patient) for patient, *of_patient in rows]
    return CrossValidated(answered, answers, fold, by_fold, out_of_fold.expected)


def folds_of_training(
    version: RegisteredVersion, patients: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The fold of each patient in each partition of the training, [R, M], and whether they were trained on, [M].

    Raises RegistryError when the run that trained the version is gone.
    """
    text = artifact_text(version.run_id, PATIENTS_FILE)
    if text is None:
        raise RegistryError(f"{version.uri}: the run that trained it, or its {PATIENTS_FILE}, is gone; train it again")
    table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False).set_index("patient")
    columns = [name for name in map(str, table) if re.fullmatch(r"fold(_\d+)?", name)]
    known = np.array([patient in table.index for patient in patients], bool)
    folds = table.reindex(pd.Index(patients), fill_value="0")[columns]
    return folds.to_numpy(str).astype(np.intp).T, known


def _networks(folds: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which networks of the ensemble never saw each patient, [R, M]. The networks are in the order of partitions."""
    sizes = folds.max(axis=1) + 1
    return np.asarray(folds + (np.cumsum(sizes) - sizes)[:, None])


def _scored(model: PatientModel, patient: Patient, networks: NDArray[np.intp], codes: Path) -> _Scored | None:
    """None for a patient without a file of codes. Raises ForeignCodes."""
    files = [codes / f"{slide.slide_id}.h5" for slide in patient.slides]
    slides = [CompressedSlide.load(file) for file in files if file.is_file()]
    differ = {name for slide in slides for name in model.check(slide)}
    slide_scores = [model.scored(slide, networks) for slide in slides]
    tiles = sum(slide.tiles for slide in slide_scores)
    if not tiles:
        return None
    scores = np.sum([slide.sums for slide in slide_scores], axis=0) / tiles
    return _Scored(scores, tuple(map(score_map, slides, slide_scores)), tiles, tuple(sorted(differ)))


def _out_of_fold(patients: Sequence[_Scored], folds: NDArray[np.intp], networks: NDArray[np.intp]) -> OutOfFold:
    scores = np.stack([patient.scores for patient in patients], axis=1)  # [K of all partitions, N], or [..., N, C]
    sizes = np.diff(np.r_[networks.min(axis=1) - folds.min(axis=1), len(scores)])
    parts = np.split(scores, np.cumsum(sizes)[:-1])
    return OutOfFold(scores[networks, np.arange(len(patients))], folds, tuple(parts))


def _answer(
    patient: _Scored, spec: PatientModelSpec, scores: Floats, expected: Floats, calibration: Calibration | None
) -> PatientPrediction:
    """scores: [R], or of several classes [R, C], of the networks that never saw the patient. calibration: fitted on the
    patients of other folds."""
    score = np.asarray(scores.mean(0))
    if isinstance(calibration, Prognosis):
        calibration = replace(calibration, stated_months=_stated_months(spec))
    own = replace(spec, calibration=calibration)
    calibrated_by = score if spec.kind == "regression" else np.asarray(expected)
    deviation = own.deviation(scores) if isinstance(calibration, MANY) else float(scores.std())
    return answered(own, score, calibrated_by, deviation, patient.score_maps, patient.tiles, patient.codes_differ)


def _stated_months(spec: PatientModelSpec) -> tuple[float, ...]:
    return spec.calibration.stated_months if isinstance(spec.calibration, Prognosis) else ()


def cross_validated_estimates(
    labelled: Labelled, of: CrossValidated, spec: PatientModelSpec, covariates: Sequence[str], seed: int
) -> list[Estimate]:
    """As `model_estimates`; figures of scores are taken fold by fold, figures of calibrated answers over all patients.

    Raises EndpointError when the deciding figure is not defined.
    """
    estimates = estimate_each(cross_validated_figures(labelled.targets, of, spec), seed)
    if isinstance(labelled.targets, Survival) and isinstance(spec.calibration, Prognosis):
        known = covariates_of(labelled.patients, covariates).values
        median, deviation = float(np.median(of.expected)), float(of.expected.std()) or 1.0
        estimates += hazard_estimates(labelled.targets.arrays, of.expected, median, deviation, known)
    return estimates


def cross_validated_figures(targets: Targets, of: CrossValidated, spec: PatientModelSpec) -> list[Figure]:
    """The figures of the scores, by fold, and of the calibrated answers."""
    scores = stacked_scores(of.answers)
    predictions = np.array([answer.prediction for answer in of.answers])
    calibrated = calibrated_columns(of.answers)
    match targets:
        case Values(value):
            level = spec.calibration.level if isinstance(spec.calibration, ResidualInterval) else 0.0
            intervals = interval_figures(value, calibrated["low"], calibrated["high"], level) if of.by_fold else []
            return [*regression_figures(value, scores, spec.guess, of.fold), *intervals]
        case Classes(positive, _):
            thresholds = np.array(
                [c.threshold for c in of.by_fold if isinstance(c, PlattProbability | IsotonicProbability)]
            )
            above = of.expected - thresholds[of.fold] if len(thresholds) else scores
            probabilities = probability_figures(positive, predictions, spec.guess) if of.by_fold else []
            return [*classification_figures(positive, above, 0.0, of.fold), *probabilities]
        case Categories(index, names):
            answers = probabilities_of(of.answers, names), called_of(of.answers, names)
            return [
                *multiclass_figures(index, scores, names, of.fold),
                *class_figures(index, *answers, names, spec.shares),
            ]
        case Grades(index, names):
            answers = probabilities_of(of.answers, names), called_of(of.answers, names)
            return [*ordinal_figures(index, scores, of.fold), *grade_figures(index, *answers, names, spec.shares)]
        case Survival():
            labels, months = targets.arrays, _stated_months(spec)

            def survival_at(at: Floats) -> Floats:
                alive = np.empty((len(of.expected), len(at)))
                for number, calibration in enumerate(of.by_fold):
                    if isinstance(calibration, Prognosis):
                        alive[of.fold == number] = calibration.survival(of.expected[of.fold == number], at)
                return alive

            prognoses = prognosis_figures(labels, survival_at, months) if of.by_fold else []
            return [*survival_figures(labels, scores, months, of.fold), *prognoses]


def cross_validated_table(labelled: Labelled, out_of_fold: OutOfFold, spec: PatientModelSpec) -> pd.DataFrame:
    """One row a training patient: site, labels, score and prediction by networks that never saw them.

    prediction: of a class, the probability for the score that the ensemble is expected to give. score_as_ensemble: with
    the spread of the ensemble's scores, for comparison with served scores. Of several classes or grades also the class
    that is answered and the probability of each. Of several classes, the two scores are those of that class.
    """
    patients = {"patient": [p.patient_id for p in labelled.patients], "site": [p.site for p in labelled.patients]}
    score, as_ensemble, expected = out_of_fold.mean_score, out_of_fold.as_ensemble, out_of_fold.expected
    prediction = spec.predictions(expected) if spec.classes else score
    of_classes: dict[str, Any] = {}
    if isinstance(spec.calibration, MANY):
        probabilities = spec.calibration.probabilities(expected)
        places = most_probable(probabilities)
        of_classes = {"class": np.array(spec.classes)[places], **dict(zip(spec.answers, probabilities.T, strict=True))}
        if score.ndim == 2:
            of_classes |= {f"score_{name}": each for name, each in zip(spec.classes, score.T, strict=True)}
            score, as_ensemble = scores_of_classes(score, places), scores_of_classes(as_ensemble, places)
    columns = {"score": score, "prediction": prediction, "score_as_ensemble": as_ensemble}
    return pd.DataFrame({**patients, **label_columns(labelled.targets), **columns, **of_classes})
