"""The process that encodes for `nic.encoder.several`: one session on one device, until nobody asks.

python -m nic.encoder.encoding_process <file descriptor of shared tiles> <slots> <graph> <runtime> <device>
"""

import os
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np

from nic.encoder.runtimes import LoadedEncoder, load_encoder
from nic.encoder.spec import Runtime
from nic.slides.messages import Message, SharedTiles, error_values, message_bytes, read_request


class Asker:
    """The other end: its questions, and the answers to it, one at a time."""

    def __init__(self) -> None:
        self._questions, self._answers = os.dup(0), os.dup(1)
        os.dup2(2, 1)  # what a library prints is no answer
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._lock = threading.Lock()

    def question(self) -> Message:
        """The next one. Raises EOFError when nobody asks any more."""
        values: Message = read_request(self._questions)
        return values

    def say(self, values: Message) -> None:
        content = memoryview(message_bytes(values))
        with self._lock:
            while content:
                content = content[os.write(self._answers, content) :]

    def say_error(self, error: Exception, values: Message) -> None:
        """With its traceback on stderr where nobody foresaw it."""
        said = error_values(error)
        if said["error"] == "fault":
            traceback.print_exception(error)
        self.say({**values, **said})


def answer(asker: Asker, encoder: LoadedEncoder, memory: SharedTiles, slot: int, count: int) -> None:
    """Encode the tiles of a slot; their codes take their place."""
    try:
        codes = encoder.encode(memory.tiles(slot, count, encoder.spec.tile_px))
        np.copyto(memory.codes(slot, count, encoder.spec.code_size), codes)
    except Exception as error:
        asker.say_error(error, {"slot": slot})
    else:
        asker.say({"slot": slot, "agreement": encoder.agreement, "batch_tiles": encoder.batch_tiles})


def main(fd: str, slots: str, graph: str, runtime: str, device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks ends it, by closing its questions
    asker, memory = Asker(), SharedTiles(int(fd), int(slots))
    try:
        serve(asker, memory, load_encoder(Path(graph), cast(Runtime, runtime), device), int(slots))
    except (EOFError, BrokenPipeError):  # who asks has ended
        return
    except Exception as error:
        asker.say_error(error, {})


def serve(asker: Asker, memory: SharedTiles, encoder: LoadedEncoder, slots: int) -> None:
    """Raises EOFError or BrokenPipeError when nobody asks any more."""
    itself = {"device": str(encoder.device), "device_note": encoder.device_note, "batch_tiles": encoder.batch_tiles}
    asker.say({"spec": encoder.spec.to_json(), **itself})
    with ThreadPoolExecutor(slots) as pool:
        try:
            while True:
                question = asker.question()
                pool.submit(answer, asker, encoder, memory, question["slot"], question["count"])
        finally:
            pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
