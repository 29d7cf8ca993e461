"""An encoder's ONNX graph run by OpenVINO; its codes are held against those of ONNX Runtime before they are trusted."""

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.encoder.onnx import OnnxEncoder
from nic.errors import EncoderError
from nic.onnx.openvino import OpenVinoGraph

LEAST_AGREEMENT = 0.99
"""Cosine of a code in bf16 and in f32."""


class OpenVinoEncoder:
    """Encodes as OnnxEncoder does, in bf16 where the processor has it; threads may share it.

    agreement: least cosine between the codes of the first tiles and those of ONNX Runtime in f32; None before.
    Raises MissingExtra, EncoderError.
    """

    def __init__(self, path: Path) -> None:
        self._exact, self._graph = OnnxEncoder(path), OpenVinoGraph(path)
        self.spec, self.precision = self._exact.spec, self._graph.precision
        self.agreement: float | None = None
        self._first = threading.Lock()

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] RGB to codes float32 [N, D]. Raises EncoderError, also for codes
        of the first tiles that do not agree."""
        if self.agreement is None:
            with self._first:
                self.agreement = self.agreement or self._measured(tiles)
        return self._graph.run(tiles)

    def _measured(self, tiles: NDArray[np.uint8]) -> float:
        exact, found = self._exact.encode(tiles), self._graph.run(tiles)
        norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
        agreement = float(((exact * found).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)).min())
        if not agreement >= LEAST_AGREEMENT:
            raise EncoderError(
                f"codes by OpenVINO in {self.precision} agree to a cosine of {agreement:.4f} with those in f32, "
                f"wanted {LEAST_AGREEMENT}; use runtime=onnx"
            )
        return agreement
