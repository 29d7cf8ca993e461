"""The process that encodes for `nic.encoder.encoder_pool`: one session on one device, until its input is closed.

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

from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.encoder.spec import Runtime
from nic.slides.messages import Message, SharedTiles, error_values, message_bytes, read_request


class Channel:
    """Questions from the process that started this one, and the answers to it; threads may share it."""

    def __init__(self) -> None:
        self._questions, self._answers = os.dup(0), os.dup(1)
        os.dup2(2, 1)  # what a library prints is no answer
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._lock = threading.Lock()

    def question(self) -> Message:
        """The next one. Raises EOFError when the other end is closed."""
        values: Message = read_request(self._questions)
        return values

    def send(self, values: Message) -> None:
        content = memoryview(message_bytes(values))
        with self._lock:
            while content:
                content = content[os.write(self._answers, content) :]

    def send_error(self, error: Exception, values: Message) -> None:
        """An unforeseen error leaves its traceback on stderr."""
        fields = error_values(error)
        if fields["error"] == "fault":
            traceback.print_exception(error)
        self.send({**values, **fields})


def answer(channel: Channel, encoder: LoadedEncoder, memory: SharedTiles, slot: int, count: int) -> None:
    """Encode the tiles of a slot; the codes take their place."""
    try:
        codes = encoder.encode(memory.tiles(slot, count, encoder.spec.tile_px))
        np.copyto(memory.codes(slot, count, encoder.spec.code_size), codes)
    except Exception as error:
        channel.send_error(error, {"slot": slot})
    else:
        channel.send({"slot": slot, "agreement": encoder.agreement, "batch_tiles": encoder.batch_tiles})


def main(fd: str, slots: str, graph: str, runtime: str, device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it ends it, by closing its questions
    channel, memory = Channel(), SharedTiles(int(fd), int(slots))
    try:
        serve(channel, memory, load_encoder(Path(graph), cast(Runtime, runtime), device), int(slots))
    except (EOFError, BrokenPipeError):  # the other end is closed
        return
    except Exception as error:
        channel.send_error(error, {})


def serve(channel: Channel, memory: SharedTiles, encoder: LoadedEncoder, slots: int) -> None:
    """Raises EOFError or BrokenPipeError when the other end is closed."""
    loaded = {"device": str(encoder.device), "device_note": encoder.device_note, "batch_tiles": encoder.batch_tiles}
    channel.send({"spec": encoder.spec.to_json(), **loaded})
    with ThreadPoolExecutor(slots) as pool:
        try:
            while True:
                question = channel.question()
                pool.submit(answer, channel, encoder, memory, question["slot"], question["count"])
        finally:
            pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
