"""A registered patient model, loaded as the server loads it: one answer a patient, whatever is wrong with a slide."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from archive import archive
from conftest import tissue_image, write_slide
from mlflow.exceptions import MlflowException
from served_files import write_graphs
from stores import new_store

from nic.compression.compress_slide import compress_slide
from nic.encoder.loading import load_encoder
from nic.errors import SettingError
from nic.patients.predictor import PatientModel
from nic.slides.slide import SlideSource
from nic.tracking.registry import (
    RegisteredVersion,
    load_served,
    model_folder,
    register_patient_model,
    serving_pins,
)
from nic.tracking.version_loader import load_version


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_slide(folder / "a.tif", tissue_image(900, 800))
    write_slide(folder / "b.tif", tissue_image(800, 900, seed=1), mpp=0.499)
    write_slide(folder / "mute.tif", tissue_image(800, 900, seed=2), mpp=None)
    (folder / "text.svs").write_text("no slide")
    write_graphs(folder)
    return folder


@pytest.fixture(scope="module")
def version(folder: Path) -> Iterator[RegisteredVersion]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(folder))
    experiment = mlflow.create_experiment("served", artifact_location=str(folder / "artifacts"))
    with mlflow.start_run(experiment_id=experiment):
        yield register_patient_model("nic-score", folder / "encoder.onnx", folder / "patient.onnx", {"nic.code": "x"})
    mlflow.set_tracking_uri(before)


def test_answers_are_those_of_the_graphs(folder: Path, version: RegisteredVersion) -> None:
    slides = [str(folder / "a.tif"), str(folder / "b.tif"), str(folder / "b.tif")]
    rows = pd.DataFrame({"slide": slides, "patient": ["P", "P", "Q"]})
    answers = load_served(version.uri)(rows)
    encoder, model = load_encoder(folder / "encoder.onnx"), PatientModel(folder / "patient.onnx")
    codes = [compress_slide(SlideSource(n, folder / f"{n}.tif"), encoder) for n in "ab"]
    expected = [model.predict(codes), model.predict(codes[1:])]
    assert list(answers["patient"]) == ["P", "Q"]
    assert np.allclose(answers["prediction"].astype(float), [e.prediction for e in expected], atol=1e-5)
    assert list(answers["low"]) == [pytest.approx(e.calibrated["low"], abs=1e-5) for e in expected]
    assert (answers["low"] <= answers["prediction"]).all()
    assert list(answers["tiles"]) == [e.tiles for e in expected]
    assert set(answers["status"]) == {"ok"}
    assert set(answers["unit"]) == {"points"}
    assert set(answers["model_version"]) == {version.version}
    assert set(answers["encoder_version"]) == {"nic-encoder/1"}


def test_parameters_are_those_of_the_signature(folder: Path, version: RegisteredVersion) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")]})
    params = {"map": "geojson", "map_class": "", "max_tiles": 1000, "batch_tiles": 7}
    [answer] = load_served(version.uri)(rows, params).to_dict("records")
    assert answer["status"] == "ok"
    assert len(answer["map"]) == 1
    with pytest.raises(MlflowException, match="batch_tiles=1025; wanted 0 to 1024"):
        load_served(version.uri)(rows, {"batch_tiles": 1025})


def test_a_version_whose_code_this_nic_cannot_import_answers(
    folder: Path, version: RegisteredVersion, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(model_folder(version), older)
    (older / "patient_model.py").write_text("from nic.serving.a_module_of_before import ServedModel")
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")]})
    config = {"confined": False, "at_once": 1, "device": "cpu"}
    [answer] = load_version(older, config).predict(rows).to_dict("records")
    assert answer["status"] == "ok"
    assert answer["prediction"] == load_served(version.uri)(rows)["prediction"][0]


def test_the_mean_of_the_map_is_the_score(folder: Path) -> None:
    encoder, model = load_encoder(folder / "encoder.onnx"), PatientModel(folder / "patient.onnx")
    answer = model.predict([compress_slide(SlideSource(n, folder / f"{n}.tif"), encoder) for n in "ab"])
    cells = np.concatenate([m[~np.isnan(m)] for m in answer.score_maps])
    assert len(cells) == answer.tiles
    assert cells.mean() == pytest.approx(answer.score, abs=1e-5)


def test_a_bad_slide_is_an_answer_with_its_reason(folder: Path, version: RegisteredVersion) -> None:
    names = ["a.tif", "gone.svs", "text.svs", "mute.tif", "a.tif", "gone.svs"]
    patients = [None, None, None, None, "P", "P"]
    rows = pd.DataFrame({"slide": [str(folder / n) for n in names], "patient": patients})
    answers = load_served(version.uri)(rows).set_index("patient")
    assert list(answers["status"]) == ["ok", "refused", "refused", "refused", "partial"]
    assert "no such file" in answers.loc["gone", "reason"]
    assert "UnreadableSlide" in answers.loc["text", "reason"]
    assert "MissingResolution" in answers.loc["mute", "reason"]
    assert answers["prediction"].isna().sum() == 3
    json.dumps(answers.to_dict("records"), allow_nan=False)  # NaN is no JSON; strict readers would refuse the answer
    assert answers.loc["a", "prediction"] == answers.loc["P", "prediction"]
    assert not answers["reason"].str.contains(str(folder)).any()


def test_a_file_of_codes_is_answered_as_its_slide(folder: Path, version: RegisteredVersion) -> None:
    encoder = load_encoder(folder / "encoder.onnx")
    codes = compress_slide(SlideSource("a", folder / "a.tif"), encoder)
    codes.save(folder / "codes.h5")
    replace(codes, encoder=codes.encoder.with_sha256("0" * 64)).save(folder / "foreign.h5")
    rows = pd.DataFrame({"slide": [str(folder / name) for name in ("a.tif", "codes.h5", "foreign.h5")]})
    answers = load_served(version.uri)(rows)
    assert list(answers["status"]) == ["ok", "ok", "refused"]
    assert answers["prediction"][0] == pytest.approx(answers["prediction"][1])
    assert "ForeignCodes" in answers["reason"][2]


def test_a_resolution_given_with_the_row_is_obeyed(folder: Path, version: RegisteredVersion) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "mute.tif")], "mpp": [0.5]})
    assert list(load_served(version.uri)(rows)["status"]) == ["ok"]


def test_addresses_are_opened_where_the_operator_names_them(
    folder: Path, version: RegisteredVersion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NIC_SLIDE_ROOTS", str(folder))
    monkeypatch.setenv("NIC_STAGED_DIR", str(tmp_path / "staged"))
    with archive(folder) as site:
        rows = pd.DataFrame({"slide": [str(folder / "a.tif"), f"{site.url}/a.tif"], "patient": ["here", "there"]})

        def answers(prefixes: str) -> list[dict[str, object]]:
            monkeypatch.setenv("NIC_SLIDE_URIS", prefixes)
            found: pd.DataFrame = mlflow.pyfunc.load_model(version.uri).predict(rows)
            return found.drop(columns="patient").to_dict("records")

        here, there = answers(site.url)
        assert there == here
        assert [path.name for path in (tmp_path / "staged").glob("*/*")] == ["slide.tif"]
        site.requests.clear()
        assert [answer["status"] for answer in answers("")] == ["ok", "refused"]
        assert site.requests == []
        with pytest.raises(SettingError, match="NIC_SLIDE_URIS, prefix 2"):
            answers(f"{site.url} file:///")


def test_serving_imports_neither_torch_nor_a_pickle(folder: Path, version: RegisteredVersion) -> None:
    code = (
        "import json, sys, pandas as pd, mlflow\n"
        f"mlflow.set_tracking_uri({mlflow.get_tracking_uri()!r})\n"
        f"answers = mlflow.pyfunc.load_model({version.uri!r}).predict(pd.DataFrame({{'slide': [sys.argv[1]]}}))\n"
        "print(json.dumps([answers['status'][0], [m for m in ('torch', 'lightning', 'optuna') if m in sys.modules]]))"
    )
    environment = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["NIC_SLIDE_ROOTS"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "a.tif")], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(done.stdout.splitlines()[-1]) == ["ok", []]


def test_a_served_model_pins_what_it_needs_and_no_torch() -> None:
    pins = serving_pins()
    assert all("==" in pin for pin in pins)
    assert not any(pin.startswith(("torch", "lightning", "optuna", "kornia")) for pin in pins)
    assert {"mlflow", "numpy", "openslide-python", "h5py"} <= {pin.split("==")[0] for pin in pins}
