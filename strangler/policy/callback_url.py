"""URLs that are called back, in the one spelling that everybody reads alike.

Two readers that take one text for two hosts are how a check is passed by; so what has more than one spelling is not
normalised here but refused: user information, a backslash, a percent sign or a letter outside ASCII in the host, a dot
at its end, an address that is not four plain decimal numbers or in brackets, an empty port (RFC 3986 section 7; the
WHATWG URL Standard, sections 3.5 and 4.4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

MAX_URL = 2048  # characters

Scheme = Literal["http", "https"]
Address = IPv4Address | IPv6Address

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<target>.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>.*))?", re.DOTALL)
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_IPV6 = re.compile(r"[0-9a-f:]+(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?")
_TARGET = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_USUAL: dict[str, int] = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class CallbackUrl:
    """A URL taken apart."""

    scheme: Scheme
    host: str  # lower case; an IPv6 address without brackets, in its short form
    port: int
    target: str  # path and query, as they came; begins with /

    @property
    def address(self) -> Address | None:
        """The host where it is an address; None: it is a name."""
        return _plain_address(self.host)

    @property
    def origin(self) -> str:
        """Scheme, host and port; the port only where it is not the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" if self.port == _USUAL[self.scheme] else f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        """The URL as it is called."""
        return self.origin + self.target


@dataclass(frozen=True, slots=True)
class AllowedOrigin:
    """What callers may name: one origin, the subdomains of a name (``https://*.example``), or any (``https://*``)."""

    scheme: Scheme
    host: str  # lower case; "*.example.org" or "*" too
    port: int

    def covers(self, url: CallbackUrl) -> bool:
        """Whether a URL lies under it."""
        if (url.scheme, url.port) != (self.scheme, self.port):
            return False
        if self.host == "*":
            return True
        if self.host.startswith("*."):
            return url.address is None and url.host.endswith(self.host[1:])
        return url.host == self.host

    def __str__(self) -> str:
        """The origin as a policy writes it."""
        return CallbackUrl(self.scheme, self.host, self.port, "").origin


def parse_callback_url(text: str) -> CallbackUrl:
    """The URL that a text is, in the strict grammar that is taken here.

    Raises:
        ValueError: it is none; the text says what was expected, and quotes nothing.
    """
    scheme, authority, target = _parts(text)
    host, port = _host_and_port(authority, scheme)
    if not _TARGET.fullmatch(target):
        raise ValueError("its path or query holds what would have to be percent-encoded")
    if target.find("?") == len(target) - 1:
        target = target[:-1]  # an empty query is no part of what is called
    return CallbackUrl(scheme, _host(host), port, target if target.startswith("/") else f"/{target}")


def parse_allowed_origin(text: str) -> AllowedOrigin:
    """The origin that an entry of ``allow`` is.

    Raises:
        ValueError: it is none; the text says what was expected.
    """
    scheme, authority, target = _parts(text)
    if target not in ("", "/"):
        raise ValueError("expected an origin, without path and query")
    host, port = _host_and_port(authority, scheme)
    if host == "*":
        return AllowedOrigin(scheme, host, port)
    if host.startswith("*."):
        below = _host(host[2:])
        if _plain_address(below) is not None:
            raise ValueError("an address has no subdomains")
        return AllowedOrigin(scheme, f"*.{below}", port)
    return AllowedOrigin(scheme, _host(host), port)


def _parts(text: str) -> tuple[Scheme, str, str]:
    if len(text) > MAX_URL:
        raise ValueError(f"it is longer than {MAX_URL} characters")
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("it holds a space, a backslash, or a letter outside ASCII (a host's stand as xn--…)")
    if "#" in text:
        raise ValueError("it holds a fragment, which is never sent")
    found = _URL.fullmatch(text)
    if found is None or found["scheme"].lower() not in _USUAL:
        raise ValueError("expected a URL that begins with https://")
    if "@" in found["authority"]:
        raise ValueError("it holds credentials")
    scheme: Scheme = "https" if found["scheme"].lower() == "https" else "http"
    return scheme, found["authority"].lower(), found["target"]


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(authority)
    assert found is not None  # any text is a host, and perhaps a port
    if found["port"] is None:
        return found["host"], _USUAL[scheme]
    if not _PORT.fullmatch(found["port"]) or int(found["port"]) > 65535:
        raise ValueError("its port is not one")
    return found["host"], int(found["port"])


def _host(text: str) -> str:
    if text.startswith("["):
        inner = text[1:-1]
        if not _IPV6.fullmatch(inner):
            raise ValueError("its host is not an IPv6 address (zones are not taken)")
        try:
            return str(IPv6Address(inner))
        except ValueError:
            raise ValueError("its host is not an IPv6 address") from None
    labels = text.split(".")
    # Other readers take whatever ends in a number for an IPv4 address, in octal, in hexadecimal, or with less parts.
    if _NUMBER.fullmatch(labels[-1]):
        if _plain_address(text) is None:
            raise ValueError("its host is an IPv4 address in another form than four decimal numbers")
        return text
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("its host is not a name: letters, digits and hyphens between dots, without one at the end")
    return text


def _plain_address(host: str) -> Address | None:
    try:
        # Python takes exactly four decimal numbers without leading zeros.
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except ValueError:
        return None
