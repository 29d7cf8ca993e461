"""The page of a verdict is in the run that made the version and in the run that checked it."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from nic.tracking.checks import Check
from nic.tracking.gates import Gate
from nic.tracking.promotion import Verdict
from nic.tracking.registry import find_version, tag_version
from nic.tracking.verdict_page import FILE, publish

NAME = "nic-score"


def judged(client: MlflowClient) -> tuple[Verdict, str]:
    """A refused version, and the run that made it."""
    with mlflow.start_run() as run:
        client.create_registered_model(NAME)
        client.create_model_version(NAME, source="file:///nowhere/model")
    tag_version(NAME, "1", {"nic.run": run.info.run_id})
    check = Check("lineage", False, "codes of <b>nobody</b>", "each part recorded")
    gate = Gate(figure="external.auc", at_least=0.5)
    return Verdict(find_version(f"models:/{NAME}/1"), gate, None, (check,), None), run.info.run_id


def page_of(run_id: str) -> str:
    return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{FILE}"))


def test_the_page_is_in_both_runs_and_the_tag_has_its_place(client: MlflowClient) -> None:
    verdict, made_by = judged(client)
    with mlflow.start_run() as run:
        publish(verdict, run.info.run_id)
    page = mlflow.artifacts.load_text(find_version(f"models:/{NAME}/1").tags["promotion.page"])
    assert page == page_of(made_by) == page_of(run.info.run_id)
    assert "nic-score/1: refused" in page
    assert "codes of &lt;b&gt;nobody&lt;/b&gt;" in page


def test_a_deleted_run_gets_no_page(client: MlflowClient) -> None:
    verdict, made_by = judged(client)
    client.delete_run(made_by)
    with mlflow.start_run() as run:
        publish(verdict, run.info.run_id)
    assert "lineage" in page_of(run.info.run_id)
    with pytest.raises((MlflowException, OSError)):
        page_of(made_by)
