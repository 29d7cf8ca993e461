"""The files of a patient with a slide whose bounds do not begin at (0, 0)."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PixelEncoder, tissue_image
from leica import OFFSET_PX, write_scn
from served_files import codes_file, write_plain_classes

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError
from nic.patients.calibration import GradeProbabilities, SoftmaxProbabilities
from nic.patients.choices import Recipe
from nic.patients.cohort import Endpoint
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.ensemble import fit_folds
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.predictor import PatientModel, PatientPrediction
from nic.patients.targets import Values
from nic.slides.slide import SlideSource
from nic.stages.draw_maps import draw, in_words
from nic.stages.selection import selected_patients


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides and codes of two patients, and a table that names a third."""
    folder = tmp_path_factory.mktemp("maps")
    (folder / "slides").mkdir()
    for number in range(3):
        slide = write_scn(folder / "slides" / f"s{number}.scn", tissue_image(1200, 1100, number))
        codes = compress_slide(SlideSource(slide.stem, slide), PixelEncoder())
        codes.save(folder / "codes" / f"s{number}.h5")
    (folder / "cohort.csv").write_text(
        "patient,slide,split\nA,slides/s0.scn,train\nA,slides/s1.scn,train\nB,slides/s2.scn,train\nC,slides/gone.scn,train\n"
    )
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> PatientModel:
    slides = [CompressedSlide.load(file) for file in sorted((folder / "codes").glob("*.h5"))]
    cells = [PatientCells(f"{s.slide_id}{n}", (SlideCells.of(s),)) for n in range(2) for s in slides]
    targets = Values(np.arange(6.0))
    export_ensemble(
        fit_folds(cells, targets, Recipe(epochs=1), folds=2),
        Endpoint("score", "regression", ("score",), "points"),
        targets,
        cohort_digest="c",
        encoder=PixelEncoder.spec,
        encoder_version="nic-encoder/1",
        path=folder / "patient.onnx",
    )
    return PatientModel(folder / "patient.onnx")


def test_a_patient_has_a_picture_and_each_slide_its_files(folder: Path, model: PatientModel) -> None:
    patient = selected_patients(str(folder / "cohort.csv"), folder / "codes")[0]
    rows = list(draw(patient, model, folder / "codes", folder / "A.png"))
    assert [row["slide"] for row in rows] == ["s0", "s1"]
    mean = np.average([row["mean_score"] for row in rows], weights=[row["tiles"] for row in rows])
    assert mean == pytest.approx(rows[0]["prediction"], abs=1e-5)
    names = {file.name for file in folder.iterdir() if file.is_file()} - {"cohort.csv", "patient.onnx"}
    slides = {f"{slide}.{kind}" for slide in ("s0", "s1") for kind in ("geojson", "qupath.geojson", "tif")}
    assert names == {"A.png", *slides}
    whole, qupath = (json.loads((folder / f"s0{kind}.geojson").read_text()) for kind in ("", ".qupath"))
    corners = [np.array(found["features"][0]["geometry"]["coordinates"][0][0]) for found in (whole, qupath)]
    assert (corners[0] - corners[1]).tolist() == list(OFFSET_PX)


def test_a_patient_without_codes_is_refused(folder: Path, model: PatientModel) -> None:
    lost = selected_patients(str(folder / "cohort.csv"), folder / "codes")[2]
    with pytest.raises(CodesError, match=r"C: no codes in .*compress the slides first"):
        list(draw(lost, model, folder / "codes", folder / "C.png"))


def test_the_title_of_a_class_is_its_probability(model: PatientModel) -> None:
    answer = PatientPrediction(0.0, 3.14159, 0.0, (), 1, {})
    assert in_words(answer, model.spec) == "score 3.14 points"
    classes = replace(model.spec, kind="classification", classes=("mild", "severe"), unit="")
    assert in_words(replace(answer, prediction=0.0512), classes) == "score: severe with probability 0.051"
    names = ("a", "b", "c")
    several = replace(
        model.spec, kind="multiclass", classes=names, calibration=SoftmaxProbabilities(names, 1.0, (0.0, 0.0, 0.0))
    )
    probable = replace(answer, calibrated={"probability_a": 0.7, "probability_b": 0.212, "probability_c": 0.088})
    assert in_words(probable, several, "b") == "score: b with probability 0.21"
    grades = replace(model.spec, kind="ordinal", classes=names, calibration=GradeProbabilities(names, 1.0, (-1.0, 1.0)))
    assert in_words(replace(answer, prediction=2.345, class_name="b"), grades) == "score: b, expected 2.35"


def test_each_of_several_classes_has_its_own_files(tmp_path: Path) -> None:
    """On codes alone: the slide is gone."""
    names = ("a", "b/c", "d")
    spec = write_plain_classes(tmp_path / "graphs", SoftmaxProbabilities(names, 1.0, (0.0, 0.0, 0.0)))
    (tmp_path / "codes").mkdir()
    slide = codes_file(tmp_path / "codes" / "s2.h5", spec, [(0, 0), (0, 1)], (2, 3))
    model, out = PatientModel(tmp_path / "graphs" / "patient.onnx"), tmp_path / "out"
    out.mkdir()
    [patient] = selected_patients("", tmp_path / "codes")
    rows = pd.DataFrame(draw(patient, model, tmp_path / "codes", out / "B.png"))
    assert rows["map_class"].tolist() == ["a", "b/c", "d"]
    np.testing.assert_allclose(rows["mean_score"], [0.75, 0, -0.75])
    assert set(rows["class"]) == {model.predict([slide]).class_name} == {"a"}
    assert {file.name for file in out.glob("s2.a.*")} == {"s2.a.geojson", "s2.a.tif"}
    assert len(list(out.glob("*.png"))) == 3
    assert "log odds of a against" in json.loads((out / "s2.a.geojson").read_text())["nic"]["unit"]
