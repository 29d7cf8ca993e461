"""An encoder on several devices behind one `encode`: a process for each device, which holds the one session there."""

import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.encoder import encoding_process  # by its name, so that digests of code follow it
from nic.encoder.batches import RUNS_AT_ONCE
from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.encoder.spec import EXACT, EncoderSpec, Runtime, check_tiles
from nic.errors import EncoderError
from nic.graphs.device import Device, devices_named
from nic.slides.messages import SLOT_BYTES, Message, MessageBuffer, SharedTiles, error_of, request_bytes
from nic.slides.reading_process import KILL_S, exit_reason, start_process
from nic.threads import cores

FEWEST_SLOTS = 2
"""Batches in a process at least: one is copied while another is encoded."""


@contextmanager
def encoder_on(path: Path, runtime: Runtime = EXACT, devices: str = "auto") -> Iterator["LoadedEncoder | EncoderPool"]:
    """An encoder on one device in this process, or on several (cuda:all, or cpu,cpu) in a process for each.

    Raises as load_encoder.
    """
    device, *others = devices_named(devices)
    if others:
        with closing(EncoderPool(path, runtime, [device, *others])) as pool:
            yield pool
    else:
        yield load_encoder(path, runtime, device)


class EncodingProcess:
    """One process of nic/encoder/encoding_process.py, from the caller's side; threads may share it.

    device: of its session. free: unused slots of the shared memory. tiles: how many it encoded so far.
    agreement, batch_tiles: as in LoadedEncoder, of its last answer.
    """

    def __init__(self, path: Path, runtime: Runtime, device: Device, slots: int) -> None:
        self.device, self.slots = device, slots
        self.free = list(range(slots))
        self.tiles = 0
        self.agreement: float | None = None
        self.batch_tiles = 0
        self._memory = SharedTiles(slots=slots)
        command = [sys.executable, "-m", encoding_process.__name__, "{fd}", str(slots), str(path), runtime]
        self._process: subprocess.Popen[bytes] = start_process([*command, str(device)], self._memory)
        self._lock = threading.Lock()
        self._ended: EncoderError | None = None
        self._ready: Future[Message] = Future()
        self._waiting: dict[int, Future[Message]] = {}  # by slot
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> Message:
        """The spec and device of its encoder, once that is loaded. Raises as load_encoder."""
        return self._ready.result()

    def encode(self, slot: int, tiles: NDArray[np.uint8], code_size: int) -> NDArray[np.float32]:
        """Codes [N, code_size] of tiles that fit into a slot. Raises whatever encoding raised there, and EncoderError
        when the process has ended."""
        np.copyto(self._memory.tiles(slot, len(tiles), tiles.shape[1]), tiles)
        answer = Future[Message]()
        with self._lock:
            self.check()
            self._waiting[slot] = answer
            self._write(request_bytes({"slot": slot, "count": len(tiles)}))
        values = answer.result()
        with self._lock:
            self.tiles += len(tiles)
            self.agreement, self.batch_tiles = values["agreement"], values["batch_tiles"]
        return self._memory.codes(slot, len(tiles), code_size).copy()

    def check(self) -> None:
        """Raises EncoderError when it has ended."""
        if self._ended:
            raise self._ended

    def stop(self) -> None:
        """Let it end: its questions are closed."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> None:
        """Stop it, and kill it where it does not end by itself."""
        self.stop()
        self._listener.join(KILL_S)
        if self._listener.is_alive():
            self._process.kill()
            self._listener.join(KILL_S)
        self._memory.close()

    def _write(self, content: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(content)  # less than a pipe takes at once
        except BrokenPipeError:  # it has ended; the listener finds out how
            return

    def _listen(self) -> None:
        assert self._process.stdout is not None
        messages = MessageBuffer()
        with self._process.stdout as answers:
            try:
                while content := os.read(answers.fileno(), 1 << 16):
                    messages.feed(content)
                    while (values := messages.next()) is not None:
                        self._take(values)
            except (ValueError, KeyError, TypeError):  # not one of our answers
                self._process.kill()
        error = EncoderError(f"{self.device}: its encoding process ended by {exit_reason(self._process.wait())}")
        with self._lock:
            self._ended = error
            waiting = [*self._waiting.values(), *([] if self._ready.done() else [self._ready])]
            self._waiting.clear()
        for future in waiting:
            future.set_exception(error)

    def _take(self, values: Message) -> None:
        with self._lock:
            future = self._waiting.pop(values["slot"]) if "slot" in values else self._ready
        if "error" in values:
            future.set_exception(error_of(values))
        else:
            future.set_result(values)


class EncoderPool:
    """Encodes each batch on the device with the least to do; threads may share it. Whoever makes it closes it.

    All processes start together. When one dies, its open batches and all later ones raise EncoderError.
    Raises as load_encoder.
    """

    def __init__(self, path: Path, runtime: Runtime, devices: Sequence[Device]) -> None:
        cpus = max(1, sum(device.kind == "cpu" for device in devices))
        cpu_slots = max(FEWEST_SLOTS, -(-cores() // cpus))
        self.runtime = runtime
        self._changed = threading.Condition()
        self._processes: list[EncodingProcess] = []
        try:
            for device in devices:
                slots = cpu_slots if device.kind == "cpu" else RUNS_AT_ONCE
                self._processes.append(EncodingProcess(path.absolute(), runtime, device, slots))
            loaded = [process.ready() for process in self._processes]
            self.spec = EncoderSpec.from_json(loaded[0]["spec"])
            if len({values["spec"] for values in loaded}) > 1:
                raise EncoderError(f"{path.name}: changed while it was loaded")
        except BaseException:
            self.close()
            raise
        for process, values in zip(self._processes, loaded, strict=True):
            process.device, process.batch_tiles = Device.named(values["device"]), values["batch_tiles"]
        self.device_note = ", ".join(values["device_note"] for values in loaded)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.stop()
        for process in self._processes:
            process.close()

    @property
    def pids(self) -> list[int]:
        """Process ids, in the order of the devices."""
        return [process.pid for process in self._processes]

    @property
    def device(self) -> Device:
        """The device of the first process; `shares` names them all."""
        return self._processes[0].device

    @property
    def shares(self) -> str:
        """Each device with the tiles that it encoded so far."""
        return ", ".join(f"{process.device} ({process.tiles:,} tiles)" for process in self._processes)

    @property
    def agreement(self) -> float | None:
        """The least agreement of the devices; None before, and for an encoder that runs in f32."""
        return min((p.agreement for p in self._processes if p.agreement is not None), default=None)

    @property
    def at_once(self) -> int:
        """How many threads it pays to encode with at the same time."""
        return sum(process.slots for process in self._processes)

    @property
    def batch_tiles(self) -> int:
        """Tiles to encode at a time, as many as suit every device."""
        return min(process.batch_tiles for process in self._processes)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] RGB to codes float32 [N, D].

        Raises EncoderError for other arrays, and when a process has ended; OutOfMemory when not even one tile fits.
        """
        check_tiles(tiles, self.spec)
        for process in self._processes:
            process.check()
        most = max(1, SLOT_BYTES // max(3 * self.spec.tile_px**2, 4 * self.spec.code_size))
        parts = []
        for first in range(0, max(1, len(tiles)), most):
            with self._lent() as (process, slot):
                parts.append(process.encode(slot, tiles[first : first + most], self.spec.code_size))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @contextmanager
    def _lent(self) -> Generator[tuple[EncodingProcess, int], None, None]:
        """The process with the least to do, and a slot of it; waits while all are taken."""
        with self._changed:
            while not (idle := [process for process in self._processes if process.free]):
                self._changed.wait()
            process = min(idle, key=lambda process: (process.slots - len(process.free), process.tiles))
            slot = process.free.pop()
        try:
            yield process, slot
        finally:
            with self._changed:
                process.free.append(slot)
                self._changed.notify()
