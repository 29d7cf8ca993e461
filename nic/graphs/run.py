"""Running ONNX graphs, by ONNX Runtime on one device or by OpenVINO on the CPU. Needs no torch."""

import logging
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    NotImplemented,
    RuntimeException,
)

from nic.errors import EncoderError, MissingExtra, NoDevice, OutOfMemory
from nic.graphs.device import AUTO, CPU, CUDA, Device, check_cuda, why_no_cuda
from nic.graphs.files import contains, graph_files, graph_sha256
from nic.threads import cores

log = logging.getLogger(__name__)
_CANNOT_RUN = (EPFail, Fail, InvalidArgument, NotImplemented, RuntimeException, RuntimeError)
_NOT_A_GRAPH = (InvalidGraph, InvalidProtobuf, NoSuchFile, *_CANNOT_RUN)
_OUT_OF_MEMORY = (
    "failed to allocate memory",
    "out of memory",
    "bad_alloc",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
)


class OnnxGraph:
    """An ONNX file ready to run; threads may share it.

    threads: cores that one run uses; None leaves it to ONNX Runtime. device: auto takes the first CUDA device if that
    works; afterwards `device` is the real one, and `device_note` names it and says why auto is the CPU. fused: whether
    attention and GELU, written as several operators, run as one each; the same numbers but for rounding.
    Raises EncoderError when the file is missing or is no ONNX graph, NoDevice when the device is not available.
    """

    def __init__(self, path: Path, threads: int | None = None, device: Device = AUTO, *, fused: bool = False) -> None:
        self.path = Path(path)
        before = _stamps(self.path)
        self.sha256 = graph_sha256(self.path)
        self._session, self.device, self.device_note = _session_on(device, self.path, threads, fused)
        if _stamps(self.path) != before:  # the digest must belong to the graph that runs
            raise EncoderError(f"{self.path.name}: changed while it was loaded")
        log.info("%s runs on %s", self.path.name, self.device_note)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.inputs: dict[str, list[int | str]] = {i.name: i.shape for i in self._session.get_inputs()}

    def run(self, **inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Outputs in the graph's order. Raises EncoderError when the graph cannot take such inputs, OutOfMemory when
        the device has no room for them."""
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(None, inputs)
        except (MemoryError, *_CANNOT_RUN) as error:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
            reason = (str(error) or "out of memory").splitlines()[0]
            kind = OutOfMemory if _out_of_memory(error) else EncoderError
            raise kind(f"{self.path.name}: cannot run on {shapes}: {reason}") from error
        return outputs


class OpenVinoGraph:
    """An ONNX file with one input, run by OpenVINO on one core for each calling thread; threads may share it.

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
            "ENABLE_CPU_PINNING": "NO",  # readers and other processes share the cores
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


def _stamps(path: Path) -> list[tuple[int, int, int]]:
    stats = [file.stat() for file in graph_files(path)]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


def _session_on(
    device: Device, path: Path, threads: int | None, fused: bool
) -> tuple[ort.InferenceSession, Device, str]:
    """The session, its device, and a line that names the device and says why auto is the CPU."""
    if device.kind != "auto":
        return _session(device, path, threads, fused), device, str(device)
    first = Device("cuda")
    try:
        check_cuda(first)
        return _session(first, path, threads, fused), first, str(first)
    except NoDevice as error:
        return _session(CPU, path, threads, fused), CPU, f"cpu ({error})"


def _session(device: Device, path: Path, threads: int | None, fused: bool) -> ort.InferenceSession:
    """A session of the graph, with its attention fused where that applies. The fused graph exists only while it is
    loaded: the stored file and its digest do not change, nor does what other runtimes load."""
    if device.kind == "cuda":
        check_cuda(device)
    if fused and (contains(path, b"Softmax") or contains(path, b"Erf")):
        from nic.graphs.fusing import fused as fused_graph  # imports the onnx package, for the few graphs that need it

        with tempfile.TemporaryDirectory(prefix="nic-") as folder:
            if model := fused_graph(path, Path(folder), on_cpu=device.kind == "cpu"):
                try:
                    return _created(device, path, model, threads)
                except NoDevice:
                    raise
                except EncoderError as error:
                    log.debug("%s: runs as it is written, because the fused graph does not: %s", path.name, error)
    return _created(device, path, str(path), threads)


def _created(device: Device, path: Path, model: str | bytes, threads: int | None) -> ort.InferenceSession:
    """path: of the graph, beside its files of weights. model: the file or the bytes to load.

    Raises EncoderError, and NoDevice instead of running on another device.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin while they wait would take cores from those that read the next tiles.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if isinstance(model, bytes):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    try:
        session = ort.InferenceSession(model, options, providers=_providers(device), enable_fallback=0)
    except (MemoryError, *_NOT_A_GRAPH) as error:
        reason = (str(error) or "out of memory").splitlines()[0].replace(f"{path.parent}/", "")
        if device.kind == "cuda" and isinstance(error, RuntimeException | RuntimeError | EPFail):
            raise NoDevice(f"no {device}: {reason}") from error
        raise EncoderError(f"{path.name}: not a readable ONNX graph: {reason}") from error
    session.disable_fallback()  # else one failed run moves all later ones to the CPU
    if device.kind == "cuda" and CUDA not in session.get_providers():
        raise NoDevice(f"no {device}: {why_no_cuda()}")
    return session


def _providers(device: Device) -> list[str | tuple[str, dict[str, str]]]:
    if device.kind != "cuda":
        return ["CPUExecutionProvider"]
    options = {
        "device_id": str(device.number),
        # In TF32, the default of newer GPUs, codes have three digits: too few to repeat the answers of registration.
        "use_tf32": "0",
        # The default search over all algorithms starts again for each batch size; most batches have one size.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    return [(CUDA, options), "CPUExecutionProvider"]
