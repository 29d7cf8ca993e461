"""Slides that a row names by an address: which addresses may be opened, and how their files are fetched safely."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout
from fsspec import get_filesystem_class
from fsspec.core import url_to_fs

from nic.errors import MissingExtra, NotStaged, OutsideRoots, RequestRefused, SettingError
from nic.serving.addresses import DEFAULT_PORTS, Address
from nic.serving.limits import number
from nic.slides.source import SUFFIXES, SlideSource
from nic.slides.staging import SEVERAL_FILES, RemoteFile, Staging

URIS = "NIC_SLIDE_URIS"
MB = 1 << 20
SILENT_S = 10.0
"""A server that is silent for so long is given up: the request's other rows need their time."""
SINGLE_FILES = sorted(SUFFIXES - set(SEVERAL_FILES))


@dataclass(frozen=True)
class RemoteSlides:
    """prefixes: an address must lie under one of them; None in one's own process, which may open any address.
    staging: the folder for copies.
    """

    prefixes: tuple[Address, ...] | None
    staging: Staging

    @classmethod
    def anywhere(cls, folder: Path) -> "RemoteSlides":
        """Any address that fsspec reads, for one's own slides in one's own process."""
        return cls(None, Staging(folder, number(os.environ, "NIC_STAGED_MB", int, 20_480) * MB))

    @classmethod
    def from_environment(cls, folder: Path, environ: Mapping[str, str] = os.environ) -> "RemoteSlides | None":
        """NIC_SLIDE_URIS holds prefixes separated by white space; None without any: no address is opened then.

        NIC_STAGED_DIR and NIC_STAGED_MB set the folder and its size; else the folder is `folder`.
        Raises SettingError, MissingExtra.
        """
        prefixes = tuple(_prefix(n, text) for n, text in enumerate(environ.get(URIS, "").split(), start=1))
        if not prefixes:
            return None
        staged = Path(environ.get("NIC_STAGED_DIR") or folder)
        staged.mkdir(parents=True, exist_ok=True)
        return cls(prefixes, Staging(staged, number(environ, "NIC_STAGED_MB", int, 20_480) * MB, open_strictly))

    def source(self, place: str, label: str, mpp: float | None) -> SlideSource:
        """The slide at an address, under a file name that reveals nothing; nothing is opened. Raises RequestRefused."""
        address = place if self.prefixes is None else str(_allowed(place, self.prefixes))
        suffix = PurePosixPath(address).suffix.lower()
        if suffix not in SINGLE_FILES:
            raise RequestRefused(f"is not the name of a slide in one file; wanted {', '.join(SINGLE_FILES)}")
        return SlideSource(label, Path(f"slide{suffix}"), mpp, address)

    def stat(self, source: SlideSource, deadline_s: float) -> RemoteFile:
        """Ask the store what it has at the address now. Raises NotStaged."""
        with _safe_words(source.slide_id):
            file = self.staging.stat(source, deadline_s)
            if not file.tag:
                raise NotStaged(
                    f"{source.slide_id}: its store states neither a tag nor a date; wanted one, to notice changes"
                )
            return file

    @contextmanager
    def lease(self, source: SlideSource, file: RemoteFile, deadline_s: float) -> Iterator[SlideSource]:
        """A copy of that version on this machine, which stays while the context lasts. Raises NotStaged."""
        with _safe_words(source.slide_id), ExitStack() as stack:
            try:
                local = stack.enter_context(self.staging.lease(source, file, deadline_s))
            except NotStaged:
                raise
            except OSError as error:  # a full disk must not fail the rows whose slides lie on this machine
                kind = type(error).__name__
                raise NotStaged(f"{source.slide_id}: the folder of staged slides cannot be written ({kind})") from None
            yield local


def _allowed(place: str, prefixes: Sequence[Address]) -> Address:
    address = Address.parse(place)
    if not any(address.lies_under(prefix) for prefix in prefixes):
        raise OutsideRoots(f"lies outside the addresses that are served; the operator names them in {URIS}")
    return address


def open_strictly(uri: str) -> tuple[Any, str]:
    """A StoreOpener that follows no redirect and uses no cached listing."""
    scheme = uri.partition("://")[0]
    options = _plain_requests() if scheme in DEFAULT_PORTS else {}
    return url_to_fs(uri, use_listings_cache=False, **options)  # type: ignore[no-any-return]


def _plain_requests() -> dict[str, Any]:
    """Options of fsspec's HTTPFileSystem. encoded: the path is sent as it was checked."""
    session = {"headers": {"Accept-Encoding": "identity"}, "auto_decompress": False, "raise_for_status": _only_200}
    return {"allow_redirects": False, "encoded": True, "client_kwargs": session, "get_client": _session}


async def _session(**options: Any) -> ClientSession:
    timeout = ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)  # the deadline bounds the total
    return ClientSession(timeout=timeout, **options)


async def _only_200(response: ClientResponse) -> None:
    if response.status != 200:
        response.close()
        raise NotStaged(f"its server answered {response.status}; wanted 200, redirects are not followed")


@contextmanager
def _safe_words(label: str) -> Iterator[None]:
    """Of a library's error a client is shown the kind alone: its words may hold the address, see nic.slides.staging."""
    try:
        yield
    except NotStaged as error:
        if error.__cause__ is None:
            raise
        raise NotStaged(f"{label}: cannot be fetched ({_kind(error.__cause__)})") from None


def _kind(error: BaseException) -> str:
    """Of the system's first error: fsspec reports a server that is away as a missing file."""
    kind, cause = type(error).__name__, error.__cause__
    while cause is not None:
        kind, cause = type(cause).__name__ if isinstance(cause, OSError) else kind, cause.__cause__
    return kind


def _prefix(number: int, text: str) -> Address:
    """Raises SettingError, which does not repeat the text: it may hold a password."""
    try:
        address = Address.parse(text.removesuffix("/"))
        get_filesystem_class(address.scheme)
    except OutsideRoots as error:
        raise SettingError(f"{URIS}, prefix {number}: {error}") from None
    except ImportError as error:
        raise MissingExtra(f"{URIS}, prefix {number}: {error}") from error
    return address
