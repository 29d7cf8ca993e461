"""A finished training, registered again with today's serving code. A change of serving code trains nothing anew."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from nic.errors import UnknownModel
from nic.graphs.files import graph_in, graph_sha256
from nic.tracking.descriptions import describe_version
from nic.tracking.recorded_estimates import FIGURES, record_estimates, tagged_estimates
from nic.tracking.registry import (
    ENCODER_NAME,
    GRAPH,
    NETWORKS_OF,
    SERVING_TAG,
    RegisteredVersion,
    find_version,
    model_folder,
    register_encoder,
    register_patient_model,
)
from nic.tracking.runs import RESULT_FILE, TRAINING, StageRun, find_finished, finished_runs, result_of
from nic.tracking.served_example import ServedExample
from nic.tracking.source_digest import KEPT_SOURCE

NOT_COPIED = (KEPT_SOURCE, RESULT_FILE, "config.json", "verdict.html", "figures")
"""Artifacts, files or folders, that belong to one run or one version only."""


@dataclass(frozen=True)
class FinishedTraining:
    """A finished training and the version it registered. files: the version's artifacts by name, with its graphs."""

    run: Run
    version: RegisteredVersion
    files: Mapping[str, Path]


def trained_before(stage: StageRun) -> FinishedTraining | None:
    """The newest training of the same networks, when only the serving code has changed since.

    None where there is none, where the version or its graphs are gone, and where the same stage, serving code included,
    has finished before: then the caller wants it to run again.
    """
    if find_finished(stage.key):
        return None
    trainings = (_finished_training(run) for run in finished_runs(TRAINING, stage.training_key))
    return next((training for training in trainings if training), None)


def register_again(
    training: FinishedTraining, stage: StageRun, example: ServedExample | None = None
) -> RegisteredVersion:
    """Register the same graphs, lineage and figures as a new version; artifacts and metrics are copied to this run.

    example: of today's serving code.
    """
    _copy_run(training.run, stage)
    before, files = training.version, dict(training.files)
    kept = {name: value for name, value in before.tags.items() if name.startswith("nic.") and not _is_new(name)}
    lineage = kept | {NETWORKS_OF: before.tags.get(NETWORKS_OF, before.full_name)}
    if before.name == ENCODER_NAME:
        request = example.request if example else None
        version = register_encoder(files["encoder"], lineage, request, files.get("heads"))
        describe_version(version, MlflowClient().get_model_version(before.name, before.version).description or "")
    else:
        encoder, patient = files.pop("encoder", None), files.pop("patient")
        version = register_patient_model(before.name, encoder, patient, lineage, files, example)
    _copy_estimates(training, version)
    print(f"{version.uri}: networks of {before.full_name} with today's serving code; nothing was trained")
    return find_version(version.uri)


def result_again(training: FinishedTraining, version: RegisteredVersion) -> dict[str, Any]:
    """The training's result for later stages, with the new version in place of the old."""
    return result_of(training.run) | {"version": version.uri}


def _finished_training(run: Run) -> FinishedTraining | None:
    """None where the version, its files or the run's result are gone."""
    try:
        version = find_version(str(result_of(run)["version"]))
        folder = model_folder(version)
    except (UnknownModel, MlflowException, OSError):
        return None
    artifacts = Model.load(str(folder)).flavors["python_function"]["artifacts"]
    files = {name: folder / entry["path"] for name, entry in artifacts.items()}
    graphs = {name: value for name, value in version.tags.items() if name.startswith(GRAPH)}
    unchanged = all(graph_sha256(graph_in(files[name.removeprefix(GRAPH)])) == value for name, value in graphs.items())
    return FinishedTraining(run, version, files) if graphs and unchanged else None


def _is_new(tag: str) -> bool:
    """Whether registration writes this tag itself, or a measurement of the new version."""
    return tag.startswith(GRAPH) or tag in ("nic.run", SERVING_TAG, FIGURES)


def _copy_run(run: Run, stage: StageRun) -> None:
    with TemporaryDirectory() as folder:
        mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=folder)
        for path in (Path(folder) / name for name in NOT_COPIED):
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
        mlflow.log_artifacts(folder, run_id=stage.run_id)
    for name, value in run.data.metrics.items():
        stage.log(name, value)


def _copy_estimates(training: FinishedTraining, version: RegisteredVersion) -> None:
    """Copy the estimates that the training made; those of later evaluations are made again."""
    tagged = tagged_estimates(training.version)
    measured = {name: estimate for name, estimate in tagged.items() if estimate.run == training.run.info.run_id}
    for data in {estimate.data for estimate in measured.values()}:
        record_estimates(version, {name: each for name, each in measured.items() if each.data == data}, data)
