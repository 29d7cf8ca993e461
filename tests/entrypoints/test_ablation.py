"""An ablation from one command: killed in the middle and started again, it computes nothing twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from nic.phantom.phantom_study import PhantomConfig, make_phantom

PROJECT = Path(__file__).resolve().parents[2]
SMALL = PhantomConfig(3, 10, 8, 10, 8, 240)
ENCODERS = ("random", "vae", "mitosis", "tissue", "mitosis+metastasis", "all-uniform", "all-no-colour")
ENDPOINTS, SEEDS = 3, 2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of ten training patients, with its own store."""
    folder = tmp_path_factory.mktemp("ablation")
    make_phantom(folder / "phantom", SMALL)
    text = (PROJECT / "studies" / "ablation.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("phantom:", "root:"))]
    (folder / "study.yaml").write_text("\n".join(["root: phantom", *lines]))
    return folder


def command(place: Path) -> list[str]:
    """Encoders of one epoch and networks of two: what is shown is handling, not quality."""
    parameters = {
        "study": place / "study.yaml",
        "work": place / "work",
        "page": place / "page.md",
        "encoders": ",".join(ENCODERS),
        "rivals": "attention-mil,glimpses",
        "seeds": SEEDS,
        "encoder-seeds": 2,
        "encoder-epochs": 1,
        "epochs": 2,
        "comparators": "mitosis-counting",
    }
    words = [word for name, value in parameters.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "entrypoints.ablation", *words]


def environment(place: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}", "PATH": path}


def cells(place: Path) -> dict[str, int]:
    """When each cell's answers were written, by name."""
    return {file.name: file.stat().st_mtime_ns for file in (place / "work" / "cells").glob("*.json")}


def killed_after_its_first_cells(place: Path) -> None:
    run = subprocess.Popen(command(place), cwd=PROJECT, env=environment(place), start_new_session=True)
    while run.poll() is None and len(cells(place)) < 3:
        time.sleep(0.2)
    assert run.poll() is None, "it ended before it could be killed"
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


@pytest.mark.slow  # 10 minutes: eight encoders, their codes, and 60 networks
def test_it_goes_on_where_it_was_killed_and_its_page_stays_the_same(place: Path) -> None:
    killed_after_its_first_cells(place)
    before = cells(place)
    subprocess.run(command(place), cwd=PROJECT, env=environment(place), check=True)
    after, page = cells(place), (place / "page.md").read_text()
    assert len(before) >= 3
    assert {name: after[name] for name in before} == before
    further, rivals = 1, 2  # seeds of the best encoder of one task; networks on the codes of random
    assert len(after) == ENDPOINTS * SEEDS * (len(ENCODERS) + further + rivals) + 1  # and mitosis counting
    assert "](page_glimpses.png)" in page
    assert (place / "page_glimpses.png").is_file()
    subprocess.run(command(place), cwd=PROJECT, env=environment(place), check=True)
    assert cells(place) == after
    assert (place / "page.md").read_text() == page
    client = MlflowClient(environment(place)["MLFLOW_TRACKING_URI"])
    versions = client.search_model_versions("name = 'nic-encoder'")
    assert len(versions) == len(ENCODERS) + further
    assert all(f"| {name} |" in page for name in ENCODERS)
    assert "mitosis-counting" in page
    verdicts = [word for word in ("supported", "not supported", "undecided") if f"**{word}**" in page]
    assert verdicts
    assert (place / "page_leaderboard.png").stat().st_size > 10_000
