"""Each thing that stands in the way of a study is a row of one table, before anything long begins."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from conftest import tissue_image, write_slide
from mlflow.tracking import MlflowClient
from stores import new_store

from entrypoints import check_study
from nic.encoder.encoder_graph import READ_MPP, TILE_MPP
from nic.encoder.network import CODE_SIZE, TILE_PX
from nic.errors import StudyError
from nic.patients.cohort_table import read_cohort
from nic.stages.check_study import TRAINED_HERE, problems_of
from nic.stages.slide_sample import opened, spread_rows, tiling_of
from nic.stages.study_problems import Problem, Problems

PATIENTS = 16
GATES = Path(__file__).resolve().parents[2] / "registry" / "promotion.yaml"
COHORT = pd.DataFrame(
    {
        "patient": [f"P{n}" for n in range(PATIENTS)],
        "slide": [f"slides/{'old/' if n % 2 else ''}s{n}.tif" for n in range(PATIENTS)],
        "split": ["train"] * 10 + ["external"] * 6,
        "site": ["elm", "oak"] * 8,
        "msi": ["yes", "no"] * 8,
        "score": [f"0.{n:02d}" for n in range(PATIENTS)],
        "months": [str(n + 1) for n in range(PATIENTS)],
        "status": ["1", "0"] * 8,
        "age": [str(50 + n) for n in range(PATIENTS)],
    }
)
ENDPOINTS: dict[str, dict[str, Any]] = {
    "msi": {"kind": "classification", "column": "msi", "positive": "yes"},
    "score": {"kind": "regression", "column": "score"},
    "death": {"kind": "survival", "time": "months", "event": "status", "covariates": ["age"]},
}
FIGURES = {"msi": "external.auc", "score": "external.spearman", "death": "external.c_index"}
STUDY: dict[str, Any] = {
    "name": "mine",
    "tile_tasks": [{"name": "tissue", "path": "tiles", "mpp": 0.5}],
    "cohorts": {"c": "cohort.csv"},
    "folds": 3,
}


def endpoints(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """All endpoints, each with its gate; some with other keys."""
    gated = {name: {"gate": {"figure": FIGURES[name], "at_least": 0.6}, **of} for name, of in ENDPOINTS.items()}
    entries = [{"name": name, "cohort": "c", **of, **changes.get(name, {})} for name, of in gated.items()]
    return [{key: value for key, value in entry.items() if value is not None} for entry in entries]


def write(folder: Path, cohort: pd.DataFrame = COHORT, **keys: Any) -> Path:
    cohort.to_csv(folder / "cohort.csv", index=False)
    content = {key: value for key, value in {"endpoints": endpoints(), **STUDY, **keys}.items() if value is not None}
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study without a problem."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "slides" / "old").mkdir(parents=True)
    slide = write_slide(folder / "slides" / "s0.tif", tissue_image(1000, 1000))
    for name in COHORT["slide"][1:]:
        (folder / name).hardlink_to(slide)
    for name in ("tumour", "stroma"):
        (folder / "tiles" / name).mkdir(parents=True)
        for number in range(60):
            (folder / "tiles" / name / f"{number % 3}__{number}.png").touch()  # no tile is decoded
    (folder / "gates.yaml").write_text("nic-encoder: {figure: validation.auc, at_least: 0.8}\n")
    write(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to break; slides and tiles are links."""

    def copied(file: str, copy: str) -> None:
        if Path(file).suffix in (".tif", ".png"):
            Path(copy).hardlink_to(file)
        else:
            shutil.copy(file, copy)

    return Path(shutil.copytree(whole, tmp_path / "study", copy_function=copied))


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path_factory.mktemp("store")))
    yield MlflowClient()
    mlflow.set_tracking_uri(before)


SMALL = "fewer than 100: expect wide intervals"
"""The warning of every study of this size."""


def rows_of(file: Path, sample: int = 0) -> list[Problem]:
    rows = problems_of(file, file.parent / "work", file.parent / "gates.yaml", sample).rows
    return [row for row in rows if SMALL not in row.there]


def test_a_whole_study_has_no_problem_and_nothing_is_written(whole: Path) -> None:
    assert all(SMALL in row.there and not row.stops for row in problems_of(whole / "study.yaml", whole, GATES, 0))
    before = sorted(whole.rglob("*"))
    assert rows_of(whole / "study.yaml") == []
    assert sorted(whole.rglob("*")) == before


def changed(column: str, *values: str, cohort: pd.DataFrame = COHORT) -> pd.DataFrame:
    """The cohort with other first cells of a column."""
    return cohort.assign(**{column: [*values, *cohort[column].iloc[len(values) :]]})


STOPPING: list[tuple[dict[str, Any], Problem]] = [
    ({"foldz": 3}, Problem("study.yaml", "", "foldz", "no such key", "did you mean 'folds'?")),
    ({"cohorts": {"c": "away.csv"}}, Problem("", "", "cohorts, c", "no such table", "a path relative to the root")),
    (
        {"cohort": changed("split", "test")},
        Problem("cohort.csv", "2", "split", "'test'", "train or external"),
    ),
    (
        {"endpoints": endpoints(msi={"column": "MSI"})},
        Problem("cohort.csv", "", "endpoints, msi", "no column 'MSI' for endpoint msi", "it has patient, slide"),
    ),
    (
        {"cohort": changed("status", "Dead", "Alive", "Dead")},
        Problem("cohort.csv", "2, 3, 4", "status", "'Dead', 'Alive'", "0, 1, true, false, yes or no; or say in"),
    ),
    (
        {"cohort": changed("score", "high")},
        Problem("cohort.csv", "2", "score", "'high'", "a number; or say in the study file what the words mean"),
    ),
    (
        {"cohort": changed("months", *["x"] * 9)},
        Problem("cohort.csv", "2, 3, 4, 5, 6 and 4 more", "months", "'x'", "months > 0"),
    ),
    (
        {"cohort": changed("msi", *["no"] * 7)},
        Problem("study.yaml", "", "endpoints, msi", "endpoint msi: 3 folds need 3", "more patients"),
    ),
    (
        {"folds": 6},
        Problem("study.yaml", "", "endpoints, death", "endpoint death: 6 folds need 6", "take folds: 5"),
    ),
    (
        {"endpoints": endpoints(death={"covariates": ["Agee"]})},
        Problem("cohort.csv", "", "covariates, death", "no column 'Agee' for a covariate", "it has"),
    ),
    (
        {"endpoints": endpoints(msi={"gate": {"figure": "external.brier", "at_least": 0.1}})},
        Problem("study.yaml", "", "endpoints, msi, gate", "external.brier, which", "figure: external.auc"),
    ),
    (
        {"cohort": COHORT.drop(columns="split")},
        Problem("study.yaml", "", "endpoints, msi, gate", "external.auc, which", "figure: cross_validated.auc"),
    ),
    (
        {"tile_tasks": [{"name": "tissue", "path": "tilez", "mpp": 0.5}]},
        Problem("study.yaml", "", "tile_tasks, tissue", "tilez: no such folder of labelled tiles", ""),
    ),
    (
        {"tile_tasks": [{"name": "tissue", "path": "tiles", "mpp": 2.0}]},
        Problem("study.yaml", "", "tile_tasks, tissue", "tissue: images at 2 um/px", "1 or finer"),
    ),
    (
        {"tile_tasks": [{"name": "tissue", "path": "tiles", "mpp": 0.5, "group_pattern": "(.)"}]},
        Problem("study.yaml", "", "tile_tasks, tissue", "class 'stroma' comes from 1 slides or", "add tiles"),
    ),
    (
        {"encoder": "nic-encoder/9", "tile_tasks": None},
        Problem("study.yaml", "", "encoder", "no registered model 'nic-encoder'", "registered are: none yet"),
    ),
    (
        {"cohort": changed("slide", "slides/gone.tif", "slides/lost.tif")},
        Problem("cohort.csv", "2, 3", "slide", "2 of 16 slides", "paths relative to the folder of the table"),
    ),
    (
        {"cohorts": {"c": {"table": "cohort.csv", "compress": {"masks": "no-masks"}}}},
        Problem("cohort.csv", "", "cohorts, c, compress", "/no-masks", "otsu, all, a saturation"),
    ),
]


def is_like(row: Problem, wanted: Problem) -> bool:
    same = (row.file, row.row, row.key) == (wanted.file or row.file, wanted.row, wanted.key)
    return same and row.stops == wanted.stops and wanted.there in row.there and wanted.write in row.write


@pytest.mark.parametrize(("keys", "wanted"), STOPPING, ids=[wanted.there[:30] for _, wanted in STOPPING])
def test_each_problem_is_a_row_that_stops_the_study(folder: Path, keys: dict[str, Any], wanted: Problem) -> None:
    rows = rows_of(write(folder, **keys))
    assert any(is_like(row, wanted) for row in rows), rows


@pytest.mark.parametrize(
    ("keys", "there", "write_this"),
    [
        (
            {"endpoints": endpoints(score={"gate": None})},
            "no gate: its model is registered and not promoted",
            "gate: {figure: external.spearman, at_least: 0.7, margin: 0.1}",
        ),
        ({"cohorts": {"c": {"table": "cohort.csv", "split": None}}}, "16 patients, all for training", "a column split"),
        ({"cohort": changed("msi", *["yes", "no"] * 5, *["no"] * 6)}, "no external patient is 'yes'", "of each class"),
        (
            {
                "cohort": changed("msi", *["a", "b", "c"] * 3, "a", *["a", "b"] * 3),
                "endpoints": endpoints(msi={"kind": "multiclass", "positive": None, "gate": None}),
            },
            "no external patient is 'c'",
            "of each class",
        ),
        (
            {
                "cohort": changed("msi", *["1", "2", "3"] * 3, "1", *["2"] * 6),
                "endpoints": endpoints(msi={"kind": "ordinal", "positive": None, "gate": None}),
            },
            "no external patient is '1', '3'",
            "of two grades",
        ),
        ({"tile_tasks": [{"name": "t", "path": "few", "mpp": 0.5}]}, "2 tiles of class 'a'", "more tiles"),
    ],
)
def test_what_does_not_stop_a_study_is_a_warning(
    folder: Path, keys: dict[str, Any], there: str, write_this: str
) -> None:
    for name in ("a", "b"):
        (folder / "few" / name).mkdir(parents=True)
        for number in range(2):
            (folder / "few" / name / f"{number}.png").touch()
    warnings = [row for row in rows_of(write(folder, **keys)) if not row.stops]
    assert any(there in row.there and write_this in row.write for row in warnings), warnings


def test_a_gate_of_the_repository_counts_and_a_broken_file_of_gates_is_a_problem(folder: Path) -> None:
    file = write(folder, endpoints=endpoints(score={"gate": None}))
    (folder / "gates.yaml").write_text("nic-score: {figure: external.spearman, at_least: 0.1}\n")
    assert rows_of(file) == []
    (folder / "gates.yaml").write_text("nic-score: {figure: external.spearman, at_leats: 0.1}\n")
    assert any("at_leats" in row.key and row.stops for row in rows_of(file))


def test_all_problems_of_a_bad_study_are_in_one_table_and_end_the_run(folder: Path, store: MlflowClient) -> None:
    cohort = changed("slide", "slides/gone.tif", cohort=changed("status", "Dead", cohort=changed("score", "high")))
    bad = endpoints(msi={"positiv": "yes"}, death={"covariates": ["Agee"]})
    file = write(folder, cohort, endpoints=bad, epochz=3, tile_tasks=[{"name": "t", "path": "tilez", "mpp": 0.5}])
    config = check_study.Config(file, folder / "work", folder / "gates.yaml", sample=0)
    with pytest.raises(StudyError, match=r"study\.yaml: 7 problems, in the table above"):
        check_study.run(config)
    (run,) = mlflow.search_runs(filter_string="tags.`nic.stage` = 'check_study'", output_format="list")
    assert run.info.status == "FAILED"
    table = pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/problems.csv"))
    assert list(table.columns) == ["kind", "file", "row", "column or key", "what is there", "what to write"]
    problems = table[table["kind"] == "problem"]
    assert set(problems["column or key"]) == {
        "endpoints.0.positiv", "epochz", "tile_tasks, t", "score", "status", "covariates, death", "slide",
    }  # fmt: skip


def test_a_study_that_may_begin_is_checked_with_its_warnings(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = check_study.Config(whole / "study.yaml", whole / "work", whole / "gates.yaml", sample=1)
    assert check_study.run(config) == {"problems": 0, "warnings": 1}  # few patients, of all endpoints in one row
    assert "study.yaml: checked, no problem, 1 warning" in capsys.readouterr().out


def test_slides_that_cannot_be_used_are_warnings_and_most_of_them_a_problem(folder: Path) -> None:
    plain = folder / "slides" / "s0.tif"
    plain.unlink()
    plain.write_bytes(b"no slide")
    file = write(folder, COHORT.assign(patient=[f"P{n}" for n in range(PATIENTS)]))
    (row,) = rows_of(file, sample=PATIENTS)
    assert (row.file, row.row, row.key, row.stops) == ("cohort.csv", "2", "slide", False)
    assert "s0.tif: not a slide" in row.there
    assert "copy the file" in row.write
    for number in range(0, PATIENTS, 2):
        slide = folder / "slides" / f"s{number}.tif"
        slide.unlink()
        write_slide(slide, tissue_image(300, 300), mpp=None)
    (folder / COHORT["slide"][1]).unlink()
    (folder / COHORT["slide"][1]).write_bytes(b"no slide")
    rows = rows_of(file, sample=PATIENTS)
    assert sum("no resolution" in row.there for row in rows) == 8
    assert [row.there for row in rows if row.stops] == ["9 of 16 opened slides cannot be used"]


def test_a_sample_is_spread_over_sites_and_folders(whole: Path) -> None:
    rows = [row for patient in read_cohort(whole / "cohort.csv").patients for row in patient.rows]
    assert len(spread_rows(rows, 100)) == PATIENTS
    assert spread_rows(rows, 0) == []
    four = spread_rows(rows, 4)
    assert {row.slide.path.parent.name for row in four} == {"slides", "old"}
    assert len({row.slide.slide_id for row in four}) == 4


def test_slides_are_opened_as_compress_would(whole: Path) -> None:
    row = read_cohort(whole / "cohort.csv").patients[0].rows[0]
    (usual,), (all_tissue,) = (opened([row], TRAINED_HERE, of) for of in ({}, {"tissue": "all", "min_tissue": 0.01}))
    assert usual.tiles is not None
    assert all_tissue.tiles is not None
    assert 0 < usual.tiles < all_tissue.tiles
    tiling, masks = tiling_of({"overlap_px": 32, "exclude": "pen"})
    assert (tiling.overlap_px, tiling.exclude, masks) == (32, ("pen",), None)


def test_the_space_of_codes_and_tiles_is_asked_of_the_disk(
    whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    rows = problems_of(whole / "study.yaml", tmp_path / "deep" / "work", whole / "gates.yaml", 1).rows
    assert [row.file for row in rows if row.key == "work"] == [str(tmp_path)]


def test_the_encoder_that_is_assumed_is_the_one_that_is_trained() -> None:
    spec = TRAINED_HERE
    assert (spec.code_size, spec.tile_px, spec.tile_mpp, spec.read_mpp) == (CODE_SIZE, TILE_PX, TILE_MPP, READ_MPP)


@pytest.mark.parametrize(
    ("sentence", "wanted"),
    [
        ("c.csv, row 4, column 'x': found 'Dead', wanted 0 or 1", "c.csv|4|x|'Dead'|0 or 1"),
        ("c.csv, rows 4, 7 and 2 more, column 'x': found 'a', wanted b; or c", "c.csv|4, 7 and 2 more|x|'a'|b; or c"),
        ("c.csv: no column 'x'; it has y", "c.csv|||no column 'x'|it has y"),
        ("c.csv, column 'x', endpoint e: found 1, 2, 3; write ordinal", "c.csv||x|1, 2, 3|write ordinal"),
        ("s.yaml: endpoints.0.kind: found 'x', wanted 'y'", "s.yaml||endpoints.0.kind|'x'|'y'"),
        ("s.yaml: name: missing", "s.yaml||name|missing|"),
        ("t.csv: endpoint e, split train: all 3; wanted both", "t.csv|||endpoint e, split train: all 3|both"),
        ("no place at all", "|||no place at all|"),
    ],
)
def test_a_sentence_of_an_error_becomes_a_row(sentence: str, wanted: str) -> None:
    problem = Problem.of(sentence)
    assert "|".join([problem.file, problem.row, problem.key, problem.there, problem.write]) == wanted


def test_the_table_has_the_problems_first_and_each_once() -> None:
    problems = Problems()
    for key, stops in (("k", False), ("k", True), ("k", True), ("other", False)):
        problems.note(Problem("f", "", key, "there", "write", stops))
    assert problems.table()["kind"].tolist() == ["problem", "warning"]
    assert problems.table()["column or key"].tolist() == ["k", "k; other"]
