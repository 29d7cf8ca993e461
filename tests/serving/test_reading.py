"""Rows are read by processes: one that stops or dies costs its row, and the next row finds another one."""

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
from nic.serving.effort import Effort
from nic.serving.limits import Limits
from nic.serving.reading import RowReading
from nic.slides.processes import Processes
from nic.slides.slide import SlideSource


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    spec = write_plain_graphs(folder)
    write_slide(folder / "a.tif", tissue_image(600, 500))
    codes_file(folder / "a.h5", spec, [(0, 0), (1, 1)], (2, 2))
    return folder


@pytest.fixture
def reading(folder: Path) -> Iterator[RowReading]:
    reading = RowReading.within(
        Limits((folder,), at_once=1, readers=1), load_encoder(folder / "encoder.onnx"), Tiling()
    )
    yield reading
    reading.stop()


@pytest.fixture
def foreign(folder: Path) -> Iterator[RowReading]:
    """Of a model whose codes are of another tool."""
    reading = RowReading.within(Limits((folder,), at_once=1, readers=1), None, Tiling())
    yield reading
    reading.stop()


def soon(seconds: float) -> float:
    return time.monotonic() + seconds


def test_a_model_without_an_encoder_reads_codes_alone(folder: Path, foreign: RowReading, tmp_path: Path) -> None:
    effort = Effort(100, soon(60))
    file = foreign.features(SlideSource("a", folder / "a.h5"), (folder,), effort, tmp_path / "a.h5")
    assert CompressedSlide.load(file).codes[1, 0] == 1
    with pytest.raises(ForeignCodes):
        foreign.compress(SlideSource("a", folder / "a.tif"), (folder,), effort, tmp_path / "b.h5")


def test_a_strangers_codes_are_copied_and_ones_own_are_not(folder: Path, foreign: RowReading, tmp_path: Path) -> None:
    source, effort = SlideSource("a", folder / "a.h5"), Effort(100, soon(60))
    assert foreign.features(source, (folder,), effort, tmp_path / "a.h5") == tmp_path / "a.h5"
    own = RowReading(None)
    assert own.features(source, (folder,), effort, tmp_path / "b.h5") == (folder / "a.h5").resolve()


def test_a_stopped_process_is_replaced(folder: Path, foreign: RowReading) -> None:
    source = SlideSource("a", folder / "a.tif")
    look = foreign.look(source, (folder,), soon(120))
    assert isinstance(foreign.looking, Processes)
    [process] = [process for process in foreign.looking.running if process]
    os.kill(process.pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(UnreachedSlide, match="hung"):
        foreign.look(source, (folder,), soon(0.5))
    assert time.monotonic() - start < 30
    assert foreign.look(source, (folder,), soon(120)) == look


def test_a_pipe_is_not_waited_for(folder: Path, foreign: RowReading, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.h5")
    os.mkfifo(folder / "pipe.svs")
    with pytest.raises(UnreadableSlide, match="a pipe"):
        foreign.features(SlideSource("a", folder / "pipe.h5"), (folder,), Effort(100, soon(120)), tmp_path / "a.h5")
    with pytest.raises(UnreadableSlide, match="a pipe"):
        foreign.look(SlideSource("a", folder / "pipe.svs"), (folder,), soon(120))


def test_nothing_outside_is_read(folder: Path, reading: RowReading, tmp_path: Path) -> None:
    (tmp_path / "out.h5").symlink_to(folder / "a.h5")
    (tmp_path / "out.tif").symlink_to(folder / "a.tif")
    effort = Effort(100, soon(120))
    with pytest.raises(OutsideRoots):
        reading.features(SlideSource("a", tmp_path / "out.h5"), (tmp_path,), effort, tmp_path / "a.h5")
    with pytest.raises(OutsideRoots):
        reading.compress(SlideSource("a", tmp_path / "out.tif"), (tmp_path,), effort, tmp_path / "a.h5")


def test_a_slide_of_more_tiles_than_are_allowed_is_refused(folder: Path, reading: RowReading, tmp_path: Path) -> None:
    with pytest.raises(OverLimit, match="more than 2 tiles of tissue"):
        reading.compress(SlideSource("a", folder / "a.tif"), (folder,), Effort(2, soon(60)), tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


def test_a_slide_that_is_late_is_refused_and_the_next_one_is_not(
    folder: Path, reading: RowReading, tmp_path: Path
) -> None:
    source = SlideSource("a", folder / "a.tif")
    with pytest.raises(OverLimit):
        reading.compress(source, (folder,), Effort(100, soon(0)), tmp_path / "a.h5")
    reading.compress(source, (folder,), Effort(100, soon(60)), tmp_path / "a.h5")
    assert len(CompressedSlide.load(tmp_path / "a.h5").codes)


class Waiting(PixelEncoder):
    """Holds a slide up until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = False

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        while not self.go_on:
            time.sleep(0.05)
        return super().encode(tiles)


def test_who_asks_while_all_are_busy_is_told_so(folder: Path, tmp_path: Path) -> None:
    encoder = Waiting()
    reading, source = RowReading(encoder, at_once=1), SlideSource("a", folder / "a.tif")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(reading.compress, source, (folder,), Effort(100, soon(60)), tmp_path / "a.h5")
        time.sleep(0.5)
        with pytest.raises(OverLimit, match="busy with other slides"):
            reading.compress(source, (folder,), Effort(100, soon(0.2)), tmp_path / "b.h5")
        encoder.go_on = True
        first.result()
