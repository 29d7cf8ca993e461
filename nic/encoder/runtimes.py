"""The one door to an encoder that runs: what runs its graph, and on which device."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nic.encoder.onnx import OnnxEncoder
from nic.encoder.spec import Encoder, Runtime
from nic.errors import NoDevice
from nic.graphs.device import Device


class LoadedEncoder(Encoder, Protocol):
    """An encoder on a device."""

    @property
    def runtime(self) -> str:
        """What computes its codes, as it stands in their files."""
        ...

    @property
    def device(self) -> Device:
        """cpu, or one of CUDA; never auto."""
        ...

    @property
    def device_note(self) -> str:
        """The device, and where `auto` is the CPU, why, in one line."""
        ...

    @property
    def agreement(self) -> float | None:
        """Least cosine of the first codes to those in f32; None before, and of an encoder that runs in f32."""
        ...

    @property
    def at_once(self) -> int:
        """Threads that gain by encoding at the same time."""
        ...

    @property
    def batch_tiles(self) -> int:
        """Tiles to encode at a time, by the memory of the device."""
        ...


def load_encoder(path: Path, runtime: Runtime = "onnx", device: Device | str = "auto") -> LoadedEncoder:
    """path: of an .onnx file that nic wrote, or of a folder with one and the files of its weights.

    runtime: onnx in f32, onnx-f16, or openvino, which runs on CPUs alone. device: one; nic.encoder.several takes more.
    Raises EncoderError when the graph cannot be read, NoDevice when the device cannot be had, MissingExtra.
    """
    wanted = Device.named(device) if isinstance(device, str) else device
    if runtime == "onnx":
        return OnnxEncoder(path, device=wanted)
    from nic.encoder.faster import by_openvino, in_half  # they take the onnx package, which is slow to import

    if runtime == "onnx-f16":
        return in_half(path, wanted)
    if wanted.kind == "cuda":
        raise NoDevice(f"device={wanted}: OpenVINO runs on CPUs; use runtime=onnx or onnx-f16, or device=cpu")
    return by_openvino(path)


@dataclass(frozen=True)
class EncoderLoader:
    """load_encoder with all but the path: it can be sent to other processes, and two that do the same are equal."""

    runtime: Runtime = "onnx"
    device: str = "auto"

    def __call__(self, path: Path) -> LoadedEncoder:
        return load_encoder(path, self.runtime, self.device)
