"""The experiment that holds nic's runs. MLflow's pages open it as one of trained models, with what it is about."""

import os

import mlflow
from mlflow.entities import Experiment, Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT, MLFLOW_RUN_NOTE

from nic.tracking.source_digest import PROJECT

NAME = "nic"
"""Used where the user names none, by MLFLOW_EXPERIMENT_NAME or the option --experiment-name of MLflow."""
DEFAULT_ID, DEFAULT_NAME = "0", "Default"
"""The experiment that MLflow makes with each new store, and uses where none is named."""
KIND = "mlflow.experimentKind"
"""Tag that MLflow's pages read. Without it they show an overview of language models' traces and tokens."""
ABOUT = """\
Neural image compression: from whole-slide images and one label per patient to a registered model.

- A run **study ...** is a whole study. Its description has the figures of all endpoints, with links to the reports.
- A run **evaluate ...** has `report.html` among its artifacts: figures with 95% intervals, calibration and maps.
- The models are on the page *Model registry*, as `nic-<endpoint>` and `nic-encoder`. Each version has a model card. The
  alias `champion` marks the version that is served.
"""
TAGS = {KIND: "custom_model_development", MLFLOW_RUN_NOTE: ABOUT}


def open_experiment() -> None:
    """Choose the experiment of this process, and say on its page what it is about, unless somebody has said so.

    In a store of one user's own, nic takes over the experiment Default while only nic has used it: `mlflow run` makes
    its run there before nic begins. An experiment that others use stays as it is.
    """
    client = MlflowClient()
    experiment = _experiment(client)
    if _is_default(experiment):
        if not _is_ours(client):
            print(f"this run is in the experiment {DEFAULT_NAME}; --experiment-name {NAME} keeps such runs together")
            return
        if client.get_experiment_by_name(NAME) is None:
            client.rename_experiment(experiment.experiment_id, NAME)
    for tag, value in TAGS.items():
        if not experiment.tags.get(tag):
            client.set_experiment_tag(experiment.experiment_id, tag, value)


def _experiment(client: MlflowClient) -> Experiment:
    """The one that the user named, or that MLflow chose for the run it has made; else our own."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        return client.get_experiment(client.get_run(run_id).info.experiment_id)
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        return mlflow.set_experiment(name)
    if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return client.get_experiment(number)
    default = client.get_experiment(DEFAULT_ID)
    if client.get_experiment_by_name(NAME) is None and _is_default(default) and _is_ours(client):
        return default
    return mlflow.set_experiment(NAME)


def _is_default(experiment: Experiment) -> bool:
    return experiment.experiment_id == DEFAULT_ID and experiment.name == DEFAULT_NAME


def _is_ours(client: MlflowClient) -> bool:
    """Whether the store is a file of this machine's, and all runs of Default are nic's."""
    if not mlflow.get_tracking_uri().startswith("sqlite"):
        return False
    return all(_is_of_nic(run) for run in client.search_runs([DEFAULT_ID]))


def _is_of_nic(run: Run) -> bool:
    """A run that failed before its stage began has the name of the entry point only."""
    entry_point = run.data.tags.get(MLFLOW_PROJECT_ENTRY_POINT)
    return "nic.stage" in run.data.tags or (PROJECT / "entrypoints" / f"{entry_point}.py").is_file()
