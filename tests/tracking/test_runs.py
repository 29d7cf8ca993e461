"""A finished stage is used again exactly when its parameters, inputs, code and outputs are the same."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pytest
from stores import new_store

from nic.tracking.digests import bytes_digest, folder_digest
from nic.tracking.registry import ENCODER_MODEL, PATIENT_MODEL, serving_digest
from nic.tracking.runs import SERVING, artifact_place, find_finished, stage_key, stage_run
from nic.tracking.source_digest import PROJECT, kept_source_digest, source_digest, source_files

STAGE = "promote"  # any entry point: only its source digest is used here


@dataclass(frozen=True)
class Config:
    slides: str = "a.csv"
    share: float = 0.6


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    folder = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(new_store(folder))
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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A stage that imports one module directly, one through it and one as a name of a package; two it does not."""
    for file, text in {
        "entrypoints/stage.py": "import numpy\nfrom nic.one import x\nfrom nic.room import three\n",
        "entrypoints/another.py": "x = 1\n",
        "nic/one.py": "def x() -> None:\n    import nic.two\n",
        "nic/two.py": "x = 1\n",
        "nic/room/three.py": "from nic.one import x\n",
        "nic/four.py": "x = 1\n",
        "requirements.txt": "numpy==1\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "file", ["entrypoints/stage.py", "nic/one.py", "nic/two.py", "nic/room/three.py", "requirements.txt"]
)
def test_the_source_digest_changes_with_what_is_imported(file: str, checkout: Path) -> None:
    before = source_digest("stage", checkout)
    (checkout / file).write_text((checkout / file).read_text() + "y = 2\n")
    assert source_digest("stage", checkout) != before


@pytest.mark.parametrize("file", ["entrypoints/another.py", "nic/four.py"])
def test_the_source_digest_stays_when_other_code_changes(file: str, checkout: Path) -> None:
    before = source_digest("stage", checkout)
    (checkout / file).write_text("y = 2\n")
    assert source_digest("stage", checkout) == before


def test_the_source_digest_follows_an_import_that_is_new(checkout: Path) -> None:
    (checkout / "nic/two.py").write_text("import nic.four\n")
    before = source_digest("stage", checkout)
    (checkout / "nic/four.py").write_text("y = 2\n")
    assert source_digest("stage", checkout) != before


def test_the_same_source_in_another_folder_has_the_same_digest(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = shutil.copytree(checkout, tmp_path_factory.mktemp("elsewhere") / "checkout")
    assert source_digest("stage", elsewhere) == source_digest("stage", checkout)


OF_PATIENTS_AND_ENCODERS = {
    "nic/serving/limits.py": (True, True),
    "nic/serving/served_model.py": (True, False),
    "nic/slides/reading_process.py": (True, True),  # a process of its own
    "registry/server.py": (True, False),
    "registry/encoder_model.py": (False, True),
    "nic/graphs/run.py": (True, True),
    "nic/patients/training.py": (False, False),
    "entrypoints/train_patients.py": (False, False),
}
"""Of each file whether it serves patients' models, and encoders."""


def test_the_serving_digest_covers_the_served_source(tmp_path: Path) -> None:
    for folder in ("nic", "registry", "entrypoints"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = [serving_digest(model, tmp_path) for model in (PATIENT_MODEL, ENCODER_MODEL)]
    assert before == [serving_digest(model) for model in (PATIENT_MODEL, ENCODER_MODEL)]
    changed = {}
    for file in OF_PATIENTS_AND_ENCODERS:
        text = (tmp_path / file).read_text()
        (tmp_path / file).write_text(f"{text}\n# mended\n")
        after = [serving_digest(model, tmp_path) for model in (PATIENT_MODEL, ENCODER_MODEL)]
        changed[file] = tuple(a != b for a, b in zip(after, before, strict=True))
        (tmp_path / file).write_text(text)
    assert changed == OF_PATIENTS_AND_ENCODERS


def test_the_pins_of_a_served_model_are_in_its_digest() -> None:
    assert serving_digest(PATIENT_MODEL, pins=["numpy==1"]) != serving_digest(PATIENT_MODEL, pins=["numpy==2"])


def test_serving_code_changes_the_key_and_not_the_training_key() -> None:
    runs = []
    for serving in ("then", "now"):
        with stage_run(STAGE, Config(), {"cohort": "6", SERVING: serving}) as stage:
            runs.append(stage)
    then, now = runs
    assert then.key != now.key
    assert then.training_key == now.training_key


def test_the_source_of_a_stage_is_kept_with_its_run() -> None:
    with stage_run(STAGE, Config(), {"cohort": "7"}) as stage:
        pass
    assert kept_source_digest(stage.run_id) == source_digest(STAGE)


def test_the_template_of_a_report_is_part_of_its_source() -> None:
    assert "report_page.html" in [file.name for file in source_files("evaluate")]
    assert "report_page.html" not in [file.name for file in source_files("compress")]


@pytest.mark.parametrize("changes", [{"b": b""}, {"a": b"12"}, {"folder/a": b"1"}])
def test_an_output_that_gained_or_lost_a_file_is_changed(changes: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    before = folder_digest(tmp_path)
    for name, content in changes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert folder_digest(tmp_path) != before


def test_what_a_later_stage_reads_is_digested_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    before = bytes_digest(tmp_path)
    (tmp_path / "a").write_bytes(b"2")
    assert bytes_digest(tmp_path) != before
