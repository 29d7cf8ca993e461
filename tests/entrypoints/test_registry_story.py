"""Train, promote, challenge, roll back, trace, race: the same on SQLite, behind a server, and with PostgreSQL there."""

import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from small_study import Place, place_in, promoted_at
from stores import mlflow_server, postgresql

from entrypoints import lineage, rollback
from nic.tracking.gates import read_gates
from nic.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, alias_version, find_version, load_served
from nic.tracking.source_digest import PROJECT

NAME = "nic-score"
GATES = {
    NAME: {
        "figure": "external.spearman",
        "at_least": 0.5,
        "low_above": 0.0,
        "margin": 0.1,
        "others": {"external.coverage": {"at_least": 0.3}},
        "subgroups": {"at_least": 0.3, "fewest": 5},
        "serving": {"latency_s": 60, "size_mb": 50},
    }
}
RACES = 50
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", "server", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, before = tmp_path_factory.mktemp(request.param), mlflow.get_tracking_uri()
    sqlite = f"sqlite:///{folder / 'mlflow.db'}"
    with ExitStack() as stack:
        match request.param:
            case "sqlite":
                uri = sqlite
            case "server":
                uri = stack.enter_context(mlflow_server(folder, sqlite))
            case _:
                uri = stack.enter_context(mlflow_server(folder, stack.enter_context(postgresql())))
        yield place_in(folder, uri, str(folder / "mlruns") if request.param == "sqlite" else None, GATES)
        mlflow.set_tracking_uri(before)


def holders(name: str = NAME) -> tuple[str | None, ...]:
    found = [alias_version(name, alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)]
    return tuple(version.version if version else None for version in found)


def test_the_story_of_a_registered_model(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = place.train("study.yaml", epochs=12)
    assert place.promote(first)["reasons"] == []
    assert holders() == ("1", None, None)

    worse = place.promote(place.train("wrong.yaml", epochs=4))
    assert not worse["promoted"]
    assert any("against version 1 of nic-score: " in r and "the candidate is worse" in r for r in worse["reasons"])
    assert holders() == ("1", None, "2")
    tags = find_version(f"models:/{NAME}/2").tags
    assert tags["promotion.verdict"] == "refused"
    assert "NO" in mlflow.artifacts.load_text(tags["promotion.page"])

    better = place.train("study.yaml", epochs=24)
    assert place.promote(better)["reasons"] == []
    assert holders() == ("3", "1", None)

    rollback.run(rollback.Config(NAME, "wrong stain"))
    assert holders() == ("1", "3", None)

    answers = load_served(f"models:/{NAME}@{CHAMPION}")(pd.DataFrame({"slide": [str(place.folder / "slides/s3.tif")]}))
    answered = tmp_path / "answer.json"
    answered.write_text(json.dumps({"predictions": answers.to_dict("records")}))
    capsys.readouterr()
    lineage.run(lineage.Config(str(answered)))
    printed = capsys.readouterr().out
    print(printed)
    assert "patient s3: " in printed
    assert "nic-score/1: here (champion)" in printed
    for part in ("cohort", "codes", "slides", "tasks", "encoder nic-encoder/1", "split.csv", "pins"):
        assert part in printed
    assert "What no longer exists: nothing that was checked." in printed


def test_of_two_promotions_at_once_one_wins(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty times, each from the same champion, by two processes that start in the same moment."""
    monkeypatch.syspath_prepend(str(PROJECT))  # a model that was loaded here has put its own code first
    client = MlflowClient()
    champion, *rivals = (
        str(v.version) for v in client.search_model_versions(f"name = '{NAME}'") if str(v.version) != "2"
    )
    rivals = [rivals[0], place.train("study.yaml", epochs=16).rpartition("/")[2]]
    gates = {NAME: read_gates(place.gates)[NAME].model_copy(update={"serving": None, "margin": 0.9})}
    won, one_after_the_other = [], 0
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        for _ in range(RACES):
            client.set_registered_model_alias(NAME, CHAMPION, champion)
            moment = time.time() + 0.05
            racing = [processes.submit(promoted_at, moment, place.uri, f"models:/{NAME}/{v}", gates) for v in rivals]
            winners = [v for v, future in zip(rivals, racing, strict=True) if future.result()]
            now, before, _ = holders()
            assert now in winners
            if len(winners) == 2:  # the later one was judged against the earlier one
                assert {now, before} == set(rivals)
                one_after_the_other += 1
            else:
                assert before == champion
            won.append(now)
    assert one_after_the_other < RACES / 2
    wins = {version: won.count(version) for version in rivals}
    print(f"{RACES} races at {place.uri}: champions {wins}, one after the other {one_after_the_other}")


def test_what_is_developed_is_served_as_a_copy(place: Place) -> None:
    client = MlflowClient()
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    client.delete_registered_model_alias(NAME, CHALLENGER)  # whoever lost the last race
    promoted = place.promote(place.train("study.yaml", epochs=12, register_as=f"{NAME}.dev"))
    assert promoted["reasons"] == []
    assert promoted["name"] == NAME
    assert holders() == (promoted["version"], "1", None)
    answers = load_served(f"models:/{NAME}@{CHAMPION}")(pd.DataFrame({"slide": [str(place.folder / "slides/s3.tif")]}))
    assert (answers["model"][0], answers["model_version"][0]) == (NAME, promoted["version"])
    assert place.promote(f"models:/{NAME}.dev/1")["reasons"] == []  # it stands: nothing is copied again
    assert holders() == (promoted["version"], "1", None)


def test_what_cannot_be_accounted_for_is_not_promoted(place: Place) -> None:
    model = place.train("study.yaml", epochs=12)
    client = MlflowClient()
    version = find_version(model)
    run = client.get_run(version.tags["nic.run"])
    client.set_tag(run.info.run_id, "nic.input.codes", "0" * 16)
    refused = place.promote(model)
    assert "no run has left codes of this digest" in refused["reasons"][0]
    client.set_tag(run.info.run_id, "nic.input.codes", run.data.tags["nic.input.codes"])
    client.delete_run(run.info.run_id)
    assert f"run {run.info.run_id[:12]} is gone" in place.promote(model)["reasons"][0]
