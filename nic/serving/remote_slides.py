"""Slides that a row names by an address: which may be, and how they come here without leading anywhere else."""

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
from nic.slides.slide import SUFFIXES, SlideSource
from nic.slides.staging import SEVERAL_FILES, Staging, Told

URIS = "NIC_SLIDE_URIS"
MB = 1 << 20
SILENT_S = 10.0
"""A server that is silent for so long is given up: the rest of the request's time is for its other rows."""
SINGLE_FILES = sorted(SUFFIXES - set(SEVERAL_FILES))


@dataclass(frozen=True)
class RemoteSlides:
    """prefixes: what a row may name lies under one of them; None in one's own process, which may open any address.
    staging: where it is brought.
    """

    prefixes: tuple[Address, ...] | None
    staging: Staging

    @classmethod
    def anywhere(cls, folder: Path) -> "RemoteSlides":
        """Whatever fsspec reads, for one's own slides in one's own process."""
        return cls(None, Staging(folder, number(os.environ, "NIC_STAGED_MB", int, 20_480) * MB))

    @classmethod
    def from_environment(cls, folder: Path, environ: Mapping[str, str] = os.environ) -> "RemoteSlides | None":
        """NIC_SLIDE_URIS, prefixes with white space between; None where it names none: no address is opened then.

        NIC_STAGED_DIR and NIC_STAGED_MB where they are set, else `folder`.
        Raises SettingError, MissingExtra.
        """
        prefixes = tuple(_prefix(n, text) for n, text in enumerate(environ.get(URIS, "").split(), start=1))
        if not prefixes:
            return None
        staged = Path(environ.get("NIC_STAGED_DIR") or folder)
        staged.mkdir(parents=True, exist_ok=True)
        return cls(prefixes, Staging(staged, number(environ, "NIC_STAGED_MB", int, 20_480) * MB, opened_strictly))

    def source(self, place: str, label: str, mpp: float | None) -> SlideSource:
        """The slide at an address, staged under a name that tells nothing. Raises RequestRefused, asks nobody."""
        address = place if self.prefixes is None else str(_allowed(place, self.prefixes))
        suffix = PurePosixPath(address).suffix.lower()
        if suffix not in SINGLE_FILES:
            raise RequestRefused(f"is no slide of one file by its name; wanted {', '.join(SINGLE_FILES)}")
        return SlideSource(label, Path(f"slide{suffix}"), mpp, address)

    def told(self, source: SlideSource, deadline_s: float) -> Told:
        """What its store tells of a slide now. Raises NotStaged."""
        with _own_words(source.slide_id):
            told = self.staging.told(source, deadline_s)
            if not told.tag:
                raise NotStaged(
                    f"{source.slide_id}: its store tells neither tag nor date, by which a change would show"
                )
            return told

    @contextmanager
    def local(self, source: SlideSource, told: Told, deadline_s: float) -> Iterator[SlideSource]:
        """The slide on this machine, in the version told of, while the context lasts. Raises NotStaged."""
        with _own_words(source.slide_id), ExitStack() as held:
            try:
                local = held.enter_context(self.staging.as_told(source, told, deadline_s))
            except NotStaged:
                raise
            except OSError as error:  # a full disk; rows that lie here are answered all the same
                kind = type(error).__name__
                raise NotStaged(f"{source.slide_id}: the folder of staged slides cannot be written ({kind})") from None
            yield local


def _allowed(place: str, prefixes: Sequence[Address]) -> Address:
    address = Address.read(place)
    if not any(address.lies_under(prefix) for prefix in prefixes):
        raise OutsideRoots(f"lies outside the addresses that are served; the operator names them in {URIS}")
    return address


def opened_strictly(uri: str) -> tuple[Any, str]:
    """The address and nothing else: no redirect, no listing of an earlier moment."""
    scheme = uri.partition("://")[0]
    options = _plain_requests() if scheme in DEFAULT_PORTS else {}
    return url_to_fs(uri, use_listings_cache=False, **options)  # type: ignore[no-any-return]


def _plain_requests() -> dict[str, Any]:
    """Options of fsspec's HTTPFileSystem. encoded: the path is sent as it was looked at."""
    session = {"headers": {"Accept-Encoding": "identity"}, "auto_decompress": False, "raise_for_status": _only_200}
    return {"allow_redirects": False, "encoded": True, "client_kwargs": session, "get_client": _session}


async def _session(**options: Any) -> ClientSession:
    patience = ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)  # the deadline ends the rest
    return ClientSession(timeout=patience, **options)


async def _only_200(response: ClientResponse) -> None:
    if response.status != 200:
        response.close()
        raise NotStaged(f"its server answered {response.status}; wanted 200, redirects are not followed")


@contextmanager
def _own_words(label: str) -> Iterator[None]:
    """A library's words repeat addresses, and perhaps more; the kind of its error is told, no more."""
    try:
        yield
    except NotStaged as error:
        if error.__cause__ is None:
            raise
        raise NotStaged(f"{label}: cannot be had ({_kind(error.__cause__)})") from None


def _kind(error: BaseException) -> str:
    """Of the first that the system said: fsspec tells of a server that is not there as of a file that is not."""
    kind, cause = type(error).__name__, error.__cause__
    while cause is not None:
        kind, cause = type(cause).__name__ if isinstance(cause, OSError) else kind, cause.__cause__
    return kind


def _prefix(number: int, text: str) -> Address:
    """Raises SettingError, which does not repeat the text: there may be a password in it."""
    try:
        address = Address.read(text.removesuffix("/"))
        get_filesystem_class(address.scheme)
    except OutsideRoots as error:
        raise SettingError(f"{URIS}, prefix {number}: {error}") from None
    except ImportError as error:
        raise MissingExtra(f"{URIS}, prefix {number}: {error}") from error
    return address
