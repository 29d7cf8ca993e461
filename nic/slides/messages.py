"""MessageBuffer between this process and its child processes, which read slides or encode tiles.

Requests to a child are pickles, because a child trusts its parent. A child answers with JSON, plain arrays and tiles in
shared memory: a slide may take over the decoder that reads it, and nothing that such a child sends is run.
"""

import builtins
import json
import math
import mmap
import os
import pickle
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nic.errors
from nic.errors import NicError

SLOTS = 3
"""Batches of tiles that a child may be ahead of its parent."""
SLOT_BYTES = 64 << 20
"""Address space of each slot; only what holds tiles takes memory."""
LENGTH_BYTES = 8
DTYPES = ("bool", "uint8", "int32", "int64", "float64")
"""Types of arrays in messages."""

Message = dict[str, Any]


class SharedTiles:
    """Memory that two processes share, in slots. fd: its file descriptor, which a child inherits."""

    def __init__(self, fd: int | None = None, slots: int = SLOTS) -> None:
        self.slots = slots
        self.fd = _nameless_file(slots * SLOT_BYTES) if fd is None else fd
        self._memory = mmap.mmap(self.fd, slots * SLOT_BYTES)

    def tiles(self, slot: int, count: int, tile_px: int) -> NDArray[np.uint8]:
        """A view of a slot's first tiles, uint8 [count, tile_px, tile_px, 3]. Raises ValueError beyond its end."""
        size = 3 * count * tile_px**2
        self._check(slot, size)
        flat = np.frombuffer(self._memory, np.uint8, size, slot * SLOT_BYTES)
        return flat.reshape(count, tile_px, tile_px, 3)

    def codes(self, slot: int, count: int, code_size: int) -> NDArray[np.float32]:
        """A view of a slot's first codes, float32 [count, code_size], which overwrite their tiles. Raises ValueError
        beyond its end."""
        self._check(slot, 4 * count * code_size)
        flat = np.frombuffer(self._memory, np.float32, count * code_size, slot * SLOT_BYTES)
        return flat.reshape(count, code_size)

    def close(self) -> None:
        """Views stay readable; the memory goes with the last of them."""
        os.close(self.fd)

    def _check(self, slot: int, size: int) -> None:
        if not (0 <= slot < self.slots and 0 <= size <= SLOT_BYTES):
            raise ValueError(f"slot {slot} of {size} bytes")


def _nameless_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("nic-tiles")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


def request_bytes(value: Any) -> bytes:
    """A value as it is written to a child."""
    content = pickle.dumps(value)
    return len(content).to_bytes(LENGTH_BYTES, "little") + content


def read_request(fd: int) -> Any:
    """The next request. Raises EOFError when the parent has closed its end."""
    return pickle.loads(_exactly(fd, int.from_bytes(_exactly(fd, LENGTH_BYTES), "little")))


def _exactly(fd: int, size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = os.read(fd, size - len(content))
        if not more:
            raise EOFError
        content += more
    return content


def message_bytes(values: Mapping[str, Any]) -> bytes:
    """Values of JSON types, and arrays: a line of JSON, then the arrays' bytes."""
    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    head = {
        "values": {name: value for name, value in values.items() if name not in arrays},
        "arrays": {name: (str(array.dtype), array.shape) for name, array in arrays.items()},
    }
    return b"".join([json.dumps(head).encode(), b"\n", *(array.tobytes() for array in arrays.values())])


class MessageBuffer:
    """Assembles messages from pieces of any size."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, content: bytes) -> None:
        self._bytes += content

    def next(self) -> Message | None:
        """The next message; None until it is complete. Raises ValueError, KeyError or TypeError if it is malformed."""
        line, newline, rest = self._bytes.partition(b"\n")
        if not newline:
            return None
        head = json.loads(line)
        values: Message = head["values"]
        start = 0
        for name, (dtype, shape) in head["arrays"].items():
            if dtype not in DTYPES or any(side < 0 for side in shape):
                raise ValueError(f"an array of {dtype} {shape}")
            count = math.prod(shape)
            stop = start + count * np.dtype(dtype).itemsize
            if len(rest) < stop:
                return None
            values[name] = np.frombuffer(rest, dtype, count, start).reshape(shape) if count else np.empty(shape, dtype)
            start = stop
        self._bytes = rest[start:]
        return values


class ReaderFault(RuntimeError):
    """A process that reads slides met an unforeseen error. where: its kind and place in the code."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


def place_of(error: BaseException) -> str:
    """The kind of an error and the lines of code it passed, innermost first; not its text, which may name a patient."""
    if isinstance(error, ReaderFault):
        return error.where
    frames = reversed(traceback.extract_tb(error.__traceback__)[-3:])
    number = f" {error.errno}" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{number} at {' < '.join(f'{PurePath(f.filename).name}:{f.lineno}' for f in frames)}"


def error_values(error: BaseException) -> Message:
    """An error as a message: kind and words of a NicError or of the system; of any other error only its place."""
    if isinstance(error, NicError):
        cause = error.__cause__
        number = cause.errno if isinstance(cause, OSError) else None
        return {"error": type(error).__name__, "text": str(error), "errno": number}
    if isinstance(error, OSError) and error.errno is not None:
        return {"error": "OSError", "text": error.strerror or "", "errno": error.errno}
    if isinstance(error, MemoryError):
        return {"error": "MemoryError", "text": "", "errno": None}
    return {"error": "fault", "text": place_of(error), "errno": None}


def error_of(values: Message) -> Exception:
    """The error of a message, caused by the system's error if it was."""
    kind, text, number = values["error"], str(values["text"]), values["errno"]
    if kind == "OSError":
        return OSError(number, text)
    if kind == "MemoryError":
        return builtins.MemoryError(text)
    error_class = getattr(nic.errors, kind, None)
    if not (isinstance(error_class, type) and issubclass(error_class, NicError)):
        return ReaderFault(text)
    error = error_class(text)
    if number is not None:
        error.__cause__ = OSError(number, os.strerror(number))
    return error
