"""A finished stage is used again exactly when its parameters, inputs, code and outputs are the same."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pytest

from nic.tracking.digests import code_digest, code_files, folder_digest
from nic.tracking.runs import artifact_place, find_finished, stage_key, stage_run

STAGE = "promote"  # any entry point: only its code digest is used here


@dataclass(frozen=True)
class Config:
    slides: str = "a.csv"
    share: float = 0.6


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    folder = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("runs", artifact_location=str(folder / "artifacts")))
    yield
    mlflow.set_tracking_uri(before)


def finish(out: Path, inputs: dict[str, str]) -> None:
    out.write_text("codes")
    with stage_run(STAGE, Config(), inputs) as stage:
        stage.log("slides", 3)
        stage.result.update(outputs=[str(out)], done=3)


def test_a_finished_stage_is_found_by_its_key(tmp_path: Path) -> None:
    inputs = {"cohort": "1"}
    assert find_finished(stage_key(STAGE, Config(), inputs)) is None
    finish(tmp_path / "out.h5", inputs)
    found = find_finished(stage_key(STAGE, Config(), inputs))
    assert found is not None
    assert found.data.metrics["slides"] == 3
    assert found.data.params["share"] == "0.6"


def test_a_picture_of_a_run_is_found_where_it_lies() -> None:
    with stage_run(STAGE, Config(), {}) as stage:
        stage.log_png(b"\x89PNG one", "one.png")
        stage.log_png(b"\x89PNG two", "maps/two.png")
    for file in ("one.png", "maps/two.png"):
        assert Path(artifact_place(stage.run_id, file)).read_bytes().decode("latin1").endswith(Path(file).stem)


def test_other_parameters_or_inputs_are_another_stage(tmp_path: Path) -> None:
    inputs = {"cohort": "2"}
    finish(tmp_path / "out.h5", inputs)
    assert find_finished(stage_key(STAGE, replace(Config(), share=0.5), inputs)) is None
    assert find_finished(stage_key(STAGE, Config(), {"cohort": "3"})) is None


def test_a_stage_whose_output_is_gone_or_cut_short_is_run_again(tmp_path: Path) -> None:
    inputs, out = {"cohort": "4"}, tmp_path / "out.h5"
    finish(out, inputs)
    out.write_text("cod")
    assert find_finished(stage_key(STAGE, Config(), inputs)) is None
    out.unlink()
    assert find_finished(stage_key(STAGE, Config(), inputs)) is None


def test_a_failed_stage_is_not_finished() -> None:
    inputs = {"cohort": "5"}
    with pytest.raises(ZeroDivisionError), stage_run(STAGE, Config(), inputs):
        _ = 1 / 0
    assert find_finished(stage_key(STAGE, Config(), inputs)) is None


def test_the_code_digest_follows_the_imports() -> None:
    assert code_digest("promote") != code_digest("compress")
    assert code_digest("promote") == code_digest("promote")


def test_a_report_is_written_anew_when_its_template_changes() -> None:
    assert "report.html" in [file.name for file in code_files("evaluate")]
    assert "report.html" not in [file.name for file in code_files("compress")]


def test_a_folder_digest_sees_names_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = folder_digest(tmp_path)
    (tmp_path / "b").write_text("")
    assert folder_digest(tmp_path) != before
