"""Graphs made of graphs: a foreign one with the input and output that ours have, and one in half precision."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper
from onnx.external_data_helper import (
    load_external_data_for_model,
    load_external_data_for_tensor,
    uses_external_data,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

from nic.errors import EncoderError
from nic.graphs.files import graph_files, tensors

FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
SMALL = 256
"""Numbers in a tensor, at most, that is kept in the graph."""
CHANNELS_FIRST, CHANNELS_LAST = 1, 3
"""Where the three channels stand in a graph's input."""


@dataclass(frozen=True)
class Scaling:
    """The input of a network: (pixel / 255 - mean) / std of each channel, channels in this order."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: Literal["rgb", "bgr"]

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise EncoderError(f"mean {self.mean}, std {self.std}: wanted three numbers each, std above 0")

    def applied(self, tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Tiles [N, px, px, 3] RGB scaled, [N, px, px, 3]; the graph is compared with this."""
        ordered = tiles if self.channel_order == "rgb" else tiles[..., ::-1]
        return np.asarray((ordered / 255 - np.array(self.mean)) / np.array(self.std))


@dataclass(frozen=True)
class ForeignGraph:
    """A graph from images to vectors that another tool exported.

    image, output: its input, and the chosen output. channels: the axis of the image that has three.
    """

    model: ModelProto
    image: ValueInfoProto
    channels: int
    output: ValueInfoProto

    @classmethod
    def read(cls, source: Path, tile_px: int, output: str, name: str) -> "ForeignGraph":
        """name: of the graph, in errors. Weights that lie in files beside it are not loaded.

        Raises EncoderError when it is no graph of one image of tile_px, or `output` does not say which to take."""
        model = _loaded(source, name)
        image = _only_image(name, model)
        channels = _checked_image(name, image, tile_px)
        return cls(model, image, channels, _chosen_output(name, model.graph.output, output))

    @property
    def place(self) -> int:
        """Index of the chosen output among all."""
        return [o.name for o in self.model.graph.output].index(self.output.name)

    def own_input(self, tiles: NDArray[np.uint8], scaling: Scaling) -> dict[str, NDArray[np.floating]]:
        """Tiles [N, px, px, 3] RGB as the input of the original graph, scaled outside of it."""
        scaled = scaling.applied(tiles)
        ordered = scaled.transpose(0, 3, 1, 2) if self.channels == CHANNELS_FIRST else scaled
        return {self.image.name: ordered.astype(FLOATS[self.image.type.tensor_type.elem_type])}

    def from_pixels(self, tile_px: int, scaling: Scaling) -> ModelProto:
        """The graph with the input `tiles`, uint8 [N, px, px, 3] RGB, and the output `codes`, float32."""
        opset = next(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))
        ours = {"opset_imports": [helper.make_opsetid("", opset)], "ir_version": self.model.ir_version}
        model = onnx.compose.add_prefix(self.model, "foreign/")
        pixels, codes = (helper.make_model(graph, **ours) for graph in (self._pixels(tile_px, scaling), self._codes()))
        end = f"foreign/{self.output.name}"
        merged = _merged(pixels, model, ("scaled", f"foreign/{self.image.name}"), end)
        return _merged(merged, codes, (end, "vectors"), "codes")

    def _pixels(self, tile_px: int, scaling: Scaling) -> GraphProto:
        """Pixels [N, px, px, 3] to the graph's own input; scaled in float32 whatever the graph computes in.

        The pixels are brought into the graph's layout first: with the channels as last axis, scaling takes ONNX Runtime
        7% of the time of a ViT-S.
        """
        kind = self.image.type.tensor_type.elem_type
        first = self.channels == CHANNELS_FIRST
        shape = ["batch", 3, tile_px, tile_px] if first else ["batch", tile_px, tile_px, 3]
        one_a_channel = [3, 1, 1] if first else [3]
        constants = [
            helper.make_tensor(name, TensorProto.FLOAT, one_a_channel, [255 * value for value in values])
            for name, values in (("mean", scaling.mean), ("std", scaling.std))
        ]
        nodes = [helper.make_node("Transpose", ["tiles"], ["image"], perm=[0, 3, 1, 2] if first else [0, 1, 2, 3])]
        if scaling.channel_order == "bgr":
            constants.append(helper.make_tensor("order", TensorProto.INT64, [3], [2, 1, 0]))
            nodes.append(helper.make_node("Gather", ["image", "order"], ["ordered"], axis=self.channels))
        nodes += [
            helper.make_node("Cast", [nodes[-1].output[0]], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["floats", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["divided"]),
            helper.make_node("Cast", ["divided"], ["scaled"], to=kind),
        ]
        tiles = helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["batch", tile_px, tile_px, 3])
        scaled = helper.make_tensor_value_info("scaled", kind, shape)
        return helper.make_graph(nodes, "pixels", [tiles], [scaled], constants)

    def _codes(self) -> GraphProto:
        """The output as it is, in float32."""
        kind, shape = self.output.type.tensor_type.elem_type, _shape(self.output)
        vectors = helper.make_tensor_value_info("vectors", kind, shape)
        codes = helper.make_tensor_value_info("codes", TensorProto.FLOAT, shape)
        cast = helper.make_node("Cast", ["vectors"], ["codes"], to=TensorProto.FLOAT)
        return helper.make_graph([cast], "codes", [vectors], [codes])


def save_graph(model: ModelProto, path: Path) -> None:
    """Write a graph to `path`, where its files of weights must lie too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def describe(model: ModelProto, metadata: Mapping[str, str]) -> None:
    """Replace the metadata of a graph."""
    helper.set_model_props(model, dict(metadata))


def write_half(source: Path, target: Path) -> None:
    """Write the graph of `source` in float16; its inputs, outputs and metadata stay as they are. Parts that compute in
    float32 on purpose become float16 too. Where weights lie beside `source`, they will lie beside `target`.

    Raises EncoderError when the converter cannot convert the graph, for whatever reason.
    """
    beside = len(graph_files(source)) > 1
    try:
        # Shapes are inferred without the weights: with 2 GiB and more, inference fails.
        model = onnx.load(source, load_external_data=False)
        model = onnx.shape_inference.infer_shapes(model)
        if beside:
            load_external_data_for_model(model, str(source.parent))
        half = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
        onnx.save(half, target, save_as_external_data=beside, location=f"{target.stem}.data")
    except Exception as error:  # the converter's own assertions, shape inference, protobuf, types of no common root
        raise EncoderError(
            f"{source.name}: cannot be converted to half precision ({type(error).__name__}: {error}); use runtime=onnx"
        ) from error


def _merged(first: ModelProto, second: ModelProto, joint: tuple[str, str], output: str) -> ModelProto:
    """Two graphs as one, an output of the first being the input of the second. The result equals that of
    onnx.compose.merge_models, which would look for files of weights in the working directory."""
    graph = onnx.compose.merge_graphs(first.graph, second.graph, [joint], outputs=[output])
    opsets = {opset.domain: opset for opset in (*first.opset_import, *second.opset_import)}
    producer = {
        "producer_name": "onnx.compose.merge_models",
        "producer_version": "1.0",
        "domain": "",
        "model_version": 1,
    }
    merged = helper.make_model(graph, opset_imports=list(opsets.values()), ir_version=first.ir_version, **producer)
    merged.functions.extend([*first.functions, *second.functions])
    return merged


def _loaded(source: Path, name: str) -> ModelProto:
    """A graph. Weights in files beside it stay there, unless they are small: those may be shapes, which ONNX Runtime
    needs in the graph."""
    try:
        beside = len(graph_files(source)) > 1
        model = onnx.load(source, load_external_data=False)
        onnx.checker.check_model(str(source) if beside else model)
        for tensor in tensors(model.graph):
            if uses_external_data(tensor) and math.prod(tensor.dims) <= SMALL:
                load_external_data_for_tensor(tensor, str(source.parent))
                tensor.data_location = TensorProto.DEFAULT
                del tensor.external_data[:]
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        reason = str(error).splitlines()[0].replace(f"{source.parent}/", "") if str(error) else "it is damaged"
        raise EncoderError(f"{name}: not a readable ONNX graph: {reason}") from error
    return model


def _only_image(name: str, model: ModelProto) -> ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise EncoderError(f"{name}: takes {', '.join(i.name for i in inputs) or 'nothing'}, wanted one image")
    return inputs[0]


def _checked_image(name: str, image: ValueInfoProto, tile_px: int) -> int:
    """The axis of the channels. Raises EncoderError."""
    kind, shape = image.type.tensor_type.elem_type, _shape(image)
    channels = next((axis for axis in (CHANNELS_FIRST, CHANNELS_LAST) if len(shape) == 4 and shape[axis] == 3), None)
    if kind not in FLOATS or channels is None:
        raise EncoderError(
            f"{name}: {image.name} is {TensorProto.DataType.Name(kind)} {shape}, wanted FLOAT or FLOAT16 "
            "[N, 3, px, px] or [N, px, px, 3]; export it so"
        )
    if isinstance(shape[0], int):
        raise EncoderError(f"{name}: its batch is fixed at {shape[0]}; export it with a dynamic batch")
    sides = shape[2:] if channels == CHANNELS_FIRST else shape[1:3]
    if any(isinstance(px, int) and px != tile_px for px in sides):
        raise EncoderError(f"{name}: takes {sides[0]} x {sides[1]} px, tile_px says {tile_px}")
    return channels


def _chosen_output(name: str, outputs: Sequence[ValueInfoProto], output: str) -> ValueInfoProto:
    chosen = [o for o in outputs if o.name == output or not output]
    if len(chosen) != 1:
        known = ", ".join(f"{o.name} {_shape(o)}" for o in outputs)
        raise EncoderError(f"{name}: output={output!r} names none or several; wanted the one that is the code: {known}")
    return chosen[0]


def _shape(value: ValueInfoProto) -> list[int | str]:
    """Its axes, as numbers where they are fixed, as names where they vary."""
    axes = value.type.tensor_type.shape.dim
    return [axis.dim_value if axis.HasField("dim_value") else (axis.dim_param or "any") for axis in axes]
