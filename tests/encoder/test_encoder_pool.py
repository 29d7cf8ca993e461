"""Several devices give the codes of one; a process that dies says so and ends the run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import tissue_image, write_slide
from numpy.typing import NDArray
from served_files import write_graphs

from nic.compression.compress_cohort import compress_cohort
from nic.encoder.encoder_pool import EncoderPool, encoder_on
from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.errors import EncoderError, NoDevice, OutOfMemory
from nic.graphs.device import CPU, cuda_devices
from nic.slides.messages import error_of, error_values
from nic.slides.slide import find_slides


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    write_graphs(folder)
    return folder / "encoder.onnx"


@pytest.fixture(scope="module")
def two(graph: Path) -> Iterator[EncoderPool]:
    with closing(EncoderPool(graph, "onnx", (CPU, CPU))) as encoder:
        yield encoder


def tiles(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8)


def lives(pid: int) -> bool:
    """A process that ended and that nobody has waited for yet lives no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_end(pids: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(lives, pids))


def test_codes_are_those_of_one_device_and_both_have_work(graph: Path, two: EncoderPool) -> None:
    alone, batches = load_encoder(graph, device="cpu"), [tiles(count, count) for count in (64, 1, 64, 7, 64, 64, 0)]
    with ThreadPoolExecutor(two.at_once) as pool:
        codes = list(pool.map(two.encode, batches))
    for batch, of_batch in zip(batches, codes, strict=True):
        assert of_batch.dtype == np.float32
        assert np.array_equal(of_batch, alone.encode(batch))
    assert (two.spec, two.runtime, two.batch_tiles, two.agreement) == (alone.spec, "onnx", alone.batch_tiles, None)
    assert (two.device, two.device_note) == (CPU, "cpu, cpu")
    counts = [int(part.split()[1].strip("(")) for part in two.shares.split(", ")]
    assert sum(counts) == sum(map(len, batches))
    assert min(counts) > 0


def test_more_tiles_than_fit_into_the_shared_memory(
    graph: Path, two: EncoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nic.encoder.encoder_pool.SLOT_BYTES", 10 * 3 * 64**2)
    assert np.array_equal(two.encode(tiles(64, 1)), load_encoder(graph).encode(tiles(64, 1)))


def test_errors_keep_their_class_and_message_between_processes(two: EncoderPool, graph: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"the encoder takes uint8 \(64, 64, 3\)"):
        two.encode(np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(EncoderError, match=r"encoder.onnx: not a readable ONNX graph"):
        EncoderPool(tmp_path / "encoder.onnx", "onnx", (CPU, CPU))
    lost = error_of(error_values(OutOfMemory("no room for 1 tile")))
    assert (type(lost), str(lost)) == (OutOfMemory, "no room for 1 tile")
    try:
        cuda_devices()
    except NoDevice:
        with pytest.raises(NoDevice, match="there is no NVIDIA driver here"), encoder_on(graph, "onnx", "cpu,cuda:0"):
            pass
    with pytest.raises(EncoderError, match="'gpu' is no device"), encoder_on(graph, "onnx", "cpu,gpu"):
        pass


def test_a_process_that_dies_ends_the_run_with_how_it_ended(graph: Path) -> None:
    with closing(EncoderPool(graph, "onnx", (CPU, CPU))) as encoder:
        pids = encoder.pids
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(encoder.encode, tiles(64, n)) for n in range(40)]
            running[0].result()
            os.kill(pids[1], signal.SIGKILL)
            errors = {str(future.exception()) for future in running if future.exception()}
        assert errors == {"cpu: its encoding process ended by SIGKILL"}
        with pytest.raises(EncoderError, match="ended by SIGKILL"):
            encoder.encode(tiles(64, 0))
    assert all_end(pids)


def test_processes_end_with_the_one_that_started_them(graph: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from nic.encoder.encoder_pool import encoder_on\n"
        "with encoder_on(Path(sys.argv[1]), 'onnx', 'cpu,cpu') as encoder:\n"
        "    print(*encoder.pids, flush=True); time.sleep(60)"
    )
    asker = subprocess.Popen([sys.executable, "-c", script, str(graph)], stdout=subprocess.PIPE, text=True)
    assert asker.stdout
    pids = [int(word) for word in asker.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(lives, pids))
    asker.kill()
    asker.communicate()
    assert all_end(pids)


def test_one_device_needs_no_process(graph: Path) -> None:
    with encoder_on(graph, "onnx", "cpu") as encoder:
        assert isinstance(encoder, LoadedEncoder)


def test_a_faster_runtime_is_compared_with_f32_in_each_process(graph: Path) -> None:
    with encoder_on(graph, "onnx-f16", "cpu,cpu") as encoder:
        assert encoder.agreement is None
        encoder.encode(tiles(8, 0))
        assert encoder.agreement is not None
        assert encoder.agreement > 0.999
        assert encoder.runtime == "onnx-f16"


def test_several_devices_write_the_files_of_one_and_report_their_shares(
    tmp_path: Path, graph: Path, two: EncoderPool
) -> None:
    (tmp_path / "slides").mkdir()
    for number in range(3):
        write_slide(tmp_path / "slides" / f"s{number}.tif", tissue_image(1100, 900, seed=number))
    slides = find_slides(tmp_path / "slides")
    one = compress_cohort(slides, load_encoder(graph, device="cpu"), tmp_path / "one", readers=1)
    several = compress_cohort(slides, two, tmp_path / "two", readers=1)
    assert one.compressed == several.compressed == ["s0", "s1", "s2"]
    for slide in one.compressed:
        with h5py.File(tmp_path / "one" / f"{slide}.h5") as ours, h5py.File(tmp_path / "two" / f"{slide}.h5") as theirs:
            assert np.array_equal(ours["features"], theirs["features"])
    assert one.shared.endswith("threads on cpu") or one.shared.endswith("1 thread on cpu")
    assert several.shared.endswith(f"encoded by {two.at_once} threads on {two.shares}")
