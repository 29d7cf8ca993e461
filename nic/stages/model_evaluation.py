"""A registered model on the patients of one part of a cohort: answers and figures, before they go anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.evaluation.figure import METRICS, Estimate, estimate
from nic.patients.choices import Part
from nic.patients.cohort import Cohort, Endpoint, Labelled, Patient, Split
from nic.patients.predictor import PatientModel, PatientPrediction, predict_cohort
from nic.patients.spec import PatientModelSpec
from nic.stages.cross_validated import PART, cross_validated, measured_cross_validated
from nic.stages.model_figures import calibrated_columns, measured
from nic.stages.splitting import audit_measured
from nic.study import Study
from nic.tracking.answers import Answers, cells_of, check_endpoint, slides_of
from nic.tracking.digests import file_sha256
from nic.tracking.registry import RegisteredVersion, find_version, graph_file

"""Of a cohort. cross_validated: the training patients, each answered by the networks that never saw that patient."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    labelled, answers: of the patients that were answered. unanswered: the labelled others. synthetic: whether the study
    is drawn by a program. endpoint: as the study defines it. graph: SHA-256 of the graph that answered. audit: what the
    audit for leaks saw, in words. fold: [N] where patients were answered by different networks, else None.
    """

    name: str
    part: Part
    cohort: Cohort
    version: RegisteredVersion
    spec: PatientModelSpec
    labelled: Labelled
    answers: Sequence[PatientPrediction]
    unanswered: Sequence[Patient]
    estimates: Sequence[Estimate]
    codes: Path
    synthetic: bool
    endpoint: Endpoint
    graph: str
    audit: Sequence[str]
    fold: NDArray[np.intp] | None = None

    @property
    def split(self) -> Split:
        """Which patients of the cohort's table."""
        return "external" if self.part == "external" else "train"

    @property
    def scores(self) -> NDArray[np.float64]:
        return np.array([answer.score for answer in self.answers])

    @property
    def predictions(self) -> NDArray[np.float64]:
        """What a ward reads: the scores, or of a class its probability."""
        return np.array([answer.prediction for answer in self.answers])

    @property
    def promised(self) -> dict[str, NDArray[np.float64]]:
        """What calibrated answers say, by name."""
        return calibrated_columns(self.answers)


def evaluated(study: Study, endpoint: str, codes: Path, model: str, part: Part, seed: int) -> Evaluation:
    """Answer for the labelled patients of a part that have codes, and measure the answers.

    Raises EndpointError when the model answers another endpoint than the study's, LeakFound when a patient taught it.
    """
    entry, version = study.endpoint(endpoint), find_version(model)
    cohort = study.cohorts[entry.cohort].read()
    graph = graph_file(version.uri, "patient")
    patient_model = PatientModel(graph)
    labelled = cohort.labelled(entry.endpoint, "external" if part == "external" else "train")
    check_endpoint(patient_model.spec, entry.endpoint, labelled.targets, version.full_name)
    audit = audit_measured(version, patient_model.spec, labelled.patients, part, codes)
    spec, fold = patient_model.spec, None
    if part == PART:
        of_training = cross_validated(version, patient_model, labelled, codes)
        answered, answers, fold = of_training.answered, of_training.answers, of_training.fold
        measurable = labelled.take(answered)
        estimates = measured_cross_validated(measurable, of_training, spec, entry.covariates, seed)
    else:
        each = predict_cohort(patient_model, labelled.patients, codes)
        answered, answers = np.array([a is not None for a in each]), [a for a in each if a is not None]
        measurable = labelled.take(answered)
        estimates = measured(measurable, answers, spec, entry.covariates, seed)
    return Evaluation(
        name=entry.name,
        part=part,
        cohort=cohort,
        version=version,
        spec=spec,
        labelled=measurable,
        answers=answers,
        unanswered=labelled.take(~answered).patients,
        estimates=estimates,
        codes=codes,
        synthetic=study.phantom,
        endpoint=entry.endpoint,
        graph=file_sha256(graph),
        audit=audit,
        fold=fold,
    )


def answers_record(done: Evaluation, seed: int) -> Answers:
    """The record by which the figures can be measured again. seed: of the bootstrap."""
    patients = done.labelled.patients
    return Answers(
        definition=done.endpoint.definition,
        model=done.version.full_name,
        graph=done.graph,
        part=done.part,
        cohort=done.cohort.digest,
        seed=seed,
        patients=tuple(patient.patient_id for patient in patients),
        slides=tuple(slides_of(patient) for patient in patients),
        labels=done.labelled.targets,
        score=np.array([answer.score for answer in done.answers]),
        prediction=np.array([answer.prediction for answer in done.answers]),
        calibrated=done.promised,
        columns=cells_of(patients),
        figures=tuple(done.estimates),
        fold=done.fold,
    )


def oracle_of(study: Study, done: Evaluation, seed: int) -> str:
    """The figure of a model that knew the truth, of the same patients; empty where nobody knows it."""
    if not study.truth:
        return ""
    known = pd.read_csv(study.truth).set_index("patient")[f"oracle_{done.name.replace('-', '_')}"]
    scores = known.loc[[patient.patient_id for patient in done.labelled.patients]].to_numpy(float)
    return str(estimate(METRICS[done.spec.kind], done.labelled.targets.arrays, scores, seed=seed))
