"""A run is named by what it does, so that the list of runs shows which endpoint each belongs to."""

from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from string import Formatter

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.tracking import MlflowClient

from nic.errors import UnknownColumn, UnknownModel
from nic.tracking.run_names import NAMES, run_name
from nic.tracking.runs import input_file, note_failure_before_stage, stage_run
from nic.tracking.store import unreached


@pytest.mark.parametrize(
    ("stage", "parameters", "name"),
    [
        ("evaluate", {"model": "models:/nic-marker/2", "split": "external"}, "evaluate nic-marker/2 on external"),
        ("train_patients", {"register_as": "", "endpoint": "marker"}, "train nic-marker"),
        ("train_patients", {"register_as": "nic-marker.dev", "endpoint": "marker"}, "train nic-marker.dev"),
        (
            "compress",
            {"slides": "/data/hospital.csv", "encoder": "models:/nic-encoder/1"},
            "compress hospital with nic-encoder/1",
        ),
        (
            "compress",
            {"slides": "/slides/*.svs", "encoder": "models:/nic-encoder/1"},
            "compress *.svs with nic-encoder/1",
        ),
        ("predict", {"slides": "", "model": "models:/nic-marker/2"}, "predict with nic-marker/2"),
        ("main", {"study": Path("studies/mine.yaml")}, "study mine"),
        ("check_tables", {"study": "mine.yaml"}, "check tables"),
    ],
)
def test_a_run_is_called_by_what_it_does(stage: str, parameters: dict[str, object], name: str) -> None:
    assert run_name(stage, parameters) == name


@pytest.mark.parametrize("stage", NAMES)
def test_names_are_of_parameters_that_exist(stage: str) -> None:
    config = import_module(f"entrypoints.{stage}").Config
    assert {name for _, name, _, _ in Formatter().parse(NAMES[stage]) if name} <= {
        field.name for field in fields(config)
    }


@dataclass(frozen=True)
class Config:
    model: str = "models:/nic-marker@champion"
    study: Path = Path("studies/mine.yaml")
    codes: Path = Path("work/codes/hospital-b1dde9be")


def logged(run_id: str) -> tuple[str, str, dict[str, str]]:
    """Name, status and tags of a run."""
    run = MlflowClient().get_run(run_id)
    return run.info.run_name, run.info.status, run.data.tags


@pytest.fixture
def champion(client: MlflowClient) -> str:
    """nic-marker/2."""
    client.create_registered_model("nic-marker")
    for _ in range(2):
        client.create_model_version("nic-marker", "file:///nowhere")
    client.set_registered_model_alias("nic-marker", "champion", "2")
    return "nic-marker/2"


def test_a_model_named_by_its_alias_is_shown_with_its_version(champion: str) -> None:
    with stage_run("promote", Config(), {}) as stage:
        pass
    assert logged(stage.run_id)[0] == f"promote {champion}"


def test_a_run_that_fails_says_why(champion: str) -> None:
    with pytest.raises(UnknownColumn), stage_run("promote", Config(), {}) as stage:
        raise UnknownColumn("mine.csv: no column 'Agee';\n it has Age")
    name, status, tags = logged(stage.run_id)
    assert (name, status) == (f"promote {champion}", "FAILED")
    assert tags["failed"] == "UnknownColumn: mine.csv: no column 'Agee'; it has Age"
    assert tags["mlflow.note.content"] == f"**Failed.** {tags['failed']}"


def test_a_refusal_by_a_file_that_is_gone_from_the_store_is_noted_too(champion: str) -> None:
    gone = MlflowException("no such file", RESOURCE_DOES_NOT_EXIST)
    assert unreached(gone) is not None
    with pytest.raises(UnknownModel), stage_run("promote", Config(), {}) as stage:
        raise UnknownModel("models:/nic-encoder/1: its files are gone from the store") from gone
    assert logged(stage.run_id)[2]["failed"] == "UnknownModel: models:/nic-encoder/1: its files are gone from the store"


def test_a_run_that_mlflow_made_is_named_when_nic_refuses_before_it_begins(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = mlflow.MlflowClient().create_run(mlflow.get_experiment_by_name("tests").experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    note_failure_before_stage("evaluate", {"model": "models:/nic-marker/9", "split": "external"}, "UnknownModel: none")
    name, _, tags = logged(run_id)
    assert (name, tags["failed"]) == ("evaluate nic-marker/9 on external", "UnknownModel: none")


def test_an_input_is_shown_by_the_name_of_its_file(champion: str) -> None:
    inputs = {"cohort": "0a9c690a651178fd", "codes": "rows-33a87ae20306357d", "tasks": "4e0fb73845e61c83"}
    with stage_run("promote", Config(), inputs, {"cohort": Path("/data/mine.csv")}) as stage:
        pass
    run = MlflowClient().get_run(stage.run_id)
    datasets = {(each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs}
    assert datasets == {
        ("mine.csv", "0a9c690a651178fd"),
        ("hospital-b1dde9be", "rows-33a87ae20306357d"),
        ("tasks of mine.yaml", "4e0fb73845e61c83"),
    }
    assert input_file(stage.run_id, "cohort") == "mine.csv"
    assert input_file(stage.run_id, "slides") == ""
