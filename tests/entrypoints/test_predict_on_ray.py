"""A cohort answered with the help of a cluster: the answers of this machine alone, from codes that it leaves."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from conftest import tissue_image, write_slide
from served_files import write_plain_graphs
from stores import new_store

from entrypoints import predict
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.errors import RequestRefused
from nic.tracking.registry import register_patient_model

pytest.importorskip("ray", reason="wants Ray: pip install ray==2.60.0")
TILING = Tiling(64.0, min_tissue=0.3)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "slides").mkdir()
    for number in range(3):
        write_slide(tmp_path / "slides" / f"s{number}.tif", tissue_image(700, 600, seed=number))
    (tmp_path / "slides" / "text.svs").write_text("no slide")
    write_plain_graphs(tmp_path, tiling=TILING)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path))
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("ray", artifact_location=str(tmp_path / "mlruns")))
    with mlflow.start_run():
        register_patient_model("nic-score", tmp_path / "encoder.onnx", tmp_path / "patient.onnx", {"nic.code": "x"})
    yield tmp_path
    mlflow.set_tracking_uri(before)


def answered(folder: Path, name: str, **how: str) -> pd.DataFrame:
    out = folder / f"{name}.csv"
    predict.run(predict.Config("models:/nic-score/1", str(folder / "slides"), out=out, **how))  # type: ignore[arg-type]
    return pd.read_csv(out)


@pytest.mark.slow
def test_the_answers_are_those_of_one_machine(folder: Path) -> None:
    there = answered(folder, "there", codes=str(folder / "codes"), engine="ray", address="")
    here = answered(folder, "here")
    pd.testing.assert_frame_equal(there, here, check_exact=False, rtol=1e-6)
    assert there["status"].tolist() == ["ok", "ok", "ok", "refused"]
    assert sorted(file.stem for file in (folder / "codes").glob("*.h5")) == ["s0", "s1", "s2"]
    assert CompressedSlide.load(folder / "codes" / "s0.h5").tiling == TILING


def test_a_cluster_wants_a_folder_that_it_shares(folder: Path) -> None:
    with pytest.raises(RequestRefused, match="engine=ray without codes=; give a folder that all nodes share"):
        answered(folder, "there", engine="ray")
