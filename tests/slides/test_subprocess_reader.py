"""A process that stops, hangs or dies costs its own job, and is replaced for the next one."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from served_files import write_plain_graphs
from slide_jobs import AllocatesMemory, DescribesItself, Dies, Raises, SendsNonsense, Sleeps, YieldsBatches

from nic.errors import CodesError, UnreachedSlide, UnreadableSlide
from nic.slides.messages import SLOTS, ReaderFault, SharedTiles
from nic.slides.reading_process import MOST_STUCK, StuckProcesses
from nic.slides.subprocess_reader import ReaderDied, ReaderHung, ReaderLate, ReadersBusy, SubprocessReader


@pytest.fixture(scope="module")
def two() -> Iterator[SubprocessReader]:
    with SubprocessReader(2, modules=["slide_jobs"], silent_s=60) as processes:
        processes.ask(YieldsBatches(0))
        yield processes


@pytest.fixture(scope="module")
def one() -> Iterator[SubprocessReader]:
    with SubprocessReader(1, modules=["slide_jobs"], tries=1, silent_s=3) as processes:
        processes.ask(YieldsBatches(0))
        yield processes


def test_tiles_and_answers_arrive_complete(two: SubprocessReader) -> None:
    seen = []
    for tiles in two.stream([YieldsBatches(40), YieldsBatches(30), YieldsBatches(0)]):
        assert (tiles.tiles == int(tiles.row[0]) % 256).all()
        assert tiles.tiles.shape == (2, 8, 8, 3)
        assert tiles.state.tolist() == [0, 2, 0]
        seen.append(int(tiles.row[0]))
    assert sorted(seen) == sorted([*range(40), *range(30)])
    answer = two.ask(YieldsBatches(5))
    assert answer["batches"] == 5
    assert np.array_equal(answer["halves"], np.arange(5) / 2)


def test_a_caller_that_stops_early_gives_tiles_back(two: SubprocessReader) -> None:
    for _ in range(2 * SLOTS):
        with closing(two.stream([YieldsBatches(50), YieldsBatches(50)])) as tiles:
            next(tiles)
    assert len(list(two.stream([YieldsBatches(20), YieldsBatches(20)]))) == 40


def test_an_error_keeps_its_class_words_and_errno(two: SubprocessReader) -> None:
    with pytest.raises(UnreadableSlide, match="no slide"):
        two.ask(Raises(UnreadableSlide("no slide")))
    with pytest.raises(CodesError) as full:
        two.ask(Raises(CodesError("not written"), OSError(errno.ENOSPC, "full")))
    assert isinstance(full.value.__cause__, OSError)
    assert full.value.__cause__.errno == errno.ENOSPC
    with pytest.raises(OSError, match="Input/output"):
        two.ask(Raises(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(MemoryError):
        two.ask(Raises(MemoryError()))


def test_an_unforeseen_error_says_only_where_it_arose(two: SubprocessReader) -> None:
    with pytest.raises(ReaderFault, match=r"^ValueError at slide_jobs\.py:\d+ < ") as fault:
        two.ask(Raises(ValueError("Jane Doe")))
    assert "Jane" not in str(fault.value)


def test_a_job_is_tried_again_when_its_process_died(two: SubprocessReader, tmp_path: Path) -> None:
    assert two.ask(Dies(signal.SIGSEGV, tmp_path / "once"))["lived"]
    with pytest.raises(ReaderDied, match="SIGABRT"):
        two.ask(Dies(signal.SIGABRT))
    with pytest.raises(ReaderDied, match="exit code 3"):
        two.ask(Dies(-3))
    assert len(list(two.stream([YieldsBatches(3)]))) == 3
    assert sum(sum(counts.ends.values()) for counts in two.counts) == 5


def test_a_job_is_tried_once_with_tries_1(one: SubprocessReader, tmp_path: Path) -> None:
    with pytest.raises(ReaderDied, match="SIGKILL"):
        one.ask(Dies(signal.SIGKILL, tmp_path / "once"))
    assert one.ask(YieldsBatches(1))["batches"] == 1


def test_other_jobs_go_on_beside_one_that_kills_its_process(two: SubprocessReader) -> None:
    with ThreadPoolExecutor(2) as threads:
        others = threads.submit(lambda: len(list(two.stream([YieldsBatches(100)] * 5))))
        with pytest.raises(ReaderDied):
            two.ask(Dies(signal.SIGFPE))
        assert others.result() == 500


def test_a_silent_process_is_replaced(one: SubprocessReader) -> None:
    [process] = one.running
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(ReaderHung, match="silent for 3 s"):
        one.ask(YieldsBatches(1))
    assert one.ask(YieldsBatches(2))["batches"] == 2
    [next_one] = one.running
    assert next_one is not None
    assert next_one.pid != process.pid


def test_a_slow_caller_is_waited_for(one: SubprocessReader) -> None:
    batches = 0
    for _ in one.stream([YieldsBatches(SLOTS + 3)]):
        if batches == 0:
            time.sleep(4)  # longer than a process may be silent
        batches += 1
    assert batches == SLOTS + 3


def test_a_deadline_ends_running_and_waiting_jobs() -> None:
    with SubprocessReader(1, modules=["slide_jobs"], tries=1) as one, ThreadPoolExecutor(1) as threads:
        one.ask(YieldsBatches(0))
        late = threads.submit(one.ask, Sleeps(60), time.monotonic() + 2)
        time.sleep(0.5)
        with pytest.raises(ReadersBusy):
            one.ask(YieldsBatches(1), time.monotonic() + 0.2)
        with pytest.raises((ReaderLate, ReaderHung)):  # by the kernel's alarm; on a busy machine by our own clock
            late.result()
        assert one.ask(YieldsBatches(1), time.monotonic() + 60)["batches"] == 1


def test_memory_is_bounded() -> None:
    with SubprocessReader(1, most_mb=600, modules=["slide_jobs"]) as processes:
        assert processes.ask(AllocatesMemory(100))["bytes"] == 100 << 20
        with pytest.raises(MemoryError):
            processes.ask(AllocatesMemory(700))
        assert processes.ask(YieldsBatches(1))["batches"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"no json\n",
        b'{"values": {"slot": 99, "count": 1, "tile_px": 8}, "arrays": {}}\n',
        b'{"values": {"slot": 0, "count": 1, "tile_px": 100000}, "arrays": {}}\n',
        b'{"values": {}, "arrays": {"row": ["object", [1]]}}\n12345678',
        b'{"values": {}, "arrays": {"row": ["int32", [-1]]}}\n',
    ],
)
def test_a_malformed_answer_ends_its_process(one: SubprocessReader, content: bytes) -> None:
    with pytest.raises(ReaderDied, match="a malformed answer"):
        one.ask(SendsNonsense(content))
    assert one.ask(YieldsBatches(1))["batches"] == 1


def test_a_process_has_no_secret_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIC_API_TOKEN", "secret")
    with SubprocessReader(1, modules=["slide_jobs"]) as processes:
        environment = processes.ask(DescribesItself())["environment"]
    assert "NIC_API_TOKEN" not in environment
    assert environment["OMP_NUM_THREADS"] == "1"


def test_a_caller_gets_the_reason_why_no_process_starts() -> None:
    with (
        SubprocessReader(1, modules=["no_module_of_this_name"], quiet=True) as processes,
        pytest.raises(ReaderFault, match=r"did not start \(exit code 1\)"),
    ):
        processes.ask(YieldsBatches(1))


def test_processes_start_when_there_is_work_for_them() -> None:
    with SubprocessReader(3, modules=["slide_jobs"], at_once=False) as processes:
        time.sleep(0.2)
        assert processes.running == [None] * 3
        assert processes.ask(YieldsBatches(1))["batches"] == 1
        assert processes.ask(YieldsBatches(1))["batches"] == 1
        assert sum(process is not None for process in processes.running) == 1


def test_no_process_outlives_its_parent(tmp_path: Path) -> None:
    script = (
        "from slide_jobs import DescribesItself\n"
        "from nic.slides.subprocess_reader import SubprocessReader\n"
        "import time\n"
        "p = SubprocessReader(2, modules=['slide_jobs'])\n"
        "print(p.ask(DescribesItself())['pid'], *(r.pid for r in p.running if r), flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    asker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert asker.stdout is not None
    pids = {int(pid) for pid in asker.stdout.readline().split()}
    assert pids
    asker.kill()
    asker.wait()
    asker.stdout.close()
    until_s = time.monotonic() + 30
    while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < until_s:
        time.sleep(0.1)
    assert left == []


@pytest.mark.parametrize("module", ["nic.slides.reading_process", "nic.encoder.encoding_process"])
def test_a_process_whose_parent_died_before_it_was_ready_ends_silently(tmp_path: Path, module: str) -> None:
    """Otherwise its traceback follows the sentence that says why a run ended."""
    memory, graphs = SharedTiles(), tmp_path / "graphs"
    graphs.mkdir()
    write_plain_graphs(graphs)
    words = ["0", str(memory.fd)]
    if module.startswith("nic.encoder"):
        words = [str(memory.fd), str(SLOTS), str(graphs / "encoder.onnx"), "onnx", "cpu"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", module, *words]
    process = subprocess.Popen(command, env=environment, pass_fds=[memory.fd], **pipes)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.close()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()
    memory.close()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_process_is_started_beside_too_many_stuck_ones() -> None:
    """Sleeping processes stand for those that wait for a share and cannot be killed."""
    stuck = StuckProcesses()
    sleepers = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(MOST_STUCK)]
    for sleeper in sleepers:
        stuck.add(sleeper)
    with pytest.raises(UnreachedSlide, match=f"{MOST_STUCK} processes wait for a share"):
        stuck.check()
    for sleeper in sleepers:
        sleeper.kill()
        sleeper.communicate()
    stuck.check()
