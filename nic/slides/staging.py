"""Slides that lie elsewhere (s3://, https://, whatever fsspec reads): found there, and staged into a bounded folder."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import Timeout
from fsspec.asyn import AsyncFileSystem, sync
from fsspec.callbacks import Callback
from fsspec.core import url_to_fs
from fsspec.exceptions import FSTimeoutError

from nic.errors import MissingExtra, NotStaged, UnreadableSlide
from nic.files import locked
from nic.slides.names import file_name, is_hidden, suffix
from nic.slides.slide import SUFFIXES, SlideSource, find_slides, is_address

SEVERAL_FILES = (".mrxs", ".vms", ".vmu", ".dcm")
"""Formats of which a slide is more than the file that is named."""
TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "LastModified", "Last-Modified", "mtime", "created")
"""What the stores of fsspec call a file's tag or date, tags first."""
POLL_S = 0.2
SILENT_S = 60.0
"""A web server that is silent for so long is given up."""
WEB = ("http://", "https://")
NEVER_S = float("inf")

Opener = Callable[[str], tuple[Any, str]]
"""An address to the file system of fsspec that it lies in, and its path there. Raises NotStaged, MissingExtra."""


def find_sources(where: str) -> list[SlideSource]:
    """As find_slides, also of an address: a slide's, a folder's, or a glob.

    Raises UnreadableSlide, NotStaged, and UnreachedSlide where a folder cannot be read now.
    """
    if not is_address(where):
        return find_slides(where)
    if suffix(file_name(where)) in SUFFIXES and "*" not in where:
        return [SlideSource.elsewhere(where)]
    system, path = opened(where)
    system.invalidate_cache()  # of what this process was told before
    names = _told(where, lambda: system.glob(path) if "*" in path else system.find(path, maxdepth=1))
    slides = sorted(name for name in names if suffix(name) in SUFFIXES and not is_hidden(PurePosixPath(name).name))
    if not slides:
        raise UnreadableSlide(f"{where}: no slides there; wanted the address of a slide, a folder or a glob")
    return [SlideSource.elsewhere(system.unstrip_protocol(name)) for name in slides]


@dataclass(frozen=True)
class Told:
    """What a store tells of a slide. tag: its tag or its date, else empty. size_bytes: None where it does not say."""

    tag: str
    size_bytes: int | None

    @property
    def version(self) -> str:
        """What changes when the slide does."""
        return f"{self.tag} {self.size_bytes}"


def opened(uri: str) -> tuple[Any, str]:
    """Whatever fsspec reads. Raises NotStaged, MissingExtra."""
    try:
        return url_to_fs(uri, **(_patience() if uri.startswith(WEB) else {}))  # type: ignore[no-any-return]
    except ImportError as error:
        raise MissingExtra(f"{uri.partition('://')[0]}: {error}") from error
    except ValueError as error:
        raise NotStaged(f"{uri}: {error}") from error


def _patience() -> dict[str, Any]:
    """A slide may take longer than the five minutes that web servers are given else; a silent one is given up."""
    from aiohttp import ClientTimeout  # here: slides that lie on a disk need no web client, slow to import

    return {"client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)}}


@dataclass(frozen=True)
class Staging:
    """folder: of this machine, shared by runs; holds at most most_bytes of slides. What is in use is never removed.

    opened: how addresses are opened. Deadlines are of the monotonic clock; after them NotStaged is raised. What it says
    in words of ours has no cause; words of a library, which may repeat the address, have one.
    """

    folder: Path
    most_bytes: int
    opened: Opener = opened

    @contextmanager
    def local(self, source: SlideSource, deadline_s: float = NEVER_S) -> Iterator[SlideSource]:
        """The slide on this machine while the context lasts; one that is here already is given as it is.

        Raises NotStaged: unreachable, late, larger than the folder may be, of unknown size, or of several files.
        """
        if not source.uri:
            yield source
            return
        with self.as_told(source, self.told(source, deadline_s), deadline_s) as local:
            yield local

    def told(self, source: SlideSource, deadline_s: float = NEVER_S) -> Told:
        """What the store of a slide elsewhere tells of it now. Raises NotStaged."""
        if source.path.suffix.lower() in SEVERAL_FILES:
            raise NotStaged(f"{source.slide_id}: {source.path.suffix} is a slide of several files; copy them here")
        return _asked(self.opened, source, deadline_s)

    @contextmanager
    def as_told(self, source: SlideSource, told: Told, deadline_s: float = NEVER_S) -> Iterator[SlideSource]:
        """As local, of a slide elsewhere, in the version that was told of. Raises NotStaged, also when that is gone."""
        key = hashlib.sha256(f"{source.uri} {told.version}".encode()).hexdigest()[:16]
        (self.folder / key).mkdir(parents=True, exist_ok=True)
        with _alone(self._lock(key), source.slide_id, deadline_s):
            file = self.folder / key / source.path.name
            if not file.is_file():
                self._fetch(source, told, file, deadline_s)
            os.utime(file)
            yield replace(source, path=file, uri="")

    def _lock(self, key: str) -> Path:
        return self.folder / f"{key}.lock"

    def _fetch(self, source: SlideSource, told: Told, file: Path, deadline_s: float) -> None:
        """Room is taken before, by an empty file of the slide's size, so that runs cannot take it twice."""
        who, size = source.slide_id, told.size_bytes
        if size is None:
            raise NotStaged(f"{who}: its store does not say how large it is; wanted a size, to make room for it")
        if size > self.most_bytes:
            raise NotStaged(f"{who}: {size} bytes, the folder of staged slides takes {self.most_bytes}")
        room, draft = file.with_name(".room"), file.with_name(".draft")
        while not self._take_room(room, size):
            if time.monotonic() > deadline_s:
                raise NotStaged(f"{who}: no room in time; the slides that are staged are in use")
            time.sleep(POLL_S)  # until a slide that is in use is let go of
        try:
            system, path = self.opened(source.uri)
            counted = _Counted(who, size)
            _told(who, lambda: _in_time(system, "get_file", path, str(draft), callback=counted, deadline_s=deadline_s))
            if (came := draft.stat().st_size) != size:
                raise NotStaged(f"{who}: {came} bytes came of {size}")
            if self.told(source, deadline_s) != told:
                raise NotStaged(f"{who}: it changed while it was brought here; ask again")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
            room.unlink(missing_ok=True)

    def _take_room(self, room: Path, size: int) -> bool:
        """Whether there is room now; the least recently used make it."""
        with locked(self.folder / "room.lock", NEVER_S):
            for draft in self.folder.glob("*/.draft"):
                self._forget(draft)  # of a run that died; one that is being written has its room counted
            held = {file: stat for file, stat in self._held() if file != room}
            surplus = sum(stat.st_size for stat in held.values()) + size - self.most_bytes
            for file in sorted(held, key=lambda file: held[file].st_mtime):
                if surplus > 0 and self._forget(file):
                    surplus -= held[file].st_size
            if surplus > 0:
                return False
            with room.open("wb") as content:
                content.truncate(size)
            return True

    def _held(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Slides, and room that is taken for some."""
        for file in self.folder.glob("*/*"):
            try:
                stat = file.stat()
            except FileNotFoundError:  # let go of in this moment
                continue
            if file.name != ".draft":
                yield file, stat

    def _forget(self, file: Path) -> bool:
        """Remove a file, or what a run that died left, unless somebody uses it."""
        try:
            with locked(self._lock(file.parent.name), 0):
                file.unlink(missing_ok=True)
        except Timeout:
            return False
        return True


def version_of(source: SlideSource) -> str:
    """What changes when the slide at an address does: its tag or its date, and its size; empty for one of this machine.

    Raises NotStaged.
    """
    return _asked(opened, source, NEVER_S).version if source.uri else ""


class _Counted(Callback):  # type: ignore[misc]
    """Ends a download that brings more than was announced: room was made for that and no more."""

    def __init__(self, who: str, most_bytes: int) -> None:
        super().__init__()
        self.who, self.most_bytes = who, most_bytes

    def call(self, hook_name: str | None = None, **_: Any) -> None:
        if self.value > self.most_bytes:
            raise NotStaged(f"{self.who}: more than the {self.most_bytes} bytes came that its store told of")


@contextmanager
def _alone(lock: Path, who: str, deadline_s: float) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock, _left_s(deadline_s)))
        except Timeout:
            raise NotStaged(f"{who}: not here in time; others are at it") from None
        yield


def _asked(opened: Opener, source: SlideSource, deadline_s: float) -> Told:
    system, path = opened(source.uri)
    told = _told(source.slide_id, lambda: _in_time(system, "info", path, deadline_s=deadline_s))
    tag = next((told[name] for name in TAGS if told.get(name)), "")
    return Told(str(tag), told["size"])


def _in_time(system: Any, what: str, *arguments: Any, deadline_s: float, **options: Any) -> Any:
    """What a method of a file system answers; one that waits for a network is cancelled at the deadline."""
    left_s = _left_s(deadline_s)
    if not left_s:
        raise FSTimeoutError
    if left_s < NEVER_S and isinstance(system, AsyncFileSystem):
        return sync(system.loop, getattr(system, f"_{what}"), *arguments, timeout=left_s, **options)
    return getattr(system, what)(*arguments, **options)


def _left_s(deadline_s: float) -> float:
    return max(0.0, deadline_s - time.monotonic())


def _told(what: str, ask: Callable[[], Any]) -> Any:
    """What a remote store answers. Raises NotStaged in place of the many kinds of errors that stores have."""
    try:
        return ask()
    except NotStaged:
        raise
    except FSTimeoutError:
        raise NotStaged(f"{what}: not here in time") from None
    except Exception as error:  # each store of fsspec brings its own, of no common root
        if isinstance(error.__cause__, NotStaged):  # ours, which a store wrapped
            raise error.__cause__ from None
        raise NotStaged(f"{what}: {type(error).__name__}: {error}") from error
