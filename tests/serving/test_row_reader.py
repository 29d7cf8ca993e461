"""Processes read rows: one that stops or dies costs its row, and is replaced for the next one."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import PixelEncoder, tissue_image, write_slide
from numpy.typing import NDArray
from served_files import codes_file, write_plain_graphs

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.loading import load_encoder
from nic.errors import ForeignCodes, OutsideRoots, OverLimit, UnreachedSlide, UnreadableSlide
from nic.serving.limits import Budget, Limits
from nic.serving.row_reader import RowReader
from nic.slides.slide import SlideSource
from nic.slides.subprocess_reader import SubprocessReader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    spec = write_plain_graphs(folder)
    write_slide(folder / "a.tif", tissue_image(600, 500))
    codes_file(folder / "a.h5", spec, [(0, 0), (1, 1)], (2, 2))
    return folder


@pytest.fixture
def reading(folder: Path) -> Iterator[RowReader]:
    reading = RowReader.within(Limits((folder,), at_once=1, readers=1), load_encoder(folder / "encoder.onnx"), Tiling())
    yield reading
    reading.stop()


@pytest.fixture
def foreign(folder: Path) -> Iterator[RowReader]:
    """For a model whose codes are of another tool."""
    reading = RowReader.within(Limits((folder,), at_once=1, readers=1), None, Tiling())
    yield reading
    reading.stop()


def soon(seconds: float) -> float:
    return time.monotonic() + seconds


def test_a_model_without_an_encoder_reads_codes_alone(folder: Path, foreign: RowReader, tmp_path: Path) -> None:
    budget = Budget(100, soon(60))
    file = foreign.features(SlideSource("a", folder / "a.h5"), (folder,), budget, tmp_path / "a.h5")
    assert CompressedSlide.load(file).codes[1, 0] == 1
    with pytest.raises(ForeignCodes):
        foreign.compress(SlideSource("a", folder / "a.tif"), (folder,), budget, tmp_path / "b.h5")


def test_untrusted_codes_are_copied_and_trusted_ones_are_not(folder: Path, foreign: RowReader, tmp_path: Path) -> None:
    source, budget = SlideSource("a", folder / "a.h5"), Budget(100, soon(60))
    assert foreign.features(source, (folder,), budget, tmp_path / "a.h5") == tmp_path / "a.h5"
    own = RowReader(None)
    assert own.features(source, (folder,), budget, tmp_path / "b.h5") == (folder / "a.h5").resolve()


def test_a_stopped_process_is_replaced(folder: Path, foreign: RowReader) -> None:
    source = SlideSource("a", folder / "a.tif")
    header = foreign.header(source, (folder,), soon(120))
    assert isinstance(foreign.opener, SubprocessReader)
    [process] = [process for process in foreign.opener.running if process]
    os.kill(process.pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(UnreachedSlide, match="hung"):
        foreign.header(source, (folder,), soon(0.5))
    assert time.monotonic() - start < 30
    assert foreign.header(source, (folder,), soon(120)) == header


def test_a_pipe_does_not_block(folder: Path, foreign: RowReader, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.h5")
    os.mkfifo(folder / "pipe.svs")
    with pytest.raises(UnreadableSlide, match="a pipe"):
        foreign.features(SlideSource("a", folder / "pipe.h5"), (folder,), Budget(100, soon(120)), tmp_path / "a.h5")
    with pytest.raises(UnreadableSlide, match="a pipe"):
        foreign.header(SlideSource("a", folder / "pipe.svs"), (folder,), soon(120))


def test_nothing_outside_is_read(folder: Path, reading: RowReader, tmp_path: Path) -> None:
    (tmp_path / "out.h5").symlink_to(folder / "a.h5")
    (tmp_path / "out.tif").symlink_to(folder / "a.tif")
    budget = Budget(100, soon(120))
    with pytest.raises(OutsideRoots):
        reading.features(SlideSource("a", tmp_path / "out.h5"), (tmp_path,), budget, tmp_path / "a.h5")
    with pytest.raises(OutsideRoots):
        reading.compress(SlideSource("a", tmp_path / "out.tif"), (tmp_path,), budget, tmp_path / "a.h5")


def test_a_slide_of_more_tiles_than_are_allowed_is_refused(folder: Path, reading: RowReader, tmp_path: Path) -> None:
    with pytest.raises(OverLimit, match="more than 2 tiles of tissue"):
        reading.compress(SlideSource("a", folder / "a.tif"), (folder,), Budget(2, soon(60)), tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


def test_a_slide_that_is_late_is_refused_and_the_next_one_is_not(
    folder: Path, reading: RowReader, tmp_path: Path
) -> None:
    source = SlideSource("a", folder / "a.tif")
    with pytest.raises(OverLimit):
        reading.compress(source, (folder,), Budget(100, soon(0)), tmp_path / "a.h5")
    reading.compress(source, (folder,), Budget(100, soon(60)), tmp_path / "a.h5")
    assert len(CompressedSlide.load(tmp_path / "a.h5").codes)


class Waiting(PixelEncoder):
    """Waits with each batch until go_on is set."""

    def __init__(self) -> None:
        self.go_on = False

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        while not self.go_on:
            time.sleep(0.05)
        return super().encode(tiles)


def test_a_request_while_all_are_busy_is_refused(folder: Path, tmp_path: Path) -> None:
    encoder = Waiting()
    reading, source = RowReader(encoder, at_once=1), SlideSource("a", folder / "a.tif")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(reading.compress, source, (folder,), Budget(100, soon(60)), tmp_path / "a.h5")
        time.sleep(0.5)
        with pytest.raises(OverLimit, match="busy with other slides"):
            reading.compress(source, (folder,), Budget(100, soon(0.2)), tmp_path / "b.h5")
        encoder.go_on = True
        first.result()
