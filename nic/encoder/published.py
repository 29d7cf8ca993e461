"""A published Keras encoder as one of ours: a graph that takes pixels and says how tiles must be cut."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nic.encoder.keras_file import FIELD_UM, KerasEncoder, read_keras
from nic.encoder.network import scaled
from nic.encoder.spec import METADATA_KEY, EncoderSpec
from nic.errors import EncoderError
from nic.graphs.run import OnnxGraph
from nic.graphs.write import export_graph

TILE_PX, TILE_MPP = 128, 0.5
"""What the graph takes. The network's 64 px are pooled inside, in float: rounding there costs 1e-2 in the code."""


def import_published(source: Path, name: str, path: Path, sample: NDArray[np.uint8]) -> tuple[EncoderSpec, float]:
    """Write the graph of a Keras file to `path`; its spec, and the largest difference from torch.

    name: of the encoder, its objective in the spec. sample: uint8 [N, 128, 128, 3], tiles to compare on.
    Raises EncoderError when the file is not understood, ParityFailed above 1e-4.
    """
    keras = read_keras(source)
    if TILE_PX % keras.input_px:
        raise EncoderError(f"{source.name}: takes {keras.input_px} px, wanted {TILE_PX} px or a whole fraction of them")
    spec = EncoderSpec(keras.code_size, TILE_PX, FIELD_UM / TILE_PX, TILE_MPP, f"published:{name}", ())
    metadata = {METADATA_KEY: spec.to_json()}
    tiles = {"tiles": torch.from_numpy(sample)}
    difference = export_graph(_FromPixels(keras), tiles, ["codes"], {"tiles": {0: "batch"}}, metadata, path)
    return spec.with_sha256(OnnxGraph(path).sha256), difference


class _FromPixels(nn.Module):
    def __init__(self, keras: KerasEncoder) -> None:
        super().__init__()
        self.layers, self.pool = keras.layers, TILE_PX // keras.input_px

    def forward(self, tiles: Tensor) -> Tensor:
        codes: Tensor = self.layers(functional.avg_pool2d(scaled(tiles), self.pool))
        return codes
