"""Giving a foreign graph the input that ours take: tiles as pixels, scaled inside the graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from nic.errors import EncoderError


@dataclass(frozen=True)
class Scaling:
    """How a network wants its pixels: (pixel / 255 - mean) / std of each channel, channels in this order."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: Literal["rgb", "bgr"]


def from_pixels(source: Path, path: Path, tile_px: int, scaling: Scaling, metadata: Mapping[str, str]) -> None:
    """Write to `path` the graph of `source` with `tiles` uint8 [N, tile_px, tile_px, 3] RGB in front of it.

    source: ONNX, one input float [N, 3, px, px], its first output taken.
    Raises EncoderError when the graph has another input than that, or the scaling no three channels.
    """
    if len(scaling.mean) != 3 or len(scaling.std) != 3 or min(scaling.std) <= 0:
        raise EncoderError(f"mean {scaling.mean}, std {scaling.std}: wanted three numbers each, std above 0")
    model = _loaded(source)
    name = _checked_input(source.name, model, tile_px)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    before = helper.make_model(
        _scaled(scaling, tile_px), opset_imports=[helper.make_opsetid("", opset)], ir_version=model.ir_version
    )
    behind = onnx.compose.add_prefix(model, "foreign/")
    joint, output = [("scaled", f"foreign/{name}")], f"foreign/{model.graph.output[0].name}"
    merged = onnx.compose.merge_models(before, behind, joint, outputs=[output])
    helper.set_model_props(merged, dict(metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(merged, path)


def _loaded(source: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(source)
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        reason = str(error).splitlines()[0].replace(f"{source.parent}/", "") if str(error) else "it is damaged"
        raise EncoderError(f"{source.name}: not a readable ONNX graph: {reason}") from error
    return model


def _checked_input(name: str, model: onnx.ModelProto, tile_px: int) -> str:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise EncoderError(f"{name}: takes {', '.join(i.name for i in inputs) or 'nothing'}, wanted one image")
    tensor = inputs[0].type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else (d.dim_param or "any") for d in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT or len(shape) != 4 or shape[1] not in (3, "any"):
        kind = TensorProto.DataType.Name(tensor.elem_type)
        raise EncoderError(f"{name}: {inputs[0].name} is {kind} {shape}, wanted FLOAT [N, 3, px, px]; export it so")
    if isinstance(shape[0], int):
        raise EncoderError(f"{name}: its batch is fixed at {shape[0]}; export it with a dynamic batch")
    if any(isinstance(px, int) and px != tile_px for px in shape[2:]):
        raise EncoderError(f"{name}: takes {shape[2]} x {shape[3]} px, tile_px says {tile_px}")
    return str(inputs[0].name)


def _scaled(scaling: Scaling, tile_px: int) -> onnx.GraphProto:
    """Pixels [N, px, px, 3] to scaled ones, [N, 3, px, px]."""
    order = [0, 1, 2] if scaling.channel_order == "rgb" else [2, 1, 0]
    constants = [
        helper.make_tensor("mean", TensorProto.FLOAT, [1, 3, 1, 1], [255 * value for value in scaling.mean]),
        helper.make_tensor("std", TensorProto.FLOAT, [1, 3, 1, 1], [255 * value for value in scaling.std]),
        helper.make_tensor("order", TensorProto.INT64, [3], order),
    ]
    nodes = [
        helper.make_node("Cast", ["tiles"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["upright"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["upright", "order"], ["ordered"], axis=1),
        helper.make_node("Sub", ["ordered", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
    ]
    tiles = helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["batch", tile_px, tile_px, 3])
    scaled = helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["batch", 3, tile_px, tile_px])
    return helper.make_graph(nodes, "pixels", [tiles], [scaled], constants)
