"""The task heads of an encoder: beside its file, among the files of its version, or missing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import mlflow
import onnx
import pytest
from mitosis_slides import made_heads
from mlflow.tracking import MlflowClient
from served_files import write_plain_graphs
from stores import new_store

from nic.encoder.loading import load_encoder
from nic.encoder.spec import METADATA_KEY
from nic.errors import UnknownModel
from nic.graphs.files import HEADS_FILE
from nic.tracking.encoder_heads import heads_file, load_heads
from nic.tracking.registry import encoder_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an encoder's graph, as a version of an earlier nic has it."""
    write_plain_graphs(tmp_path)
    artifacts = tmp_path / "model" / "artifacts"
    artifacts.mkdir(parents=True)
    copyfile(tmp_path / "encoder.onnx", artifacts / "encoder.onnx")
    return artifacts


@pytest.fixture
def uri(folder: Path) -> Iterator[str]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(folder))
    client = MlflowClient()
    client.create_registered_model("nic-encoder")
    made = client.create_model_version("nic-encoder", source=folder.parent.as_uri())
    yield f"models:/nic-encoder/{made.version}"
    mlflow.set_tracking_uri(before)


def test_heads_lie_beside_the_encoder_of_a_version_and_of_a_file(uri: str, folder: Path) -> None:
    made_heads(folder)
    for source in (uri, str(folder), str(folder / "encoder.onnx")):
        path = heads_file(source)
        assert path is not None
        assert path.name == HEADS_FILE
        assert encoder_file(source).name == "encoder.onnx"
        assert load_heads(source).tasks == {"mitosis": ("other", "mitosis")}


def test_an_encoder_without_heads_loads_and_says_how_to_get_them(uri: str, folder: Path) -> None:
    for source in (uri, str(folder)):
        assert heads_file(source) is None
        assert encoder_file(source).is_file()
        with pytest.raises(
            UnknownModel, match=r"no task heads .*: its objective is plain, which teaches no tasks; train"
        ):
            load_heads(source)


def test_an_encoder_of_before_heads_is_to_be_trained_again(uri: str, folder: Path) -> None:
    graph = onnx.load(folder / "encoder.onnx")
    spec = load_encoder(folder / "encoder.onnx").spec
    onnx.helper.set_model_props(graph, {METADATA_KEY: replace(spec, objective="multitask").to_json()})
    onnx.save(graph, folder / "encoder.onnx")
    with pytest.raises(UnknownModel, match="it was trained before they were kept; train it again with train_encoder"):
        load_heads(uri)
