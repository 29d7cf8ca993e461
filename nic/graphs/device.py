"""The devices that graphs run on: their names, and whether CUDA devices are available."""

import contextlib
import ctypes
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nic.errors import EncoderError, NoDevice

CUDA = "CUDAExecutionProvider"
WANTED = "wanted auto, cpu, cuda, cuda:N or cuda:all, or several with commas between, as cuda:0,cuda:1"


@dataclass(frozen=True)
class Device:
    """auto is the first CUDA device if that works, else the CPU. number: of a CUDA device, as the driver counts."""

    kind: Literal["auto", "cpu", "cuda"] = "auto"
    number: int = 0

    @classmethod
    def named(cls, text: str) -> "Device":
        """Raises EncoderError unless the text names one device."""
        devices = devices_named(text)
        if len(devices) != 1:
            raise EncoderError(f"device={text}: wanted one device; several are for compress with engine=local")
        return devices[0]

    def __str__(self) -> str:
        return f"cuda:{self.number}" if self.kind == "cuda" else self.kind


AUTO, CPU = Device("auto"), Device("cpu")


def devices_named(text: str) -> tuple[Device, ...]:
    """Devices in the order of the text; one that is named twice is there twice.

    Raises EncoderError for a name that is no device, NoDevice for cuda:all without a CUDA device.
    """
    return tuple(device for part in text.split(",") for device in _named(part.strip(), text))


def _named(part: str, text: str) -> tuple[Device, ...]:
    if part == "cuda:all":
        return tuple(Device("cuda", number) for number in range(cuda_devices()))
    if match := re.fullmatch(r"cuda(?::(\d{1,4}))?", part):
        return (Device("cuda", int(match[1] or 0)),)
    if part in ("auto", "cpu"):
        return (AUTO if part == "auto" else CPU,)
    raise EncoderError(f"device={text}: {part!r} is no device; {WANTED}")


def cuda_devices() -> int:
    """How many CUDA devices the driver shows this process. Raises NoDevice when there are none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise NoDevice(f"no CUDA device: there is no NVIDIA driver here ({error})") from error
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        raise NoDevice(f"no CUDA device: the NVIDIA driver sees none (error {code} of the driver)")
    return count.value


def check_cuda(device: Device) -> None:
    """Raises NoDevice when there is no such CUDA device, or this ONNX Runtime was built without CUDA."""
    count = cuda_devices()
    if device.number >= count:
        raise NoDevice(f"no {device}: the NVIDIA driver sees {count}, cuda:0 to cuda:{count - 1}")
    import onnxruntime as ort  # here: reading the name of a device needs no runtime

    if CUDA not in ort.get_available_providers():
        raise NoDevice(f"no {device}: this onnxruntime knows no CUDA; pip install onnxruntime-gpu in its place")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints which libraries are missing; `why_no_cuda` names them
        ort.preload_dlls()  # CUDA and cuDNN from their own packages, which torch depends on


def why_no_cuda() -> str:
    """Why ONNX Runtime could not load its CUDA provider: most often the name of a missing library."""
    import onnxruntime as ort

    folder = Path(ort.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return f"{error}; pip install -r requirements-gpu.txt"
    return "ONNX Runtime could not start its CUDA provider"
