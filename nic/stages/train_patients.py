"""Step 3 as a stage: an ensemble for one endpoint, cross-validated by patient and registered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import estimate, mean_of
from nic.patients.choices import Recipe
from nic.patients.cohort import Cohort, Labelled
from nic.patients.covariates import covariates_of
from nic.patients.crops import Gathered, gather_cells
from nic.patients.ensemble import Ensemble, fit_partitions, joined
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.networks import count_weights
from nic.patients.predictor import PatientModel
from nic.patients.schedule import TrainingSteps, in_words, schedules_of
from nic.patients.splits import Folds
from nic.patients.targets import scores_for
from nic.patients.untrained import untrained
from nic.stages.companions import write_companions
from nic.stages.cross_validated import CROSS_VALIDATED, cross_validated_table
from nic.stages.examples import patient_example
from nic.stages.patient_card import describe
from nic.stages.report_pictures import result_plot
from nic.stages.splitting import audit, fold_columns, folds_of, log_split
from nic.study import EndpointEntry, read_study
from nic.tracking.digests import manifest
from nic.tracking.figure_name import FigureName
from nic.tracking.recorded_estimates import record_estimates
from nic.tracking.registry import RegisteredVersion, encoder_of_codes, register_patient_model
from nic.tracking.runs import StageRun, lineage
from nic.tracking.training_data import origins_of_encoder


@dataclass(frozen=True)
class EnsemblePlan:
    """How an ensemble is trained.

    split_by, folds, repeats: how patients are parted, see `nic.stages.splitting.folds_of`.
    """

    recipe: Recipe
    split_by: str
    folds: int
    repeats: int
    seed: int


@dataclass(frozen=True)
class TrainingCohort:
    """The labelled patients of a training whose codes are there. encoder: its version, as lineage names it.

    encoder_graph: None where another tool made the codes.
    """

    entry: EndpointEntry
    cohort: Cohort
    labelled: Labelled
    gathered: Gathered
    codes: Path
    encoder: str
    encoder_graph: Path | None

    @property
    def digest(self) -> str:
        return self.entry.cohort_digest(self.cohort)


def train(
    study_file: Path, endpoint: str, codes: Path, encoder: str, plan: EnsemblePlan, register_as: str, stage: StageRun
) -> dict[str, Any]:
    """Train and register; the stage's result. register_as: a name; empty for the endpoint's own."""
    patients = read_patients(study_file, endpoint, codes, encoder)
    labelled, cells = patients.labelled, patients.gathered.cells
    folds = folds_of(labelled, plan.split_by, plan.folds, plan.repeats, plan.seed, endpoint)
    tiles = origins_of_encoder(patients.encoder, patients.gathered.encoder.sha256)
    weights = count_weights(untrained(plan.recipe.network, cells, scores_for(labelled.targets)))
    log_split(labelled, folds, audit(patients.cohort, labelled, folds, codes, tiles, weights), stage)
    log_schedules([s for fold in folds for s in schedules_of(plan.recipe, labelled.targets, fold)], stage)
    ensembles = fit_partitions(cells, labelled.targets, folds, plan.recipe, plan.seed, stage.log)
    with TemporaryDirectory(prefix="nic-") as folder:
        graph, name = Path(folder) / "patient.onnx", register_as or patients.entry.model_name
        version = register(patients, joined(ensembles), graph, name, stage)
        result = log_cross_validated(patients, ensembles, folds, version, PatientModel(graph), plan.seed, stage)
    describe(version)
    return {"version": version.uri, **result}


def log_schedules(schedules: Sequence[TrainingSteps], stage: StageRun) -> None:
    """Print how long the networks are trained, and log it: epochs and steps of each network, in their order."""
    print(f"each network is trained for {in_words(schedules)}")
    for number, schedule in enumerate(schedules):
        stage.log("epochs", schedule.epochs, number)
        stage.log("steps", schedule.all_steps, number)


def read_patients(study_file: Path, endpoint: str, codes: Path, encoder: str) -> TrainingCohort:
    """Raises what reading the cohort, its covariates or its codes raises, before hours of training."""
    study = read_study(study_file)
    entry = study.endpoint(endpoint)
    cohort = study.cohorts[entry.cohort].read()
    labelled = cohort.labelled(entry.endpoint, "train")
    covariates_of(labelled.patients, entry.covariates)  # evaluate reads them
    gathered = gather_cells(labelled.patients, codes)
    version, graph = encoder_of_codes(encoder, gathered.encoder)
    if gathered.mixture:
        print(f"the codes were not all made alike, which is accepted (docs/compatibility.md): {gathered.mixture}")
    return TrainingCohort(entry, cohort, labelled.take(gathered.has_codes), gathered, codes, version, graph)


def register(
    patients: TrainingCohort, ensemble: Ensemble, graph: Path, name: str, stage: StageRun
) -> RegisteredVersion:
    """Export to `graph`, and register it with its lineage and companions."""
    gathered = patients.gathered
    difference = export_ensemble(
        ensemble,
        patients.entry.endpoint,
        patients.labelled.targets,
        cohort_digest=patients.digest,
        encoder=gathered.encoder,
        encoder_version=patients.encoder,
        path=graph,
        tiling=gathered.tiling,
        runtimes=gathered.runtimes,
        pixel_versions=gathered.pixel_versions,
    )
    stage.log("parity", difference)
    tags = lineage(
        "train_patients",
        cohort=patients.digest,
        encoder_version=patients.encoder,
        encoder_sha256=gathered.encoder.sha256,
        runtimes=",".join(sorted(gathered.runtimes)),
        pixel_versions=",".join(map(str, sorted(gathered.pixel_versions))),
    )
    companions = write_companions(graph, patients.encoder_graph, gathered)
    graphs = {"patient": graph} | ({"encoder": patients.encoder_graph} if patients.encoder_graph else {})
    example = patient_example({**graphs, **companions})
    return register_patient_model(name, patients.encoder_graph, graph, tags, companions, example)


def log_cross_validated(
    patients: TrainingCohort,
    ensembles: Sequence[Ensemble],
    folds: Sequence[Folds],
    version: RegisteredVersion,
    model: PatientModel,
    seed: int,
    stage: StageRun,
) -> dict[str, Any]:
    """Estimate, plot and table of the answers by networks that never saw the patient; entries of the stage's result."""
    entry, labelled, ensemble = patients.entry, patients.labelled, joined(ensembles)
    labels = labelled.targets.arrays
    figures = [deciding_figure(entry.kind, labels, fitted.out_of_fold, fitted.fold) for fitted in ensembles]
    measured = estimate(mean_of(figures), seed=seed).required()
    name = FigureName(CROSS_VALIDATED, measured.name)
    record_estimates(version, {name: measured}, data=patients.digest)
    stage.log_estimate(str(name), measured, version.model_id)
    files = [patients.codes / f"{slide.slide_id}.h5" for patient in labelled.patients for slide in patient.slides]
    stage.log_table(pd.DataFrame(manifest(files)), "codes.csv")
    table = cross_validated_table(labelled, ensemble.comparable, model.spec)
    stage.log_table(table.assign(**fold_columns(folds)), "cross_validated.csv")
    title = f"{entry.name}, cross-validated"
    stage.log_plot(result_plot(labelled.targets, ensemble.out_of_fold, measured, title), "result.png")
    missing = len(patients.gathered.missing)
    print(f"{version.uri}: cross-validated {measured.name} {measured}; slides without codes: {missing}")
    return {"metric": measured.name, "cross_validated": str(measured)}
