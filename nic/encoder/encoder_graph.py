"""A trained encoder as an ONNX graph that takes pixels and has its spec in the metadata; its task heads as another."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nic.encoder.network import TILE_PX, MeanRgb, TileEncoder, scaled
from nic.encoder.spec import METADATA_KEY, EncoderSpec
from nic.encoder.task_heads import HEADS_KEY, HeadsSpec
from nic.errors import ParityFailed
from nic.graphs.run import OnnxGraph
from nic.graphs.write import export_graph, parity_with_torch

TILE_MPP = 1.0
READ_MPP = 0.5
"""Slides are read finer than the tile and averaged by area: a scanner's own 1.0 um/px level gives other codes."""
TOLERANCE = 1e-4


def export_encoder(
    encoder: TileEncoder | MeanRgb, objective: str, tasks: Sequence[str], path: Path, sample: NDArray[np.uint8]
) -> tuple[EncoderSpec, float]:
    """Write the graph to `path`; its spec with the file's digest, and its parity with torch.

    sample: uint8 [N, 64, 64, 3] real tiles to compare on, beside random ones. Raises ParityFailed above 1e-4.
    """
    spec = EncoderSpec(encoder.code_size, TILE_PX, TILE_MPP, READ_MPP, objective, tuple(tasks))
    noise = np.random.default_rng(0).integers(0, 256, sample.shape, np.uint8)
    tiles = torch.from_numpy(np.concatenate([sample, noise]))
    encoder = encoder.eval()
    with torch.no_grad():
        trained: Tensor = encoder(scaled(tiles))  # with its BatchNorms, to check their folding too
    metadata = {METADATA_KEY: spec.to_json()}
    layers = folded(encoder) if isinstance(encoder, TileEncoder) else encoder
    export_graph(_FromPixels(layers), {"tiles": tiles}, ["codes"], {"tiles": {0: "batch"}}, metadata, path)
    graph = OnnxGraph(path)
    difference = parity_with_torch(graph, {"tiles": tiles}, [trained])
    if not difference <= TOLERANCE:
        path.unlink()
        raise ParityFailed(f"{path.name}: graph and encoder differ by {difference:.2e}, wanted <= {TOLERANCE:.0e}")
    return spec.with_sha256(graph.sha256), difference


def export_heads(
    heads: nn.ModuleList,
    tasks: Mapping[str, Sequence[str]],
    encoder_sha256: str,
    path: Path,
    sample: NDArray[np.float32],
) -> float:
    """Write the task heads to `path`; the parity of the probabilities with torch's.

    The graph takes `codes` [N, D] float32. It has one output a task, `<task>.probabilities`: of its classes, [N, K]
    float32. heads: one linear layer a task. tasks: class names by task, in the order of the heads. sample: [N, D] real
    codes to compare on, beside random ones. Raises ParityFailed above 1e-4.
    """
    noise = np.random.default_rng(0).normal(sample.mean(), sample.std(), sample.shape).astype(np.float32)
    codes = torch.from_numpy(np.concatenate([sample, noise]))
    metadata = {HEADS_KEY: HeadsSpec(encoder_sha256, tasks).to_json()}
    outputs = [f"{task}.probabilities" for task in tasks]  # a task alone may be called as a part of the graph
    return export_graph(_Probabilities(heads), {"codes": codes}, outputs, {"codes": {0: "batch"}}, metadata, path)


class _Probabilities(nn.Module):
    """Codes to the class probabilities of each task."""

    def __init__(self, heads: nn.ModuleList) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, codes: Tensor) -> tuple[Tensor, ...]:
        return tuple(head(codes).softmax(1) for head in self.heads)


class _FromPixels(nn.Module):
    """Pixels to codes."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, tiles: Tensor) -> Tensor:
        codes: Tensor = self.layers(scaled(tiles))
        return codes


def folded(encoder: TileEncoder) -> nn.Sequential:
    """The encoder with each BatchNorm folded into the next layer: exact, because those layers do not pad."""
    encoder = copy.deepcopy(encoder)
    layers = list(encoder.features)
    convolutions, norms = layers[0::3], layers[2::3]
    for norm, following in zip(norms, [*convolutions[1:], encoder.code], strict=True):
        _fold(norm, following)
    kept = [layer for place, layer in enumerate(layers) if place % 3 != 2]
    return nn.Sequential(*kept, nn.Flatten(), encoder.code)


@torch.no_grad()
def _fold(norm: nn.Module, following: nn.Module) -> None:
    """Fold `norm` into the weights of `following`."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(following, nn.Conv2d | nn.Linear)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert following.bias is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    weight = following.weight.reshape(len(following.weight), len(scale), -1)  # [out, channel, place]
    following.bias += (weight * shift[:, None]).sum((1, 2))
    following.weight.copy_((weight * scale[:, None]).reshape(following.weight.shape))
