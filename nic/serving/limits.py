"""What a served model opens and how much it does for one request. Needs neither numpy nor a slide."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nic.errors import OutsideRoots

ROOTS, REMOTE = "NIC_SLIDE_ROOTS", "://"
NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Limits:
    """Folders that slides may lie in, and the most of everything.

    roots: resolved. rows: of one request. seconds: of one request, looked at before each batch of tiles. tiles: of one
    slide. slide_px: width times height at level 0. region_px: of an image in a row. features_bytes: what the arrays of
    a file of codes take in memory. at_once: slides compressed at a time, by one server process; they share its cores.
    apart: whether slides are read in processes of their own, which their decoders may crash; reader_mb: memory of each.
    """

    roots: tuple[Path, ...]
    rows: int = 256
    seconds: float = 55.0
    tiles: int = 100_000
    slide_px: int = 40_000_000_000
    region_px: int = 16_777_216
    features_bytes: int = 1 << 30
    at_once: int = 2
    apart: bool = True
    reader_mb: int = 8192

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Limits":
        """NIC_SLIDE_ROOTS, folders separated by the system's path separator, else the one the server was started in;
        NIC_MAX_ROWS, NIC_MAX_SECONDS, NIC_MAX_TILES, NIC_AT_ONCE and NIC_READER_MB where they are set."""
        roots = environ.get(ROOTS) or str(Path.cwd())
        return cls(
            tuple(Path(root).resolve() for root in roots.split(os.pathsep) if root),
            rows=int(environ.get("NIC_MAX_ROWS", cls.rows)),
            seconds=float(environ.get("NIC_MAX_SECONDS", cls.seconds)),
            tiles=int(environ.get("NIC_MAX_TILES", cls.tiles)),
            at_once=int(environ.get("NIC_AT_ONCE", cls.at_once)),
            reader_mb=int(environ.get("NIC_READER_MB", cls.reader_mb)),
        )

    @classmethod
    def none(cls, at_once: int = 1) -> "Limits":
        """For one's own slides in one's own process. at_once: how many share its cores."""
        roots = (Path("/"),)
        return cls(roots, NO_LIMIT, float("inf"), NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT, at_once, apart=False)

    def opened(self, place: str) -> Path:
        """The path, symlinks resolved. Raises OutsideRoots, which does not say whether there is such a file."""
        if REMOTE in place or "\0" in place:
            raise OutsideRoots("names no file of this server; wanted a path, addresses are not opened")
        path = Path(place).resolve()
        if not any(path.is_relative_to(root) for root in self.roots):
            raise OutsideRoots(f"lies outside the folders that are served; the operator names them in {ROOTS}")
        return path
