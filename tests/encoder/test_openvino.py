"""The same codes by OpenVINO, or none."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nic.encoder import openvino as room
from nic.encoder.export import export_encoder
from nic.encoder.network import TileEncoder
from nic.encoder.onnx import OnnxEncoder
from nic.encoder.openvino import OpenVinoEncoder
from nic.errors import EncoderError

pytest.importorskip("openvino", reason="wants OpenVINO: pip install openvino==2026.4.1")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "encoder.onnx"
    export_encoder(TileEncoder(), "random", [], path, np.zeros((2, 64, 64, 3), np.uint8))
    return path


def tiles(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8)


def test_codes_are_those_of_onnx_runtime_to_the_precision_of_bf16(graph: Path) -> None:
    encoder, exact = OpenVinoEncoder(graph), OnnxEncoder(graph)
    assert encoder.spec == exact.spec
    batches = [tiles(count, count) for count in (7, 64, 1, 64)]
    with ThreadPoolExecutor(4) as pool:  # batches of different slides at once
        found = list(pool.map(encoder.encode, batches))
    for batch, codes in zip(batches, found, strict=True):
        wanted = exact.encode(batch)
        assert np.abs(codes - wanted).max() < 0.02 * np.abs(wanted).max()
    assert encoder.agreement is not None
    assert 0.999 < encoder.agreement <= 1.000001


def test_codes_that_do_not_agree_are_refused(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LEAST_AGREEMENT", 1.1)
    with pytest.raises(EncoderError, match=r"agree to a cosine of .* use runtime=onnx"):
        OpenVinoEncoder(graph).encode(tiles(3, 0))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(EncoderError, match=r"encoder\.onnx"):
        OpenVinoEncoder(tmp_path / "encoder.onnx")
