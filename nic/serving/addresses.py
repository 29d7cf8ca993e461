"""Addresses of slides: read strictly, so that what was looked at is what is opened. Needs no network."""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote

from nic.errors import OutsideRoots

DEFAULT_PORTS = {"http": 80, "https": 443}
SCHEMES = (*DEFAULT_PORTS, "s3", "gs")
LONGEST_ADDRESS = 2048
SENT_AS_IT_IS = "/%:@!$&'()*+,;=~"
"""What of a path a web server is sent unquoted, beside letters and digits: RFC 3986, and what is quoted already."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# No user, query or fragment has a place in it, nor an empty segment or a backslash.
_PLAIN = re.compile(
    r"(?P<scheme>[a-z0-9]+)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/(?:[^/\\?#%]|%[0-9A-Fa-f]{2})+)*)"
)


@dataclass(frozen=True)
class Address:
    """host: a server, with its port where that is not the scheme's own, or a bucket. path: empty, or from its / on."""

    scheme: str
    host: str
    path: str

    @classmethod
    def read(cls, text: str) -> "Address":
        """Raises OutsideRoots, which does not repeat the text."""
        scheme = _SCHEME.match(text)
        if not scheme or scheme[1].lower() not in SCHEMES:
            raise OutsideRoots(f"is no address that can be served; wanted one of {', '.join(SCHEMES)}")
        found = _PLAIN.fullmatch(scheme[0].lower() + text[scheme.end() :])
        if len(text) > LONGEST_ADDRESS or not text.isprintable() or "::" in text or not found:
            raise OutsideRoots("is no plain address; wanted a host and a path, without user, query, fragment or ::")
        if not _one_meaning(found["path"]):
            raise OutsideRoots("is an address whose path leads elsewhere; wanted one without .., // or encoded slashes")
        return cls(found["scheme"], _host(found), _path(found))

    def lies_under(self, prefix: "Address") -> bool:
        """Whether it is on the same host, by the same scheme, at the prefix's path or below."""
        at_home = (self.scheme, self.host) == (prefix.scheme, prefix.host)
        return at_home and f"{self.path}/".startswith(f"{prefix.path}/")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"


def _host(found: re.Match[str]) -> str:
    scheme, host, port = found["scheme"], found["host"], found["port"]
    if scheme not in DEFAULT_PORTS:
        if port:
            raise OutsideRoots("is a bucket with a port; wanted a bucket and a path")
        return host  # names of old buckets are told apart by case
    usual = port is None or int(port) == DEFAULT_PORTS[scheme]
    return host.lower() if usual else f"{host.lower()}:{int(port)}"


def _path(found: re.Match[str]) -> str:
    return quote(found["path"], safe=SENT_AS_IT_IS) if found["scheme"] in DEFAULT_PORTS else found["path"]


def _one_meaning(path: str) -> bool:
    """Whether no server can find another path in it, decode it as often as it may."""
    decoded = path
    try:
        while (once := unquote(decoded, errors="strict")) != decoded:
            decoded = once
    except UnicodeDecodeError:
        return False
    decoded = unicodedata.normalize("NFKC", decoded)  # there are full-width dots and slashes
    segments = decoded.split("/")[1:]
    # Dots and spaces alone lead up or nowhere; some servers cut a segment at its semicolon before they look.
    leads_down = all(segment.partition(";")[0].strip(". ") for segment in segments)
    return leads_down and len(segments) == path.count("/") and "\\" not in decoded and decoded.isprintable()
