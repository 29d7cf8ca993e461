"""The training patients, each answered by the networks that never saw that patient, and what is measured of it.

This is how a study without external patients is measured. Source of the comparable scores: nic.patients.out_of_fold.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import EmptyCohort, RegistryError
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
from nic.patients.calibration import Calibration, IsotonicProbability, PlattProbability, Prognosis, ResidualInterval
from nic.patients.calibration_fit import fit_by_fold
from nic.patients.cohort import Labelled, Patient
from nic.patients.covariates import covariates_of
from nic.patients.out_of_fold import OutOfFold
from nic.patients.predictor import PatientModel, PatientPrediction, score_map
from nic.patients.spec import PatientModelSpec
from nic.patients.targets import Classes, Survival, Values
from nic.stages.model_figures import calibrated_columns
from nic.tracking.recorded_estimates import artifact_text
from nic.tracking.registry import RegisteredVersion
from nic.tracking.training_data import PATIENTS_FILE

PART = "cross_validated"
"""Name of this part of a cohort, among the figures of a version."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CrossValidated:
    """Answers of N training patients by networks that never saw them.

    answered: [M], which of the patients that were asked for. fold: [N], of the first partition, by which scores are
    compared. by_fold: a calibration for each fold, fitted on the patients of the others. expected: [N], the scores
    without the networks' levels, on which calibrations are fitted.
    """

    answered: NDArray[np.bool_]
    answers: Sequence[PatientPrediction]
    fold: NDArray[np.intp]
    by_fold: Sequence[Calibration]
    expected: Floats


@dataclass(frozen=True)
class _Unread:
    """A patient's scores before they are calibrated: of each network [K], and the maps of those that never saw him."""

    scores: Floats
    score_maps: tuple[NDArray[np.float32], ...]
    tiles: int
    codes_differ: tuple[str, ...]


def cross_validated(version: RegisteredVersion, model: PatientModel, labelled: Labelled, codes: Path) -> CrossValidated:
    """Raises RegistryError when the folds of the training are gone, EmptyCohort when no patient has fold and codes."""
    folds, known = folds_of_training(version, [patient.patient_id for patient in labelled.patients])
    networks = _networks(folds)
    read = [
        _read(model, patient, networks[:, i], codes) if known[i] else None
        for i, patient in enumerate(tqdm(labelled.patients, desc="cross-validated", unit="patient"))
    ]
    answered = np.array([each is not None for each in read])
    if not answered.any():
        raise EmptyCohort(f"{version.uri}: no training patient of this table has a fold and codes in {codes}")
    kept = [each for each in read if each is not None]
    out_of_fold = _out_of_fold(kept, folds[:, answered], networks[:, answered])
    fold = folds[0, answered]
    calibrated = model.spec.calibration is not None
    by_fold = fit_by_fold(labelled.targets.take(answered), out_of_fold, fold) if calibrated else []
    own = [by_fold[number] if by_fold else None for number in fold]
    rows = zip(kept, out_of_fold.score.T, out_of_fold.expected.tolist(), own, strict=True)
    answers = [_answer(each, model.spec, *of_patient) for each, *of_patient in rows]
    return CrossValidated(answered, answers, fold, by_fold, out_of_fold.expected)


def folds_of_training(
    version: RegisteredVersion, patients: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The fold of each patient in each partition of the training, [R, M], and who of them was trained on, [M].

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
    """Which networks of the ensemble never saw each patient, [R, M]: those of a partition stand one after another."""
    sizes = folds.max(axis=1) + 1
    return np.asarray(folds + (np.cumsum(sizes) - sizes)[:, None])


def _read(model: PatientModel, patient: Patient, networks: NDArray[np.intp], codes: Path) -> _Unread | None:
    """None for a patient without a file of codes. Raises ForeignCodes."""
    files = [codes / f"{slide.slide_id}.h5" for slide in patient.slides]
    slides = [CompressedSlide.load(file) for file in files if file.is_file()]
    differ = {name for slide in slides for name in model.check(slide)}
    scored = [model.scored(slide, networks) for slide in slides]
    tiles = sum(len(slide.cells) for slide in scored)
    if not tiles:
        return None
    scores = np.sum([slide.sums for slide in scored], axis=0) / tiles
    return _Unread(scores, tuple(map(score_map, slides, scored)), tiles, tuple(sorted(differ)))


def _out_of_fold(read: Sequence[_Unread], folds: NDArray[np.intp], networks: NDArray[np.intp]) -> OutOfFold:
    scores = np.stack([each.scores for each in read], axis=1)  # [K of all partitions, N]
    sizes = np.diff(np.r_[networks.min(axis=1) - folds.min(axis=1), len(scores)])
    parts = np.split(scores, np.cumsum(sizes)[:-1])
    return OutOfFold(np.take_along_axis(scores, networks, axis=0), folds, tuple(parts))


def _answer(
    read: _Unread, spec: PatientModelSpec, scores: Floats, expected: float, calibration: Calibration | None
) -> PatientPrediction:
    """scores: [R], of the networks that never saw the patient. calibration: fitted on the patients of other folds."""
    score = float(scores.mean())
    calibrated: dict[str, float] = {}
    match calibration:
        case ResidualInterval():
            calibrated = calibration.of(score)
        case Prognosis():
            calibrated = replace(calibration, stated_months=_stated(spec)).of(expected)
    own = replace(spec, calibration=calibration)
    prediction = float(own.predictions(np.array(expected if spec.kind == "classification" else score)))
    deviation = float(scores.std())
    return PatientPrediction(score, prediction, deviation, read.score_maps, read.tiles, calibrated, read.codes_differ)


def _stated(spec: PatientModelSpec) -> tuple[float, ...]:
    return spec.calibration.stated_months if isinstance(spec.calibration, Prognosis) else ()


def measured_cross_validated(
    labelled: Labelled, of: CrossValidated, spec: PatientModelSpec, covariates: Sequence[str], seed: int
) -> list[Estimate]:
    """As `measures.measured`: how scores order the patients is taken fold by fold, what they promise over all.

    Raises EndpointError when the figure that decides is not defined.
    """
    ordering, promising = _measures(labelled, of, spec)
    first = ordering[0]
    estimates = [
        estimate(first.metric, first.labels, first.score, seed=seed, fold=of.fold),
        *estimates_of(ordering[1:], seed=seed, fold=of.fold),
        *estimates_of(promising, seed=seed),
    ]
    if isinstance(labelled.targets, Survival) and isinstance(spec.calibration, Prognosis):
        known = covariates_of(labelled.patients, covariates).values
        median, deviation = float(np.median(of.expected)), float(of.expected.std()) or 1.0
        estimates += hazard_estimates(labelled.targets.arrays, of.expected, median, deviation, known)
    return estimates


def _measures(
    labelled: Labelled, of: CrossValidated, spec: PatientModelSpec
) -> tuple[Sequence[Measure], Sequence[Measure]]:
    """What orders patients, to be taken by fold, and what was promised to them."""
    scores = np.array([answer.score for answer in of.answers])
    predictions = np.array([answer.prediction for answer in of.answers])
    promised = calibrated_columns(of.answers)
    match labelled.targets:
        case Values(value):
            level = spec.calibration.level if isinstance(spec.calibration, ResidualInterval) else 0.0
            intervals = interval_measures(value, promised["low"], promised["high"], level) if of.by_fold else []
            return regression_measures(value, scores, spec.guess), intervals
        case Classes(positive, _):
            thresholds = np.array(
                [c.threshold for c in of.by_fold if isinstance(c, PlattProbability | IsotonicProbability)]
            )
            above = of.expected - thresholds[of.fold] if len(thresholds) else scores
            probabilities = probability_measures(positive, predictions, spec.guess) if of.by_fold else []
            return classification_measures(positive, above, 0.0), probabilities
        case Survival():
            labels, months = labelled.targets.arrays, _stated(spec)

            def survival_at(at: Floats) -> Floats:
                alive = np.empty((len(of.expected), len(at)))
                for number, calibration in enumerate(of.by_fold):
                    if isinstance(calibration, Prognosis):
                        alive[of.fold == number] = calibration.survival(of.expected[of.fold == number], at)
                return alive

            prognoses = prognosis_measures(labels, survival_at, months) if of.by_fold else []
            return survival_measures(labels, scores, months), prognoses
