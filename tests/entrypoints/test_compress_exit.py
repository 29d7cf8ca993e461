"""What `compress` tells the shell when a slide went into quarantine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import tissue_image, write_slide

from entrypoints.compress import Config, run
from nic.encoder.encoder_graph import export_encoder
from nic.encoder.network import TileEncoder
from nic.errors import EncoderError, NoDevice
from nic.graphs.device import cuda_devices

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow  # a graph is exported and a tracking database made


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment("compress")
    export_encoder(TileEncoder(), "random", [], tmp_path / "encoder.onnx", np.zeros((2, 64, 64, 3), np.uint8))
    (tmp_path / "slides").mkdir()
    write_slide(tmp_path / "slides" / "good.tif", tissue_image(768, 768))
    (tmp_path / "slides" / "empty.svs").write_bytes(b"")
    yield {"slides": "slides", "encoder": "encoder.onnx", "out": tmp_path / "codes"}
    mlflow.set_tracking_uri(before)


def test_strict_ends_with_one_after_the_good_slides_are_done(config: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        run(Config(**config, strict=True))  # type: ignore[arg-type]
    assert end.value.code == 1
    assert (tmp_path / "codes" / "good.h5").is_file()
    assert run(Config(**config))["quarantined"] == ["empty"]  # type: ignore[arg-type]


def called(config: dict[str, object], *words: str) -> "subprocess.CompletedProcess[str]":
    """`compress` from the command line."""
    options = [word for name, value in config.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "entrypoints.compress", *options, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_devices_are_obeyed_and_what_each_did_is_said(config: dict[str, object], tmp_path: Path) -> None:
    two = called(config, "--device", "cpu,cpu", "--readers", "1", "--batch-tiles", "16", "--patience-s", "60")
    assert two.returncode == 0, two.stderr
    assert "encoder by onnx on cpu, cpu\n" in two.stdout
    assert "read by 1 process (" in two.stdout
    assert " threads on cpu (" in two.stdout
    assert (tmp_path / "codes" / "good.h5").is_file()


def test_a_device_that_is_not_there_ends_in_a_sentence(config: dict[str, object], tmp_path: Path) -> None:
    try:
        cuda_devices()
    except NoDevice:
        refused = called(config, "--device", "cuda")
        assert refused.returncode == 1
        assert [line for line in refused.stderr.splitlines() if "NoDevice" in line or "Traceback" in line] == [
            line for line in refused.stderr.splitlines() if line.startswith("NoDevice: no CUDA device: there is no")
        ]
        assert "NoDevice: no CUDA device: there is no NVIDIA driver here" in refused.stderr
        assert not list((tmp_path / "codes").glob("*.h5"))
        auto = called(config)
        assert auto.returncode == 0
        assert "encoder by onnx on cpu (no CUDA device: there is no NVIDIA driver here" in auto.stdout


def test_a_cluster_wants_one_device_and_its_share(config: dict[str, object]) -> None:
    with pytest.raises(EncoderError, match="several are for compress with engine=local"):
        run(Config(**config, engine="ray", device="cpu,cpu"))  # type: ignore[arg-type]
    with pytest.raises(NoDevice, match="a cluster needs gpus= as well"):
        run(Config(**config, engine="ray", device="cuda"))  # type: ignore[arg-type]
