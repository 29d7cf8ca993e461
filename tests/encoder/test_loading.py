"""OpenVINO and half precision give the codes of f32, or are refused."""

import gc
import importlib.util
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from served_files import write_graphs

from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.encoder.spec import Runtime
from nic.errors import EncoderError
from nic.graphs.adapt import write_half

OPENVINO = pytest.param(
    "openvino",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("openvino") is None, reason="wants OpenVINO: pip install openvino==2026.4.1"
    ),
)
every_runtime = pytest.mark.parametrize("runtime", [OPENVINO, "onnx-f16"])


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    write_graphs(folder)
    return folder / "encoder.onnx"


def tiles(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8)


@every_runtime
def test_codes_are_those_of_f32_to_the_precision_of_the_other(graph: Path, runtime: Runtime) -> None:
    encoder, exact = load_encoder(graph, runtime), load_encoder(graph)
    assert encoder.spec == exact.spec
    batches = [tiles(count, count) for count in (7, 64, 1, 64)]
    with ThreadPoolExecutor(4) as pool:  # batches of different slides at once
        codes_of_batches = list(pool.map(encoder.encode, batches))
    for batch, codes in zip(batches, codes_of_batches, strict=True):
        wanted = exact.encode(batch)
        assert codes.dtype == np.float32
        assert np.abs(codes - wanted).max() < 0.02 * np.abs(wanted).max()
    assert encoder.agreement is not None
    assert 0.999 < encoder.agreement <= 1.000001


def test_codes_of_another_direction_or_another_length_are_refused(graph: Path) -> None:
    exact = load_encoder(graph)

    def encoder(run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> LoadedEncoder:
        return LoadedEncoder(exact.spec, run, "onnx-f16", exact.device, "", "the other", exact)

    longer = encoder(lambda batch: exact.encode(batch) * np.float32(1.05))
    with pytest.raises(EncoderError, match=r"the other agree to a cosine of 1\.0000.* lengths differ by 5\.0%"):
        longer.encode(tiles(3, 0))
    reversed_ = encoder(lambda batch: exact.encode(batch)[:, ::-1])
    with pytest.raises(EncoderError, match=r"agree to a cosine of .* use runtime=onnx"):
        reversed_.encode(tiles(3, 0))
    with pytest.raises(EncoderError):  # and not trusted at the second batch
        reversed_.encode(tiles(3, 1))


@every_runtime
def test_the_f32_graph_is_dropped_after_the_comparison(graph: Path, runtime: Runtime) -> None:
    encoder = load_encoder(graph, runtime)
    exact = weakref.ref(encoder._reference)
    assert encoder.encode(tiles(0, 0)).shape == (0, encoder.spec.code_size)
    assert exact() is not None
    encoder.encode(tiles(3, 0))
    gc.collect()
    assert exact() is None


def test_a_graph_that_cannot_be_converted_raises_an_encoder_error(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(EncoderError, match=r"encoder\.onnx: cannot be converted to half precision .* use runtime=onnx"):
        write_half(tmp_path / "encoder.onnx", tmp_path / "half.onnx")


@every_runtime
def test_a_file_that_is_not_a_graph_is_refused_by_each_runtime(tmp_path: Path, runtime: Runtime) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(EncoderError, match=r"encoder\.onnx"):
        load_encoder(tmp_path / "encoder.onnx", runtime)


def test_a_graph_in_half_precision_computes_in_float16(graph: Path, tmp_path: Path) -> None:
    write_half(graph, tmp_path / "half.onnx")
    whole, half = onnx.load(graph), onnx.load(tmp_path / "half.onnx")
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
    kinds = {tensor.data_type for tensor in half.graph.initializer} & floats
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert [i.type for i in half.graph.input] == [i.type for i in whole.graph.input]
    assert [o.type for o in half.graph.output] == [o.type for o in whole.graph.output]
    assert half.metadata_props == whole.metadata_props


def test_numbers_too_large_for_float16_are_refused(graph: Path, tmp_path: Path) -> None:
    """What is beyond the range of float16 is cut off there, and the codes are others."""
    model = onnx.load(graph)
    for tensor in model.graph.initializer:
        if tensor.name == "layers.9.weight":
            values = onnx.numpy_helper.to_array(tensor) * np.float32(1e8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "encoder.onnx")
    with pytest.raises(EncoderError, match="ONNX Runtime f16 agree to a cosine of"):
        load_encoder(tmp_path / "encoder.onnx", "onnx-f16").encode(tiles(3, 0))
