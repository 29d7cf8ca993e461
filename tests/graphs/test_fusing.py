"""Fused attention and GELU give the codes of the graph as it is written."""

import collections
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_files import PackedAttention, WrittenAttention, export_transformer
from torch import nn

from nic.encoder.foreign import import_onnx
from nic.encoder.loading import load_encoder
from nic.graphs.adapt import Scaling
from nic.graphs.fusing import fused
from nic.graphs.run import OnnxGraph

IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "rgb")
Written = dict[type[nn.Module], Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("transformers")
    kinds = (PackedAttention, WrittenAttention)
    return {kind: export_transformer(kind, folder / f"{kind.__name__}.onnx") for kind in kinds}


def operators(path: str | Path) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).normal(size=(count, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("kind", [PackedAttention, WrittenAttention])
def test_attention_and_gelu_become_one_operator_each(written: Written, kind: type[nn.Module], tmp_path: Path) -> None:
    fused_path = fused(written[kind], tmp_path)
    assert isinstance(fused_path, str)
    before, after = operators(written[kind]), operators(fused_path)
    assert (before["Softmax"], before["Erf"]) == (2, 2)
    assert (after["Softmax"], after["Erf"], after["MultiHeadAttention"], after["Gelu"]) == (0, 0, 2, 2)
    assert after["Transpose"] == 1  # of the patches: none is left of the attentions


@pytest.mark.parametrize("kind", [PackedAttention, WrittenAttention])
def test_codes_are_those_of_the_graph_as_it_is_written(written: Written, kind: type[nn.Module]) -> None:
    plain, fast = OnnxGraph(written[kind]), OnnxGraph(written[kind], fused=True)
    assert plain.sha256 == fast.sha256
    for count in (1, 2, 5):
        output, fused_output = plain.run(image=images(count))[0], fast.run(image=images(count))[0]
        assert output.std() > 0.1
        assert np.abs(fused_output - output).max() <= 1e-4


def test_an_imported_transformer_is_stored_as_it_is_and_run_fused(written: Written, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    spec, difference = import_onnx(
        written[PackedAttention], path, name="vit", tile_px=32, tile_mpp=0.5, read_mpp=0.5, scaling=IMAGENET
    )
    assert difference <= 1e-4
    assert operators(path)["Softmax"] == 2
    tiles = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    encoder = load_encoder(path)
    assert encoder.spec == spec
    assert np.abs(encoder.encode(tiles) - OnnxGraph(path).run(tiles=tiles)[0]).max() <= 1e-4
    half = load_encoder(path, "onnx-f16")
    assert np.abs(half.encode(tiles) - encoder.encode(tiles)).max() <= 0.02
    assert half.agreement is not None
    assert half.agreement > 0.999


def attention(query: list[str], softmax_axis: int, mask: bool) -> onnx.ModelProto:
    """softmax(q k^T [+ mask]) v of values that are inputs [N, 2, 4, 8] and come from nowhere that is known."""
    nodes = [
        helper.make_node("Transpose", ["k"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", [*query, "turned"], ["scores"]),
        *([helper.make_node("Add", ["scores", "mask"], ["masked"])] if mask else []),
        helper.make_node("Softmax", ["masked" if mask else "scores"], ["weights"], axis=softmax_axis),
        helper.make_node("MatMul", ["weights", "v"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["joined"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["joined", "flat"], ["out"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0, 0, -1]), "flat"),
        numpy_helper.from_array(np.linspace(-3, 3, 16).reshape(4, 4).astype(np.float32), "mask"),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2, 4, 8]) for name in "qkv"]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4, 16])]
    graph = helper.make_graph(nodes, "attention", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(
    ("softmax_axis", "mask", "attentions"), [(-1, False, 1), (3, False, 1), (2, False, 0), (-1, True, 0)]
)
def test_other_computations_are_not_fused(tmp_path: Path, softmax_axis: int, mask: bool, attentions: int) -> None:
    path = tmp_path / "attention.onnx"
    onnx.save(attention(["q"], softmax_axis, mask), path)
    (tmp_path / "fused").mkdir()
    fused_path = fused(path, tmp_path / "fused")
    assert (operators(fused_path)["MultiHeadAttention"] if isinstance(fused_path, str) else 0) == attentions
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(3, 2, 4, 8)).astype(np.float32) for name in "qkv"}
    scores = values["q"] @ values["k"].transpose(0, 1, 3, 2) + (np.linspace(-3, 3, 16).reshape(4, 4) if mask else 0)
    axis = 3 if softmax_axis == -1 else softmax_axis
    weights = np.exp(scores) / np.exp(scores).sum(axis, keepdims=True)
    wanted = (weights @ values["v"]).transpose(0, 2, 1, 3).reshape(3, 4, 16)
    assert np.abs(OnnxGraph(path, fused=True).run(**values)[0] - wanted).max() <= 1e-5
