"""On a GPU: the codes of the CPU, batches that fit its memory, and the requested device. `pytest -m gpu`."""

import ctypes
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_files import PackedAttention, export_transformer, write_hungry

from nic.encoder.batches import GPU_PX, RUNS_AT_ONCE
from nic.encoder.encoder_graph import export_encoder
from nic.encoder.encoder_pool import encoder_on
from nic.encoder.foreign import import_onnx
from nic.encoder.loading import load_encoder
from nic.encoder.network import TileEncoder
from nic.errors import NoDevice
from nic.graphs.adapt import Scaling
from nic.graphs.device import Device, cuda_devices, devices_named


def devices() -> int:
    try:
        return cuda_devices()
    except NoDevice:
        return 0


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not devices(), reason="no CUDA device")]
GPU = Device("cuda", 0)
LEFT_BYTES = 1 << 30


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The published network with random weights, and a small vision transformer."""
    folder = tmp_path_factory.mktemp("graphs")
    graphs = {"published": folder / "published.onnx", "transformer": folder / "transformer.onnx"}
    export_encoder(TileEncoder(), "random", [], graphs["published"], np.zeros((2, 64, 64, 3), np.uint8))
    source = export_transformer(PackedAttention, folder / "source.onnx", px=64)
    scaling = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "rgb")
    import_onnx(source, graphs["transformer"], name="vit", tile_px=64, tile_mpp=0.5, read_mpp=0.5, scaling=scaling)
    return graphs


def tiles(count: int, px: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, px, px, 3), np.uint8)


@pytest.mark.parametrize("name", ["published", "transformer"])
def test_codes_are_those_of_the_cpu(graphs: dict[str, Path], name: str) -> None:
    gpu, cpu = load_encoder(graphs[name], device="cuda"), load_encoder(graphs[name], device="cpu")
    assert (gpu.device, gpu.device_note) == (GPU, "cuda:0")
    for count in (1, 10, 64, 63, 64):
        wanted = cpu.encode(tiles(count))
        assert np.abs(gpu.encode(tiles(count)) - wanted).max() <= 1e-3 * np.abs(wanted).max()
    strided = tiles(20)[::2]
    wanted = cpu.encode(strided)
    assert np.abs(gpu.encode(strided) - wanted).max() <= 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["published", "transformer"])
def test_codes_in_half_point_the_same_way(graphs: dict[str, Path], name: str) -> None:
    half, cpu = load_encoder(graphs[name], "onnx-f16", "cuda"), load_encoder(graphs[name], device="cpu")
    codes, wanted = half.encode(tiles(64)), cpu.encode(tiles(64))
    length = np.linalg.norm(codes, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((codes * wanted).sum(1) / length).min() >= 0.999
    assert half.agreement is not None
    assert half.agreement >= 0.999


def test_auto_is_the_first_gpu(graphs: dict[str, Path]) -> None:
    assert load_encoder(graphs["published"]).device == GPU
    assert load_encoder(graphs["published"], device=f"cuda:{devices() - 1}").device.number == devices() - 1
    assert len(devices_named("cuda:all")) == devices()


def test_two_processes_on_a_gpu_and_one_on_the_cpu_give_its_codes(graphs: dict[str, Path]) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), np.uint8)
    wanted = load_encoder(graphs["published"], device="cpu").encode(batch)
    with encoder_on(graphs["published"], devices="cuda:0,cuda:0,cpu") as encoder, ThreadPoolExecutor(12) as pool:
        for codes in pool.map(encoder.encode, [batch] * 12):
            assert np.abs(codes - wanted).max() < 1e-3 * np.abs(wanted).max()
        assert encoder.device_note == "cuda:0, cuda:0, cpu"


def test_a_missing_gpu_is_refused(graphs: dict[str, Path]) -> None:
    with pytest.raises(NoDevice, match=rf"no cuda:{devices()}: the NVIDIA driver sees {devices()}"):
        load_encoder(graphs["published"], device=f"cuda:{devices()}")


def test_a_batch_is_the_largest_that_fits(graphs: dict[str, Path]) -> None:
    encoder = load_encoder(graphs["published"], device="cuda")
    assert encoder.batch_tiles in [px // 64**2 for px in GPU_PX]
    parts = [tiles(encoder.batch_tiles) for _ in range(2 * RUNS_AT_ONCE)]
    with ThreadPoolExecutor(len(parts)) as pool:
        codes = list(pool.map(encoder.encode, parts))
    assert all(np.array_equal(code, codes[0]) for code in codes)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """LEFT_BYTES of the GPU are free, the rest is taken, by the driver itself."""
    driver, place = ctypes.CDLL("libcuda.so.1"), ctypes.c_uint64()
    context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
    assert driver.cuCtxSetCurrent(context) == 0
    assert driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    assert driver.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(free.value - LEFT_BYTES)) == 0
    yield
    driver.cuMemFree_v2(place)


def test_a_batch_that_does_not_fit_is_halved(
    tmp_path: Path, little_memory: None, caplog: pytest.LogCaptureFixture
) -> None:
    """1,024 tiles take 4 GB of the one that is free."""
    write_hungry(tmp_path / "hungry.onnx")
    encoder = load_encoder(tmp_path / "hungry.onnx", device="cuda")
    with caplog.at_level(logging.WARNING):
        codes = encoder.encode(tiles(1024, 16))
    assert np.abs(codes - tiles(1024, 16).mean((1, 2))).max() <= 0.1
    assert [record.message for record in caplog.records if "no memory for 1024 tiles" in record.message]
    assert len(caplog.records) == 1
    assert encoder.batch_tiles <= 512
