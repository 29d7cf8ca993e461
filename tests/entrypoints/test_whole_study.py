"""A small phantom study from tiles to promotion: killed in the middle, started again, and a third time for nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from nic.compression.compressed_slide import CompressedSlide
from nic.phantom.phantom_study import PhantomConfig, make_phantom

PROJECT = Path(__file__).resolve().parents[2]
SMALL = PhantomConfig(breast_train=15, breast_external=10, liver_train=20, liver_external=10, tiles_per_task=90)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    make_phantom(folder / "phantom", SMALL)
    content = yaml.safe_load((PROJECT / "studies" / "phantom.yaml").read_text())
    path = folder / "small.yaml"
    cohorts = {"breast": "breast.csv", "liver": {"table": "liver.csv", "compress": {"min_tissue": 0.5}}}
    path.write_text(yaml.safe_dump({**content, "phantom": False, "root": "phantom", "cohorts": cohorts}))
    return path


@pytest.fixture(scope="module")
def environment(study: Path) -> dict[str, str]:
    uri = f"sqlite:///{study.parent / 'mlflow.db'}"
    MlflowClient(uri).create_experiment("whole", artifact_location=str(study.parent / "artifacts"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # MLflow starts the `python` that comes first
    return {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "whole"}


def start(study: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    work = study.parent / "work"
    options = ["--trials", "2", "--encoder-epochs", "2", "--patient-epochs", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "entrypoints.main", "--study", str(study), "--work", str(work), *options],
        cwd=PROJECT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(study: Path, environment: dict[str, str]) -> str:
    process = start(study, environment)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output[-3000:]
    return output


def test_a_killed_study_goes_on_and_a_finished_one_is_reused(study: Path, environment: dict[str, str]) -> None:
    process = start(study, environment)
    while len(list(study.parent.glob("work/codes/liver-*/*.h5"))) < 5:
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    output = finish(study, environment)
    for stage in ("train encoder", "compress breast"):  # what was finished before the kill
        assert f"{stage}: reused" in output
    assert "compress liver: reused" not in output
    assert {f.name for f in study.parent.glob("work/codes/liver-*/*")} >= {
        f"{slide.stem}.h5" for slide in study.parent.glob("phantom/slides/liver/*.tif")
    }

    for cohort, least in (("breast", 0.6), ("liver", 0.5)):
        codes = next(study.parent.glob(f"work/codes/{cohort}-*/*.h5"))
        assert CompressedSlide.load(codes).tiling.min_tissue == least

    output = finish(study, environment)
    titles = [line.split(":")[0] for line in output.splitlines() if line.endswith(": reused")]
    assert len(titles) == 13  # encoder, its promotion, two cohorts, and three stages an endpoint
    reports = [line.split()[-1] for line in output.splitlines() if line.startswith("Report: ")]
    assert len(reports) == 3
    assert all(Path(report).read_text().startswith("<!doctype html>") for report in reports)

    registered = MlflowClient(environment["MLFLOW_TRACKING_URI"]).search_registered_models()
    assert {m.name for m in registered} == {"nic-encoder", "nic-proliferation", "nic-growth-pattern", "nic-survival"}
