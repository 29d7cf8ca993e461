"""The guard, against a real sqlite registry: who becomes champion, and why another does not."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from nic.errors import RegistryError, UnknownModel
from nic.evaluation.metrics import Estimate
from nic.tracking.promotion import (
    PATIENT_LINEAGE,
    Gate,
    promote,
    read_gates,
    record_figures,
    rival,
)
from nic.tracking.registry import CHAMPION, PREVIOUS, RegisteredVersion, alias_version, find_version, tag_version

NAME = "nic-score"
GATES = {NAME: Gate(figure="external.spearman", at_least=0.5, low_above=0.0)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One store for the module: making the tables takes seconds. Each test takes a fresh registered name."""
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.fixture
def client(store: str) -> Iterator[MlflowClient]:
    client = MlflowClient()
    client.create_registered_model(NAME)
    yield client
    client.delete_registered_model(NAME)


def version(client: MlflowClient, value: float, low: float = 0.2, data: str = "cohort-1") -> RegisteredVersion:
    made = client.create_model_version(NAME, source="file:///nowhere/model")
    tag_version(NAME, str(made.version), dict.fromkeys(PATIENT_LINEAGE, "known"))
    found = find_version(f"models:/{NAME}/{made.version}")
    record_figures(found, {"external.spearman": Estimate("spearman", value, low, 0.9, 0.95, 60, 0.0)}, data)
    return found


def holder(alias: str) -> str | None:
    found = alias_version(NAME, alias)
    return found.version if found else None


def test_a_good_first_version_becomes_champion(client: MlflowClient) -> None:
    assert promote(version(client, 0.7).uri, GATES).promoted
    assert (holder(CHAMPION), holder(PREVIOUS)) == ("1", None)


def test_a_better_one_takes_over_and_the_old_one_becomes_previous(client: MlflowClient) -> None:
    promote(version(client, 0.7).uri, GATES)
    assert promote(version(client, 0.8).uri, GATES).promoted
    assert (holder(CHAMPION), holder(PREVIOUS)) == ("2", "1")


def test_promoting_the_champion_again_changes_nothing(client: MlflowClient) -> None:
    promote(version(client, 0.7).uri, GATES)
    second = version(client, 0.8)
    promote(second.uri, GATES)
    before = rival(second)
    assert promote(second.uri, GATES).promoted
    assert (holder(CHAMPION), holder(PREVIOUS)) == ("2", "1")
    assert before is not None
    assert before.version == "1"


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"value": 0.4}, "wanted at least 0.5"),
        ({"value": 0.7, "low": -0.1}, "reaches down"),
        ({"value": float("nan")}, "wanted at least"),
    ],
)
def test_a_version_below_its_gate_is_refused_with_the_reason(
    client: MlflowClient, figures: dict[str, float], reason: str
) -> None:
    refused = version(client, **figures)
    verdict = promote(refused.uri, GATES)
    assert not verdict.promoted
    assert reason in verdict.reasons[0]
    assert holder(CHAMPION) is None
    assert find_version(refused.uri).tags["promotion.verdict"] == "refused"


def test_one_no_better_than_the_champion_is_refused(client: MlflowClient) -> None:
    promote(version(client, 0.7).uri, GATES)
    verdict = promote(version(client, 0.7).uri, GATES)
    assert "no better than 0.700" in verdict.reasons[0]
    assert holder(CHAMPION) == "1"


def test_figures_on_other_patients_do_not_compare(client: MlflowClient) -> None:
    promote(version(client, 0.7).uri, GATES)
    verdict = promote(version(client, 0.9, data="cohort-2").uri, GATES)
    assert "on the same data" in verdict.reasons[0]


def test_without_lineage_or_figure_nothing_is_promoted(client: MlflowClient) -> None:
    made = client.create_model_version(NAME, source="file:///nowhere/model")
    verdict = promote(f"models:/{NAME}/{made.version}", GATES)
    assert "nic.encoder_sha256" in verdict.reasons[0]
    assert "evaluate" in verdict.reasons[1]


def test_unknown_names_versions_and_aliases_are_answered_with_what_there_is(client: MlflowClient) -> None:
    promote(version(client, 0.7).uri, GATES)
    with pytest.raises(UnknownModel, match=r"versions \[1\].*champion -> 1"):
        find_version(f"models:/{NAME}/7")
    with pytest.raises(UnknownModel, match="no such version or alias"):
        find_version(f"models:/{NAME}@best")
    with pytest.raises(UnknownModel, match=f"registered are: {NAME}"):
        find_version("models:/nic-other@champion")
    with pytest.raises(UnknownModel, match="wanted models:/name@alias"):
        find_version("nic-score")


def test_a_name_without_a_gate_is_refused(client: MlflowClient) -> None:
    with pytest.raises(RegistryError, match="no gate"):
        promote(version(client, 0.7).uri, {})


def test_the_shipped_gates_are_readable_and_a_misspelt_one_is_named(tmp_path: Path) -> None:
    gates = read_gates(Path(__file__).resolve().parents[2] / "registry" / "promotion.yaml")
    assert set(gates) == {"nic-encoder", "nic-proliferation", "nic-growth-pattern", "nic-survival"}
    broken = tmp_path / "gates.yaml"
    broken.write_text("nic-score: {figure: external.spearman, at_leats: 0.5}")
    with pytest.raises(RegistryError, match=r"gates\.yaml: nic-score\.at_leats"):
        read_gates(broken)
