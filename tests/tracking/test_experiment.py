"""nic's runs are in an experiment of their own, marked as training; an experiment of other people is left alone."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from stores import new_store

from nic.tracking.experiment import KIND, open_experiment

VARIABLES = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """A new store, in which nobody has chosen an experiment."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path))
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield MlflowClient()
    mlflow.set_tracking_uri(before)


def kinds(client: MlflowClient) -> dict[str, str | None]:
    return {each.name: each.tags.get(KIND) for each in client.search_experiments()}


def test_a_new_store_has_one_experiment_and_it_is_nics(client: MlflowClient) -> None:
    open_experiment()
    assert kinds(client) == {"nic": "custom_model_development"}
    with mlflow.start_run() as run:
        pass
    assert client.get_experiment(run.info.experiment_id).name == "nic"


def test_a_run_that_mlflow_made_in_default_stays_in_nics_experiment(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.create_run("0", tags={"mlflow.project.entryPoint": "main"})
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    open_experiment()
    assert client.get_experiment(client.get_run(run.info.run_id).info.experiment_id).name == "nic"
    open_experiment()
    assert kinds(client) == {"nic": "custom_model_development"}


def test_an_experiment_that_the_user_names_is_described_and_keeps_its_own_description(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_experiment("breast", tags={"mlflow.note.content": "Our breast study."})
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "breast")
    open_experiment()
    tags = client.get_experiment_by_name("breast").tags
    assert (tags[KIND], tags["mlflow.note.content"]) == ("custom_model_development", "Our breast study.")


def test_the_default_experiment_of_other_people_is_left_alone(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create_run("0", tags={"mlflow.source.name": "their_notebook.ipynb"})
    open_experiment()
    assert kinds(client) == {"Default": None, "nic": "custom_model_development"}
    ours = client.create_run("0", tags={"mlflow.project.entryPoint": "main"})
    monkeypatch.setenv("MLFLOW_RUN_ID", ours.info.run_id)
    open_experiment()
    assert "--experiment-name nic" in capsys.readouterr().out
    assert kinds(client)["Default"] is None
