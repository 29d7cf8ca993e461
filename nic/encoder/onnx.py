"""An encoder as an ONNX graph: the one that compresses slides and is served."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.encoder.batches import Batches
from nic.encoder.spec import EXACT, EncoderSpec, check_tiles
from nic.errors import EncoderError
from nic.graphs.device import AUTO, Device
from nic.graphs.files import graph_in
from nic.graphs.run import OnnxGraph

METADATA_KEY = "nic.encoder"


class OnnxEncoder:
    """An encoder's graph with its spec; threads may share it.

    path: of the graph, or of a folder with it and the files of its weights. threads: cores that one run uses; None
    leaves it to ONNX Runtime.
    Raises EncoderError when the file is missing, is no ONNX graph, does not say how its tiles are cut, or the device
    cannot be had.
    """

    runtime = EXACT
    agreement: float | None = None  # with itself there is none to measure

    def __init__(self, path: Path, threads: int | None = 1, device: Device = AUTO) -> None:
        self._graph = OnnxGraph(graph_in(path), threads, device, fused=True)
        if METADATA_KEY not in self._graph.metadata:
            raise EncoderError(f"{path.name}: no {METADATA_KEY} metadata; wanted an encoder that nic exported")
        self.spec = EncoderSpec.from_json(self._graph.metadata[METADATA_KEY]).with_sha256(self._graph.sha256)
        self._batches = Batches(self._run, self._graph.device, self.spec.tile_px, path.name)

    @property
    def providers(self) -> list[str]:
        """What ONNX Runtime runs the graph on, first choice first."""
        return self._graph.providers

    @property
    def device(self) -> Device:
        """What the graph runs on: cpu, or one of CUDA."""
        return self._graph.device

    @property
    def device_note(self) -> str:
        """The device, and where `auto` is the CPU, why, in one line."""
        return self._graph.device_note

    @property
    def at_once(self) -> int:
        """Threads that gain by encoding at the same time."""
        return self._batches.at_once

    @property
    def batch_tiles(self) -> int:
        """Tiles to encode at a time: see Batches.tiles."""
        return self._batches.tiles

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] RGB to codes float32 [N, D]; any number, in parts that fit.

        Raises EncoderError for other arrays, OutOfMemory when not even one tile fits.
        """
        check_tiles(tiles, self.spec)
        return self._batches.encode(tiles)

    def _run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._graph.run(tiles=tiles)[0]
