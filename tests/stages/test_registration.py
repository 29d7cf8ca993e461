"""A trained encoder becomes a version with its figures, its certificate and a card that the registry shows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from stores import new_store

from nic.encoder.certificate import Comparison
from nic.encoder.network import TileEncoder, task_heads
from nic.encoder.train import VALIDATION
from nic.stages.registration import EncoderCandidate, held_out_tiles, log_augmentation, register_trained
from nic.tasks.tile_auc import TileScores
from nic.tasks.tile_task import TileSet, TileTask, split
from nic.tracking.encoder_heads import load_heads
from nic.tracking.runs import stage_run


@dataclass(frozen=True)
class Config:
    seed: int = 0


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path))
    mlflow.set_experiment("registration")
    yield
    mlflow.set_tracking_uri(before)


def tile_set(name: str) -> TileSet:
    tiles = np.random.default_rng(0).integers(60, 200, (60, 64, 64, 3)).astype(np.uint8)
    groups = np.array([f"s{i % 12}" for i in range(60)])
    return TileSet(TileTask(name, ("no", "yes"), 1.0, Path()), tiles, np.arange(60) // 5 % 2, groups)  # type: ignore[arg-type]


def test_tiles_that_are_shown_were_held_out() -> None:
    tiles = tile_set("a")
    _, held_out = split(tiles, VALIDATION, 3)
    found = held_out_tiles([tiles], 5, seed=3)
    allowed = {tiles.tiles[i].tobytes() for i in held_out}
    assert len(found.tiles) == 5
    assert {tile.tobytes() for tile in found.tiles} <= allowed


@pytest.mark.slow
def test_a_version_shows_its_card_and_its_run_what_was_measured(store: None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sets = [tile_set("a"), tile_set("b")]
    scores = [TileScores(t.task.name, t.labels, np.random.default_rng(0).random((60, 2)), t.groups) for t in sets]
    comparison = Comparison("a 2.00", "a 1.00", 0.01, -0.02, 0.03, "trial", taken=False)
    figures, heads = {"a": 0.5, "b": 0.5}, task_heads([2, 2])
    trained = EncoderCandidate(TileEncoder().eval(), "multitask", "a 1.00", figures, scores, comparison, heads)
    with stage_run("train_encoder", Config(), {"tasks": "t"}) as stage:
        log_augmentation(sets, "heavy", stage, 0)
        version = register_trained(trained, sets, tmp_path / "encoder.onnx", stage, {"tasks": "t"}, seed=0)
    card = MlflowClient().get_model_version(version.name, version.version).description
    assert "Tuning did not help" in card
    assert version.tags["nic.encoder_sha256"] in card
    assert "task heads and heads.onnx" in card
    assert load_heads(version.uri).tasks == {"a": ("no", "yes"), "b": ("no", "yes")}
    assert load_heads(version.uri).encoder_sha256 == version.tags["nic.encoder_sha256"]
    files = {file.path for file in MlflowClient().list_artifacts(stage.run_id)}
    assert {"certificate.json", "model_card.md", "augmentation.png", "neighbours.png"} <= files
    found = json.loads(mlflow.artifacts.load_text(f"runs:/{stage.run_id}/certificate.json"))
    assert [figure["task"] for figure in found["tasks"]] == ["a", "b"]
    assert found["parity"] < 1e-4
    assert found["heads_parity"] < 1e-4
    metrics = MlflowClient().get_run(stage.run_id).data.metrics
    assert metrics["tuning.gain.low"] == -0.02
    assert metrics["cosine.dihedral"] == pytest.approx(found["robustness"]["dihedral"])
