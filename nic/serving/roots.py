"""The roots: a row may name files and folders below them, and those may name no file outside."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from nic.errors import OutsideRoots, UnreadableSlide

Roots = tuple[Path, ...]
REMOTE = "://"
LONGEST_PLACE = 4096
"""Characters of a path; Linux opens no longer one."""
KEY_FILE_BYTES = 64 << 10
"""OpenSlide reads no longer key file of Hamamatsu."""
SLIDEDAT_BYTES = 1 << 20
"""Of MIRAX."""
JOURNALS = ("-journal", "-wal", "-shm")

_OUTSIDE = "cannot be resolved or lies outside the folders that are served, which the operator names in NIC_SLIDE_ROOTS"
_NAMES = re.compile(
    rb"^\s*(?:INDEXFILE|FILE_\d+|ImageFile[^=\n]*|MapFile[^=\n]*|OptimisationFile[^=\n]*|MacroImage[^=\n]*)\s*="
    rb"[ \t]*(.*?)\s*$",
    re.MULTILINE,
)
"""Lines of a Slidedat.ini (MIRAX) or a key file (Hamamatsu VMS and VMU) that name a file which OpenSlide opens."""


def path_of(place: str) -> Path:
    """A row's text as a path; no file is touched. Raises OutsideRoots."""
    if REMOTE in place or "\0" in place or len(place) > LONGEST_PLACE:
        raise OutsideRoots("is not a path of this server; wanted one, addresses are not opened")
    return Path(place)


def resolve(path: Path, roots: Roots) -> Path:
    """The path with symlinks resolved, if a slide or a file of codes may be opened there.

    Raises OutsideRoots, without saying whether the file exists; also when a slide of several files names one that lies
    outside. Raises UnreadableSlide for a pipe, a socket or a device, which would block its reader.
    """
    resolved = _under(path, roots)
    _check_regular(resolved)
    for other in _companions(resolved):
        _check_regular(_under(other, roots))
    return resolved


def _under(path: Path, roots: Roots) -> Path:
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError):  # too long a name, a circle of symlinks, a null byte
        raise OutsideRoots(_OUTSIDE) from None
    if not any(resolved.is_relative_to(root) for root in roots):
        raise OutsideRoots(_OUTSIDE)
    return resolved


def _check_regular(path: Path) -> None:
    """A file that is missing passes; whoever opens it reports that."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OutsideRoots(_OUTSIDE) from None
        raise
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UnreadableSlide(f"{path.name}: a pipe, a socket or a device; wanted a file")


def _companions(path: Path) -> Iterator[Path]:
    """The other files that OpenSlide 4.0 may open for a slide. Its drivers go by contents, not by suffixes.

    DICOM: all files of the folder. MIRAX: Slidedat.ini in the folder of the slide's name, and what it names there.
    Hamamatsu VMS, VMU: what the key file names. Trestle: `.Full`. Sakura: the journals of SQLite.
    """
    if path.is_dir():
        yield from _not_regular(path)
        return
    head = _head(path, KEY_FILE_BYTES + 1)
    if head[128:132] == b"DICM":
        yield from _not_regular(path.parent)
    if len(head) <= KEY_FILE_BYTES and b"Virtual Microscope Specimen]" in head:
        yield from _named(path.parent, head)
    if path.suffix == ".mrxs":
        slidedat = path.with_suffix("") / "Slidedat.ini"
        yield slidedat
        yield from _named(slidedat.parent, _head(slidedat, SLIDEDAT_BYTES))
    yield path.with_suffix(".Full")
    yield from (path.with_name(path.name + journal) for journal in JOURNALS)


def _not_regular(folder: Path) -> Iterator[Path]:
    """Symlinks, pipes, sockets and devices of a folder."""
    with os.scandir(folder) as entries:
        yield from (Path(e.path) for e in entries if not (e.is_file(follow_symlinks=False) or e.is_dir()))


def _named(folder: Path, content: bytes) -> Iterator[Path]:
    """Files that a key file names. OpenSlide joins each name to the folder and follows it anywhere."""
    for name in _NAMES.findall(content):
        if b"/" in name or b"\\" in name or name in (b".", b".."):
            raise OutsideRoots("names another file by a path; wanted names of files in its own folder")
        if name:
            yield folder / os.fsdecode(name)


def _head(path: Path, most_bytes: int) -> bytes:
    """The first bytes; none of what is not a regular file, which could block."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(file, "rb") as content:
        return content.read(most_bytes) if stat.S_ISREG(os.fstat(file).st_mode) else b""
