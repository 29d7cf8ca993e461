"""Running ONNX graphs by OpenVINO, in bf16 where the processor has it. Its only importer; it is an extra."""

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.errors import EncoderError, MissingExtra
from nic.threads import cores


class OpenVinoGraph:
    """An ONNX file of one input on this machine's cores, one for each thread that asks; threads may share it.

    precision: bf16, or f32 on processors without. Raises MissingExtra without OpenVINO, EncoderError for no graph.
    """

    def __init__(self, path: Path) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtra("runtime=openvino wants OpenVINO: pip install openvino==2026.4.1") from error
        core, streams = openvino.Core(), str(cores())
        self.precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        hints = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            "ENABLE_CPU_PINNING": "NO",  # readers and other processes want the same cores
        }
        try:
            self._compiled = core.compile_model(core.read_model(path), "CPU", hints)
        except RuntimeError as error:
            raise EncoderError(f"{path.name}: OpenVINO cannot run this graph: {error}") from error
        self._of_thread = threading.local()

    def run(self, values: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The graph's first output."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        return np.array(self._of_thread.request.infer({0: values})[0], np.float32)
