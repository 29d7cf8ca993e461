"""Where a slide lies, by a path or an address, and the id that its name gives it."""

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urlsplit

SUFFIXES = frozenset(
    {
        *(".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".dcm", ".czi"),
        *(".avs", ".qptiff", ".ptif", ".ptiff", ".btf", ".tf2", ".tf8"),  # the last are other names for TIFF
    }
)
"""Of files that OpenSlide 4.0.1 reads. Files of unknown suffixes are shown to OpenSlide, in case it reads them too."""
FOREIGN = frozenset((".isyntax", ".i2syntax", ".vsi", ".lif", ".zvi", ".sdpc", ".kfb", ".tmap", ".jp2"))
"""Of slides that OpenSlide does not read: they are refused, not skipped."""
FEATURES = frozenset((".h5", ".pt"))
"""Of files of features: tables of other tools name their slides by them."""
LONGEST_ID = 200
"""Bytes of an id. A file's name may have 255, and nic adds some 30, as in `.<id>.h5.<process>`."""
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
WEB = ("http", "https")


@dataclass(frozen=True)
class SlideSource:
    """A slide to open. mpp: um/px at level 0, if the file does not state it or is wrong.

    uri: address of a slide that is not on this machine; nic.slides.staging fetches it, and `path` is only its name.
    as_written: the path is as a table spells it, and the file's name may differ a little, see nic.slides.search.
    """

    slide_id: str
    path: Path
    mpp: float | None = None
    uri: str = ""
    as_written: bool = False

    @classmethod
    def remote(cls, uri: str, mpp: float | None = None) -> "SlideSource":
        """The slide at an address."""
        return cls(slide_id(uri), Path(file_name(uri)), mpp, uri)


def slide_id(place: str | Path) -> str:
    """The id of the slide at a place: its name without a slide's suffix, and nothing else cut off.

    place: a Path of this machine, or text: the cell of a table, an address, a Windows path. The Unicode forms of a name
    (NFC, NFD) have one id. Bytes that are not UTF-8 become \\xff, and a name of more than LONGEST_ID bytes ends in a
    digest of it, so that an id can name a file and stand in a table.
    """
    name = place.name if isinstance(place, Path) else file_name(place)
    stem = _without(_without(name, FEATURES), SUFFIXES | FOREIGN)
    return _short(unicodedata.normalize("NFC", printable(stem)))


def file_name(text: str) -> str:
    """The last part of an address, of a Windows path, or of a path of this machine."""
    if is_address(text):
        return _name_in_address(text)
    if WINDOWS.match(text) or ("\\" in text and "/" not in text):
        return PureWindowsPath(text).name
    return PurePosixPath(text).name


def is_address(place: str) -> bool:
    """Whether it is the address of something remote: s3://, https://, ..."""
    return "://" in place


def is_slide_name(name: str) -> bool:
    """Whether a file's name is that of a slide: a known suffix, and not hidden as `._x.svs`, which a Mac adds."""
    return not is_hidden(name) and suffix(name) in SUFFIXES | FOREIGN


def is_hidden(name: str) -> bool:
    return name.startswith(".")


def suffix(name: str) -> str:
    """In lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()


def printable(name: str) -> str:
    """A name as text that can be written anywhere: bytes that are not UTF-8 become \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def same_name(first: str, second: str) -> bool:
    """Whether two names are the same in one Unicode form."""
    return unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)


def _without(name: str, suffixes: frozenset[str]) -> str:
    known = suffix(name)
    return name[: -len(known)] if known in suffixes else name


def _short(name: str) -> str:
    """The name, or its beginning and a digest of it."""
    encoded = name.encode()
    if len(encoded) <= LONGEST_ID:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{encoded[: LONGEST_ID - len(digest) - 1].decode(errors='ignore')}-{digest}"


def _name_in_address(address: str) -> str:
    """Web addresses quote names and may end in a query; the keys of a bucket are plain names."""
    if urlsplit(address).scheme.lower() not in WEB:
        return PurePosixPath(address.partition("://")[2].partition("?versionId=")[0]).name
    written = PurePosixPath(urlsplit(address).path).name
    decoded = PurePosixPath(unquote(written)).name
    return written if "\0" in decoded or decoded in ("", "..") else decoded
