"""An encoder's graph run faster and less exactly; its codes are held against those in f32 before they are trusted."""

import logging
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from nic.encoder.batches import Batches, Run
from nic.encoder.onnx import OnnxEncoder
from nic.errors import EncoderError
from nic.graphs.adapt import write_half
from nic.graphs.device import AUTO, CPU, Device
from nic.graphs.files import graph_in
from nic.graphs.run import OnnxGraph, OpenVinoGraph

log = logging.getLogger(__name__)
LEAST_AGREEMENT = 0.99
"""Cosine of a code and of that in f32."""
MOST_STRETCHED = 0.03
"""How far the length of a code may be from that in f32, as a share of it: a cosine does not see it. In bf16 it is
below 0.01."""


class FasterEncoder:
    """Encodes as OnnxEncoder does; threads may share it.

    exact: of the same graph, by ONNX Runtime in f32; it is let go of after the first tiles. run: tiles uint8
    [N, tile_px, tile_px, 3] to codes float32 [N, D]. name: what that runs on, and its precision. runtime: as it stands
    in files of codes. device_note: where it runs and why. agreement: least cosine between the codes of the first tiles
    and the exact ones; None before.
    """

    def __init__(self, exact: OnnxEncoder, run: Run, name: str, runtime: str, device_note: str = "") -> None:
        self._exact: OnnxEncoder | None = exact
        self.name, self.runtime, self.spec, self.device = name, runtime, exact.spec, exact.device
        self.device_note = device_note or exact.device_note
        self._batches = Batches(run, self.device, self.spec.tile_px, name)
        self.agreement: float | None = None
        self._first = threading.Lock()

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] RGB to codes float32 [N, D]. Raises EncoderError, also for codes
        of the first tiles that do not agree."""
        if self.agreement is None and len(tiles):
            with self._first:
                if self._exact:
                    self.agreement = self._measured(self._exact, tiles)
                    self._exact = None  # its weights would lie in memory a second time
        return self._batches.encode(tiles)

    @property
    def at_once(self) -> int:
        """Threads that gain by encoding at the same time."""
        return self._batches.at_once

    @property
    def batch_tiles(self) -> int:
        """Tiles to encode at a time: see Batches.tiles."""
        return self._batches.tiles

    def _measured(self, encoder: OnnxEncoder, tiles: NDArray[np.uint8]) -> float:
        exact, codes = encoder.encode(tiles), self._batches.encode(tiles)
        tiny = np.finfo(np.float32).tiny
        length, wanted = np.linalg.norm(codes, axis=1), np.linalg.norm(exact, axis=1)
        agreement = float(((exact * codes).sum(axis=1) / np.maximum(length * wanted, tiny)).min())
        stretched = float(np.abs(length / np.maximum(wanted, tiny) - 1).max())
        if not (agreement >= LEAST_AGREEMENT and stretched <= MOST_STRETCHED):
            raise EncoderError(
                f"codes by {self.name} agree to a cosine of {agreement:.4f} with those in f32, and their lengths "
                f"differ by {stretched:.1%}; wanted {LEAST_AGREEMENT} and {MOST_STRETCHED:.0%}; use runtime=onnx"
            )
        log.info("%s: least cosine to the codes in f32 %.5f, lengths to %.2g", self.name, agreement, stretched)
        return agreement


def by_openvino(path: Path) -> FasterEncoder:
    """On the CPU, in bf16 on processors that have it. Raises MissingExtra, EncoderError."""
    exact, graph = OnnxEncoder(path, device=CPU), OpenVinoGraph(graph_in(path))
    return FasterEncoder(exact, graph.run, f"OpenVINO {graph.precision}", "openvino", "cpu (OpenVINO)")


def in_half(path: Path, device: Device = AUTO) -> FasterEncoder:
    """In f16, which gains on GPUs; processors compute it in f32. Raises EncoderError."""
    exact = OnnxEncoder(path, device=device)
    with TemporaryDirectory(prefix="nic-") as folder:
        half = Path(folder) / "half.onnx"
        write_half(graph_in(path), half)
        graph = OnnxGraph(half, 1, exact.device, fused=True)
    note = exact.device_note
    if exact.device == CPU:
        note += "; runtime=onnx-f16 gains nothing on a CPU, which computes it in f32"
        log.warning("%s runs on %s", path.name, note)
    return FasterEncoder(exact, lambda tiles: graph.run(tiles=tiles)[0], "ONNX Runtime f16", "onnx-f16", note)
