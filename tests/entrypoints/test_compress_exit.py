"""What `compress` tells the shell when a slide went into quarantine."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import tissue_image, write_slide

from entrypoints.stages.compress import Config, run
from nic.encoder.export import export_encoder
from nic.encoder.network import TileEncoder

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
