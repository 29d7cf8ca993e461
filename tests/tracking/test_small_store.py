"""Promotion, refusal, rollback, lineage and the serving gate on one small store, and what is tried to get past them."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from small_study import Place, place_in
from stores import new_store

from entrypoints import compare, rollback
from nic.errors import EndpointError, LeakFound
from nic.patients.cohort import Endpoint
from nic.patients.cohort_table import read_cohort
from nic.patients.model_spec import METADATA, PatientModelSpec
from nic.stages.splitting import UNKNOWN_TILES, audit_evaluation
from nic.tracking import promotion
from nic.tracking.evidence import graph_sha256, spec_of
from nic.tracking.gates import Gate
from nic.tracking.promotion import Verdict
from nic.tracking.recorded_estimates import FIGURES, publish_answers, read_answers
from nic.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    RegisteredVersion,
    alias_version,
    find_version,
    graph_file,
    register_patient_model,
    tag_version,
)
from nic.tracking.trace import trace, unaccounted

NAME, FIGURE = "nic-score", "external.spearman"
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
    """Version 1 is good, version 2 learned the labels turned round, version 3 is a copy of the first."""
    folder, before = tmp_path_factory.mktemp("small"), mlflow.get_tracking_uri()
    place = place_in(folder, new_store(folder), str(folder / "mlruns"), {NAME: GATE})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nic.stages.evaluation_report.CASES", 1)  # patients of whom a report draws maps
        for study in ("study.yaml", "wrong.yaml"):
            place.train(study, epochs=1, network="pooled-linear")
        MlflowClient().copy_model_version(f"models:/{NAME}/1", NAME)
        yield place
    mlflow.set_tracking_uri(before)


@dataclass(frozen=True)
class Begin:
    """How every test begins. tags: of each version. filed: the text of each file of figures."""

    tags: dict[str, dict[str, str]]
    filed: dict[Path, str]


@pytest.fixture(scope="module")
def begin(made: Place) -> Begin:
    versions = {number: find_version(f"models:/{NAME}/{number}") for number in "123"}
    runs = {number: MlflowClient().get_run(str(versions[number].run_id)) for number in "12"}
    files = [Path(run.info.artifact_uri) / "figures" / NAME / n / "external.json" for n, run in runs.items()]
    return Begin({n: dict(version.tags) for n, version in versions.items()}, {f: f.read_text() for f in files})


@pytest.fixture
def place(made: Place, begin: Begin) -> Iterator[Place]:
    """Every test begins without aliases, and leaves tags and filed figures as it found them."""
    yield made
    client = MlflowClient()
    for alias in (CHAMPION, PREVIOUS, CHALLENGER):
        client.delete_registered_model_alias(NAME, alias)
    for number, tags in begin.tags.items():
        now = find_version(f"models:/{NAME}/{number}").tags
        for tag in set(now) - set(tags):
            client.delete_model_version_tag(NAME, number, tag)
        tag_version(NAME, number, {tag: value for tag, value in tags.items() if now.get(tag) != value})
    for file, text in begin.filed.items():
        file.write_text(text)


def holders() -> tuple[str | None, ...]:
    found = [alias_version(NAME, alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)]
    return tuple(version.version if version else None for version in found)


def version(number: int) -> RegisteredVersion:
    return find_version(f"models:/{NAME}/{number}")


def tagged(number: int, name: str = FIGURE) -> dict[str, Any]:
    return dict(json.loads(version(number).tags[FIGURES])[name])


def forge(number: int, tag: str, value: str) -> None:
    tag_version(NAME, str(number), {tag: value})


def forge_figure(number: int, value: object, name: str = FIGURE) -> None:
    """Write an estimate of one's own among those in the version's tag."""
    forge(number, FIGURES, json.dumps(json.loads(version(number).tags[FIGURES]) | {name: value}))


def verdict(number: int, **changes: Any) -> Verdict:
    """Of the gate with these changes."""
    return promotion.promote(f"models:/{NAME}/{number}", {NAME: Gate.model_validate({**GATE, **changes})})


def refused(number: int, **changes: Any) -> str:
    """Why a version is refused by the gate with these changes; that it is."""
    judged = verdict(number, **changes)
    champion = alias_version(NAME, CHAMPION)
    assert not judged.promoted
    assert champion is None or champion.version != str(number)
    return "; ".join(judged.reasons)


def test_good_versions_follow_one_another_and_one_that_learned_the_reverse_does_not(place: Place) -> None:
    gates = {NAME: {**GATE, "serving": {"latency_s": 120, "size_mb": 50}}}
    place.gates.write_text(yaml.safe_dump(gates))
    assert place.promote(f"models:/{NAME}/1")["reasons"] == []
    page = mlflow.artifacts.load_text(version(1).tags["promotion.page"])
    for check in ("lineage", "parity", "tags", "answers", "endpoint", "training patients", "serving", "latency"):
        assert f"<td>{check}</td>" in page
    assert holders() == ("1", None, None)
    why = "; ".join(place.promote(f"models:/{NAME}/2")["reasons"])
    assert "external.spearman: -" in why
    assert "against version 1 of nic-score: external.spearman: candidate -" in why
    assert "the candidate is worse" in why
    assert holders() == ("1", None, "2")
    assert verdict(3).reasons == ()
    assert holders() == ("3", "1", None)
    rollback.run(rollback.Config(NAME, "wrong stain"))
    assert holders() == ("1", "3", None)


def test_all_that_a_version_was_made_of_is_accounted_for(place: Place) -> None:
    tree = trace(version(1))
    assert unaccounted(tree) == []
    parts = " ".join(node.what for node in tree.walk())
    for part in ("patient graph", "encoder graph", "cohort", "codes", "slides", "tasks", "split.csv", "nic-encoder/1"):
        assert part in parts


OPEN: dict[str, Any] = {
    "at_least": -1,
    "low_above": -2,
    "margin": 2.1,
    "subgroups": None,
    "others": {"external.coverage": {"at_least": 0}},
}
"""Of a gate that asks for next to nothing, so that a version passes it but for what is forged."""
FORGERIES: dict[str, tuple[Callable[[], None], str]] = {
    "a higher value": (
        lambda: forge_figure(2, {**tagged(2), "value": 0.99}),
        "is not what was measured: value is 0.99",
    ),
    "a higher lower end": (lambda: forge_figure(2, {**tagged(2), "low": 0.9}), "low is 0.9, measured was"),
    "more patients": (lambda: forge_figure(2, {**tagged(2), "n": 500}), "n is 500, measured was 18"),
    "other patients": (lambda: forge_figure(2, {**tagged(2), "data": "0" * 16}), "data is 0000"),
    "the figure of a good version": (lambda: forge_figure(2, tagged(1)), "is of answers of nic-score/1"),
    "the run of a good version": (
        lambda: forge_figure(2, {**tagged(2), "run": tagged(1)["run"]}),
        "is of answers of nic-score/1",
    ),
    "the record of a good version": (
        lambda: forge_figure(2, {**tagged(2), "answers": tagged(1)["answers"]}),
        "answers is ",
    ),
    "all of it, one by one": (lambda: forge_figure(2, {**tagged(1), "run": tagged(2)["run"]}), "value is "),
    "a run that is not there": (lambda: forge_figure(2, {**tagged(2), "run": "0" * 32}), "was measured last in run"),
    "a number alone": (lambda: forge_figure(2, 0.99), "holds no figure"),
    "no JSON of figures": (lambda: forge(2, FIGURES, "0.99"), "is no JSON of figures"),
    "no figure": (lambda: forge(2, FIGURES, "better than all"), "is no JSON of figures"),
    "a tag as earlier versions had it": (
        lambda: (forge(2, FIGURES, "{}"), forge(2, f"figure.{FIGURE}", json.dumps(tagged(1))))[0],
        "is of answers of nic-score/1",
    ),
    "the run of a good version as its maker": (
        lambda: forge(2, "nic.run", str(version(1).run_id)),
        "tag nic.run of nic-score/2 is ",
    ),
    "another cohort": (lambda: forge(2, "nic.cohort", "0" * 16), "tag nic.cohort of nic-score/2 is 0000"),
    "another encoder": (lambda: forge(2, "nic.encoder_sha256", "0" * 64), "tag nic.encoder_sha256 of nic-score/2"),
    "another graph": (lambda: forge(2, "nic.graph.patient", "0" * 64), "patient graph, sha256 000000000000 is changed"),
    "a copy of a good version": (lambda: forge(2, "promotion.copy_of", f"{NAME}/1"), "tag promotion.copy_of"),
    "other codes": (
        lambda: MlflowClient().set_tag(version(2).run_id, "nic.input.codes", "0" * 16),
        "tag nic.input.codes of the run of nic-score/2 is 0000",
    ),
    "a better coverage": (
        lambda: forge_figure(2, {**tagged(2, "external.coverage"), "value": 0.9}, "external.coverage"),
        "external.coverage in its tag is not what was measured",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_tag_that_is_set_by_hand_opens_no_gate(place: Place, name: str) -> None:
    forgery, why = FORGERIES[name]
    run = str(version(2).run_id)
    codes = MlflowClient().get_run(run).data.tags["nic.input.codes"]
    forgery()
    assert why in refused(2, **OPEN)
    MlflowClient().set_tag(run, "nic.input.codes", codes)


def test_without_a_forged_tag_that_gate_is_open(place: Place) -> None:
    assert verdict(2, **OPEN).reasons == ()


def test_a_champion_with_a_lowered_figure_is_no_easier_rival(place: Place) -> None:
    assert verdict(1).promoted
    forge_figure(1, {**tagged(1), "value": -1.0})
    assert "it cannot be compared: external.spearman in its tag is not what was measured" in refused(2, **OPEN)


def test_a_figure_that_was_measured_again_is_stale(place: Place) -> None:
    before = tagged(2)
    place.evaluate(f"models:/{NAME}/2", seed=1)
    assert tagged(2)["run"] != before["run"]
    forge_figure(2, before)
    assert "it was measured last in run " in refused(2, **OPEN)


def test_a_version_is_not_measured_on_another_endpoint(place: Place) -> None:
    another = place.folder / "another.yaml"
    with pytest.raises(EndpointError, match=r"nic-score/1 answers another endpoint .*\['score'\] against \['easy'\]"):
        place.evaluate(f"models:/{NAME}/1", study=another)
    with pytest.raises(EndpointError, match="nic-score/1 answers another endpoint"):
        compare.run(compare.Config(another, "score", place.codes, f"models:/{NAME}/1", f"models:/{NAME}/2"))


def rewritten(number: int, **changes: Any) -> None:
    """Publish the record of a version again with changes, as an `evaluate` without its own guards would."""
    answers, _ = read_answers(tagged(number)["run"], "external")
    with mlflow.start_run():
        publish_answers(version(number), replace(answers, **changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"definition": Endpoint("score", "regression", ("easy",)).definition},
            "endpoint: measured on another endpoint: ",
        ),
        ({"model": f"{NAME}/1"}, "its record holds answers of nic-score/1"),
        ({"graph": "0" * 64}, "its record holds answers of another graph than this version's"),
        ({"score": np.linspace(0, 1, 18)}, "its record of answers gives"),
    ],
)
def test_a_record_that_is_not_of_this_version_is_refused(place: Place, changes: dict[str, Any], why: str) -> None:
    rewritten(2, **changes)
    assert why in refused(2, **OPEN)


def moved(place: Place, folder: Path, rename: Callable[[str], str]) -> Path:
    """A study whose external part holds patients of the training, under names of choice."""
    table = pd.read_csv(place.folder / "cohort.csv", dtype=str, keep_default_na=False)
    table.loc[(table["split"] == "train") & (table.index > 9), "split"] = "external"
    table["patient"] = table["patient"].map(rename)
    table["slide"] = [str(place.folder / slide) for slide in table["slide"]]
    table.to_csv(folder / "cohort.csv", index=False)
    shutil.copy(place.folder / "study.yaml", folder / "study.yaml")
    return folder / "study.yaml"


@pytest.mark.parametrize(
    ("rename", "why"),
    [(str.lower, "one patient name: "), (lambda name: f"Q{name}", "one slide file: ")],
)
def test_training_patients_are_not_measured(
    place: Place, tmp_path: Path, rename: Callable[[str], str], why: str
) -> None:
    """Wherever their codes lie; without codes by their names, renamed by their slides."""
    study = moved(place, tmp_path, rename)
    with pytest.raises(LeakFound, match=why):
        place.evaluate(f"models:/{NAME}/1", study=study)
    with pytest.raises(LeakFound, match=why):
        compare.run(compare.Config(study, "score", place.codes, f"models:/{NAME}/1", f"models:/{NAME}/2"))
    if "name" in why:
        with pytest.raises(LeakFound, match=why):
            place.evaluate(f"models:/{NAME}/1", study=study, codes=tmp_path)


def test_a_record_with_training_patients_is_refused_at_the_gate(place: Place) -> None:
    """As if it had been measured without an audit: one who was measured is among the training patients."""
    run = str(version(1).run_id)
    rows = mlflow.artifacts.load_text(f"runs:/{run}/split.csv")
    MlflowClient().log_text(run, f"{rows}p-020,elm,0\n", "split.csv")
    assert "training patients: 1 of 18 measured patients: P20; wanted none" in refused(1)
    MlflowClient().log_text(run, rows, "split.csv")


def test_the_tiles_of_an_encoder_are_known_from_its_own_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the study's tile tasks are; where nothing was kept, it is not known."""
    run = str(find_version("models:/nic-encoder/1").run_id)
    file = Path(MlflowClient().get_run(run).info.artifact_uri) / "tile_origins.json"
    kept = file.read_text()
    MlflowClient().log_text(run, json.dumps({"mitosis": ["s30"]}), "tile_origins.json")
    with pytest.raises(LeakFound, match="tiles of task mitosis are from s30 of patient P30 in external"):
        place.evaluate(f"models:/{NAME}/1")
    file.unlink()
    spec = spec_of(version(1))
    patients = read_cohort(place.folder / "cohort.csv").patients[18:]
    assert audit_evaluation(version(1), spec, patients, "external", place.codes) == [f"Not known: {UNKNOWN_TILES}"]
    MlflowClient().log_text(run, kept, "tile_origins.json")
    (note,) = audit_evaluation(version(1), spec, patients, "external", place.codes)
    assert note == "No leak found between 18 patients and those of the training"


def test_a_figure_that_is_no_longer_defined_is_removed(place: Place) -> None:
    answers, _ = read_answers(tagged(1)["run"], "external")
    estimates = [replace(e, value=float("nan")) if e.name == "coverage" else e for e in answers.estimates]
    rewritten(1, estimates=tuple(estimates))
    assert "external.coverage" not in json.loads(version(1).tags[FIGURES])
    assert "external.coverage: not measured on this version, or not defined" in refused(1)


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        ("sex", ("sex f", "sex m", "sex not known")),
        ("site", ("site elm", "site oak")),
        ("easy", ("easy below 0.",)),
    ],
)
def test_any_column_of_the_table_makes_subgroups(place: Place, column: str, groups: tuple[str, ...]) -> None:
    why = refused(1, subgroups={"column": column, "at_least": 1.01, "fewest": 3})
    for group in groups:
        assert f"external.spearman of {group}" in why


def test_a_column_that_is_not_in_the_table_is_named_with_those_that_are(place: Place) -> None:
    why = refused(1, subgroups={"column": "scanner", "at_least": 0.3})
    assert "no column 'scanner' in the record of answers; it has site, score, sex, easy" in why


def test_no_significant_gain_is_shown_with_both_values_and_the_margin(place: Place) -> None:
    """Version 2 as if it had answered as the first did, with two patients' answers exchanged."""
    assert verdict(1).promoted
    answers, _ = read_answers(tagged(1)["run"], "external")
    score = answers.score.copy()
    score[[0, 1]] = score[[1, 0]]
    measured = replace(answers, score=score, model=f"{NAME}/2", graph=graph_sha256(version(2)))
    coverage = next(figure for figure in answers.estimates if figure.name == "coverage")
    with mlflow.start_run():
        publish_answers(version(2), replace(measured, estimates=(measured.deciding("spearman"), coverage)))
    why = refused(2, margin=0)
    candidate, champion = (tagged(number)["value"] for number in (2, 1))
    assert f"external.spearman: candidate {candidate:.3f}, champion {champion:.3f}; the candidate is " in why
    assert f"difference {candidate - champion:.3f}, 90% interval [" in why
    assert "n = 18, not significant; wanted a lower end of the interval above 0: the gate has no margin" in why
    assert "write margin: 0.1 in the gate" in why
    assert "above -0.001 (margin: 0.001)" in refused(2, margin=0.001)
    assert verdict(2, margin=0.9).reasons == ()


def test_a_champion_of_the_same_networks_is_no_rival(place: Place) -> None:
    assert verdict(1).promoted
    judged = verdict(3, margin=0)
    assert judged.promoted
    assert "against version 1 of nic-score: the same networks" in str(judged.checks[-1])


def redefined(number: int, folder: Path) -> RegisteredVersion:
    """The same networks registered for another definition of the endpoint: another column."""
    model = onnx.load(graph_file(version(number).uri, "patient"))
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA)
    definition = Endpoint("score", "regression", ("easy",)).definition
    entry.value = replace(PatientModelSpec.from_json(entry.value), definition=definition).to_json()
    onnx.save(model, folder / "patient.onnx")
    with mlflow.start_run():
        return register_patient_model(NAME, None, folder / "patient.onnx", {})


def test_a_champion_of_another_definition_is_no_rival(place: Place, tmp_path: Path) -> None:
    other = redefined(1, tmp_path)
    MlflowClient().set_registered_model_alias(NAME, CHAMPION, other.version)
    judged = verdict(2, **{**OPEN, "margin": 0})
    assert judged.promoted
    (against,) = (check for check in judged.checks if check.name.startswith("against"))
    assert "it answers another definition of the endpoint (columns ['easy'] against ['score'])" in against.observed
    assert holders() == ("2", other.version, None)
    MlflowClient().delete_model_version(NAME, other.version)


def test_the_figure_of_an_encoder_is_that_of_its_own_run(place: Place) -> None:
    encoder = find_version("models:/nic-encoder/1")
    gates = {"nic-encoder": Gate(figure="validation.auc", at_least=0.8)}
    forged = {"value": 0.99, "n": 100, "data": "0" * 16, "run": encoder.run_id}
    tag_version(encoder.name, "1", {"figure.validation.auc": json.dumps(forged)})
    judged = promotion.promote(encoder.uri, gates)
    assert not judged.promoted
    assert "no record of how validation.auc was measured" in "; ".join(judged.reasons)
    MlflowClient().delete_model_version_tag(encoder.name, "1", "figure.validation.auc")


def test_training_patients_are_measured_by_the_networks_that_never_saw_them(place: Place) -> None:
    """A study without external patients is measured so; the figure is that of the training, and can decide a gate."""
    trained = mlflow.get_run(version(1).run_id).data.metrics["cross_validated.spearman"]
    place.evaluate(f"models:/{NAME}/1", split="cross_validated")
    figure = tagged(1, "cross_validated.spearman")
    assert figure["value"] == pytest.approx(trained, abs=1e-9)
    report = mlflow.artifacts.load_text(f"runs:/{figure['run']}/report.html")
    assert re.search(r"<td>Earlier</td>.*?0\.500.*?0\.337 to 0\.634.*?100", report, re.DOTALL)
    assert "of 100 patients, not those measured here" in report
    answers, _ = read_answers(figure["run"], "cross_validated")
    text = mlflow.artifacts.load_text(f"runs:/{version(1).run_id}/cross_validated.csv")
    table = pd.read_csv(StringIO(text), dtype={"patient": str}).set_index("patient")
    scores = table.loc[list(answers.patients), "score"]
    np.testing.assert_allclose(answers.score, scores, atol=1e-4)
    assert answers.fold is not None
    assert answers.fold.tolist() == table.loc[list(answers.patients), "fold"].tolist()
    coverage = next(each for each in answers.estimates if each.name == "coverage")
    assert 0.5 < coverage.value <= 1
    assert verdict(1, figure="cross_validated.spearman", others={}).promoted
