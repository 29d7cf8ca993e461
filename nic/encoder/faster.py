"""An encoder's graph run faster and less exactly; its codes are held against those in f32 before they are trusted."""

import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from nic.encoder.onnx import OnnxEncoder
from nic.errors import EncoderError
from nic.onnx.half import write_half
from nic.onnx.openvino import OpenVinoGraph
from nic.onnx.runtime import OnnxGraph

LEAST_AGREEMENT = 0.99
"""Cosine of a code and of that in f32."""


class FasterEncoder:
    """Encodes as OnnxEncoder does; threads may share it.

    exact: of the same graph, by ONNX Runtime in f32. run: tiles uint8 [N, tile_px, tile_px, 3] to codes float32
    [N, D]. name: what that runs on, and its precision.
    agreement: least cosine between the codes of the first tiles and the exact ones; None before.
    """

    def __init__(self, exact: OnnxEncoder, run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], name: str) -> None:
        self._exact, self._run, self.name = exact, run, name
        self.spec = exact.spec
        self.agreement: float | None = None
        self._first = threading.Lock()

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] RGB to codes float32 [N, D]. Raises EncoderError, also for codes
        of the first tiles that do not agree."""
        if self.agreement is None:
            with self._first:
                self.agreement = self.agreement or self._measured(tiles)
        return self._run(tiles)

    def _measured(self, tiles: NDArray[np.uint8]) -> float:
        exact, found = self._exact.encode(tiles), self._run(tiles)
        norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
        agreement = float(((exact * found).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)).min())
        if not agreement >= LEAST_AGREEMENT:
            raise EncoderError(
                f"codes by {self.name} agree to a cosine of {agreement:.4f} with those in f32, "
                f"wanted {LEAST_AGREEMENT}; use runtime=onnx"
            )
        return agreement


def by_openvino(path: Path) -> FasterEncoder:
    """In bf16 on processors that have it. Raises MissingExtra, EncoderError."""
    exact, graph = OnnxEncoder(path), OpenVinoGraph(path)
    return FasterEncoder(exact, graph.run, f"OpenVINO {graph.precision}")


def in_half(path: Path) -> FasterEncoder:
    """In f16, which gains on GPUs; processors compute it in f32. Raises EncoderError."""
    exact = OnnxEncoder(path)
    with TemporaryDirectory() as folder:
        half = Path(folder) / path.name
        write_half(path, half)
        graph = OnnxGraph(half, threads=1)
    return FasterEncoder(exact, lambda tiles: graph.run(tiles=tiles)[0], "ONNX Runtime f16")
