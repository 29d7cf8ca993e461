"""Networks that were trained before, registered again with today's code of serving: mending it trains nothing."""

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
from nic.onnx.files import graph_in, graph_sha256
from nic.tracking.figures import figure_on, record_figures
from nic.tracking.registry import (
    ENCODER_NAME,
    GRAPH,
    NETWORKS_OF,
    SERVING_TAG,
    RegisteredVersion,
    describe_version,
    find_version,
    model_folder,
    register_encoder,
    register_patient_model,
)
from nic.tracking.runs import RESULT_FILE, TRAINING, StageRun, find_finished, finished_runs, result_of
from nic.tracking.source_digest import KEPT_SOURCE

NOT_TAKEN_OVER = (KEPT_SOURCE, RESULT_FILE, "config.json", "verdict.html", "figures")
"""Artifacts, files or folders, that are of one run or one version alone."""


@dataclass(frozen=True)
class Trained:
    """A finished training and the version it registered. files: the version's artifacts by name, graphs among them."""

    run: Run
    version: RegisteredVersion
    files: Mapping[str, Path]


def trained_before(stage: StageRun) -> Trained | None:
    """The newest training of the same networks, when only the code of serving has changed since.

    None where nothing was trained so, where the version or its graphs are gone, and where the very same stage has
    finished before: whoever asks for it again wants it done again.
    """
    if find_finished(stage.key):
        return None
    trainings = (_trained(run) for run in finished_runs(TRAINING, stage.training_key))
    return next((trained for trained in trainings if trained), None)


def register_again(trained: Trained, stage: StageRun) -> RegisteredVersion:
    """A new version of the same graphs, lineage and figures; what the training run logged is copied to this one."""
    _take_over(trained.run, stage)
    before, files = trained.version, dict(trained.files)
    kept = {name: value for name, value in before.tags.items() if name.startswith("nic.") and not _is_new(name)}
    lineage = kept | {NETWORKS_OF: before.tags.get(NETWORKS_OF, before.full_name)}
    if before.name == ENCODER_NAME:
        version = register_encoder(files["encoder"], lineage)
        describe_version(version, MlflowClient().get_model_version(before.name, before.version).description or "")
    else:
        encoder, patient = files.pop("encoder", None), files.pop("patient")
        version = register_patient_model(before.name, encoder, patient, lineage, files)
    _copy_figures(trained, version)
    print(f"{version.uri}: networks of {before.full_name} with today's code of serving; nothing was trained")
    return find_version(version.uri)


def result_again(trained: Trained, version: RegisteredVersion) -> dict[str, Any]:
    """What the training left for later stages, of the new version."""
    return result_of(trained.run) | {"version": version.uri}


def _trained(run: Run) -> Trained | None:
    """None where the version, its files or what the run left are gone."""
    try:
        version = find_version(str(result_of(run)["version"]))
        folder = model_folder(version)
    except (UnknownModel, MlflowException, OSError):
        return None
    artifacts = Model.load(str(folder)).flavors["python_function"]["artifacts"]
    files = {name: folder / entry["path"] for name, entry in artifacts.items()}
    graphs = {name: value for name, value in version.tags.items() if name.startswith(GRAPH)}
    stand = all(graph_sha256(graph_in(files[name.removeprefix(GRAPH)])) == value for name, value in graphs.items())
    return Trained(run, version, files) if graphs and stand else None


def _is_new(tag: str) -> bool:
    """Whether registration writes the tag itself."""
    return tag.startswith(GRAPH) or tag in ("nic.run", SERVING_TAG)


def _take_over(run: Run, stage: StageRun) -> None:
    with TemporaryDirectory() as folder:
        mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=folder)
        for path in (Path(folder) / name for name in NOT_TAKEN_OVER):
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
        mlflow.log_artifacts(folder, run_id=stage.run_id)
    for name, value in run.data.metrics.items():
        stage.log(name, value)


def _copy_figures(trained: Trained, version: RegisteredVersion) -> None:
    """Those that the training measured; what was measured on the version since is measured anew on this one."""
    names = [tag.removeprefix("figure.") for tag in trained.version.tags if tag.startswith("figure.")]
    figures = {name: figure for name in names if (figure := figure_on(trained.version, name))}
    measured = {name: figure for name, figure in figures.items() if figure.run == trained.run.info.run_id}
    for data in {figure.data for figure in measured.values()}:
        record_figures(version, {name: figure for name, figure in measured.items() if figure.data == data}, data)
