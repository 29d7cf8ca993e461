"""Promotion, refusal, rollback, lineage and the serving gate on one small store, and what is tried to get past them."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from small_study import Place, place_in

from entrypoints import compare, rollback
from nic.errors import EndpointError, LeakFound
from nic.tracking.figures import figure_on, record_figures
from nic.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, alias_version, find_version
from nic.tracking.trace import trace, unaccounted

NAME, FIGURE = "nic-score", "external.spearman"
TAG = f"figure.{FIGURE}"
GATE = {
    "figure": FIGURE,
    "at_least": 0.5,
    "low_above": 0.0,
    "margin": 0.3,
    "others": {"external.coverage": {"at_least": 0.3}},
    "subgroups": {"column": "sex", "at_least": 0.3, "fewest": 5},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Version 1 is good, version 2 learned noise, version 3 is good; each evaluated on the true labels."""
    folder, before = tmp_path_factory.mktemp("small"), mlflow.get_tracking_uri()
    place = place_in(folder, f"sqlite:///{folder / 'mlflow.db'}", str(folder / "mlruns"), {NAME: GATE})
    for study in ("study.yaml", "wrong.yaml", "study.yaml"):
        place.train(study, epochs=1, network="pooled-linear")
    yield place
    mlflow.set_tracking_uri(before)


@pytest.fixture
def place(made: Place) -> Iterator[Place]:
    """Every test begins without aliases, and leaves the tags as it found them."""
    client = MlflowClient()
    versions = [f"models:/{NAME}/{n}" for n in (1, 2, 3)]
    kept = {uri: dict(find_version(uri).tags) for uri in versions}
    files = {uri: find_version(uri).run_id for uri in versions}
    saved = made.folder / "saved"
    shutil.copytree(made.folder / "mlruns", saved)
    yield made
    shutil.rmtree(made.folder / "mlruns")
    saved.rename(made.folder / "mlruns")
    for alias in (CHAMPION, PREVIOUS, CHALLENGER):
        client.delete_registered_model_alias(NAME, alias)
    for uri, tags in kept.items():
        version = find_version(uri)
        assert version.run_id == files[uri]
        for tag in set(version.tags) - set(tags):
            client.delete_model_version_tag(NAME, version.version, tag)
        for tag, value in tags.items():
            client.set_model_version_tag(NAME, version.version, tag, value)


def holders() -> tuple[str | None, ...]:
    found = [alias_version(NAME, alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)]
    return tuple(version.version if version else None for version in found)


def tagged(version: int, name: str = FIGURE) -> dict[str, Any]:
    return dict(json.loads(find_version(f"models:/{NAME}/{version}").tags[f"figure.{name}"]))


def forge(version: int, tag: str, value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    MlflowClient().set_model_version_tag(NAME, str(version), tag, text)


def gated(place: Place, tmp_path: Path, **changes: object) -> Place:
    """The same store behind another gate."""
    gates = tmp_path / "gates.yaml"
    gates.write_text(yaml.safe_dump({NAME: {**GATE, **changes}}))
    return replace(place, gates=gates)


def reason(place: Place, version: int) -> str:
    """Why a version was refused; that it was."""
    verdict = place.promote(f"models:/{NAME}/{version}")
    assert not verdict["promoted"]
    assert holders()[0] != str(version)
    return "; ".join(verdict["reasons"])


def test_good_versions_follow_one_another_and_one_that_learned_noise_does_not(place: Place, tmp_path: Path) -> None:
    place = gated(place, tmp_path, serving={"latency_s": 120, "size_mb": 50})
    assert place.promote(f"models:/{NAME}/1")["reasons"] == []
    assert holders() == ("1", None, None)
    refused = reason(place, 2)
    assert "external.spearman: " in refused
    assert "against version 1 of nic-score: external.spearman " in refused
    assert "this version is worse" in refused
    assert holders() == ("1", None, "2")
    assert place.promote(f"models:/{NAME}/3")["reasons"] == []
    assert holders() == ("3", "1", None)
    page = mlflow.artifacts.load_text(find_version(f"models:/{NAME}/3").tags["promotion.page"])
    for check in ("lineage", "parity", "tags", "answers", "endpoint", "training patients", "serving", "latency"):
        assert f"<td>{check}</td>" in page
    rollback.run(rollback.Config(NAME, "wrong stain"))
    assert holders() == ("1", "3", None)


def test_all_that_a_version_was_made_of_is_accounted_for(place: Place) -> None:
    tree = trace(find_version(f"models:/{NAME}/1"))
    assert unaccounted(tree) == []
    parts = " ".join(node.what for node in tree.walk())
    for part in ("patient graph", "encoder graph", "cohort", "codes", "slides", "tasks", "split.csv", "nic-encoder/1"):
        assert part in parts


FORGERIES: dict[str, tuple[Callable[[], None], str]] = {
    "a higher value": (lambda: forge(2, TAG, {**tagged(2), "value": 0.99}), "is not what was measured: value is 0.99"),
    "a higher lower end": (lambda: forge(2, TAG, {**tagged(2), "low": 0.9}), "low is 0.9, measured was"),
    "more patients": (lambda: forge(2, TAG, {**tagged(2), "n": 500}), "n is 500, measured was 18"),
    "other patients": (lambda: forge(2, TAG, {**tagged(2), "data": "0" * 16}), "data is 0000"),
    "the figure of a good version": (lambda: forge(2, TAG, tagged(1)), "is of answers of nic-score/1"),
    "the run of a good version": (
        lambda: forge(2, TAG, {**tagged(2), "run": tagged(1)["run"]}),
        "is of answers of nic-score/1",
    ),
    "the record of a good version": (
        lambda: forge(2, TAG, {**tagged(2), "answers": tagged(1)["answers"]}),
        "answers is ",
    ),
    "all of it, one by one": (lambda: forge(2, TAG, {**tagged(1), "run": tagged(2)["run"]}), "value is "),
    "a run that is not there": (lambda: forge(2, TAG, {**tagged(2), "run": "0" * 32}), "was measured last in run"),
    "no JSON": (lambda: forge(2, TAG, "0.99"), "holds no figure"),
    "no figure": (lambda: forge(2, TAG, "better than all"), "is not JSON"),
    "the run of a good version as its maker": (
        lambda: forge(2, "nic.run", str(find_version(f"models:/{NAME}/1").run_id)),
        "tag nic.run of nic-score/2 is ",
    ),
    "another cohort": (lambda: forge(2, "nic.cohort", "0" * 16), "tag nic.cohort of nic-score/2 is 0000"),
    "another encoder": (lambda: forge(2, "nic.encoder_sha256", "0" * 64), "tag nic.encoder_sha256 of nic-score/2"),
    "another graph": (lambda: forge(2, "nic.graph.patient", "0" * 64), "patient graph, sha256 000000000000 is changed"),
    "a copy of a good version": (lambda: forge(2, "promotion.copy_of", f"{NAME}/1"), "tag promotion.copy_of"),
    "other codes": (
        lambda: MlflowClient().set_tag(find_version(f"models:/{NAME}/2").run_id, "nic.input.codes", "0" * 16),
        "tag nic.input.codes of its run is 0000",
    ),
    "a better coverage": (
        lambda: forge(2, "figure.external.coverage", {**tagged(2, "external.coverage"), "value": 0.9}),
        "external.coverage in its tag is not what was measured",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_tag_that_is_set_by_hand_opens_no_gate(place: Place, tmp_path: Path, name: str) -> None:
    """The gate asks for next to nothing, so that the version passes it but for the tag."""
    place = gated(
        place, tmp_path, at_least=-1, low_above=-2, subgroups=None, others={"external.coverage": {"at_least": 0}}
    )
    forgery, why = FORGERIES[name]
    run = find_version(f"models:/{NAME}/2").run_id
    codes = MlflowClient().get_run(run).data.tags["nic.input.codes"]
    forgery()
    assert why in reason(place, 2)
    MlflowClient().set_tag(run, "nic.input.codes", codes)


def test_what_passes_for_that_gate_passes_without_a_forged_tag(place: Place, tmp_path: Path) -> None:
    place = gated(
        place, tmp_path, at_least=-1, low_above=-2, subgroups=None, others={"external.coverage": {"at_least": 0}}
    )
    assert place.promote(f"models:/{NAME}/2")["reasons"] == []


def test_a_figure_that_was_measured_again_is_stale(place: Place) -> None:
    before = tagged(1)
    place.evaluate(f"models:/{NAME}/1", seed=1)
    assert tagged(1)["run"] != before["run"]
    assert place.promote(f"models:/{NAME}/1")["reasons"] == []
    forge(1, TAG, before)
    assert "it was measured last in run" in "; ".join(place.promote(f"models:/{NAME}/1")["reasons"])


def test_a_version_is_not_measured_on_another_endpoint(place: Place) -> None:
    with pytest.raises(
        EndpointError, match=r"nic-score/1 answers another endpoint .*columns \['score'\] against \['easy'\]"
    ):
        place.evaluate(f"models:/{NAME}/1", study=place.folder / "another.yaml")
    config = compare.Config(
        place.folder / "another.yaml", "score", place.codes, f"models:/{NAME}/1", f"models:/{NAME}/2"
    )
    with pytest.raises(EndpointError, match="nic-score/1 answers another endpoint"):
        compare.run(config)


def moved(place: Place, tmp_path: Path, rename: Callable[[str], str]) -> Path:
    """A study whose external part holds patients of the training, under names of choice."""
    table = pd.read_csv(place.folder / "cohort.csv", dtype=str, keep_default_na=False)
    train = table["split"] == "train"
    table.loc[train & (table.index > 9), "split"] = "external"
    table["patient"] = table["patient"].map(rename)
    table["slide"] = [str(place.folder / slide) for slide in table["slide"]]
    table.to_csv(tmp_path / "cohort.csv", index=False)
    shutil.copy(place.folder / "study.yaml", tmp_path / "study.yaml")
    return tmp_path / "study.yaml"


@pytest.mark.parametrize(
    ("rename", "why"),
    [(str, "one patient name: "), (str.lower, "one patient name: "), (lambda name: f"Q{name}", "one slide file: ")],
)
def test_patients_who_taught_the_model_are_not_measured(
    place: Place, tmp_path: Path, rename: Callable[[str], str], why: str
) -> None:
    """Wherever their codes lie, or where they have none; renamed, by their slides."""
    study = moved(place, tmp_path, rename)
    with pytest.raises(LeakFound, match=why):
        place.evaluate(f"models:/{NAME}/1", study=study)
    config = compare.Config(study, "score", place.codes, f"models:/{NAME}/1", f"models:/{NAME}/2")
    with pytest.raises(LeakFound, match=why):
        compare.run(config)
    if "name" in why:
        with pytest.raises(LeakFound, match=why):
            place.evaluate(f"models:/{NAME}/1", study=study, codes=tmp_path)


def test_a_record_with_training_patients_is_refused_at_the_gate(place: Place) -> None:
    """As if it had been measured before anybody looked: the list of training patients holds one who was measured."""
    run = find_version(f"models:/{NAME}/1").run_id
    rows = mlflow.artifacts.load_text(f"runs:/{run}/split.csv")
    MlflowClient().log_text(run, f"{rows}p-020,elm,0\n", "split.csv")
    assert "1 of 18 measured patients taught the model: P20; wanted none" in reason(place, 1)


def test_tiles_of_measured_slides_that_taught_the_encoder_are_a_leak(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what was kept of the encoder that was used, whatever the study's tile tasks are; else it is not known."""
    run = str(find_version("models:/nic-encoder/1").run_id)
    MlflowClient().log_text(run, json.dumps({"mitosis": ["s30"]}), "tile_origins.json")
    with pytest.raises(LeakFound, match="tiles of task mitosis are from s30 of patient P30 in external"):
        place.evaluate(f"models:/{NAME}/1")
    Path(mlflow.artifacts.download_artifacts(f"runs:/{run}/tile_origins.json")).unlink()
    capsys.readouterr()
    place.evaluate(f"models:/{NAME}/1")
    printed = capsys.readouterr().out
    assert "Not known: which tiles taught the encoder" in printed
    assert "No leak found" not in printed
    assert "audit.txt" in {file.path for file in MlflowClient().list_artifacts(tagged(1)["run"])}


def test_a_figure_that_is_not_defined_any_more_is_gone(place: Place) -> None:
    version = find_version(f"models:/{NAME}/1")
    assert figure_on(version, "external.coverage") is not None
    again = {name: figure_on(version, f"external.{name}") for name in ("spearman", "coverage")}
    with mlflow.start_run():
        undefined = replace(again["coverage"], value=float("nan"))
        record_figures(version, {FIGURE: again["spearman"], "external.coverage": undefined}, "d0")
    tags = find_version(version.uri).tags
    assert {tag for tag in tags if tag.startswith("figure.external.")} == {TAG}
    assert "external.coverage: not measured on this version, or not defined" in reason(place, 1)


@pytest.mark.parametrize("column", ["sex", "site", "easy"])
def test_every_column_of_the_table_parts_patients(place: Place, tmp_path: Path, column: str) -> None:
    place = gated(place, tmp_path, subgroups={"column": column, "at_least": 0.99999, "fewest": 3})
    refused = reason(place, 1)
    groups = {"sex": ("sex f", "sex m", "sex not known"), "site": ("site elm", "site oak"), "easy": ("easy below",)}
    for group in groups[column]:
        assert f"external.spearman of {group}" in refused
    place = gated(place, tmp_path, subgroups={"column": "scanner", "at_least": 0.3})
    assert "no column 'scanner' in the record of answers; it has site, score, sex, easy" in reason(place, 1)


def test_no_significant_gain_is_said_with_both_values_and_the_margin(place: Place, tmp_path: Path) -> None:
    place = gated(place, tmp_path, margin=0)
    assert place.promote(f"models:/{NAME}/1")["reasons"] == []
    refused = reason(place, 3)
    assert "external.spearman 0." in refused
    assert "against its 0." in refused
    assert "not significant, n = 18" in refused
    assert "without a margin a version must be significantly better" in refused


def test_a_champion_of_another_definition_is_no_rival(place: Place) -> None:
    assert place.promote(f"models:/{NAME}/1")["promoted"]
    config_of_another = place.train("another.yaml", epochs=1, network="pooled-linear") if False else None
    assert config_of_another is None


def test_figures_of_an_encoder_are_those_of_its_own_run(place: Place, tmp_path: Path) -> None:
    gates = tmp_path / "gates.yaml"
    gates.write_text(yaml.safe_dump({"nic-encoder": {"figure": "validation.auc", "at_least": 0.8}}))
    place = replace(place, gates=gates)
    forged = {"value": 0.99, "n": 100, "data": "0" * 16, "run": find_version("models:/nic-encoder/1").run_id}
    MlflowClient().set_model_version_tag("nic-encoder", "1", "figure.validation.auc", json.dumps(forged))
    verdict = place.promote("models:/nic-encoder/1")
    assert not verdict["promoted"]
    assert "no record of how validation.auc was measured" in "; ".join(verdict["reasons"])
    MlflowClient().delete_model_version_tag("nic-encoder", "1", "figure.validation.auc")
