"""A model card is shown on the page of its version, cut at a line where the registry's column is full."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from stores import new_store

from nic.tracking.descriptions import LONGEST_CARD, describe_version
from nic.tracking.registry import RegisteredVersion, find_version


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegisteredVersion]:
    before = mlflow.get_tracking_uri()
    folder: Path = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(new_store(folder))
    client = MlflowClient()
    client.create_registered_model("nic-encoder")
    made = client.create_model_version("nic-encoder", source="file:///nowhere/model")
    yield find_version(f"models:/nic-encoder/{made.version}")
    mlflow.set_tracking_uri(before)


def described(version: RegisteredVersion) -> str:
    return str(MlflowClient().get_model_version(version.name, version.version).description)


def test_a_card_is_the_description_of_its_version(version: RegisteredVersion) -> None:
    describe_version(version, "# card\n\n| a | b |")
    assert described(version) == "# card\n\n| a | b |"


def test_a_long_card_is_cut_at_a_line_and_says_so(version: RegisteredVersion) -> None:
    describe_version(version, "\n".join(f"line {i:04d}" for i in range(1000)))
    *lines, empty, last = described(version).split("\n")
    assert len(described(version)) <= LONGEST_CARD
    assert lines == [f"line {i:04d}" for i in range(len(lines))]
    assert (empty, "Cut here" in last) == ("", True)
