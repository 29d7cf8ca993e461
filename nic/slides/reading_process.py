"""The process that reads slides for `nic.slides.processes`: one job after the other, until nobody asks.

    python -m nic.slides.reading_process <megabytes, or 0> <file descriptor of shared tiles> [modules to import]

The kernel ends it when a job takes longer than it may or memory runs out, wherever a native library may be.
"""

import importlib
import os
import resource
import select
import signal
import sys
import traceback

import cv2
import numpy as np

from nic.slides.jobs import CheckedTiles, LastSlide
from nic.slides.wire import SLOTS, Message, SharedTiles, as_values, message, read_question

IDLE_S = 1.0
"""After which the last slide is closed: its share may be unmounted, its file replaced."""


class Asker:
    """The other end: its questions, and the slots of tiles that it has let go of."""

    def __init__(self, tiles: SharedTiles) -> None:
        self.tiles = tiles
        self._free = list(range(SLOTS))
        self._questions = os.dup(0)
        self._answers = os.dup(1)
        os.dup2(2, 1)  # what a library prints is no answer
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def job(self, last: LastSlide) -> Message:
        """The next question, once there is one. Raises EOFError."""
        while True:
            if last.is_open and not select.select([self._questions], [], [], IDLE_S)[0]:
                last.close()
            question: Message = read_question(self._questions)
            if "job" in question:
                return question
            self._free.append(question["free"])

    def put(self, batch: CheckedTiles) -> None:
        """Hand tiles over, as soon as there is a slot for them."""
        while not self._free:
            self._free.append(read_question(self._questions)["free"])
        slot, (count, tile_px) = self._free.pop(0), batch.tiles.shape[:2]
        np.copyto(self.tiles.tiles(slot, count, tile_px), batch.tiles)
        values = {"slot": slot, "count": count, "tile_px": tile_px}
        self.say({**values, "row": batch.row, "col": batch.col, "state": batch.state})

    def say(self, values: Message) -> None:
        content = memoryview(message(values))
        while content:
            content = content[os.write(self._answers, content) :]


def answer(asker: Asker, last: LastSlide, question: Message) -> None:
    """Do a job. Its tiles go to who asks one batch after the other, then its answer or the error that ended it."""
    if question["seconds"]:
        signal.setitimer(signal.ITIMER_REAL, question["seconds"])
    steps = question["job"].run(last)
    try:
        while True:
            asker.put(next(steps))
    except StopIteration as end:
        values = {"answer": True, **end.value}
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        values = as_values(error)
        if values["error"] == "fault":
            traceback.print_exc()
    signal.setitimer(signal.ITIMER_REAL, 0)
    asker.say(values)


def main(most_mb: str, fd: str, *modules: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks ends it, by closing its questions
    cv2.setNumThreads(1)
    asker, last = Asker(SharedTiles(int(fd))), LastSlide()
    for module in modules:
        importlib.import_module(module)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if int(most_mb):
        resource.setrlimit(resource.RLIMIT_DATA, (int(most_mb) << 20, int(most_mb) << 20))
    try:  # who asks may have ended before this process was ready
        asker.say({"ready": True})
        while True:
            answer(asker, last, asker.job(last))
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
