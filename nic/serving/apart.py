"""Slides are read in processes of their own: a file that crashes a decoder or holds it up fails its own row alone."""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import nic.errors
from nic.compression.compress import threads_for
from nic.compression.cutting import Cutting
from nic.encoder.spec import EncoderSpec
from nic.errors import OverLimit, UnreachedSlide, UnreadableSlide
from nic.serving.confined import Roots
from nic.serving.effort import Effort
from nic.serving.faults import ReaderFault
from nic.serving.reading import Look, no_encoder
from nic.slides.slide import SlideSource

THREAD_MB = 256
"""Memory for each thread of a process that reads: some 80 are used, and what foreign encoders want beyond."""
GRACE_S = 2.0
"""Past the deadline, for a slide that is at its last batch; then the process ends, wherever it is."""
KILL_S = 1.0
"""Past the grace, for the process to end by itself; and again, for the kernel to end it."""
START_S = 300.0
"""For the first process to come up and tell of the encoder; importing takes seconds on a machine that is busy."""
MOST_STUCK = 16
"""Processes that even the kernel cannot end, because a share does not answer; beyond, no more are started."""
SECRETS = ("NIC_API_TOKEN",)


class Apart:
    """Reading in processes that are started when first asked, and again when one has died; threads may share it.

    graph: the encoder's; None where the codes are of another tool. cutting: which tiles get a code. at_once: slides
    compressed at a time, which share the cores; as many processes and one more only look and read files of codes, so
    that slides whose codes are at hand wait for nobody. most_mb: memory of each. Words are JSON, codes are files: no
    pickle passes between.
    """

    def __init__(self, graph: Path | None, cutting: Cutting, at_once: int, most_mb: int) -> None:
        self.graph, self.cutting = graph, cutting
        threads = max(1, min(threads_for(at_once), most_mb // THREAD_MB))
        stuck = Stuck()
        self._lookers = Readers(_command("", cutting, 1, most_mb), at_once + 1, stuck)
        self._compressors = Readers(_command(str(graph or ""), cutting, threads, most_mb), at_once, stuck)

    @cached_property
    def spec(self) -> EncoderSpec:
        """What the processes run; the graph is not loaded here. Raises EncoderError, ForeignCodes."""
        if self.graph is None:
            raise no_encoder()
        told = self._compressors.ask({"do": "spec"}, time.monotonic() + START_S)
        return EncoderSpec.from_json(told["spec"])

    def look(self, source: SlideSource, roots: Roots, deadline_s: float) -> Look:
        return Look(**self._lookers.ask({"do": "look", **_words(source, roots)}, deadline_s))

    def compress(self, source: SlideSource, roots: Roots, effort: Effort, into: Path) -> None:
        if self.graph is None:
            raise no_encoder()
        bounds = {"tiles": effort.tiles, "batch_tiles": effort.batch_tiles}
        question = {"do": "compress", "into": str(into), **bounds, **_words(source, roots)}
        self._compressors.ask(question, effort.deadline_s)

    def features(self, source: SlideSource, roots: Roots, effort: Effort, into: Path) -> Path:
        bounds = {
            "tiles": effort.tiles,
            "features_bytes": effort.features_bytes,
            "memory_bytes": effort.memory_bytes,
        }
        question = {"do": "features", "into": str(into), **bounds, **_words(source, roots)}
        self._lookers.ask(question, effort.deadline_s)
        return into


class Stuck:
    """Processes that were killed and live on: the kernel waits for a share on their behalf. Threads may share it."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.append(process)

    def check(self) -> None:
        """Before another is started. Raises UnreachedSlide when there are too many."""
        with self._lock:
            self._processes = [process for process in self._processes if process.poll() is None]
            count = len(self._processes)
        if count >= MOST_STUCK:
            raise UnreachedSlide(f"{count} processes that read wait for a share that does not answer; ask again later")


class Readers:
    """`count` processes that answer a question at a time; threads may share them."""

    def __init__(self, command: Sequence[str], count: int, stuck: Stuck) -> None:
        self._idle: queue.LifoQueue[Reader] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(Reader(command, stuck))

    def ask(self, question: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """Raises what the process raised; OverLimit when all are busy or it was late; UnreachedSlide when it hung;
        UnreadableSlide when it died of the slide; ReaderFault."""
        try:
            reader = self._idle.get(timeout=_left_s(deadline_s))
        except queue.Empty:
            raise OverLimit("the server is busy with other slides; ask again") from None
        try:
            return reader.ask(question, deadline_s)
        finally:
            self._idle.put(reader)


class Reader:
    """One process, nic/serving/reader.py, and the next one when it has ended. Threads must take turns."""

    def __init__(self, command: Sequence[str], stuck: Stuck) -> None:
        self.command, self.stuck = command, stuck
        self.process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._heard = b""

    def ask(self, question: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """As Readers.ask."""
        process = self._running(deadline_s)
        words = {**question, "seconds": _left_s(deadline_s), "grace_s": GRACE_S}
        try:
            _write(process, words)
            line = self._line(process, deadline_s + GRACE_S + KILL_S)
        except TimeoutError:
            process.kill()
            self._end(process)
            raise UnreachedSlide("it could not be read in time, and reading it hung; ask again") from None
        if not line:
            raise _death(self._end(process))
        answer: dict[str, Any] = json.loads(line)
        if "fault" in answer:
            raise ReaderFault(answer["fault"])
        if "error" in answer:
            raise getattr(nic.errors, answer["error"])(answer["message"])
        return answer

    def _running(self, deadline_s: float) -> subprocess.Popen[bytes]:
        """A process that waits for a question."""
        process = self.process
        if process is None or process.poll() is not None:
            self.stuck.check()
            process = self.process = _started(self.command)
            self._ready, self._heard = False, b""
        if not self._ready:
            try:
                line = self._line(process, deadline_s)
            except TimeoutError:  # it goes on starting, for the next who asks
                raise OverLimit("the process that reads slides is still starting; ask again") from None
            if not line:
                raise ReaderFault(f"a process that reads slides did not start (exit code {self._end(process)})")
            self._ready = True
        return process

    def _line(self, process: subprocess.Popen[bytes], until_s: float) -> bytes:
        """What it says next; nothing when it has ended. Raises TimeoutError."""
        assert process.stdout is not None
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        while b"\n" not in self._heard:
            if not poll.poll(1000 * _left_s(until_s)):
                raise TimeoutError
            heard = os.read(process.stdout.fileno(), 1 << 16)
            if not heard:
                return b""
            self._heard += heard
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """Make sure that it has ended, or that nobody waits for it. Its exit code; 0 while there is none."""
        self.process = None
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            return process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            process.kill()
        try:
            return process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            self.stuck.add(process)
            return 0


def _command(graph: str, cutting: Cutting, threads: int, most_mb: int) -> list[str]:
    words = [graph, json.dumps(asdict(cutting)), str(threads), str(most_mb)]
    return [sys.executable, "-m", "nic.serving.reader", *words]


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    # A served model's nic lies in the model's own folder, which only sys.path knows.
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )


def _write(process: subprocess.Popen[bytes], words: dict[str, Any]) -> None:
    """A question is far shorter than a pipe is deep, so that it is written at once whatever the process does."""
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(words).encode() + b"\n")
    except BrokenPipeError:  # it has died; reading says how
        return


def _left_s(deadline_s: float) -> float:
    return min(max(0.0, deadline_s - time.monotonic()), 1e6)


def _words(source: SlideSource, roots: Roots) -> dict[str, Any]:
    return {
        "name": source.slide_id,
        "path": str(source.path),
        "mpp": source.mpp,
        "roots": [str(root) for root in roots],
    }


def _death(code: int) -> Exception:
    if code == -signal.SIGALRM:
        return OverLimit("not done in time; compress it, and give the file of its codes")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return UnreadableSlide(f"reading it ended the process that read it ({how}); the file is damaged")
