"""The limits of a server, from its environment, and the budget of one slide of a request."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from nic.errors import EncoderError, OverLimit, SettingError
from nic.graphs.device import AUTO, Device
from nic.threads import cores

Number = TypeVar("Number", int, float)
ROOTS = "NIC_SLIDE_ROOTS"
NO_LIMIT = 1 << 62
MB = 1 << 20
TOO_LATE = "not done in time; compress the slide, and give the file of its codes"
MOST_READERS = 8
"""Default for the processes that read tiles: each takes some 100 MB."""


@dataclass(frozen=True)
class Limits:
    """The folders that slides may lie in, and the largest values allowed.

    roots: resolved. rows: of one request. seconds: of one request, checked before each slide, each batch of tiles and
    each map. look_seconds: to open a slide, or to read a file of codes; a share that is silent longer is given up.
    tiles: of one slide. slide_px: width times height at level 0. region_px: of an image in a row. features_bytes: of
    the arrays in a file of codes. memory_bytes: of codes, their dense grids and the networks' activations in one server
    process, for all its requests together. maps_bytes: of all maps of one request; an answer is held some four times on
    its way out. at_once: slides that one server process compresses at a time; they share its cores. untrusted: whether
    strangers name the slides: the processes that read them have bounded memory and try each slide once, and files of
    codes are copied. readers: processes that read tiles; at_once + 1 more open slides and files of codes. 0: none, the
    server itself reads. reader_mb: memory of each. device: that the networks run on.
    """

    roots: tuple[Path, ...]
    rows: int = 256
    seconds: float = 55.0
    look_seconds: float = 20.0
    tiles: int = 100_000
    slide_px: int = 40_000_000_000
    region_px: int = 16_777_216
    features_bytes: int = 1 << 30
    memory_bytes: int = 4096 * MB
    maps_bytes: int = 64 * MB
    at_once: int = 2
    untrusted: bool = True
    readers: int = field(default_factory=lambda: min(cores(), MOST_READERS))
    reader_mb: int = 8192
    device: Device = AUTO

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Limits":
        """NIC_SLIDE_ROOTS: folders separated by the system's path separator; without it, the working directory.

        The rest: NIC_MAX_ROWS, NIC_MAX_SECONDS, NIC_LOOK_SECONDS, NIC_MAX_TILES, NIC_MEMORY_MB, NIC_MAX_MAPS_MB,
        NIC_AT_ONCE, NIC_READERS, NIC_READER_MB, NIC_DEVICE. Raises SettingError.
        """
        roots = environ.get(ROOTS) or str(Path.cwd())
        return cls(
            tuple(Path(root).resolve() for root in roots.split(os.pathsep) if root),
            rows=number(environ, "NIC_MAX_ROWS", int, cls.rows),
            seconds=number(environ, "NIC_MAX_SECONDS", float, cls.seconds),
            look_seconds=number(environ, "NIC_LOOK_SECONDS", float, cls.look_seconds),
            tiles=number(environ, "NIC_MAX_TILES", int, cls.tiles),
            memory_bytes=number(environ, "NIC_MEMORY_MB", int, cls.memory_bytes // MB) * MB,
            maps_bytes=number(environ, "NIC_MAX_MAPS_MB", int, cls.maps_bytes // MB) * MB,
            at_once=number(environ, "NIC_AT_ONCE", int, cls.at_once),
            readers=number(environ, "NIC_READERS", int, min(cores(), MOST_READERS)),
            reader_mb=number(environ, "NIC_READER_MB", int, cls.reader_mb),
            device=device_from(environ),
        )

    @classmethod
    def none(cls, at_once: int = 1, readers: int = 0, device: Device = AUTO) -> "Limits":
        """No limits, for one's own slides. readers: processes that read them; 0: this one reads."""
        return cls(
            (Path("/"),), NO_LIMIT, float("inf"), float("inf"), NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT,
            NO_LIMIT, at_once, untrusted=False, readers=readers, device=device,
        )  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What one slide may cost. tiles: most tiles of tissue. deadline_s: of the monotonic clock. batch_tiles: encoded
    at a time; 0: as many as suit the encoder. features_bytes: of the arrays in a file of codes. memory_bytes: to answer
    from codes, see nic.serving.memory."""

    tiles: int
    deadline_s: float
    batch_tiles: int = 0
    features_bytes: int = NO_LIMIT
    memory_bytes: int = NO_LIMIT

    @property
    def left_s(self) -> float:
        return max(0.0, self.deadline_s - time.monotonic())

    def check_time(self) -> None:
        """Raises OverLimit past the deadline."""
        if time.monotonic() > self.deadline_s:
            raise OverLimit(TOO_LATE)


def device_from(environ: Mapping[str, str]) -> Device:
    """NIC_DEVICE; auto where it is not set. Raises SettingError."""
    try:
        return Device.named(environ.get("NIC_DEVICE") or "auto")
    except EncoderError as error:
        raise SettingError(f"NIC_DEVICE: {error}") from None


def number(environ: Mapping[str, str], name: str, kind: Callable[[str], Number], default: Number) -> Number:
    """A number above 0 from the environment; `default` where the variable is not set. Raises SettingError."""
    text = environ.get(name, "")
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        raise SettingError(f"{name}={text}: wanted a number above 0") from None
    if not value > 0:
        raise SettingError(f"{name}={text}: wanted a number above 0")
    return value
