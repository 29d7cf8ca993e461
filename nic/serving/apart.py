"""Slides are read in processes of their own: a file that crashes a decoder or holds it up fails its own row alone."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nic.errors
from nic.compression.compress import threads_for
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.cutting import Cutting
from nic.encoder.spec import EncoderSpec
from nic.errors import OverLimit, UnreadableSlide
from nic.serving.reading import Effort, Look
from nic.slides.slide import SlideSource

THREAD_MB = 256
"""Memory for each thread of a process that reads: some 80 are used, and what foreign encoders want beyond."""
GRACE_S = 2.0
"""Past the deadline, for a slide that is at its last batch; then the process ends, wherever it is."""


class Apart:
    """Reading in processes that are started when first asked, and again when one has died; threads may share it.

    graph: the encoder's, of `spec`. cutting: which tiles get a code. at_once: slides compressed at a time, which share
    the cores; one process more only looks, so that slides whose codes are at hand wait for nobody. most_mb: memory of
    each. Words are JSON, codes are files: no pickle passes between.
    """

    def __init__(self, graph: Path, spec: EncoderSpec, cutting: Cutting, at_once: int, most_mb: int) -> None:
        self.spec, self.cutting = spec, cutting
        command = [sys.executable, "-m", "nic.serving.reader", str(graph), json.dumps(asdict(cutting))]
        threads = max(1, min(threads_for(at_once), most_mb // THREAD_MB))
        command += [str(threads), str(most_mb)]
        self._lookers, self._compressors = (_pool(command, count) for count in (1, at_once))

    def look(self, source: SlideSource, deadline_s: float) -> Look:
        """Raises SlideError, OverLimit."""
        return Look(**_asked(self._lookers, {"do": "look", **_words(source)}, deadline_s))

    def compress(self, source: SlideSource, effort: Effort) -> CompressedSlide:
        """Raises SlideError, OverLimit."""
        with tempfile.TemporaryDirectory(prefix="nic-reading-") as folder:
            file = Path(folder) / "codes.h5"
            bounds = {"tiles": effort.tiles, "batch_tiles": effort.batch_tiles}
            question = {"do": "compress", "into": str(file), **bounds, **_words(source)}
            _asked(self._compressors, question, effort.deadline_s)
            return CompressedSlide.load(file)


class Reader:
    """One process, nic/serving/reader.py. Threads must take turns."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[str] | None = None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Raises what the process raised; OverLimit when it was late, UnreadableSlide when it died of the slide."""
        if self.process is None or self.process.poll() is not None:
            self.process = self._started()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise _death(self.process.wait())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise getattr(nic.errors, answer["error"])(answer["message"])
        return answer

    def _started(self) -> subprocess.Popen[str]:
        # A served model's nic lies in the model's own folder, which only sys.path knows.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        return subprocess.Popen(
            self.command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip


def _pool(command: Sequence[str], count: int) -> "queue.LifoQueue[Reader]":
    pool: queue.LifoQueue[Reader] = queue.LifoQueue()
    for _ in range(count):
        pool.put(Reader(command))
    return pool


def _asked(pool: "queue.LifoQueue[Reader]", question: dict[str, Any], deadline_s: float) -> dict[str, Any]:
    try:
        reader = pool.get(timeout=max(0.0, deadline_s - time.monotonic()))
    except queue.Empty:
        raise OverLimit("the server is busy with other slides; ask again") from None
    try:
        return reader.ask({**question, "seconds": max(0.0, deadline_s - time.monotonic()), "grace_s": GRACE_S})
    finally:
        pool.put(reader)


def _words(source: SlideSource) -> dict[str, Any]:
    return {"name": source.slide_id, "path": str(source.path), "mpp": source.mpp}


def _death(code: int) -> Exception:
    if code == -signal.SIGALRM:
        return OverLimit("not done in time; compress it, and give the file of its codes")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return UnreadableSlide(f"reading it ended the process that read it ({how}); the file is damaged")
