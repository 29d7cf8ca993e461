"""One process that reads slides: ReadingProcess is the parent's end of it, `main` is what it runs.

    python -m nic.slides.reading_process <megabytes, or 0> <file descriptor of shared tiles> [modules to import]

The kernel ends it when a job takes longer than it may or memory runs out, wherever a native library may be.
"""

import importlib
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nic.errors import UnreachedSlide
from nic.slides.jobs import CheckedTiles, Job, LastSlide
from nic.slides.messages import (
    SLOTS,
    Message,
    MessageBuffer,
    SharedTiles,
    error_values,
    message_bytes,
    read_request,
    request_bytes,
)

KILL_S = 1.0
"""Time for a process to end by itself; and then again, for the kernel to end it."""
MOST_STUCK = 16
"""With so many processes that even the kernel cannot end, because a share does not answer, no more are started."""
SECRETS = ("NIC_API_TOKEN",)


class StuckProcesses:
    """Killed processes that have not ended, because the kernel waits for a share. Threads may use it together."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.append(process)

    def check(self) -> None:
        """Raises UnreachedSlide when there are too many to start another."""
        with self._lock:
            self._processes = [process for process in self._processes if process.poll() is None]
            count = len(self._processes)
        if count >= MOST_STUCK:
            raise UnreachedSlide(
                f"{count} processes wait for a share that does not answer; see to the share, and try again"
            )


def start_process(command: Sequence[str], memory: SharedTiles, *, quiet: bool = False) -> subprocess.Popen[bytes]:
    """Start a child that shares the memory and ends when its requests end. Parameters: see ReadingProcess."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    # The nic of a served model lies in the model's folder, which only sys.path knows.
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [word.replace("{fd}", str(memory.fd)) for word in command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        bufsize=0,
        pass_fds=[memory.fd],
    )


def exit_reason(code: int) -> str:
    """The signal that ended a process, or its exit code."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@dataclass
class LentTiles:
    """Tiles in the shared memory of a process, until they are given back."""

    tiles: CheckedTiles
    slot: int
    process: "ReadingProcess"

    def give_back(self) -> None:
        self.process.free(self.slot)


class ReadingProcess:
    """The parent's end of a process that reads slides."""

    def __init__(self, command: Sequence[str], *, quiet: bool = False) -> None:
        """command: `{fd}` in it becomes the file descriptor of the shared tiles. quiet: drop what it writes to stderr,
        which may name a patient."""
        self.memory = SharedTiles()
        self._process = start_process(command, self.memory, quiet=quiet)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._messages = MessageBuffer()
        self._lock = threading.Lock()
        self._lent = 0
        self.heard_s = time.monotonic()
        self.slide: object = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, job: Job, seconds: float) -> None:
        """Send a job. The kernel ends the process after so many seconds; 0: never."""
        self._write({"job": job, "seconds": seconds})

    def free(self, slot: int) -> None:
        with self._lock:
            self._lent -= 1
        self._write({"free": slot})

    def lend(self, values: Message) -> LentTiles:
        """The tiles of a message."""
        with self._lock:
            self._lent += 1
        tiles = self.memory.tiles(values["slot"], values["count"], values["tile_px"])
        return LentTiles(CheckedTiles(tiles, values["row"], values["col"], values["state"]), values["slot"], self)

    @property
    def waits(self) -> bool:
        """Whether it cannot go on before tiles are given back."""
        return self._lent == SLOTS

    def hear(self, until_s: float) -> Message | None:
        """Its next message; None when none came in time. Raises EOFError when it has ended."""
        while (values := self._messages.next()) is None:
            if not self._poll.poll(1000 * min(max(0.0, until_s - time.monotonic()), 1e6)):
                return None
            content = os.read(self._answers.fileno(), 1 << 16)
            if not content:
                raise EOFError
            self._messages.feed(content)
        self.heard_s = time.monotonic()
        return values

    def end(self, stuck: StuckProcesses, *, kill: bool = False) -> int:
        """End it, or leave it to `stuck` if it does not end. Its exit code; 0 if it has none yet."""
        if kill:
            self._process.kill()
        for pipe in (self._requests, self._answers):
            pipe.close()
        self.memory.close()
        for _ in range(2):
            try:
                return self._process.wait(KILL_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        stuck.add(self._process)
        return 0

    def _write(self, values: Message) -> None:
        try:
            content = memoryview(request_bytes(values))
            with self._lock:
                while content:
                    content = content[self._requests.write(content) :]
        except (BrokenPipeError, ValueError):  # it has ended; `hear` reports that
            return


IDLE_S = 1.0
"""Idle time after which the last slide is closed: its share may be unmounted, its file replaced."""


class ParentPipe:
    """The child's end: the parent's requests, and the slots of tiles that it has given back."""

    def __init__(self, tiles: SharedTiles) -> None:
        self.tiles = tiles
        self._free = list(range(SLOTS))
        self._requests = os.dup(0)
        self._answers = os.dup(1)
        os.dup2(2, 1)  # what a library prints must not mix with the answers
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def job(self, last: LastSlide) -> Message:
        """Wait for the next job. Raises EOFError."""
        while True:
            if last.is_open and not select.select([self._requests], [], [], IDLE_S)[0]:
                last.close()
            request: Message = read_request(self._requests)
            if "job" in request:
                return request
            self._free.append(request["free"])

    def put(self, batch: CheckedTiles) -> None:
        """Send tiles, once a slot is free."""
        while not self._free:
            self._free.append(read_request(self._requests)["free"])
        slot, (count, tile_px) = self._free.pop(0), batch.tiles.shape[:2]
        np.copyto(self.tiles.tiles(slot, count, tile_px), batch.tiles)
        values = {"slot": slot, "count": count, "tile_px": tile_px}
        self.send({**values, "row": batch.row, "col": batch.col, "state": batch.state})

    def send(self, values: Message) -> None:
        content = memoryview(message_bytes(values))
        while content:
            content = content[os.write(self._answers, content) :]


def answer(parent: ParentPipe, last: LastSlide, request: Message) -> None:
    """Do a job. Send its tiles batch by batch, then its answer or the error that ended it."""
    if request["seconds"]:
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    batches = request["job"].run(last)
    try:
        while True:
            parent.put(next(batches))
    except StopIteration as end:
        values = {"answer": True, **end.value}
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        values = error_values(error)
        if values["error"] == "fault":
            traceback.print_exc()
    signal.setitimer(signal.ITIMER_REAL, 0)
    parent.send(values)


def main(most_mb: str, fd: str, *modules: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it, by closing its requests
    cv2.setNumThreads(1)
    parent, last = ParentPipe(SharedTiles(int(fd))), LastSlide()
    for module in modules:
        importlib.import_module(module)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if int(most_mb):
        resource.setrlimit(resource.RLIMIT_DATA, (int(most_mb) << 20, int(most_mb) << 20))
    try:  # the parent may have ended before this process was ready
        parent.send({"ready": True})
        while True:
            answer(parent, last, parent.job(last))
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
