"""The rows of docs/compatibility.md: codes of each kind given to training, prediction and serving get its answer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from served_files import codes_file, write_plain_graphs
from stores import new_store

from entrypoints import evaluate, predict, train_patients
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tissue_rule import Saturated
from nic.errors import CodesError
from nic.patients.cohort import Patient, SlideRow
from nic.patients.crops import gather_cells
from nic.patients.predictor import PatientModel, predict_cohort
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.served_model import RequestParams, ServedModel
from nic.slides.d4 import D4_VARIANTS
from nic.slides.reader import PIXEL_VERSION
from nic.slides.slide import SlideSource
from nic.stages.predict import differing
from nic.tracking.registry import find_version, graph_file, register_encoder, register_patient_model

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"


def table() -> dict[str, tuple[str, str]]:
    """Row of the document -> what it says of training, and of a model that was trained on others."""
    lines = DOCUMENT.read_text().split("| codes that differ in |")[1].split("\n\n")[0].splitlines()[2:]
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {name: (training, model) for name, training, model, _ in rows}


def other_encoder(slide: CompressedSlide) -> CompressedSlide:
    return replace(slide, encoder=slide.encoder.with_sha256("b" * 64))


def tiled(slide: CompressedSlide, **changed: Any) -> CompressedSlide:
    return replace(slide, tiling=replace(slide.tiling, **changed))


def overlapping(slide: CompressedSlide) -> CompressedSlide:
    return replace(tiled(slide, overlap_px=32), grid=replace(slide.grid, overlap_px=32))


def moved(slide: CompressedSlide) -> CompressedSlide:
    """By one step of float16, as another device may have it."""
    return replace(slide, codes=np.nextafter(slide.codes, np.float16(np.inf)))


def with_variants(slide: CompressedSlide) -> CompressedSlide:
    return replace(slide, variants=np.stack([slide.codes] * D4_VARIANTS))


CHANGES: Mapping[str, Callable[[CompressedSlide], CompressedSlide]] = {
    "encoder": other_encoder,
    "overlap_px": overlapping,
    "min_tissue": lambda slide: tiled(slide, min_tissue=0.3),
    "exclude": lambda slide: tiled(slide, exclude=()),
    "tissue": lambda slide: tiled(slide, tissue=Saturated(20)),
    "runtime: onnx, onnx-f16, openvino": lambda slide: replace(slide, runtime="openvino"),
    "runtime that this version does not know": lambda slide: replace(slide, runtime="fp4"),
    "pixel version, older or newer": lambda slide: replace(slide, pixel_version=1),
    "device, batch size, threads": moved,
    "way of reading": lambda slide: replace(slide, reader="tifffile"),
    "variants=8 or not": with_variants,
    "version of nic": lambda slide: slide,
    "format of the file": lambda slide: slide,
}
ATTRIBUTES: Mapping[str, Mapping[str, object]] = {
    "version of nic": {"something_that_a_later_version_writes": 1},
    "format of the file": {"nic_format": 2},
}
"""What is changed in the file itself."""
DIFFERENCES = {
    "runtime: onnx, onnx-f16, openvino": "runtime=openvino",
    "pixel version, older or newer": "pixel_version=1",
}
ROWS = {name: f"s{number}" for number, name in enumerate(CHANGES)}
"""Row -> the slide that differs so."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both graphs; codes/usual.h5, and of each row a file that differs so."""
    folder = tmp_path_factory.mktemp("compatibility")
    spec = write_plain_graphs(folder)
    (folder / "codes").mkdir()
    usual = codes_file(folder / "codes" / "usual.h5", spec, [(0, 0), (0, 1), (2, 3)], (5, 6))
    for name, slide_id in ROWS.items():
        path = folder / "codes" / f"{slide_id}.h5"
        replace(CHANGES[name](usual), slide_id=slide_id).save(path)
        with h5py.File(path, "a") as file:
            file.attrs.update(ATTRIBUTES.get(name, {}))
    return folder


def patient(slide_id: str) -> Patient:
    return Patient(slide_id, "train", (SlideRow(0, SlideSource(slide_id, Path(slide_id)), {}),))


@pytest.fixture(scope="module")
def predicted(folder: Path) -> Iterator[pd.DataFrame]:
    """What the entry point `predict` writes of all files, by slide."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(folder))
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("codes", artifact_location=str(folder / "mlruns")))
    with mlflow.start_run():
        register_patient_model("nic-score", folder / "encoder.onnx", folder / "patient.onnx", {"nic.code": "x"})
    out = folder / "predictions.csv"
    predict.run(predict.Config("models:/nic-score/1", codes=str(folder / "codes"), out=out))
    yield pd.read_csv(out, keep_default_na=False).set_index("patient")
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def served(folder: Path) -> pd.DataFrame:
    """What a server answers for all files, by slide."""
    files = {name: folder / f"{name}.onnx" for name in ("patient", "encoder")}
    model = ServedModel.load(
        files, CodesCache(folder / "cache", 1 << 20), Limits((folder,), readers=0), "nic-score", "1"
    )
    slides = ["usual", *ROWS.values()]
    rows = pd.DataFrame({"features": [str(folder / "codes" / f"{slide}.h5") for slide in slides], "patient": slides})
    return model.answer(rows, RequestParams()).set_index("patient")


def test_each_row_of_the_document_is_tested() -> None:
    assert list(table()) == list(CHANGES)
    assert {verdict for row in table().values() for verdict in row} == {"refused", "counted", "accepted"}


@pytest.mark.parametrize(("name", "verdict"), [(name, row[0]) for name, row in table().items()])
def test_training_follows_its_column(folder: Path, name: str, verdict: str) -> None:
    together = [patient("usual"), patient(ROWS[name])]
    if verdict == "refused":
        with pytest.raises(CodesError, match=rf"^{ROWS[name]}\b.*compress"):
            gather_cells(together, folder / "codes")
        return
    gathered = gather_cells(together, folder / "codes")
    assert gathered.has_codes.all()
    assert (DIFFERENCES.get(name, "nothing") in gathered.mixture) == (verdict == "counted")
    assert bool(gathered.mixture) == (verdict == "counted")


@pytest.mark.parametrize(("name", "verdict"), [(name, row[1]) for name, row in table().items()])
def test_the_entry_point_predict_follows_its_column(predicted: pd.DataFrame, name: str, verdict: str) -> None:
    check_answer(predicted.loc[ROWS[name]], predicted.loc["usual"], name, verdict)


@pytest.mark.parametrize(("name", "verdict"), [(name, row[1]) for name, row in table().items()])
def test_serving_follows_its_column(served: pd.DataFrame, name: str, verdict: str) -> None:
    check_answer(served.loc[ROWS[name]], served.loc["usual"], name, verdict)


def check_answer(answer: "pd.Series[object]", usual: "pd.Series[object]", name: str, verdict: str) -> None:
    assert (usual["status"], usual["codes_differ"]) == ("ok", "")
    assert answer["status"] == ("refused" if verdict == "refused" else "ok")
    assert answer["codes_differ"] == (DIFFERENCES[name] if verdict == "counted" else "")
    if verdict == "refused":
        assert "compress" in str(answer["reason"])
    else:
        assert float(str(answer["score"])) == pytest.approx(float(str(usual["score"])), rel=1e-3)


@pytest.mark.parametrize(("name", "verdict"), [(name, row[1]) for name, row in table().items()])
def test_evaluation_follows_the_column_of_a_model(folder: Path, name: str, verdict: str) -> None:
    model = PatientModel(folder / "patient.onnx")
    if verdict == "refused":
        with pytest.raises(CodesError, match=rf"^{ROWS[name]}\b.*compress"):
            predict_cohort(model, [patient(ROWS[name])], folder / "codes")
        return
    [answer] = predict_cohort(model, [patient(ROWS[name])], folder / "codes")
    assert answer is not None
    assert answer.codes_differ == ((DIFFERENCES[name],) if verdict == "counted" else ())


def test_a_model_from_before_the_record_takes_any_runtime_and_counts_nothing(folder: Path) -> None:
    model = PatientModel(folder / "patient.onnx")
    model.spec = replace(model.spec, runtimes=(), pixel_versions=())
    for name in DIFFERENCES:
        [answer] = predict_cohort(model, [patient(ROWS[name])], folder / "codes")
        assert answer is not None
        assert answer.codes_differ == ()
    with pytest.raises(CodesError, match="does not know"):
        predict_cohort(model, [patient(ROWS["runtime that this version does not know"])], folder / "codes")


def test_answers_of_models_from_before_are_read_without_the_column(predicted: pd.DataFrame) -> None:
    assert differing(predicted.drop(columns="codes_differ")) == ""
    mixed = pd.concat([predicted, predicted[["status"]]])  # of a journal that two versions of a model wrote
    assert differing(mixed) == differing(predicted)
    assert "pixel_version=1 (1 patients), runtime=openvino (1 patients)" in differing(predicted)


@pytest.mark.slow
def test_a_model_remembers_what_it_was_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a training on two runtimes to an evaluation on one more pixel version."""
    spec = write_plain_graphs(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path))
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("mixed", artifact_location=str(tmp_path / "mlruns")))
    with mlflow.start_run():
        register_encoder(tmp_path / "encoder.onnx", {"nic.encoder_sha256": spec.sha256})
    (tmp_path / "codes").mkdir()
    rng, rows = np.random.default_rng(0), []
    for number in range(36):
        cells = [(int(r), int(c)) for r, c in np.argwhere(rng.random((8, 9)) < 0.7)]
        slide = codes_file(tmp_path / "codes" / f"s{number}.h5", spec, cells, (8, 9))
        codes = rng.normal(number, 1, slide.codes.shape).astype(np.float16)
        runtime = "openvino" if number < 4 else "onnx"
        version = 1 if number == 35 else PIXEL_VERSION
        made = replace(slide, codes=codes, runtime=runtime, pixel_version=version, fingerprint=f"{number:064x}")
        made.save(tmp_path / "codes" / f"s{number}.h5")
        split = "external" if number >= 16 else "train"
        rows.append({"patient": f"P{number}", "slide": f"s{number}.svs", "split": split, "score": number})
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    study = {
        "name": "mixed",
        "tile_tasks": [{"name": "none", "path": "none"}],
        "cohorts": {"c": "cohort.csv"},
        "endpoints": [{"name": "score", "cohort": "c", "kind": "regression", "column": "score"}],
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    place = (tmp_path / "study.yaml", "score", tmp_path / "codes")
    model = str(
        train_patients.run(train_patients.Config(*place, "models:/nic-encoder/1", folds=2, epochs=1))["version"]
    )
    assert "runtime=onnx (12 slides), runtime=openvino (4 slides)" in capsys.readouterr().out
    tags = find_version(model).tags
    assert (tags["nic.runtimes"], tags["nic.pixel_versions"]) == ("onnx,openvino", str(PIXEL_VERSION))
    remembered = PatientModel(graph_file(model, "patient")).spec
    assert (remembered.runtimes, remembered.pixel_versions) == (("onnx", "openvino"), (PIXEL_VERSION,))
    evaluate.run(evaluate.Config(*place, model))
    assert "used all the same (docs/compatibility.md): pixel_version=1 (1 patients)" in capsys.readouterr().out
    mlflow.set_tracking_uri(before)
