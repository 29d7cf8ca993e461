"""A version on two machines that have nothing but its own requirements: the answers of its registration."""

import json
import os
import subprocess
import venv
from pathlib import Path

import mlflow
import pytest
from served_files import write_graphs

from nic.encoder.loading import load_encoder
from nic.stages.companions import write_reference
from nic.tracking.registry import REFERENCE, model_folder, register_patient_model

pytestmark = pytest.mark.slow  # two environments are filled from PyPI
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of a version, as a registry gives them."""
    made = tmp_path_factory.mktemp("version")
    write_graphs(made)
    spec = load_encoder(made / "encoder.onnx").spec
    reference = write_reference(made / "reference", made / "encoder.onnx", made / "patient.onnx", spec)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{made / 'mlflow.db'}")
    experiment = mlflow.create_experiment("installs", artifact_location=str(made / "artifacts"))
    with mlflow.start_run(experiment_id=experiment):
        graphs = made / "encoder.onnx", made / "patient.onnx"
        version = register_patient_model("nic-score", *graphs, {}, {"reference": reference})
    found = model_folder(version)
    mlflow.set_tracking_uri(before)
    return found


@pytest.mark.parametrize("machine", ["first", "second"])
def test_a_clean_install_gives_the_answer_of_the_registration(folder: Path, tmp_path: Path, machine: str) -> None:
    venv.create(tmp_path / machine, with_pip=True)
    python = tmp_path / machine / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--requirement", folder / "requirements.txt"]
    subprocess.run(command, check=True, timeout=1800)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}
    reference = folder / "artifacts" / REFERENCE
    asked = subprocess.run(
        [python, ROOT / "registry" / "reference_answers.py", folder, reference],
        check=True, capture_output=True, timeout=600, cwd=tmp_path,
        env={**environment, "NIC_SLIDE_ROOTS": str(reference), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
    )  # fmt: skip
    [answer] = json.loads(asked.stdout.splitlines()[-1])["answers"]
    [registered] = json.loads((reference / "answers.json").read_text())
    print(f"{machine} install: {answer['prediction']:.9f}, at registration {registered['prediction']:.9f}")
    assert answer["prediction"] == pytest.approx(registered["prediction"], abs=1e-5)
    assert not list((tmp_path / machine).glob("lib/*/site-packages/torch"))
