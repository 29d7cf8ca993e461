"""Cells are trained once: their answers are kept, and named by all that decides them."""

import multiprocessing
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nic.ablation.ablation_cells import Cell, CellAnswers, CellBatch, CellTraining, SlidePath, cell_file, train_cells
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.errors import NoTissue, TrainingEnded
from nic.slides.grid import TileGrid
from nic.study import EndpointEntry, read_study

ENCODER = EncoderSpec(4, 64, 1.0, 0.5, "multitask", ("mitosis",), sha256="a" * 64)
STUDY = """
name: made
encoder: models:/nic-encoder/1
cohorts: {made: made.csv}
endpoints: [{name: score, cohort: made, kind: regression, column: score}]
"""
TRAINING = CellTraining(epochs=3, learning_rate=1e-2, folds=0)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """24 training and 16 external patients, whose score is the first number of their codes."""
    rng, lines = np.random.default_rng(0), ["patient,slide,split,score"]
    for number in range(40):
        value, side = rng.normal(), 5
        row, col = (a.ravel().astype(np.int32) for a in np.mgrid[:side, :side])
        codes = rng.normal(size=(side * side, 4))
        codes[:, 0] = value + 0.1 * codes[:, 0]
        tissue, grid = np.ones((side, side), bool), TileGrid(64, 1.0, 0.5, (0, 0), side, side)
        slide = CompressedSlide(
            f"s{number}", codes.astype(np.float16), row, col, grid, tissue, ~tissue, ENCODER, f"f{number}", Tiling(64.0)
        )
        slide.save(tmp_path / "codes" / f"s{number}.h5")
        lines.append(f"p{number},s{number}.tif,{'train' if number < 24 else 'external'},{value:.4f}")
    (tmp_path / "made.csv").write_text("\n".join(lines))
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def batch(study: Path, training: CellTraining, *networks: str) -> CellBatch:
    entry, codes = read_study(study).endpoint("score"), study.parent / "codes"
    cells = [Cell("arm", 0, "score", network, 0) for network in networks]
    files = [cell_file(study.parent / "cells", cell, entry, "labels", "codes", training) for cell in cells]
    return CellBatch(study, "score", codes, training, tuple(zip(cells, files, strict=True)))


def test_external_patients_are_answered_and_answers_are_kept(study: Path) -> None:
    asked = batch(study, TRAINING, "pooled-linear", "grid-cnn", "glimpses")
    train_cells([asked], processes=1)
    answers = {cell.network: CellAnswers.load(file) for cell, file in asked.files}
    values = [float(line.split(",")[3]) for line in (study.parent / "made.csv").read_text().splitlines()[25:]]
    for of in answers.values():
        assert of.patients == tuple(f"p{number}" for number in range(24, 40))
        assert of.fold is None
        assert of.seconds > 0
    assert stats.spearmanr(answers["pooled-linear"].scores, values).statistic > 0.9
    paths = {network: of.path for network, of in answers.items()}
    assert paths["glimpses"] is not None
    assert (paths["glimpses"].slide_id, len(paths["glimpses"].places)) == ("s24", 6)
    assert paths["pooled-linear"] is paths["grid-cnn"] is None


def test_without_external_patients_each_fold_answers_its_own(study: Path) -> None:
    asked = batch(study, replace(TRAINING, folds=3), "pooled-linear")
    train_cells([asked], processes=1)
    ((_, file),) = asked.files
    answers = CellAnswers.load(file)
    assert answers.patients == tuple(f"p{number}" for number in range(24))
    assert answers.fold is not None
    assert sorted(set(answers.fold)) == [0, 1, 2]


def test_an_error_ends_the_other_processes_with_the_cell_that_they_train(study: Path) -> None:
    """All networks of the healthy batch would take hours."""
    healthy = batch(study, replace(TRAINING, epochs=20), *["pooled-linear", "grid-cnn"] * 5_000)
    numbered = tuple((cell, file.with_suffix(f".{number}")) for number, (cell, file) in enumerate(healthy.files))
    broken = replace(batch(study, TRAINING, "grid-cnn"), codes=study.parent / "elsewhere")
    with pytest.raises(NoTissue, match="elsewhere"):
        train_cells([replace(healthy, files=numbered), broken], processes=2)


def test_a_process_that_is_ended_from_outside_is_named(study: Path) -> None:
    def end_it() -> None:
        while not (processes := multiprocessing.active_children()):
            time.sleep(0.05)
        processes[0].kill()

    threading.Thread(target=end_it).start()
    with pytest.raises(
        TrainingEnded, match="ended from outside, mostly because memory was full; run again: what is finished is kept"
    ):
        train_cells([batch(study, TRAINING, "grid-cnn")], processes=1)


def test_a_cells_name_follows_from_all_that_decides_its_answers(study: Path) -> None:
    entry, cell = read_study(study).endpoint("score"), Cell("arm", 0, "score", "grid-cnn", 0)
    usual = ("labels", "codes", TRAINING)

    def name(cell: Cell = cell, entry: EndpointEntry = entry, of: tuple[str, str, CellTraining] = usual) -> str:
        return cell_file(study.parent, cell, entry, *of).name

    others = [
        name(replace(cell, network="attention-mil")),
        name(replace(cell, seed=1)),
        name(of=("other", "codes", TRAINING)),
        name(of=("labels", "other", TRAINING)),
        name(of=("labels", "codes", replace(TRAINING, epochs=4))),
        name(of=("labels", "codes", replace(TRAINING, folds=3))),
        name(entry=entry.model_copy(update={"column": "other"})),
    ]
    assert len({name(), *others}) == 1 + len(others)
    assert name(replace(cell, encoder="same codes", encoder_seed=2)) == name()  # the codes decide, not who asks


def test_what_was_kept_is_read_as_it_was(tmp_path: Path) -> None:
    answers = CellAnswers(
        ("a", "b"), np.array([[0.1, 2.0], [1 / 3, -5.0]]), np.array([0, 1]), 1.5, SlidePath("s", [[1, 2], [3, 4]])
    )
    answers.save(tmp_path / "cells" / "x.json")
    loaded = CellAnswers.load(tmp_path / "cells" / "x.json")
    assert (loaded.patients, loaded.seconds, loaded.path) == (answers.patients, answers.seconds, answers.path)
    assert np.array_equal(loaded.scores, answers.scores)
    assert loaded.fold is not None
    assert np.array_equal(loaded.fold, [0, 1])
