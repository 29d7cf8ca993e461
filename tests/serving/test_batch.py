"""Answers for a cohort are those of the server, kept one by one, and not asked for twice."""

import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from archive import archive
from conftest import tissue_image, write_slide
from PIL import Image
from served_files import write_graphs

from nic.compression.compress_slide import compress_slide
from nic.encoder.loading import load_encoder
from nic.patients.cohort import Patient, SlideRow
from nic.patients.cohort_table import read_cohort
from nic.serving.batch import BatchPredictor
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.remote_slides import RemoteSlides
from nic.serving.served_model import RequestParams, ServedModel
from nic.slides.slide import SlideSource
from nic.stages.lineage import answers_in
from nic.stages.predict import write


@dataclass
class Recorder:
    """A served model that notes which patients it was asked for."""

    model: ServedModel
    patients: list[str] = field(default_factory=list)

    def __call__(self, rows: pd.DataFrame, parameters: dict[str, Any]) -> pd.DataFrame:
        self.patients += sorted(set(rows["patient"]))
        return self.model.answer(rows, RequestParams(**parameters))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    for seed, name in enumerate("abc"):
        write_slide(folder / f"{name}.tif", tissue_image(900, 800, seed))
    (folder / "bad.svs").write_text("no slide")
    write_graphs(folder)
    return folder


@pytest.fixture
def recorder(folder: Path, tmp_path: Path) -> Recorder:
    files = {"patient": folder / "patient.onnx", "encoder": folder / "encoder.onnx"}
    return Recorder(ServedModel.load(files, CodesCache(tmp_path / "cache", 1 << 30), Limits.none(), "nic-score", "7"))


@pytest.fixture
def batch(recorder: Recorder) -> BatchPredictor:
    return BatchPredictor(recorder, "models:/nic-score/7", None, None, "geojson", 2)


def of_one_slide(name: str, slide: SlideSource) -> Patient:
    return Patient(name, "external", (SlideRow(0, slide, {}),))


@pytest.fixture
def patients(folder: Path, tmp_path: Path) -> list[Patient]:
    """p1 with two slides, p2 with one, p3 with one that cannot be read; in a folder of the test."""
    for name in ("a.tif", "b.tif", "c.tif", "bad.svs"):
        shutil.copy(folder / name, tmp_path / name)

    def patient(name: str, *slides: str) -> Patient:
        rows = [SlideRow(n, SlideSource(Path(s).stem, tmp_path / s), {}) for n, s in enumerate(slides)]
        return Patient(name, "external", tuple(rows))

    return [patient("p1", "a.tif", "b.tif"), patient("p2", "c.tif"), patient("p3", "bad.svs")]


def test_answers_are_those_of_the_served_model_in_the_order_of_the_patients(
    recorder: Recorder, batch: BatchPredictor, patients: list[Patient], tmp_path: Path
) -> None:
    answers = batch.answers(patients, tmp_path / "journal.jsonl")
    rows = [{"slide": str(s.path), "patient": p.patient_id} for p in patients for s in p.slides]
    served = recorder.model.answer(pd.DataFrame(rows), RequestParams()).to_dict("records")
    assert [answer["status"] for answer in answers] == ["ok", "ok", "refused"]
    assert answers[:2] == served[:2]
    # A server does not know the names of slides; a table does.
    assert answers[2] == served[2] | {"reason": served[2]["reason"].replace("slide 1", "bad")}


def test_a_slide_with_another_spelling_in_the_table_is_found(
    batch: BatchPredictor, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "a.tif", tmp_path / "a.tif")
    (tmp_path / "c.csv").write_text("patient,slide,split\np1,a,external\n")
    (answer,) = batch.answers(read_cohort(tmp_path / "c.csv").patients, tmp_path / "journal.jsonl")
    assert answer["status"] == "ok"


def test_a_patient_is_not_asked_again_unless_something_changed(
    recorder: Recorder, batch: BatchPredictor, patients: list[Patient], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    first = batch.answers(patients, journal)
    recorder.patients.clear()
    assert batch.answers(patients, journal) == first
    assert recorder.patients == ["p3"]  # it may exist now
    shutil.copy(tmp_path / "a.tif", tmp_path / "c.tif")
    os.utime(tmp_path / "c.tif", ns=(1, 1))
    recorder.patients.clear()
    again = batch.answers(patients, journal)
    assert sorted(recorder.patients) == ["p2", "p3"]
    assert again[1]["prediction"] != first[1]["prediction"]
    recorder.patients.clear()
    replace(batch, model="models:/nic-score/8").answers(patients, journal)
    assert sorted(recorder.patients) == ["p1", "p2", "p3"]


def test_a_batch_that_died_goes_on(
    recorder: Recorder, batch: BatchPredictor, patients: list[Patient], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"

    def dying(rows: pd.DataFrame, parameters: dict[str, Any]) -> pd.DataFrame:
        if "p2" in set(rows["patient"]):
            raise KeyboardInterrupt
        return recorder(rows, parameters)

    with pytest.raises(KeyboardInterrupt):
        replace(batch, ask=dying, workers=1).answers(patients, journal)
    with journal.open("a") as file:
        file.write('["half a li')
    recorder.patients.clear()
    answers = batch.answers(patients, journal)
    assert "p1" not in recorder.patients
    assert [answer["patient"] for answer in answers] == ["p1", "p2", "p3"]
    recorder.patients.clear()
    assert batch.answers(patients[:2], journal) == answers[:2]
    assert recorder.patients == []


def test_codes_are_used_in_place_of_slides(
    folder: Path, recorder: Recorder, batch: BatchPredictor, patients: list[Patient], tmp_path: Path
) -> None:
    slides = batch.answers(patients[1:2], tmp_path / "slides.jsonl")
    codes = tmp_path / "codes"
    compress_slide(SlideSource("c", tmp_path / "c.tif"), load_encoder(folder / "encoder.onnx")).save(codes / "c.h5")
    (tmp_path / "c.tif").unlink()
    answers = replace(batch, codes=codes).answers(patients[1:2], tmp_path / "codes.jsonl")
    assert answers[0]["prediction"] == pytest.approx(slides[0]["prediction"], abs=1e-6)


@pytest.mark.parametrize("kind", ["geojson", "png"])
def test_maps_are_written_to_their_folder(
    batch: BatchPredictor, patients: list[Patient], tmp_path: Path, kind: str
) -> None:
    maps = tmp_path / "maps"
    answers = replace(batch, maps=maps, kind=kind).answers(patients, tmp_path / "journal.jsonl")
    names = [f"p1.a.{kind}", f"p1.b.{kind}", f"p2.c.{kind}"]
    assert sorted(file.name for file in maps.iterdir()) == names
    assert [answer["maps"] for answer in answers] == [f"{maps / names[0]};{maps / names[1]}", str(maps / names[2]), ""]
    assert all("map" not in answer for answer in answers)
    if kind == "geojson":
        scores = [
            feature["properties"]["measurements"]["score"]
            for feature in json.loads((maps / "p2.c.geojson").read_text())["features"]
        ]
        assert json.loads((maps / "p1.b.geojson").read_text())["nic"]["slide"] == "b"
        assert sum(scores) / len(scores) == pytest.approx(answers[1]["prediction"], abs=1e-5)
    else:
        assert Image.open(maps / "p1.b.png").info["slide"] == "b"


@pytest.mark.parametrize("kind", ["geojson", "png"])
def test_a_map_has_its_slides_name_if_another_slide_is_refused(
    batch: BatchPredictor, patients: list[Patient], tmp_path: Path, kind: str
) -> None:
    rows = [*patients[2].rows, *patients[0].rows]  # the first cannot be read
    patient, maps = Patient("p", "external", tuple(rows)), tmp_path / "maps"
    [answer] = replace(batch, maps=maps, kind=kind).answers([patient], tmp_path / "j.jsonl")
    assert answer["status"] == "partial"
    assert "bad: " in answer["reason"]
    assert sorted(file.name for file in maps.iterdir()) == [f"p.a.{kind}", f"p.b.{kind}"]


def test_removed_maps_are_made_again(batch: BatchPredictor, patients: list[Patient], tmp_path: Path) -> None:
    batch = replace(batch, maps=tmp_path / "maps")
    before = batch.answers(patients[:2], tmp_path / "j.jsonl")
    (tmp_path / "maps" / "p1.b.geojson").unlink()
    assert batch.answers(patients[:2], tmp_path / "j.jsonl") == before
    assert (tmp_path / "maps" / "p1.b.geojson").is_file()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_lineage_reads_the_model_from_a_table(
    batch: BatchPredictor, patients: list[Patient], tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"answers{suffix}"
    write(pd.DataFrame(batch.answers(patients, tmp_path / "journal.jsonl")), out)
    assert list(answers_in(out)) == ["models:/nic-score/7"]
    table = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    assert list(table["status"]) == ["ok", "ok", "refused"]
    assert table["prediction"].isna().tolist() == [False, False, True]


def test_remote_slides_are_answered_as_local_ones(folder: Path, tmp_path: Path) -> None:
    """Asked for again when they have changed there, or could not be reached."""
    files = {"patient": folder / "patient.onnx", "encoder": folder / "encoder.onnx"}
    (tmp_path / "wsi").mkdir()
    shutil.copy(folder / "a.tif", tmp_path / "wsi" / "a.tif")
    with archive(tmp_path) as web:
        there = RemoteSlides.anywhere(tmp_path / "staged")
        cache = CodesCache(tmp_path / "cache", 1 << 30)
        recorder = Recorder(ServedModel.load(files, cache, Limits.none(), "nic-score", "7", there))
        batch = BatchPredictor(recorder, "models:/nic-score/7", None, None, "geojson", 2)
        here = [of_one_slide("P", SlideSource("a", folder / "a.tif"))]
        away = [of_one_slide(name, SlideSource.remote(f"{web.url}/wsi/{name}.tif")) for name in "az"]
        [expected] = batch.answers(here, tmp_path / "here.jsonl")
        answer, gone = batch.answers(away, tmp_path / "away.jsonl")
        assert answer["prediction"] == pytest.approx(expected["prediction"], abs=1e-6)
        assert gone["status"] == "refused"
        assert sorted(recorder.patients) == ["P", "a", "z"]  # two at a time
        batch.answers(away, tmp_path / "away.jsonl")
        assert recorder.patients[3:] == ["z"]
        shutil.copy(folder / "b.tif", tmp_path / "wsi" / "a.tif")
        changed, _ = batch.answers(away, tmp_path / "away.jsonl")
        assert sorted(recorder.patients[4:]) == ["a", "z"]
        assert changed["prediction"] != answer["prediction"]
