"""Slides at an address (s3://, https://, whatever fsspec reads): listed there, and copied to a folder of bounded size.

What fails is a NotStaged. One without a `__cause__` is in our own words and may be shown to anybody. One with a cause
repeats the words of a library, which may hold the address or a password in it: it is for the log of whoever runs this.
"""

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
from nic.shared_files import locked
from nic.slides.search import find_slides
from nic.slides.source import SUFFIXES, SlideSource, file_name, is_address, is_hidden, suffix

SEVERAL_FILES = (".mrxs", ".vms", ".vmu", ".dcm")
"""Formats of which a slide is more than the file that is named."""
TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "LastModified", "Last-Modified", "mtime", "created")
"""What the stores of fsspec call a file's tag or date, tags first."""
POLL_S = 0.2
SILENT_S = 60.0
"""A web server that is silent for so long is given up."""
WEB = ("http://", "https://")
NEVER_S = float("inf")

StoreOpener = Callable[[str], tuple[Any, str]]
"""From an address to its file system of fsspec, and its path there. Raises NotStaged, MissingExtra."""


def find_sources(where: str) -> list[SlideSource]:
    """As find_slides, also of an address: a slide's, a folder's, or a glob.

    Raises UnreadableSlide, NotStaged, and UnreachedSlide where a folder cannot be read now.
    """
    if not is_address(where):
        return find_slides(where)
    if suffix(file_name(where)) in SUFFIXES and "*" not in where:
        return [SlideSource.remote(where)]
    system, path = open_store(where)
    system.invalidate_cache()  # fsspec keeps listings
    with store_errors(where):
        names = system.glob(path) if "*" in path else system.find(path, maxdepth=1)
    slides = sorted(name for name in names if suffix(name) in SUFFIXES and not is_hidden(PurePosixPath(name).name))
    if not slides:
        raise UnreadableSlide(f"{where}: no slides there; wanted the address of a slide, a folder or a glob")
    return [SlideSource.remote(system.unstrip_protocol(name)) for name in slides]


def version_of(source: SlideSource) -> str:
    """What changes when the slide at an address does: its tag or date, and its size; empty for one of this machine.

    Raises NotStaged.
    """
    return _stat(open_store, source, NEVER_S).version if source.uri else ""


@dataclass(frozen=True)
class RemoteFile:
    """A file as its store describes it. tag: its tag or date, else empty. size_bytes: None where it is not stated."""

    tag: str
    size_bytes: int | None

    @property
    def version(self) -> str:
        """What changes when the file does."""
        return f"{self.tag} {self.size_bytes}"


def open_store(uri: str) -> tuple[Any, str]:
    """A StoreOpener of all that fsspec reads."""
    try:
        return url_to_fs(uri, **(_web_timeouts() if uri.startswith(WEB) else {}))  # type: ignore[no-any-return]
    except ImportError as error:
        raise MissingExtra(f"{uri.partition('://')[0]}: {error}") from error
    except ValueError as error:
        raise NotStaged(f"{uri}: {error}") from error


def _web_timeouts() -> dict[str, Any]:
    """A slide may take longer than the five minutes of aiohttp; a silent server is given up sooner."""
    from aiohttp import ClientTimeout  # here: slides that lie on a disk need no web client, slow to import

    return {"client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)}}


@dataclass(frozen=True)
class Staging:
    """A folder of this machine with copies of remote slides; runs share it. A slide that is in use is never removed.

    most_bytes: of all copies together. open_store: opens addresses. Deadlines are of the monotonic clock, and past them
    NotStaged is raised.
    """

    folder: Path
    most_bytes: int
    open_store: StoreOpener = open_store

    @contextmanager
    def local(self, source: SlideSource, deadline_s: float = NEVER_S) -> Iterator[SlideSource]:
        """The slide on this machine while the context lasts: itself, or the copy of a remote one.

        Raises NotStaged: unreachable, late, larger than the folder may be, of unknown size, or of several files.
        """
        if not source.uri:
            yield source
            return
        with self.lease(source, self.stat(source, deadline_s), deadline_s) as local:
            yield local

    def stat(self, source: SlideSource, deadline_s: float = NEVER_S) -> RemoteFile:
        """Ask the store of a remote slide what it has there now. Raises NotStaged."""
        if source.path.suffix.lower() in SEVERAL_FILES:
            raise NotStaged(
                f"{source.slide_id}: {source.path.suffix} is a slide of several files; copy them to this machine"
            )
        return _stat(self.open_store, source, deadline_s)

    @contextmanager
    def lease(self, source: SlideSource, file: RemoteFile, deadline_s: float = NEVER_S) -> Iterator[SlideSource]:
        """The copy of a remote slide in one version, fetched unless it is there; it stays while the context lasts.

        Raises NotStaged, also when the store has another version now.
        """
        key = hashlib.sha256(f"{source.uri} {file.version}".encode()).hexdigest()[:16]
        (self.folder / key).mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self._lock_file(key), _left_s(deadline_s)))
            except Timeout:
                raise NotStaged(f"{source.slide_id}: not fetched in time; another process is fetching it") from None
            copy = self.folder / key / source.path.name
            if not copy.is_file():
                self._fetch(source, file, copy, deadline_s)
            os.utime(copy)
            yield replace(source, path=copy, uri="")

    def _fetch(self, source: SlideSource, file: RemoteFile, copy: Path, deadline_s: float) -> None:
        """An empty file of the slide's size reserves its room before, so that no other run takes it."""
        name, size = source.slide_id, file.size_bytes
        if size is None:
            raise NotStaged(f"{name}: its store does not state a size; wanted one, to reserve room for it")
        if size > self.most_bytes:
            raise NotStaged(f"{name}: {size} bytes; the folder of staged slides holds at most {self.most_bytes}")
        reserved, draft = copy.with_name(".room"), copy.with_name(".draft")
        while not self._make_room(reserved, size):
            if time.monotonic() > deadline_s:
                raise NotStaged(f"{name}: no room in time; all staged slides are in use")
            time.sleep(POLL_S)
        try:
            system, path = self.open_store(source.uri)
            limit = _SizeLimit(name, size)
            with store_errors(name):
                _call(system, "get_file", path, str(draft), callback=limit, deadline_s=deadline_s)
            if (fetched := draft.stat().st_size) != size:
                raise NotStaged(f"{name}: {fetched} of {size} bytes came; try again")
            if self.stat(source, deadline_s) != file:
                raise NotStaged(f"{name}: it changed while it was fetched; try again")
            draft.replace(copy)
        finally:
            draft.unlink(missing_ok=True)
            reserved.unlink(missing_ok=True)

    def _make_room(self, reserved: Path, size: int) -> bool:
        """Remove the least recently used copies until `size` bytes are free, and reserve them; whether that worked."""
        with locked(self.folder / "room.lock", NEVER_S):
            for draft in self.folder.glob("*/.draft"):
                self._remove_unused(draft)  # of a run that died; one that is being written has its room reserved
            used = {file: stat for file, stat in self._files() if file != reserved}
            surplus = sum(stat.st_size for stat in used.values()) + size - self.most_bytes
            for file in sorted(used, key=lambda file: used[file].st_mtime):
                if surplus > 0 and self._remove_unused(file):
                    surplus -= used[file].st_size
            if surplus > 0:
                return False
            with reserved.open("wb") as content:
                content.truncate(size)
            return True

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Copies, and files that reserve room."""
        for file in self.folder.glob("*/*"):
            try:
                stat = file.stat()
            except FileNotFoundError:  # another run has just removed it
                continue
            if file.name != ".draft":
                yield file, stat

    def _remove_unused(self, file: Path) -> bool:
        """Remove a file unless a run holds its lock; whether it was removed."""
        try:
            with locked(self._lock_file(file.parent.name), 0):
                file.unlink(missing_ok=True)
        except Timeout:
            return False
        return True

    def _lock_file(self, key: str) -> Path:
        return self.folder / f"{key}.lock"


class _SizeLimit(Callback):  # type: ignore[misc]
    """Ends a download that brings more bytes than the store stated: no more room is reserved."""

    def __init__(self, name: str, most_bytes: int) -> None:
        super().__init__()
        self.name, self.most_bytes = name, most_bytes

    def call(self, hook_name: str | None = None, **_: Any) -> None:
        if self.value > self.most_bytes:
            raise NotStaged(f"{self.name}: more came than the {self.most_bytes} bytes that its store stated")


def _stat(open_store: StoreOpener, source: SlideSource, deadline_s: float) -> RemoteFile:
    system, path = open_store(source.uri)
    with store_errors(source.slide_id):
        info = _call(system, "info", path, deadline_s=deadline_s)
    return RemoteFile(str(next((info[name] for name in TAGS if info.get(name)), "")), info["size"])


def _call(system: Any, method: str, *arguments: Any, deadline_s: float, **options: Any) -> Any:
    """Call a method of a file system; one that waits for a network is cancelled at the deadline."""
    left_s = _left_s(deadline_s)
    if not left_s:
        raise FSTimeoutError
    if left_s < NEVER_S and isinstance(system, AsyncFileSystem):
        return sync(system.loop, getattr(system, f"_{method}"), *arguments, timeout=left_s, **options)
    return getattr(system, method)(*arguments, **options)


def _left_s(deadline_s: float) -> float:
    return max(0.0, deadline_s - time.monotonic())


@contextmanager
def store_errors(name: str) -> Iterator[None]:
    """The many kinds of errors that stores raise become NotStaged; name: what messages begin with."""
    try:
        yield
    except NotStaged:
        raise
    except FSTimeoutError:
        raise NotStaged(f"{name}: not fetched in time") from None
    except Exception as error:  # each store of fsspec brings its own, of no common root
        if isinstance(error.__cause__, NotStaged):  # ours, which a store wrapped
            raise error.__cause__ from None
        raise NotStaged(f"{name}: {type(error).__name__}: {error}") from error
