"""A trained encoder as an ONNX graph that takes pixels and says how tiles must be cut."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nic.encoder.network import CODE_SIZE, TILE_PX, TileEncoder, scaled
from nic.encoder.onnx import METADATA_KEY
from nic.encoder.spec import EncoderSpec
from nic.onnx.export import export_graph, parity
from nic.onnx.runtime import OnnxGraph

TILE_MPP, READ_MPP = 1.0, 0.5


class _FromPixels(nn.Module):
    """Pixels to codes, each BatchNorm folded into the layer behind it, which is exact because that layer pads nothing."""

    def __init__(self, encoder: TileEncoder) -> None:
        super().__init__()
        folded = copy.deepcopy(encoder).eval()
        layers = list(folded.features)
        convolutions, norms = layers[0::3], layers[2::3]
        for norm, following in zip(norms, [*convolutions[1:], folded.code], strict=True):
            _fold(norm, following)
        self.layers = nn.Sequential(*(layer for i, layer in enumerate(layers) if i % 3 != 2), nn.Flatten(), folded.code)

    def forward(self, tiles: Tensor) -> Tensor:
        codes: Tensor = self.layers(scaled(tiles))
        return codes


def _fold(norm: nn.BatchNorm2d, following: nn.Conv2d | nn.Linear) -> None:
    """Let `following` do what `norm` did to its input."""
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        weight = following.weight.reshape(len(following.weight), len(scale), -1)  # [out, channel, place]
        following.bias += (weight * shift[:, None]).sum((1, 2))
        following.weight.copy_((weight * scale[:, None]).reshape(following.weight.shape))


def export_encoder(
    encoder: TileEncoder, objective: str, tasks: Sequence[str], path: Path, sample: np.ndarray
) -> tuple[EncoderSpec, float]:
    """Write the graph to `path`; its spec with the file's digest, and the largest difference from torch.

    sample: uint8 [N, 64, 64, 3] real tiles to compare on, beside random ones. Raises ParityFailed above 1e-4.
    """
    spec = EncoderSpec(CODE_SIZE, TILE_PX, TILE_MPP, READ_MPP, objective, tuple(tasks))
    noise = np.random.default_rng(0).integers(0, 256, sample.shape, np.uint8)
    tiles = torch.from_numpy(np.concatenate([sample, noise]))
    export_graph(
        _FromPixels(encoder), {"tiles": tiles}, ["codes"], {"tiles": {0: "batch"}}, {METADATA_KEY: spec.to_json()}, path
    )
    graph = OnnxGraph(path)
    with torch.no_grad():
        trained = encoder.eval()(scaled(tiles))  # as it was trained: the folding is under test too
    return spec.with_sha256(graph.sha256), parity(graph, {"tiles": tiles}, [trained])
