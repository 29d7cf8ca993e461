"""An encoder as an ONNX graph: the one that compresses slides and is served."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.encoder.spec import EXACT, EncoderSpec
from nic.errors import EncoderError
from nic.onnx.runtime import OnnxGraph

METADATA_KEY = "nic.encoder"


class OnnxEncoder:
    """An encoder's graph with its spec; threads may share it.

    Raises EncoderError when the file is missing, is no ONNX graph, or does not say how its tiles are cut.
    """

    runtime = EXACT

    def __init__(self, path: Path, threads: int | None = 1) -> None:
        self._graph = OnnxGraph(path, threads)
        if METADATA_KEY not in self._graph.metadata:
            raise EncoderError(f"{path.name}: no {METADATA_KEY} metadata; wanted an encoder that nic exported")
        self.spec = EncoderSpec.from_json(self._graph.metadata[METADATA_KEY]).with_sha256(self._graph.sha256)

    @property
    def providers(self) -> list[str]:
        """What ONNX Runtime runs the graph on, first choice first."""
        return self._graph.providers

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] RGB to codes float32 [N, D]."""
        wanted = (self.spec.tile_px, self.spec.tile_px, 3)
        if tiles.shape[1:] != wanted or tiles.dtype != np.uint8:
            raise EncoderError(f"tiles are {tiles.dtype} {tiles.shape[1:]}, the encoder takes uint8 {wanted}")
        return self._graph.run(tiles=tiles)[0]
