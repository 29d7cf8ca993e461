"""What a model card says of the standing of a version, by its tags and aliases as they are now."""

from collections.abc import Iterator

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from stores import new_store

from nic.stages.patient_card import standing
from nic.tracking.aliases import REASONS, ROLLED_BACK, VERDICT
from nic.tracking.descriptions import describe_model
from nic.tracking.figure_name import FigureName
from nic.tracking.recorded_estimates import FIGURES, tagged_estimates
from nic.tracking.registry import CHAMPION, RegisteredVersion, find_version, tag_version

NAME = "nic-score"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """Two versions, of which the second is champion."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path_factory.mktemp("cards")))
    client = MlflowClient()
    client.create_registered_model(NAME)
    for _ in range(2):
        client.create_model_version(NAME, "file:///nowhere")
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    yield client
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(
    ("number", "tags", "words"),
    [
        ("1", {}, "Not judged by its gate yet."),
        ("1", {VERDICT: "refused", REASONS: "external.auc: 0.4"}, "Refused by its gate: external.auc: 0.4."),
        ("1", {VERDICT: ROLLED_BACK, REASONS: "blue stain"}, "Rolled back: blue stain."),
        ("1", {VERDICT: "promoted", REASONS: ""}, "Champion of nic-score now: version 2."),
        ("2", {}, "Champion: this version is served."),
    ],
)
def test_a_card_says_whether_its_version_is_served(
    client: MlflowClient, number: str, tags: dict[str, str], words: str
) -> None:
    tag_version(NAME, number, tags)
    assert words in standing(find_version(f"models:/{NAME}/{number}"))


def test_the_description_of_a_model_that_somebody_wrote_stays(client: MlflowClient) -> None:
    describe_model(NAME, "Predicts a score.")
    describe_model(NAME, "Another text.")
    assert client.get_registered_model(NAME).description == "Predicts a score."


def test_estimates_in_tags_of_earlier_versions_are_read() -> None:
    estimate = '{"value": 0.8, "n": 40, "data": "c0"}'
    older = RegisteredVersion(NAME, "1", {"figure.external.auc": estimate})
    now = RegisteredVersion(NAME, "1", {FIGURES: f'{{"external.auc": {estimate}}}', "external.auc": "0.800, n = 40"})
    assert tagged_estimates(older) == tagged_estimates(now)
    assert list(tagged_estimates(now)) == [FigureName("external", "auc")]
