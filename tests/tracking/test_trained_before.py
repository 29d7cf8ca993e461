"""When only the serving code has changed, the same networks become a new version, and nothing is trained."""

from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from nic.evaluation.figure import Estimate
from nic.graphs.files import HEADS_FILE
from nic.tracking.aliases import roll_back, rollback_reason
from nic.tracking.descriptions import describe_version
from nic.tracking.encoder_heads import heads_file
from nic.tracking.figure_name import FigureName
from nic.tracking.recorded_estimates import record_estimates, tagged_estimate
from nic.tracking.registry import (
    CHAMPION,
    NETWORKS_OF,
    PREVIOUS,
    REFERENCE,
    RegisteredVersion,
    find_version,
    graph_file,
    model_folder,
    register_encoder,
    register_patient_model,
)
from nic.tracking.runs import SERVING, find_finished, lineage, stage_key, stage_run
from nic.tracking.trained_before import register_again, result_again, trained_before

ESTIMATE = Estimate("auc", 0.8, 0.7, 0.9, 0.95, 40, 0.0)


@dataclass(frozen=True)
class Config:
    seed: int = 0


def trained_encoder(folder: Path, tasks: str) -> RegisteredVersion:
    for graph in ("encoder", "heads"):
        (folder / f"{graph}.onnx").write_text(graph)
    with stage_run("train_encoder", Config(), {"tasks": tasks, SERVING: "then"}) as stage:
        tags = lineage("train_encoder", encoder_sha256="e" * 64)
        version = register_encoder(folder / "encoder.onnx", tags, heads=folder / HEADS_FILE)
        describe_version(version, "A card.")
        record_estimates(version, {FigureName("validation", "auc"): ESTIMATE}, data=tasks)
        stage.log("parity", 1e-6)
        stage.log_text("{}", "certificate.json")
        stage.result.update(version=version.uri, sha256="e" * 64)
    return find_version(version.uri)


def trained_model(folder: Path, cohort: str) -> RegisteredVersion:
    for graph in ("encoder", "patient"):
        (folder / f"{graph}.onnx").write_text(graph)
    (folder / REFERENCE).mkdir()
    (folder / REFERENCE / "answers.json").write_text("[]")
    graphs = folder / "encoder.onnx", folder / "patient.onnx"
    with stage_run("train_patients", Config(), {"cohort": cohort, SERVING: "then"}) as stage:
        tags = lineage("train_patients", cohort=cohort, encoder_version="nic-encoder/1", encoder_sha256="e" * 64)
        version = register_patient_model("nic-score", *graphs, tags, {REFERENCE: folder / REFERENCE})
        record_estimates(version, {FigureName("cross_validated", "auc"): ESTIMATE}, data=cohort)
        stage.log_text("patient,fold\nP0,0\n", "split.csv")
        stage.result.update(version=version.uri, metric="auc", cross_validated="0.800")
    with mlflow.start_run():  # an evaluation
        record_estimates(version, {FigureName("external", "auc"): ESTIMATE}, data="d")
    return find_version(version.uri)


def test_a_model_of_the_same_networks_is_registered_again(client: MlflowClient, tmp_path: Path) -> None:
    before, inputs = trained_model(tmp_path, "c0"), {"cohort": "c0", SERVING: "now"}
    with stage_run("train_patients", Config(), inputs) as stage:
        trained = trained_before(stage)
        assert trained is not None
        again = register_again(trained, stage)
        stage.result.update(result_again(trained, again))
    assert (again.version, again.tags[NETWORKS_OF], again.tags["nic.run"]) == ("2", "nic-score/1", stage.run_id)
    for graph in ("encoder", "patient"):
        assert graph_file(again.uri, graph).read_text() == graph
        assert again.tags[f"nic.graph.{graph}"] == before.tags[f"nic.graph.{graph}"]
    assert (model_folder(again) / "artifacts" / REFERENCE / "answers.json").read_text() == "[]"
    assert again.tags["nic.encoder_version"] == "nic-encoder/1"
    carried = tagged_estimate(again, FigureName("cross_validated", "auc"))
    assert carried is not None
    assert (carried.value, carried.low, carried.data, carried.run) == (0.8, 0.7, "c0", stage.run_id)
    assert tagged_estimate(again, FigureName("external", "auc")) is None  # it is measured on the new version anew
    assert mlflow.artifacts.load_text(f"runs:/{stage.run_id}/split.csv") == "patient,fold\nP0,0\n"
    assert stage.result == {"version": again.uri, "metric": "auc", "cross_validated": "0.800"}
    finished = find_finished(stage_key("train_patients", Config(), inputs))
    assert finished is not None
    assert finished.info.run_id == stage.run_id


def test_an_encoder_is_registered_again_with_its_card_and_figures(client: MlflowClient, tmp_path: Path) -> None:
    before = trained_encoder(tmp_path, "t0")
    with stage_run("train_encoder", Config(), {"tasks": "t0", SERVING: "now"}) as stage:
        trained = trained_before(stage)
        assert trained is not None
        again = register_again(trained, stage)
    assert client.get_model_version(again.name, again.version).description == "A card."
    heads = heads_file(again.uri)
    assert heads is not None
    assert heads != heads_file(before.uri)
    assert heads.read_text() == "heads"
    assert graph_file(again.uri, "encoder").read_text() == "encoder"
    assert tagged_estimate(again, FigureName("validation", "auc")) is not None
    run = client.get_run(stage.run_id)
    assert run.data.metrics["parity"] == 1e-6
    assert mlflow.artifacts.load_text(f"runs:/{stage.run_id}/certificate.json") == "{}"


@pytest.mark.parametrize(
    ("config", "inputs"),
    [(Config(seed=1), {"tasks": "t1", SERVING: "now"}), (Config(), {"tasks": "t2", SERVING: "now"})],
)
def test_a_training_that_differs_runs_again(
    config: Config, inputs: dict[str, str], client: MlflowClient, tmp_path: Path
) -> None:
    trained_encoder(tmp_path, "t1")
    with stage_run("train_encoder", config, inputs) as stage:
        assert trained_before(stage) is None


def test_the_same_stage_again_trains_again(client: MlflowClient, tmp_path: Path) -> None:
    trained_encoder(tmp_path, "t3")
    with stage_run("train_encoder", Config(), {"tasks": "t3", SERVING: "then"}) as stage:
        assert trained_before(stage) is None


def test_networks_whose_version_is_gone_or_changed_are_trained_again(client: MlflowClient, tmp_path: Path) -> None:
    version = trained_encoder(tmp_path, "t4")
    graph = graph_file(version.uri, "encoder")
    with stage_run("train_encoder", Config(), {"tasks": "t4", SERVING: "now"}) as stage:
        assert trained_before(stage) is not None
        client.set_model_version_tag(version.name, version.version, "nic.graph.encoder", "0" * 64)
        assert trained_before(stage) is None
        client.delete_model_version(version.name, version.version)
        assert graph.is_file()
        assert trained_before(stage) is None


def test_networks_that_were_rolled_back_are_known_under_their_new_version(client: MlflowClient) -> None:
    client.create_registered_model("nic-score")
    for number in range(3):
        tags = {NETWORKS_OF: "nic-score/2"} if number == 2 else {}
        client.create_model_version("nic-score", "file:///nowhere", tags=tags)
    client.set_registered_model_alias("nic-score", PREVIOUS, "1")
    client.set_registered_model_alias("nic-score", CHAMPION, "2")
    one, two, three = (f"models:/nic-score/{number}" for number in (1, 2, 3))
    assert [rollback_reason(find_version(uri)) for uri in (one, two, three)] == [None, None, None]
    roll_back("nic-score", "blue stain")
    assert [rollback_reason(find_version(uri)) for uri in (one, two, three)] == [None, "blue stain", "blue stain"]
    roll_back("nic-score", "it was not the stain")
    assert rollback_reason(find_version(two)) is None
