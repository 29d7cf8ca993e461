"""How much a served model does for one request, from which folders and on which device. Needs no slide."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from nic.errors import EncoderError, SettingError
from nic.graphs.device import AUTO, Device
from nic.threads import cores

Number = TypeVar("Number", int, float)
ROOTS = "NIC_SLIDE_ROOTS"
NO_LIMIT = 1 << 62
MB = 1 << 20
MOST_READERS = 8
"""Processes that read tiles, unless more are asked for: each takes some 100 MB."""


@dataclass(frozen=True)
class Limits:
    """Folders that slides may lie in, and the most of everything.

    roots: resolved. rows: of one request. seconds: of one request, looked at before each slide, each batch of tiles and
    each map. look_seconds: to open a slide, or to read a file of codes; a share that is silent longer is given up.
    tiles: of one slide. slide_px: width times height at level 0. region_px: of an image in a row. features_bytes: what
    the arrays of a file of codes take in memory. memory_bytes: what codes, their dense grids and the networks'
    activations may take in one server process, of all its requests together. maps_bytes: of all maps of one request;
    an answer is held some four times on its way out. at_once: slides compressed at a time, by one server process; they
    share its cores. apart: whether slides are those of strangers: processes that read them have bounded memory and read
    each slide once, and files of codes are copied. readers: processes that read tiles, beside at_once and one more that
    open slides and files of codes; 0: none, the server reads. reader_mb: memory of each. device: that the networks
    run on.
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
    apart: bool = True
    readers: int = field(default_factory=lambda: min(cores(), MOST_READERS))
    reader_mb: int = 8192
    device: Device = AUTO

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Limits":
        """NIC_SLIDE_ROOTS, folders separated by the system's path separator, else the one the server was started in;
        NIC_MAX_ROWS, NIC_MAX_SECONDS, NIC_LOOK_SECONDS, NIC_MAX_TILES, NIC_MEMORY_MB, NIC_MAX_MAPS_MB, NIC_AT_ONCE,
        NIC_READERS, NIC_READER_MB and NIC_DEVICE where they are set. Raises SettingError."""
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
        """For one's own slides. at_once: how many share the cores. readers: processes that read them; 0: this one."""
        return cls(
            (Path("/"),), NO_LIMIT, float("inf"), float("inf"), NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT,
            NO_LIMIT, at_once, apart=False, readers=readers, device=device,
        )  # fmt: skip


def device_from(environ: Mapping[str, str]) -> Device:
    """NIC_DEVICE, or auto where it is not set. Raises SettingError."""
    try:
        return Device.named(environ.get("NIC_DEVICE") or "auto")
    except EncoderError as error:
        raise SettingError(f"NIC_DEVICE: {error}") from None


def number(environ: Mapping[str, str], name: str, kind: Callable[[str], Number], usual: Number) -> Number:
    """A number above 0 from the environment; `usual` where the variable is not set. Raises SettingError."""
    text = environ.get(name, "")
    if not text:
        return usual
    try:
        value = kind(text)
    except ValueError:
        raise SettingError(f"{name}={text}: wanted a number") from None
    if not value > 0:
        raise SettingError(f"{name}={text}: wanted a number above 0")
    return value
