"""A group's first hour with its own data: 24 patients, 30 slides and a clinician's table as they are, to served models.

The newcomer of `review/newcomer.md` needed five starts. Here: init_study, one check_study that lists all problems, the
corrections that it asks for, one main.
"""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import write_slide
from mlflow.tracking import MlflowClient

from nic.phantom.breast import BreastSlide, breast_plan
from nic.phantom.labs import LABS
from nic.phantom.painting import paint
from nic.phantom.phantom_study import draw_breast
from nic.phantom.tiles import write_tile_task

PROJECT = Path(__file__).resolve().parents[2]
PATIENTS, TRAIN, CELLS = 24, 16, 12
"""Patients; those of the own hospital; side of a slide in cells of 64 um."""
NAMES = ("P{:03d}.HE.v1.2.tif", "2019/P{:03d} block 1.tif", "2020/batch 2/P{:03d}_HE.tif")
SEVERAL = {5: ("2019/P005 block 2.tif", "2020/batch 2/P005.b3.tif"), 8: ("P008 x.tif",), 11: ("P011 x.tif",),
           20: ("P020.x.tif",), 22: ("2019/P022 x.tif",)}  # fmt: skip
CUT_SHORT, NO_RESOLUTION, MISSPELT, DAED = 18, 23, 9, 7
pytestmark = pytest.mark.slow


def slide_names(number: int) -> list[str]:
    """Of a patient, below the folder of slides."""
    return [NAMES[number % len(NAMES)].format(number), *SEVERAL.get(number, ())]


def draw(folder: Path, number: int, mitoses: float) -> None:
    lab = ("aspen", "birch")[number % 2] if number <= TRAIN else "elm"
    for name in slide_names(number):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        slide = BreastSlide(path.stem, lab, CELLS, mitoses, 10.0, 200.0, 0.6, 1.0)
        if number == NO_RESOLUTION:
            rng = np.random.default_rng(number)
            write_slide(path, paint(breast_plan(slide, rng), LABS[lab], rng), mpp=None)
        else:
            draw_breast(slide, path, seed=0)
        if number == CUT_SHORT:
            path.write_bytes(path.read_bytes()[:20_000])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newcomer")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(1, PATIENTS + 1):
        mitoses = float(rng.uniform(5, 80))
        draw(folder / "our slides", number, mitoses)
        known = "Alive" if number % 3 == 0 else "Dead"
        rows.append(
            {
                "Patient ID": "P0O9" if number == MISSPELT else f"P{number:03d}",
                "Hospital": "Oak" if number <= TRAIN else "Elm",
                "Age": round(rng.uniform(40, 80), 1),
                "Stage": ("I", "II", "III")[number % 3],
                "Grade": 1 + (number - 1) % 3,
                "Marker": "positive" if mitoses > 40 else "negative",
                "Follow-up (months)": round(rng.uniform(2, 60), 1),
                "Status": "Daed" if number == DAED else known,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "clinical.csv", sep=";", decimal=",", index=False, encoding="utf-8-sig")
    for task in ("mitosis", "metastasis"):
        write_tile_task(task, folder / "tiles", 180, 0)
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    MlflowClient(uri).create_experiment("newcomer", artifact_location=str(folder / "artifacts"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # MLflow starts the `python` that comes first
    return {
        **os.environ,
        "PATH": path,
        "COLUMNS": "250",
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_EXPERIMENT_NAME": "newcomer",
    }


def run(entry_point: str, environment: dict[str, str], **parameters: object) -> tuple[int, str]:
    """Exit code and output of an entry point."""
    options = [part for name, value in parameters.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", f"entrypoints.{entry_point}", *options]
    process = subprocess.run(
        command, cwd=PROJECT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3000
    )
    return process.returncode, process.stdout


def corrected(study: Path, table: Path, clinical: Path) -> None:
    """What the newcomer corrects, as both tables of problems say: cells and rows of the table, and gates."""
    cohort = pd.read_csv(table, dtype=str, keep_default_na=False)
    cohort["Status"] = cohort["Status"].replace("Daed", "Dead")
    cohort.loc[cohort["patient"] == f"P{NO_RESOLUTION:03d}", "mpp"] = "0.503"
    cohort = cohort[cohort["patient"] != f"P{CUT_SHORT:03d}"]
    known = pd.read_csv(clinical, sep=";", decimal=",", encoding="utf-8-sig").set_index("Patient ID").loc["P0O9"]
    missing = {"patient": "P009", "slide": f"../our slides/{slide_names(MISSPELT)[0]}", "split": "train", "site": "Oak"}
    others = known[known.index.intersection(cohort.columns)].astype(str).to_dict()
    pd.concat([cohort, pd.DataFrame([{**missing, **others}])]).to_csv(table, index=False)
    text = study.read_text().replace("    # gate: ", "    gate: ").replace("at_least: 0.6", "at_least: -1")
    study.write_text(text)


def test_a_newcomer_has_served_models_after_one_check_and_one_main(
    folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, table = folder / "studies" / "ours.yaml", folder / "studies" / "ours.csv"
    begin = {
        "table": folder / "clinical.csv",
        "slides": folder / "our slides",
        "name": "ours",
        "out": folder / "studies",
        "site": "Hospital",
        "external": "Elm",
        "tile_tasks": folder / "tiles",
    }
    code, printed = run("init_study", environment, **begin)
    assert code == 0, printed
    for words in (
        "clinical.csv: separator ';', decimal comma, utf-8; patients in column 'Patient ID'",
        "slides belong to 23 patients: by the patient in the file's name",
        "perhaps 'P009.HE.v1.2.tif'",
        "'Daed' (patient P007)",
        "minutes on this machine",
    ):
        assert words in printed, printed
    code, printed = run("check_study", environment, study=study, work=folder / "work", sample=40)
    assert code == 1, printed
    for words in ("Daed", f"P{CUT_SHORT:03d}", f"P{NO_RESOLUTION:03d}", "no resolution", "no gate"):
        assert words in printed, printed
    corrected(study, table, folder / "clinical.csv")

    code, printed = run(
        "main", environment, study=study, work=folder / "work", trials=0, encoder_epochs=2, patient_epochs=15
    )
    assert code == 0, printed

    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    monkeypatch.setenv("NIC_SLIDE_ROOTS", str(folder))
    slides = pd.DataFrame({"slide": [str(folder / "our slides" / name) for name in slide_names(5)], "patient": "P005"})
    for endpoint in ("grade", "marker", "survival-status"):
        answers = mlflow.pyfunc.load_model(f"models:/nic-{endpoint}@champion").predict(slides)
        assert answers["status"].tolist() == ["ok"], answers.T
        assert answers["model"].tolist() == [f"nic-{endpoint}"]
