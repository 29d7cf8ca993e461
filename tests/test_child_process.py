"""Work ends with the process that started it, also in the middle, and when the system asks it to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PROGRAM = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from nic.child_process import end_with_parent


def work(_):
    print(os.getpid(), flush=True)
    time.sleep(600)


if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=end_with_parent) as pool:
        list(pool.map(work, range(2)))
"""
STAGE = """
import os, signal, subprocess, sys, time
from pathlib import Path

from nic.child_process import interrupt_when_asked, interrupt_with_starter

if sys.argv[1] == "starter":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
    subprocess.run([sys.executable, __file__, "stage"])
else:
    interrupt_when_asked()
    interrupt_with_starter()
    try:
        print(os.getpid(), flush=True)
        time.sleep(600)
    except KeyboardInterrupt as error:
        os.kill(os.getpid(), signal.SIGTERM)  # comes twice
        Path("closed").write_text(str(error))
"""


def is_there(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def ends(process: int) -> bool:
    """Whether it ends within 30 s."""
    limit = time.monotonic() + 30
    while is_there(process) and time.monotonic() < limit:
        time.sleep(0.1)
    return not is_there(process)


def test_processes_of_a_pool_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    children = [int(parent.stdout.readline()) for _ in range(2)]
    assert all(map(is_there, children))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert all(map(ends, children))


@pytest.mark.parametrize(("killed", "number"), [("starter", signal.SIGKILL), ("stage", signal.SIGTERM)])
def test_a_stage_closes_its_work_when_it_or_its_starter_is_ended(
    killed: str, number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(STAGE)
    starter = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", "starter"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    stage = int(starter.stdout.readline())
    os.kill(stage if killed == "stage" else starter.pid, number)
    starter.wait()
    assert ends(stage)
    assert (tmp_path / "closed").read_text() == "stopped by SIGTERM"
