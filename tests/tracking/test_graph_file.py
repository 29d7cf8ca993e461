"""The graphs of registered versions: where they are, and the error for a missing one."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from stores import new_store

from nic.errors import UnknownModel
from nic.tracking.registry import graph_file


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path))
    (tmp_path / "model" / "artifacts").mkdir(parents=True)
    (tmp_path / "model" / "artifacts" / "patient.onnx").write_bytes(b"graph")
    client = MlflowClient()
    client.create_registered_model("nic-score")
    made = client.create_model_version("nic-score", source=(tmp_path / "model").as_uri())
    yield f"models:/nic-score/{made.version}"
    mlflow.set_tracking_uri(before)


def test_a_graph_is_found_by_its_name(uri: str) -> None:
    assert graph_file(uri, "patient").read_bytes() == b"graph"


def test_a_missing_graph_is_named(uri: str) -> None:
    with pytest.raises(UnknownModel, match=r"nic-score/1: no encoder graph among its files patient\.onnx"):
        graph_file(uri, "encoder")
