"""The evaluation of a registered model on one part of a cohort: answers, estimates of all figures, and their record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import Estimate, Figure, estimate
from nic.evaluation.oracle import oracle_scores
from nic.evaluation.published import ComparedResult, PublishedResult, compared_results
from nic.patients.choices import CohortPart
from nic.patients.cohort import Cohort, Endpoint, Labelled, Patient, Split
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import PatientModel, PatientPrediction, predict_cohort, stacked_scores
from nic.stages.cross_validated import CROSS_VALIDATED, cross_validated, cross_validated_estimates
from nic.stages.model_figures import calibrated_columns, called_of, model_estimates, probabilities_of
from nic.stages.splitting import audit_evaluation
from nic.study import Study
from nic.tracking.answers import Answers, cells_of, check_endpoint, slides_of
from nic.tracking.digests import file_sha256
from nic.tracking.registry import RegisteredVersion, find_version, graph_file


@dataclass(frozen=True)
class Evaluation:
    """One model on one part of one cohort.

    labelled, answers: of the answered patients. unanswered: labelled patients without codes. estimates: of all figures,
    the deciding one first. synthetic: whether a program drew the study. endpoint: as the study defines it. graph:
    SHA-256 of the graph that answered. audit: the leak audit's notes. fold: [N] where patients were answered by
    different networks, else None. published: results of others, of all parts.
    """

    name: str
    part: CohortPart
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
    published: Sequence[PublishedResult] = ()

    @property
    def split(self) -> Split:
        """Which patients of the cohort's table."""
        return "external" if self.part == "external" else "train"

    @property
    def scores(self) -> NDArray[np.float64]:
        """[N]; of several classes [N, K]."""
        return stacked_scores(self.answers)

    @property
    def predictions(self) -> NDArray[np.float64]:
        """What a ward reads: the scores, the probability of a class, or the expected grade."""
        return np.array([answer.prediction for answer in self.answers])

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of each of several classes or grades, [N, K]."""
        return probabilities_of(self.answers, self.spec.classes)

    @property
    def called(self) -> NDArray[np.intp]:
        """The place of the called one among several classes or grades, [N]."""
        return called_of(self.answers, self.spec.classes)

    @property
    def calibrated(self) -> dict[str, NDArray[np.float64]]:
        """The calibrated answers by name."""
        return calibrated_columns(self.answers)

    @property
    def compared(self) -> list[ComparedResult]:
        """The published results of this part, each figure's after the study's own."""
        if self.part == "train":
            return []
        own = {estimate.name: estimate for estimate in self.estimates if estimate.is_defined}
        return compared_results(self.published, self.part, own, self.estimates[0].name)

    def figure_among(self, members: NDArray[np.bool_]) -> Figure:
        """The deciding figure of some of the patients. members: [N]."""
        labels, fold = self.labelled.targets.take(members).arrays, None if self.fold is None else self.fold[members]
        return deciding_figure(self.spec.kind, labels, self.scores[members], fold)


def evaluate_model(study: Study, endpoint: str, codes: Path, model: str, part: CohortPart, seed: int) -> Evaluation:
    """Let the model answer for the labelled patients of a part that have codes, and measure the answers.

    Raises EndpointError when the model answers another endpoint than the study's, LeakFound when it was trained on one
    of the patients.
    """
    entry, version = study.endpoint(endpoint), find_version(model)
    cohort = study.cohorts[entry.cohort].read()
    graph = graph_file(version.uri, "patient")
    patient_model = PatientModel(graph)
    labelled = cohort.labelled(entry.endpoint, "external" if part == "external" else "train")
    check_endpoint(patient_model.spec, entry.endpoint, labelled.targets, version.full_name)
    audit = audit_evaluation(version, patient_model.spec, labelled.patients, part, codes)
    spec, fold = patient_model.spec, None
    if part == CROSS_VALIDATED:
        of_training = cross_validated(version, patient_model, labelled, codes)
        answered, answers, fold = of_training.answered, of_training.answers, of_training.fold
        measurable = labelled.take(answered)
        estimates = cross_validated_estimates(measurable, of_training, spec, entry.covariates, seed)
    else:
        every = predict_cohort(patient_model, labelled.patients, codes)
        answered, answers = np.array([a is not None for a in every]), [a for a in every if a is not None]
        measurable = labelled.take(answered)
        estimates = model_estimates(measurable, answers, spec, entry.covariates, seed)
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
        synthetic=study.phantom is not None,
        endpoint=entry.endpoint,
        graph=file_sha256(graph),
        audit=audit,
        fold=fold,
        published=entry.published,
    )


def answers_record(evaluation: Evaluation, seed: int) -> Answers:
    """The record from which the figures can be measured again. seed: of the bootstrap."""
    patients = evaluation.labelled.patients
    return Answers(
        definition=evaluation.endpoint.definition,
        model=evaluation.version.full_name,
        graph=evaluation.graph,
        part=evaluation.part,
        cohort=evaluation.cohort.digest,
        seed=seed,
        patients=tuple(patient.patient_id for patient in patients),
        slides=tuple(slides_of(patient) for patient in patients),
        labels=evaluation.labelled.targets,
        score=evaluation.scores,
        prediction=evaluation.predictions,
        called=tuple(answer.class_name for answer in evaluation.answers if answer.class_name),
        calibrated=evaluation.calibrated,
        columns=cells_of(patients),
        estimates=tuple(evaluation.estimates),
        fold=evaluation.fold,
    )


def oracle_of(study: Study, evaluation: Evaluation, seed: int) -> str:
    """The deciding figure of a model that knows the truth, on the same patients; empty where the truth is not known."""
    if not study.truth:
        return ""
    patients = [patient.patient_id for patient in evaluation.labelled.patients]
    classes = evaluation.spec.classes if evaluation.spec.kind == "multiclass" else ()
    scores = oracle_scores(study.truth, evaluation.name, patients, classes)
    figure = deciding_figure(evaluation.spec.kind, evaluation.labelled.targets.arrays, scores)
    return str(estimate(figure, seed=seed).required())
