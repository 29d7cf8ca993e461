"""Processes that read: one that stops, hangs or dies costs its row, and the next row finds another one."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import tissue_image, write_slide
from served_files import codes_file, write_plain_graphs

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.cutting import Cutting
from nic.encoder.onnx import OnnxEncoder
from nic.errors import EncoderError, ForeignCodes, OutsideRoots, OverLimit, UnreachedSlide, UnreadableSlide
from nic.serving.apart import MOST_STUCK, Apart, Reader, Readers, Stuck
from nic.serving.effort import Effort
from nic.serving.faults import ReaderFault
from nic.slides.slide import SlideSource


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apart")
    spec = write_plain_graphs(folder)
    write_slide(folder / "a.tif", tissue_image(600, 500))
    codes_file(folder / "a.h5", spec, [(0, 0), (1, 1)], (2, 2))
    return folder


def soon(seconds: float) -> float:
    return time.monotonic() + seconds


SAYS = "import sys\nprint('{}', flush=True)\n"


def reader_that(script: str, stuck: Stuck | None = None) -> Reader:
    return Reader([sys.executable, "-c", SAYS + script], stuck or Stuck())


def test_what_the_processes_run_is_told_by_them(folder: Path) -> None:
    assert Apart(folder / "encoder.onnx", Cutting(), 1, 4096).spec == OnnxEncoder(folder / "encoder.onnx").spec
    (folder / "broken.onnx").write_text("no graph")
    with pytest.raises(EncoderError, match=r"broken\.onnx"):
        _ = Apart(folder / "broken.onnx", Cutting(), 1, 4096).spec


def test_a_model_without_an_encoder_reads_codes_alone(folder: Path, tmp_path: Path) -> None:
    reading, effort = Apart(None, Cutting(), 1, 4096), Effort(100, soon(60))
    file = reading.features(SlideSource("a", folder / "a.h5"), (folder,), effort, tmp_path / "a.h5")
    assert CompressedSlide.load(file).codes[1, 0] == 1
    with pytest.raises(ForeignCodes):
        reading.compress(SlideSource("a", folder / "a.tif"), (folder,), effort, tmp_path / "b.h5")


def test_a_stopped_process_is_replaced(folder: Path) -> None:
    readers, source = Apart(None, Cutting(), 1, 4096), SlideSource("a", folder / "a.tif")
    look = readers.look(source, (folder,), soon(120))
    [reader] = [r for r in list(readers._lookers._idle.queue) if r.process]
    os.kill(reader.process.pid, signal.SIGSTOP)
    stopped, start = reader.process, time.monotonic()
    with pytest.raises(UnreachedSlide, match="hung"):
        readers.look(source, (folder,), soon(0.5))
    assert time.monotonic() - start < 30
    assert stopped.poll() == -signal.SIGKILL
    assert readers.look(source, (folder,), soon(120)) == look


def test_a_pipe_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.h5")
    os.mkfifo(folder / "pipe.svs")
    reading = Apart(None, Cutting(), 1, 4096)
    effort = Effort(100, soon(120))
    with pytest.raises(UnreadableSlide, match="a pipe"):
        reading.features(SlideSource("a", folder / "pipe.h5"), (folder,), effort, tmp_path / "a.h5")
    with pytest.raises(UnreadableSlide, match="a pipe"):
        reading.look(SlideSource("a", folder / "pipe.svs"), (folder,), soon(120))


def test_codes_outside_are_not_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.h5").symlink_to(folder / "a.h5")
    effort = Effort(100, soon(120))
    with pytest.raises(OutsideRoots):
        Apart(None, Cutting(), 1, 4096).features(
            SlideSource("a", tmp_path / "out.h5"), (tmp_path,), effort, tmp_path / "a.h5"
        )


def test_who_dies_of_a_slide_says_of_what() -> None:
    line = "sys.stdin.readline()\nimport os, signal\n"
    for name, kind in (("SIGALRM", OverLimit), ("SIGABRT", UnreadableSlide), ("SIGKILL", UnreadableSlide)):
        with pytest.raises(kind):
            reader_that(f"{line}os.kill(os.getpid(), signal.{name})").ask({}, soon(60))
    with pytest.raises(UnreadableSlide, match="exit code 3"):
        reader_that(f"{line}os._exit(3)").ask({}, soon(60))


def test_a_fault_in_the_process_is_no_fault_of_the_slide() -> None:
    line = "sys.stdin.readline()\n"
    with pytest.raises(ReaderFault, match="ValueError at reader"):
        reader_that(line + 'print(\'{"fault": "ValueError at reader.py:1"}\', flush=True)\ninput()').ask({}, soon(60))
    with pytest.raises(ReaderFault, match="did not start"):
        Reader([sys.executable, "-c", "import sys; sys.exit(1)"], Stuck()).ask({}, soon(60))


def test_a_process_that_is_slow_to_start_is_left_to_start() -> None:
    script = f"import time\ntime.sleep(1)\n{SAYS}for line in sys.stdin: print('{{}}', flush=True)"
    reader = Reader([sys.executable, "-c", script], Stuck())
    with pytest.raises(OverLimit, match="still starting"):
        reader.ask({}, soon(0.1))
    first = reader.process
    assert reader.ask({}, soon(60)) == {}
    assert reader.process is first


def test_who_finds_all_processes_busy_is_told_so() -> None:
    readers = Readers([sys.executable, "-c", SAYS + "for line in sys.stdin: input()"], 1, Stuck())
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(readers.ask, {}, soon(3))
        time.sleep(0.3)
        with pytest.raises(OverLimit, match="busy with other slides"):
            readers.ask({}, soon(0.1))
        with pytest.raises((UnreachedSlide, UnreadableSlide)):
            first.result()


def test_processes_that_cannot_be_ended_are_counted_and_no_more_are_started() -> None:
    """Sleepers stand for those that the kernel cannot end: a share that hangs holds them."""
    stuck = Stuck()
    sleepers = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(MOST_STUCK)]
    for sleeper in sleepers:
        stuck.add(sleeper)
    with pytest.raises(UnreachedSlide, match=f"{MOST_STUCK} processes that read wait for a share"):
        reader_that("", stuck).ask({}, soon(60))
    for sleeper in sleepers:
        sleeper.kill()
        sleeper.communicate()
    assert reader_that("sys.stdin.readline(); print('{}', flush=True)", stuck).ask({}, soon(60)) == {}
