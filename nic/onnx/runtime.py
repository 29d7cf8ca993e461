"""Running ONNX graphs: one session, its metadata and its digest. Needs no torch."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    RuntimeException,
)

from nic.errors import EncoderError

_NOT_A_GRAPH = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf)
_CANNOT_RUN = (Fail, InvalidArgument, RuntimeException, RuntimeError)  # the last of bound inputs
CUDA = "CUDAExecutionProvider"


class OnnxGraph:
    """An ONNX file ready to run; threads may share it.

    threads: cores that one run uses; None leaves it to ONNX Runtime.
    Raises EncoderError when the file is missing or is no ONNX graph.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.path = Path(path)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores from those that read the next tiles.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            content = self.path.read_bytes()
            # From bytes: the digest is then of what runs, whatever happens to the file later.
            self._session = ort.InferenceSession(content, options, providers=_providers())
        except (OSError, *_NOT_A_GRAPH) as error:
            raise EncoderError(f"{self.path.name}: not a readable ONNX graph: {error}") from error
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.providers: list[str] = self._session.get_providers()
        self.device = "cuda" if CUDA in self.providers else "cpu"
        self.inputs: dict[str, list[int | str]] = {i.name: i.shape for i in self._session.get_inputs()}

    def run(self, **inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Outputs in the graph's order. Raises EncoderError when the graph cannot take such inputs."""
        try:
            outputs: list[NDArray[np.float32]] = (
                self._session.run(None, inputs) if self.device == "cpu" else self.run_bound(inputs)
            )
        except _CANNOT_RUN as error:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
            reason = str(error).splitlines()[0]
            raise EncoderError(f"{self.path.name}: cannot run on {shapes}: {reason}") from error
        return outputs

    def run_bound(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """As `run`, on inputs and outputs bound to the device: one copy there, one back, none in between."""
        binding = self._session.io_binding()
        for name, value in inputs.items():
            there = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value), self.device, 0)
            binding.bind_ortvalue_input(name, there)
        for output in self._session.get_outputs():
            binding.bind_output(output.name, self.device)
        self._session.run_with_iobinding(binding)
        found: list[NDArray[np.float32]] = binding.copy_outputs_to_cpu()
        return found


def _providers() -> list[str | tuple[str, dict[str, str]]]:
    # The GPU wheel lists CUDA on machines without a device too, and then fails late.
    has_device = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()
    if not has_device or CUDA not in ort.get_available_providers():
        return ["CPUExecutionProvider"]
    ort.preload_dlls()  # CUDA and cuDNN from the packages that torch brings along
    # In TF32, the default of newer GPUs, codes have three digits: too few to answer as the model did at registration.
    return [(CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"]
