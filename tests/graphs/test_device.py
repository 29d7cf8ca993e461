"""The device of an encoder is parsed, used and reported; the tests on a GPU are in test_gpu.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from served_files import write_plain_graphs

from nic.encoder.loading import EncoderLoader, load_encoder
from nic.errors import EncoderError, NoDevice
from nic.graphs.device import AUTO, CPU, Device, cuda_devices, devices_named
from nic.serving.limits import Limits


def has_cuda() -> bool:
    try:
        return cuda_devices() > 0
    except NoDevice:
        return False


without_gpu = pytest.mark.skipif(has_cuda(), reason="there is a GPU")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    write_plain_graphs(folder)
    return folder / "encoder.onnx"


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("auto", [AUTO]),
        ("cpu", [CPU]),
        ("cuda", [Device("cuda", 0)]),
        ("cuda:3", [Device("cuda", 3)]),
        ("cpu,cpu", [CPU, CPU]),
        ("cuda:1, cpu", [Device("cuda", 1), CPU]),
    ],
)
def test_device_names_are_parsed(text: str, devices: list[Device]) -> None:
    assert list(devices_named(text)) == devices
    assert [Device.named(str(device)) for device in devices] == devices


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu,", "CPU", "cpu cuda"])
def test_unknown_device_names_are_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(EncoderError, match=r"is no device; wanted auto, cpu, cuda, cuda:N or cuda:all"):
        devices_named(text)


def test_one_encoder_is_on_one_device(graph: Path) -> None:
    """Several are for nic.encoder.encoder_pool."""
    with pytest.raises(EncoderError, match="device=cpu,cpu: wanted one device"):
        load_encoder(graph, device="cpu,cpu")


@without_gpu
@pytest.mark.parametrize("runtime", ["onnx", "onnx-f16"])
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda:all"])
def test_a_missing_gpu_is_refused_with_the_reason(graph: Path, runtime: str, device: str) -> None:
    with pytest.raises(NoDevice, match=r"no CUDA device: (there is no NVIDIA driver here|the NVIDIA driver sees none)"):
        [load_encoder(graph, runtime, each) for each in devices_named(device)]  # type: ignore[arg-type]


@without_gpu
def test_auto_states_that_it_uses_the_cpu_and_why(graph: Path) -> None:
    encoder = load_encoder(graph)
    assert encoder.device == CPU
    assert encoder.device_note.startswith("cpu (no CUDA device: ")
    half = load_encoder(graph, "onnx-f16")
    assert half.device_note.endswith("runtime=onnx-f16 gains nothing on a CPU, which computes it in f32")


def test_openvino_has_no_gpu(graph: Path) -> None:
    with pytest.raises(NoDevice, match="device=cuda:0: OpenVINO runs on CPUs"):
        load_encoder(graph, "openvino", "cuda:0")


def test_loaders_with_the_same_options_are_equal(graph: Path) -> None:
    """A worker process keeps the encoder of a loader, and asks by it."""
    assert EncoderLoader("onnx", "cpu") == EncoderLoader("onnx", "cpu")
    assert hash(EncoderLoader("onnx", "cpu")) == hash(EncoderLoader("onnx", "cpu"))
    assert EncoderLoader(device="cpu")(graph).device == CPU


def test_a_server_reads_its_device_from_the_environment() -> None:
    assert Limits.from_environment({}).device == AUTO
    assert Limits.from_environment({"NIC_DEVICE": "cuda:1"}).device == Device("cuda", 1)
    with pytest.raises(ValueError, match=r"NIC_DEVICE: device=gpu: .* wanted auto, cpu"):
        Limits.from_environment({"NIC_DEVICE": "gpu"})


DRIVER = """
int cuInit(unsigned flags) { return %d; }
int cuDeviceGetCount(int *count) { *count = %d; return 0; }
"""
LOAD = """
import sys
from pathlib import Path
from nic.encoder.loading import load_encoder
try:
    print(load_encoder(Path(sys.argv[1]), device=sys.argv[2]).device_note)
except Exception as error:
    print(type(error).__name__, error)
"""


@without_gpu
@pytest.mark.skipif(not shutil.which("gcc"), reason="wants gcc, to build a driver that sees devices")
@pytest.mark.parametrize(
    ("code", "count", "device", "note"),
    [
        (100, 0, "cuda", "NoDevice no CUDA device: the NVIDIA driver sees none (error 100 of the driver)"),
        (0, 1, "cuda:1", "NoDevice no cuda:1: the NVIDIA driver sees 1, cuda:0 to cuda:0"),
        (0, 1, "cuda:0", "NoDevice no cuda:0: "),
        (0, 1, "auto", "cpu (no cuda:0: "),
    ],
)
def test_each_step_on_the_way_to_a_gpu_has_its_reason(
    graph: Path, tmp_path: Path, code: int, count: int, device: str, note: str
) -> None:
    """A driver that sees a device, on a machine without CUDA's libraries: ONNX Runtime itself fails to load them."""
    (tmp_path / "driver.c").write_text(DRIVER % (code, count))
    library = tmp_path / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "driver.c"], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", LOAD, str(graph), device]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(note)
    assert len(done.stdout.splitlines()) == 1
    if count > device.count("1"):
        assert ".so" in done.stdout  # the library that is missing


def test_the_extra_pins_are_those_of_the_one_list() -> None:
    """pip would install another runtime over the one that is there."""
    root = Path(__file__).parents[2]
    pins = [line for line in (root / "requirements.txt").read_text().splitlines() if line.startswith("onnxruntime-gpu")]
    extra = [line for line in (root / "requirements-gpu.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line.replace("[cuda,cudnn]", "") for line in extra] == pins
