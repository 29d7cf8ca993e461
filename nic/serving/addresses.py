"""Addresses of slides, parsed strictly: the address that is checked is the one that is opened. Needs no network."""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote

from nic.errors import OutsideRoots

DEFAULT_PORTS = {"http": 80, "https": 443}
SCHEMES = (*DEFAULT_PORTS, "s3", "gs")
LONGEST_ADDRESS = 2048
SENT_AS_IT_IS = "/%:@!$&'()*+,;=~"
"""Characters of a path that are sent unquoted beside letters and digits: those of RFC 3986, and % of quoted ones."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# It has no place for a user, a query, a fragment, an empty segment or a backslash.
_PLAIN = re.compile(
    r"(?P<scheme>[a-z0-9]+)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/(?:[^/\\?#%]|%[0-9A-Fa-f]{2})+)*)"
)


@dataclass(frozen=True)
class Address:
    """host: a server, with its port unless that is the scheme's own; or a bucket. path: empty, or from its / on."""

    scheme: str
    host: str
    path: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises OutsideRoots, which does not repeat the text."""
        scheme = _SCHEME.match(text)
        if not scheme or scheme[1].lower() not in SCHEMES:
            raise OutsideRoots(f"is not an address of a scheme that is served; wanted one of {', '.join(SCHEMES)}")
        parts = _PLAIN.fullmatch(scheme[0].lower() + text[scheme.end() :])
        if len(text) > LONGEST_ADDRESS or not text.isprintable() or "::" in text or not parts:
            raise OutsideRoots("is not a plain address; wanted a host and a path, without user, query, fragment or ::")
        if not _one_meaning(parts["path"]):
            raise OutsideRoots("is an address whose path leads elsewhere; wanted one without .., // or encoded slashes")
        return cls(parts["scheme"], _host(parts), _path(parts))

    def lies_under(self, prefix: "Address") -> bool:
        """Whether it is on the same host, by the same scheme, at the prefix's path or below."""
        same_host = (self.scheme, self.host) == (prefix.scheme, prefix.host)
        return same_host and f"{self.path}/".startswith(f"{prefix.path}/")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"


def _host(parts: re.Match[str]) -> str:
    scheme, host, port = parts["scheme"], parts["host"], parts["port"]
    if scheme not in DEFAULT_PORTS:
        if port:
            raise OutsideRoots("is a bucket with a port; wanted a bucket and a path")
        return host  # names of old buckets are case-sensitive
    default = port is None or int(port) == DEFAULT_PORTS[scheme]
    return host.lower() if default else f"{host.lower()}:{int(port)}"


def _path(parts: re.Match[str]) -> str:
    return quote(parts["path"], safe=SENT_AS_IT_IS) if parts["scheme"] in DEFAULT_PORTS else parts["path"]


def _one_meaning(path: str) -> bool:
    """Whether every server takes it for the same path, however often it decodes it."""
    decoded = path
    try:
        while (once := unquote(decoded, errors="strict")) != decoded:
            decoded = once
    except UnicodeDecodeError:
        return False
    decoded = unicodedata.normalize("NFKC", decoded)  # Unicode has full-width dots and slashes
    segments = decoded.split("/")[1:]
    # Segments of dots and spaces lead up or nowhere; some servers cut a segment at its semicolon first.
    leads_down = all(segment.partition(";")[0].strip(". ") for segment in segments)
    return leads_down and len(segments) == path.count("/") and "\\" not in decoded and decoded.isprintable()
