"""Graphs for tests: small vision transformers as torch exports them, and one with weights in a file beside it."""

import os
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from nic.encoder.spec import METADATA_KEY, EncoderSpec
from nic.graphs.write import export_graph

FLOAT_BYTES = 4


class PackedAttention(nn.Module):
    """Query, key and value from one layer, as timm has them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, rows, width = x.shape
        parts = self.qkv(x).reshape(batch, rows, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        joined: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, rows, width))
        return joined


class WrittenAttention(nn.Module):
    """Query, key and value from layers of their own, and the products written out, as in transformers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, rows, width = x.shape
        query, key, value = (
            layer(x).view(batch, rows, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5
        joined: Tensor = self.out((scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, rows, width))
        return joined


class Block(nn.Module):
    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.attention, self.before, self.behind = attention, nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        mixed: Tensor = x + self.down(functional.gelu(self.up(self.behind(x))))
        return mixed


class VisionTransformer(nn.Module):
    """Images float [B, 3, px, px] to codes [B, width]."""

    def __init__(self, attention: type[nn.Module], px: int, patch_px: int, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch_px, patch_px)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (px // patch_px) ** 2 + 1, width) * 0.02)
        self.blocks = nn.ModuleList(Block(attention(width, heads), width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        for block in self.blocks:
            x = block(x)
        codes: Tensor = self.norm(x)[:, 0]
        return codes


def export_transformer(attention: type[nn.Module], path: Path, px: int = 32) -> Path:
    """Of two blocks, with random weights."""
    torch.manual_seed(0)
    network = VisionTransformer(attention, px, 8, 48, 3, 2).eval()
    export_graph(network, {"image": torch.rand(2, 3, px, px)}, ["codes"], {"image": {0: "batch"}}, {}, path)
    return path


def write_layers(path: Path, px: int, width: int, layers: int) -> Path:
    """A graph from an image to codes [N, width], 1 to so many layers; weights of layers lie in `<name>.data` beside it.

    The file of weights is sparse: each layer is 0 but for ones on its diagonal's first entries, so that codes are the
    mean colours, on and on, and gigabytes of weights take no disk until they are copied.
    """
    data = path.with_suffix(".data")
    first = np.zeros((3, width), np.float32)
    first[:, :3] = np.eye(3)
    nodes = [
        helper.make_node("ReduceMean", ["image", "sides"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "first"], ["x0"]),
    ]
    weights = [numpy_helper.from_array(np.array([2, 3]), "sides"), numpy_helper.from_array(first, "first")]
    size = width * width * FLOAT_BYTES
    for layer in range(layers):
        tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[width, width])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", data.name), ("offset", layer * size), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        weights.append(tensor)
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"]))
    with data.open("wb") as file:
        os.truncate(file.fileno(), layers * size)
        for layer in range(layers):
            for place in range(3):
                file.seek(layer * size + place * (width + 1) * FLOAT_BYTES)
                file.write(np.float32(1).tobytes())
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, px, px])
    codes = helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["batch", width])
    graph = helper.make_graph(nodes, "layers", [image], [codes], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


SIDE_PX, CHANNELS = 16, 4096


def write_hungry(path: Path) -> None:
    """An encoder of 16-px tiles of which each takes 4 MB while it runs, and has its mean colour as its code."""
    spec = EncoderSpec(3, SIDE_PX, 1.0, 1.0, "hungry", ())
    wide = np.zeros((CHANNELS, 3, 1, 1), np.float32)
    wide[:3, :, 0, 0] = np.eye(3)
    narrow = np.zeros((CHANNELS, 3), np.float32)
    narrow[:3] = np.eye(3)
    weights = {"wide": wide, "narrow": narrow, "sides": np.array([2, 3])}
    nodes = [
        helper.make_node("Cast", ["tiles"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "wide"], ["much"]),
        helper.make_node("ReduceMean", ["much", "sides"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "narrow"], ["codes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "hungry",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", SIDE_PX, SIDE_PX, 3])],
        [helper.make_tensor_value_info("codes", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, path)
