"""The one door to an encoder that runs: `load_encoder(path, runtime, device)`. Needs no torch."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from nic.encoder.batches import Batches, Run
from nic.encoder.spec import EXACT, METADATA_KEY, EncoderSpec, Runtime, check_tiles
from nic.errors import EncoderError, NoDevice
from nic.graphs.device import CPU, Device
from nic.graphs.files import graph_in
from nic.graphs.run import OnnxGraph, OpenVinoGraph

log = logging.getLogger(__name__)
LEAST_AGREEMENT = 0.99
"""Cosine between a code and the same code in f32."""
MOST_STRETCHED = 0.03
"""Largest relative difference between the lengths of a code and the same code in f32; a cosine does not see it. In bf16
it is below 0.01."""


class LoadedEncoder:
    """An encoder's graph on one device; threads may share it.

    run: tiles uint8 [N, tile_px, tile_px, 3] to codes float32 [N, D]. runtime: what computes the codes, as their files
    say it. device: cpu or one CUDA device, never auto. device_note: the device in one line, and why `auto` is the CPU.
    name: of what runs, for messages. reference: the same encoder in f32, for a runtime that is less exact; the first
    codes are compared with it, and it is dropped then. agreement: the least cosine of that comparison; None before, and
    for an encoder that runs in f32.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        run: Run,
        runtime: Runtime,
        device: Device,
        device_note: str,
        name: str,
        reference: "LoadedEncoder | None" = None,
    ) -> None:
        self.spec, self.runtime, self.device, self.device_note = spec, runtime, device, device_note
        self.agreement: float | None = None
        self._name, self._reference = name, reference
        self._batches = Batches(run, device, spec.tile_px, name)
        self._first = threading.Lock()

    @property
    def at_once(self) -> int:
        """How many threads it pays to encode with at the same time."""
        return self._batches.at_once

    @property
    def batch_tiles(self) -> int:
        """Tiles to encode at a time: see Batches.tiles."""
        return self._batches.tiles

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] RGB to codes float32 [N, D]; any number, in parts that fit.

        Raises EncoderError for other arrays and when the first codes do not agree with those in f32, OutOfMemory when
        not even one tile fits.
        """
        check_tiles(tiles, self.spec)
        if self._reference and len(tiles):
            with self._first:
                if self._reference:
                    self.agreement = self._compared(self._reference, tiles)
                    self._reference = None  # its weights would lie in memory a second time
        return self._batches.encode(tiles)

    def _compared(self, reference: "LoadedEncoder", tiles: NDArray[np.uint8]) -> float:
        exact, codes = reference.encode(tiles), self._batches.encode(tiles)
        tiny = np.finfo(np.float32).tiny
        length, exact_length = np.linalg.norm(codes, axis=1), np.linalg.norm(exact, axis=1)
        agreement = float(((exact * codes).sum(axis=1) / np.maximum(length * exact_length, tiny)).min())
        stretched = float(np.abs(length / np.maximum(exact_length, tiny) - 1).max())
        if not (agreement >= LEAST_AGREEMENT and stretched <= MOST_STRETCHED):
            raise EncoderError(
                f"codes by {self._name} agree to a cosine of {agreement:.4f} with those in f32, and their lengths "
                f"differ by {stretched:.1%}; wanted {LEAST_AGREEMENT} and {MOST_STRETCHED:.0%}; use runtime=onnx"
            )
        log.info("%s: least cosine to the codes in f32 %.5f, lengths to %.2g", self._name, agreement, stretched)
        return agreement


def load_encoder(
    path: Path, runtime: Runtime = EXACT, device: Device | str = "auto", *, threads: int | None = 1
) -> LoadedEncoder:
    """path: of an .onnx file that nic wrote, or of a folder with one and the files of its weights.

    runtime: onnx in f32, onnx-f16, or openvino, which runs on CPUs alone. device: one; for several devices see
    nic.encoder.encoder_pool. threads: cores that one run uses; None leaves it to ONNX Runtime.
    Raises EncoderError when the graph cannot be read or does not say how its tiles are cut, NoDevice when the device
    cannot be had, MissingExtra.
    """
    device = Device.named(device) if isinstance(device, str) else device
    if runtime == "onnx":
        return _in_f32(path, device, threads)
    if runtime == "onnx-f16":
        return _in_f16(path, _in_f32(path, device, threads))
    if device.kind == "cuda":
        raise NoDevice(f"device={device}: OpenVINO runs on CPUs; use runtime=onnx or onnx-f16, or device=cpu")
    return _by_openvino(path, _in_f32(path, CPU, threads))


def _in_f32(path: Path, device: Device, threads: int | None) -> LoadedEncoder:
    graph = OnnxGraph(graph_in(path), threads, device, fused=True)
    if METADATA_KEY not in graph.metadata:
        raise EncoderError(f"{path.name}: no {METADATA_KEY} metadata; wanted an encoder that nic exported")
    spec = EncoderSpec.from_json(graph.metadata[METADATA_KEY]).with_sha256(graph.sha256)
    return LoadedEncoder(spec, _first_output(graph), "onnx", graph.device, graph.device_note, path.name)


def _in_f16(path: Path, exact: LoadedEncoder) -> LoadedEncoder:
    """On the same device; this gains on GPUs, while processors compute it in f32."""
    from nic.graphs.adapt import write_half  # the onnx package is slow to import

    with TemporaryDirectory(prefix="nic-") as folder:
        half = Path(folder) / "half.onnx"
        write_half(graph_in(path), half)
        graph = OnnxGraph(half, 1, exact.device, fused=True)
    note = exact.device_note
    if exact.device == CPU:
        note += "; runtime=onnx-f16 gains nothing on a CPU, which computes it in f32"
        log.warning("%s runs on %s", path.name, note)
    run = _first_output(graph)
    return LoadedEncoder(exact.spec, run, "onnx-f16", exact.device, note, "ONNX Runtime f16", exact)


def _by_openvino(path: Path, exact: LoadedEncoder) -> LoadedEncoder:
    """On the CPU, in bf16 on processors that have it."""
    graph = OpenVinoGraph(graph_in(path))
    name, note = f"OpenVINO {graph.precision}", "cpu (OpenVINO)"
    return LoadedEncoder(exact.spec, graph.run, "openvino", CPU, note, name, exact)


def _first_output(graph: OnnxGraph) -> Run:
    return lambda tiles: graph.run(tiles=tiles)[0]


@dataclass(frozen=True)
class EncoderLoader:
    """load_encoder with all but the path. It can be sent to other processes; two that load alike are equal."""

    runtime: Runtime = EXACT
    device: str = "auto"

    def __call__(self, path: Path) -> LoadedEncoder:
        return load_encoder(path, self.runtime, self.device)
