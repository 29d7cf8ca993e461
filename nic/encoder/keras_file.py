"""Encoders published as Keras 2 files (.h5), as ours: read with h5py alone, or refused with the layer's name.

Source of the layout: the weights of davidtellez/neural-image-compression, written by Keras 2.0.9.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nic.encoder.network import scaled
from nic.encoder.spec import METADATA_KEY, EncoderSpec
from nic.errors import EncoderError
from nic.graphs.run import OnnxGraph
from nic.graphs.write import export_graph

KerasConfig = dict[str, Any]
Weights = dict[str, Tensor]
FIELD_UM = 64.0
"""Side of the published encoders' field: 128 px at 0.5 um/px, or 64 px at 1.0."""
GRAPH_PX, READ_MPP = 128, 0.5
"""Tiles of the exported graph. The 64 px of a network are pooled inside, in float: rounding costs 1e-2 in the code."""


@dataclass(frozen=True)
class KerasEncoder:
    """A chain of layers on float [B, 3, input_px, input_px] in [-1, 1]. code_size: of what comes out."""

    layers: nn.Sequential
    input_px: int
    code_size: int


def import_published(source: Path, name: str, path: Path, sample: NDArray[np.uint8]) -> tuple[EncoderSpec, float]:
    """Write the graph of a Keras file to `path`; its spec, and its parity with torch.

    name: of the encoder, its objective in the spec. sample: uint8 [N, 128, 128, 3], tiles to compare on.
    Raises EncoderError when the file is not understood, ParityFailed above 1e-4.
    """
    keras = read_keras(source)
    if GRAPH_PX % keras.input_px:
        raise EncoderError(
            f"{source.name}: takes {keras.input_px} px, wanted {GRAPH_PX} px or a whole fraction of them"
        )
    spec = EncoderSpec(keras.code_size, GRAPH_PX, FIELD_UM / GRAPH_PX, READ_MPP, f"published:{name}", ())
    metadata = {METADATA_KEY: spec.to_json()}
    tiles = {"tiles": torch.from_numpy(sample)}
    difference = export_graph(_PooledFromPixels(keras), tiles, ["codes"], {"tiles": {0: "batch"}}, metadata, path)
    return spec.with_sha256(OnnxGraph(path).sha256), difference


def read_keras(path: Path) -> KerasEncoder:
    """Raises EncoderError naming the file, and the layer where one is at fault."""
    try:
        with h5py.File(path, locking=False) as file:
            configs = list(_chain(path, _model_config(path, file)))
            weights = _weights(file)
    except FileNotFoundError as error:
        raise EncoderError(f"{path}: no such file") from error
    except OSError as error:
        size = path.stat().st_size
        raise EncoderError(f"{path.name}: {size} bytes that are no whole HDF5 file, perhaps truncated") from error
    shape = next((c["config"]["batch_input_shape"] for c in configs if "batch_input_shape" in c["config"]), None)
    if shape is None or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise EncoderError(f"{path.name}: input {shape}, wanted square RGB tiles [None, px, px, 3]")
    layers = nn.Sequential(*(_layer(path, c, weights) for c in configs if c["class_name"] != "InputLayer")).eval()
    with torch.no_grad():
        codes = layers(torch.zeros(1, 3, shape[1], shape[1]))
    if codes.ndim != 2:
        raise EncoderError(f"{path.name}: its last layer gives {list(codes.shape)}, wanted one code a tile [N, D]")
    return KerasEncoder(layers, shape[1], codes.shape[1])


class _PooledFromPixels(nn.Module):
    def __init__(self, keras: KerasEncoder) -> None:
        super().__init__()
        self.layers, self.pool = keras.layers, GRAPH_PX // keras.input_px

    def forward(self, tiles: Tensor) -> Tensor:
        codes: Tensor = self.layers(functional.avg_pool2d(scaled(tiles), self.pool))
        return codes


def _model_config(path: Path, file: h5py.File) -> KerasConfig:
    """Raises EncoderError where the file is no Keras 2 model."""
    text, version = file.attrs.get("model_config"), str(_text(file.attrs.get("keras_version", "")))
    if text is None or "model_weights" not in file:
        raise EncoderError(f"{path.name}: no model_config and model_weights; wanted a whole model as Keras 2 saves it")
    if not version.startswith("2."):
        raise EncoderError(f"{path.name}: saved by Keras {version or 'of unknown version'}, wanted 2.x; save it there")
    config: KerasConfig = json.loads(_text(text))
    return config


def _chain(path: Path, model: KerasConfig, inner: bool = False) -> Iterator[KerasConfig]:
    """The layers of a model in order, those of nested models unfolded. Raises EncoderError where it branches."""
    config = model["config"]
    layers = config if isinstance(config, list) else config["layers"]  # early Sequential models are plain lists
    previous = None
    for layer in layers:
        inputs = [node[0] for nodes in layer.get("inbound_nodes", []) for node in nodes]
        if inputs and inputs != [previous]:
            raise EncoderError(f"{path.name}: layer {_name(layer)} takes {inputs}, wanted a chain of layers")
        previous = _name(layer)
        if layer["class_name"] in ("Sequential", "Model"):
            yield from _chain(path, layer, inner=True)
        elif not (inner and layer["class_name"] == "InputLayer"):
            yield layer


def _name(layer: KerasConfig) -> str:
    config = layer["config"]
    return str(layer.get("name") or (config["name"] if isinstance(config, dict) else "nested"))


def _weights(file: h5py.File) -> Weights:
    """Every array by `layer/name`: how deep its groups are differs from model to model."""
    weights: Weights = {}

    def take(place: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            layer, name = place.split("/")[-2:]
            weights[f"{layer}/{name.removesuffix(':0')}"] = torch.from_numpy(np.asarray(item[()], np.float32))

    file["model_weights"].visititems(take)
    return weights


def _layer(path: Path, layer: KerasConfig, weights: Weights) -> nn.Module:
    kind, config = layer["class_name"], layer["config"]
    if kind not in LAYERS:
        raise EncoderError(f"{path.name}: layer {_name(layer)} is a {kind}, known are {', '.join(LAYERS)}")
    required, build = LAYERS[kind]
    for key, value in required.items():
        if config.get(key, value) != value:
            raise EncoderError(f"{path.name}: layer {_name(layer)} has {key} {config[key]!r}, wanted {value!r}")
    try:
        return build(config, weights)
    except KeyError as error:
        raise EncoderError(f"{path.name}: layer {_name(layer)} has no {error.args[0]}") from error


def _convolution(config: KerasConfig, weights: Weights) -> nn.Module:
    kernel = weights[f"{config['name']}/kernel"]  # height, width, in, out
    height, width, channels, filters = kernel.shape
    module = nn.Conv2d(channels, filters, (height, width), tuple(config["strides"]))
    return _filled(module, kernel.permute(3, 2, 0, 1), weights[f"{config['name']}/bias"])


def _dense(config: KerasConfig, weights: Weights) -> nn.Module:
    kernel = weights[f"{config['name']}/kernel"]  # in, out
    return _filled(nn.Linear(*kernel.shape), kernel.T, weights[f"{config['name']}/bias"])


def _normalisation(config: KerasConfig, weights: Weights) -> nn.Module:
    name = config["name"]
    module = nn.BatchNorm2d(len(weights[f"{name}/gamma"]), eps=config["epsilon"])
    module.running_mean, module.running_var = weights[f"{name}/moving_mean"], weights[f"{name}/moving_variance"]
    return _filled(module, weights[f"{name}/gamma"], weights[f"{name}/beta"])


def _filled(module: nn.Conv2d | nn.Linear | nn.BatchNorm2d, weight: Tensor, bias: Tensor) -> nn.Module:
    assert module.bias is not None
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)
    return module


class _FlattenLikeKeras(nn.Module):
    """Rows, columns, channels: the order that the dense kernel expects."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class _MeanOverPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


Build = Callable[[KerasConfig, Weights], nn.Module]
_PLAIN = {"data_format": "channels_last", "activation": "linear", "use_bias": True}
LAYERS: dict[str, tuple[KerasConfig, Build]] = {
    "InputLayer": ({}, lambda config, weights: nn.Identity()),
    "Conv2D": ({**_PLAIN, "padding": "valid", "dilation_rate": [1, 1]}, _convolution),
    "LeakyReLU": ({}, lambda config, weights: nn.LeakyReLU(config["alpha"])),
    "BatchNormalization": ({"axis": -1, "center": True, "scale": True}, _normalisation),
    "Flatten": ({"data_format": "channels_last"}, lambda config, weights: _FlattenLikeKeras()),
    "Dense": (_PLAIN, _dense),
    "GlobalAveragePooling2D": ({"data_format": "channels_last"}, lambda config, weights: _MeanOverPlace()),
}
"""Layers by their Keras name: the required part of their config, and how each is built."""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
