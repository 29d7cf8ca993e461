"""What is shown of a study in the end is what is served at that moment, whatever was decided before."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console
from stores import new_store

from entrypoints import promote
from nic.errors import EndpointError, StageFailed, StoreUnreached
from nic.stages.steps import Steps, registered_encoder
from nic.tracking.aliases import roll_back
from nic.tracking.registry import CHAMPION, PREVIOUS
from nic.tracking.runs import Finished

NAME = "nic-score"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MlflowClient]:
    """Versions 1 and 2, of which 2 is champion."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path))
    client = MlflowClient()
    client.create_registered_model(NAME)
    for _ in range(2):
        client.create_model_version(NAME, "file:///nowhere")
    client.set_registered_model_alias(NAME, PREVIOUS, "1")
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    yield client
    mlflow.set_tracking_uri(before)


def shown(promoted: bool, reasons: list[str]) -> str:
    """As shown after a verdict on version 2, reused from an earlier call."""
    verdict = {"name": NAME, "version": "2", "promoted": promoted, "reasons": reasons}
    text = StringIO()
    run = MlflowClient().create_run("0").info.run_id
    Steps({"promote score": Finished("", verdict, True, 0.0)}, Console(file=text, width=200)).show([], run)
    return text.getvalue()


def test_the_champion_of_a_verdict_that_stands_is_shown(client: MlflowClient) -> None:
    text = shown(True, [])
    assert "yes" in text
    assert "models:/nic-score@champion" in text
    assert "# version 2" in text


def test_after_a_rollback_the_version_that_is_served_is_shown(client: MlflowClient) -> None:
    roll_back(NAME, "blue stain")
    text = shown(True, [])
    assert "no more: rolled back: blue stain" in text
    assert "version 1" in text
    assert "# version 1" in text
    assert "yes" not in text


def test_after_another_promotion_the_version_that_is_served_is_shown(client: MlflowClient) -> None:
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    text = shown(True, [])
    assert "no more: another one was promoted since" in text
    assert "# version 1" in text


def test_a_refused_version_leaves_the_old_champion_served(client: MlflowClient) -> None:
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    text = shown(False, ["external.auc: 0.4"])
    assert "refused: external.auc: 0.4" in text
    assert "# version 1" in text


def test_where_nobody_is_champion_nothing_is_served(client: MlflowClient) -> None:
    client.delete_registered_model_alias(NAME, CHAMPION)
    assert "Serve:" not in shown(False, ["external.auc: 0.4"])


def test_a_version_that_was_rolled_back_is_not_promoted_again(client: MlflowClient) -> None:
    roll_back(NAME, "blue stain")
    steps = Steps(console=Console(file=StringIO()))
    result = steps.promote("promote score", promote, promote.Config(f"models:/{NAME}/2"), f"models:/{NAME}/2")
    assert result["promoted"] is False
    assert result["reasons"] == ["rolled back: blue stain; promote it by hand to serve it again"]
    assert client.get_model_version_by_alias(NAME, CHAMPION).version in ("1", 1)


def test_a_version_without_a_gate_is_not_promoted_and_the_gate_to_write_is_shown(client: MlflowClient) -> None:
    text = StringIO()
    measured = {"metric": "auc", "part": "cross_validated", "measured": "0.8", "oracle": "", "cross_validated": "0.8"}
    steps = Steps({"evaluate score": Finished("", measured, True, 0.0)}, Console(file=text, width=250))
    result = steps.promote("promote score", promote, promote.Config(f"models:/{NAME}/2"), f"models:/{NAME}/2")
    reason = (
        "no gate; write one under the endpoint, such as gate: {figure: cross_validated.auc, at_least: 0.7, margin: 0.1}"
    )
    assert (result["promoted"], result["reasons"]) == (False, [reason])
    steps.show([], client.create_run("0").info.run_id)
    assert f"not promoted: {reason}" in text.getvalue()
    (stages,) = [table for table in steps.tables([]) if table.title == "Stages"]
    assert [tuple(row) for row in stages.rows] == [("evaluate score", "reused"), ("promote score", "skipped")]


def test_published_results_are_a_table_beside_the_study_s_own(client: MlflowClient) -> None:
    rows = [
        ["", "cross_validated", "spearman", "0.600 [0.540, 0.655]", 490],
        ["Winner", "cross_validated", "spearman", "0.620 [0.563, 0.671]", 500],
    ]
    measured = {"metric": "spearman", "part": "cross_validated", "measured": "0.6", "oracle": "", "published": rows}
    finished = {
        "train score": Finished("", {"cross_validated": "0.6"}, True, 0.0),
        "evaluate score": Finished("", measured, True, 0.0),
        "promote score": Finished("", {"name": NAME, "version": "2", "promoted": False, "reasons": []}, True, 0.0),
    }
    tables = Steps(finished).tables(["score"])
    (table,) = [table for table in tables if table.title == "Published results"]
    assert [tuple(row) for row in table.rows] == [
        ("score", "this study", "cross-validated", "spearman", "0.600 [0.540, 0.655]", "490"),
        ("score", "Winner", "cross-validated", "spearman", "0.620 [0.563, 0.671]", "500"),
    ]
    del measured["published"]  # an evaluation of an older run
    assert "Published results" not in [table.title for table in Steps(finished).tables(["score"])]


def test_where_an_endpoint_fails_the_others_go_on_and_the_end_is_an_error(client: MlflowClient) -> None:
    text = StringIO()
    steps = Steps(console=Console(file=text, width=250))
    for name in ("grade", "score"):
        with steps.endpoint(name):
            if name == "grade":
                raise EndpointError("cohort.csv: no label")
            steps.finished["train score"] = Finished("", {"version": "models:/nic-score/1"}, False, 1.0)
    assert steps.failures == {"grade": "cohort.csv: no label"}
    assert steps.summary(["grade"]) == {}
    steps.show(["grade"], client.create_run("0").info.run_id)
    assert "why it was not finished" in text.getvalue()
    with pytest.raises(StageFailed, match=r"endpoint grade: cohort\.csv: no label"):
        steps.check()
    Steps().check()


def test_a_store_that_is_gone_ends_the_study() -> None:
    steps = Steps(console=Console(file=StringIO()))
    with pytest.raises(StoreUnreached), steps.endpoint("grade"):
        raise StoreUnreached("tracking store: gone")


def test_a_registered_encoder_stands_in_for_a_trained_one(client: MlflowClient) -> None:
    client.create_registered_model("nic-encoder")
    client.create_model_version("nic-encoder", "file:///nowhere", tags={"nic.encoder_sha256": "a" * 64})
    client.set_registered_model_alias("nic-encoder", CHAMPION, "1")
    assert registered_encoder("models:/nic-encoder@champion") == {
        "version": "models:/nic-encoder/1",
        "sha256": "a" * 64,
    }
