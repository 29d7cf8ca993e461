"""Slides that lie elsewhere (s3://, https://, whatever fsspec reads): found there, and staged into a bounded folder."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from fsspec.core import url_to_fs

from nic.errors import MissingExtra, NotStaged, UnreadableSlide
from nic.slides.slide import SUFFIXES, SlideSource, find_slides, is_address

SEVERAL_FILES = (".mrxs", ".vms", ".vmu", ".dcm")
"""Formats of which a slide is more than the file that is named."""
TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "LastModified", "Last-Modified", "mtime", "created")
"""What the stores of fsspec call a file's tag or date, tags first."""
POLL_S = 0.2


def find_sources(where: str) -> list[SlideSource]:
    """As find_slides, also of an address: a slide's, a folder's, or a glob. Raises UnreadableSlide, NotStaged."""
    if not is_address(where):
        return find_slides(where)
    if Path(urlsplit(where).path).suffix.lower() in SUFFIXES and "*" not in where:
        return [SlideSource.elsewhere(where)]
    system, path = _opened(where)
    system.invalidate_cache()  # of what this process was told before
    names = _told(where, lambda: system.glob(path) if "*" in path else system.find(path, maxdepth=1))
    slides = sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES)
    if not slides:
        raise UnreadableSlide(f"{where}: no slides there; wanted the address of a slide, a folder or a glob")
    return [SlideSource.elsewhere(system.unstrip_protocol(name)) for name in slides]


@dataclass(frozen=True)
class Staging:
    """folder: of this machine, shared by runs; holds at most most_bytes of slides. What is in use is never removed."""

    folder: Path
    most_bytes: int

    @contextmanager
    def local(self, source: SlideSource) -> Iterator[SlideSource]:
        """The slide on this machine while the context lasts; one that is here already is given as it is.

        Raises NotStaged: unreachable, larger than the folder may be, or a slide of several files.
        """
        if not source.uri:
            yield source
            return
        if source.path.suffix.lower() in SEVERAL_FILES:
            raise NotStaged(f"{source.slide_id}: {source.path.suffix} is a slide of several files; copy them here")
        key = hashlib.sha256(f"{source.uri} {version_of(source)}".encode()).hexdigest()[:16]
        (self.folder / key).mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock(key)):
            file = self.folder / key / source.path.name
            if not file.is_file():
                self._fetch(source, file)
            os.utime(file)
            yield replace(source, path=file, uri="")

    def _lock(self, key: str) -> Path:
        return self.folder / f"{key}.lock"

    def _fetch(self, source: SlideSource, file: Path) -> None:
        """Room is taken before, by an empty file of the slide's size, so that runs cannot take it twice."""
        system, path = _opened(source.uri)
        size = _told(source.slide_id, lambda: int(system.size(path) or 0))
        if size > self.most_bytes:
            raise NotStaged(f"{source.slide_id}: {size} bytes, the folder of staged slides takes {self.most_bytes}")
        room, draft = file.with_name(".room"), file.with_name(".draft")
        while not self._take_room(room, size):
            time.sleep(POLL_S)  # until a slide that is in use is let go of
        try:
            _told(source.slide_id, lambda: system.get_file(path, str(draft)))
            if size and draft.stat().st_size != size:
                raise NotStaged(f"{source.slide_id}: {draft.stat().st_size} bytes came of {size}")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
            room.unlink(missing_ok=True)

    def _take_room(self, room: Path, size: int) -> bool:
        """Whether there is room now; the least recently used make it."""
        with FileLock(self.folder / "room.lock"):
            held = {file: file.stat() for file in self.folder.glob("*/*") if file != room and file.name != ".draft"}
            surplus = sum(stat.st_size for stat in held.values()) + size - self.most_bytes
            for file in sorted(held, key=lambda file: held[file].st_mtime):
                if surplus > 0 and self._forget(file):
                    surplus -= held[file].st_size
            if surplus > 0:
                return False
            with room.open("wb") as content:
                content.truncate(size)
            return True

    def _forget(self, file: Path) -> bool:
        """Remove a file, or the room of a run that died, unless somebody uses it."""
        try:
            with FileLock(self._lock(file.parent.name), timeout=0):
                file.unlink(missing_ok=True)
        except Timeout:
            return False
        return True


def version_of(source: SlideSource) -> str:
    """What changes when the slide at an address does: its tag or its date, and its size; empty for one of this machine.

    Raises NotStaged.
    """
    if not source.uri:
        return ""
    system, path = _opened(source.uri)
    told = _told(source.slide_id, lambda: system.info(path))
    tag = next((told[name] for name in TAGS if told.get(name)), "")
    return f"{tag} {told['size']}"


def _opened(uri: str) -> tuple[Any, str]:
    try:
        return url_to_fs(uri)  # type: ignore[no-any-return]
    except ImportError as error:
        raise MissingExtra(f"{uri.partition('://')[0]}: {error}") from error
    except ValueError as error:
        raise NotStaged(f"{uri}: {error}") from error


def _told(what: str, ask: Callable[[], Any]) -> Any:
    """What a remote store answers. Raises NotStaged in place of the many kinds of errors that stores have."""
    try:
        return ask()
    except Exception as error:  # each store of fsspec brings its own, of no common root
        raise NotStaged(f"{what}: {type(error).__name__}: {error}") from error
