"""The public base of the URLs that a client is given.

What is configured wins. Else a trusted proxy is believed, and else the Host, but only where it is one that this server
is known by: whoever can make us speak of a foreign host would have others send their credentials there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from strangler.domain.exchange import Request
from strangler.policy.client_address import forwarded_elements, node_address
from strangler.policy.pattern import host_fits
from strangler.policy.trust import TrustedNetworks

_AUTHORITY = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9._-]{0,252}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+/?")
_LOOPBACK = ("127.0.0.1", "[::1]")
_USUAL_PORT = {"http": "80", "https": "443"}


class Site(NamedTuple):
    """What this server is known by."""

    public_url: str | None = None  # --public-url
    trusted: TrustedNetworks = TrustedNetworks()
    listens: tuple[str, ...] = ()  # "127.0.0.1:8080", "[::]:8080"; the Unix sockets left out


class Said(NamedTuple):
    """What a trusted proxy says of how the client reached it."""

    scheme: str | None = None
    authority: str | None = None
    prefix: str = ""


_NOTHING = Said()


def public_base(request: Request, site: Site, *, route_url: str | None = None, hosts: Sequence[str] = ()) -> str:
    """The base of a process's URLs, without a trailing slash.

    Args:
        route_url: the route's own ``public_url``.
        hosts: the host patterns of the route.
    """
    configured = route_url or site.public_url
    if configured is not None:
        return configured.rstrip("/")
    peer = request.peer
    said = _said(request, site.trusted) if site.trusted.peer(peer) else _NOTHING
    scheme = said.scheme or ("https" if peer.tls else "http")
    own = _own_authority(request.field(b"host") or b"", scheme, site.listens, peer.local, tuple(hosts))
    authority = said.authority or own or peer.local or "localhost"
    return f"{scheme}://{authority}{said.prefix}"


@lru_cache(maxsize=1024)
def _own_authority(
    host: bytes, scheme: str, listens: tuple[str, ...], local: str, hosts: tuple[str, ...]
) -> str | None:
    """The Host, if it is one of the route's hosts or an address that is listened on; None: it is neither.

    Kept for the hosts that come again and again: it is asked for every acceptance.
    """
    found = _authority(host)
    if found is None:
        return None
    usual = _USUAL_PORT[scheme]
    name, port = found["name"], found["port"] or usual
    own = {_split(address, usual) for address in (*listens, local) if address}
    if (name, port) in own or (name == "localhost" and any((loop, port) in own for loop in _LOOPBACK)):
        return found[0]
    # A port of somebody else's on one of our hosts is as foreign as a foreign host.
    known_port = port == usual or any(port == mine for _, mine in own)
    return found[0] if known_port and any(host_fits(pattern, name) for pattern in hosts) else None


def _said(request: Request, trusted: TrustedNetworks) -> Said:
    """What the outermost of our own proxies says; what comes before it could be anyone's invention."""
    forwarded = request.field(b"forwarded")
    if forwarded is not None:
        return _said_forwarded(_text(forwarded), trusted, _prefix(request, trusted))
    scheme = _from_outermost(request, b"x-forwarded-proto", trusted).lower()
    authority = _authority(_from_outermost(request, b"x-forwarded-host", trusted).encode())
    return Said(
        scheme if scheme in _USUAL_PORT else None,
        authority[0] if authority is not None else None,
        _prefix(request, trusted),
    )


def _said_forwarded(field: str, trusted: TrustedNetworks, prefix: str) -> Said:
    """From ``Forwarded`` (RFC 7239). Each proxy appends an element; ``for`` is who came to it."""
    elements = forwarded_elements(field)
    first = len(elements) - 1
    while first > 0 and trusted.address(node_address(elements[first].get("for", ""))):
        first -= 1
    scheme = authority = None
    for element in elements[max(0, first) :]:
        said = element.get("proto", "").lower()
        scheme = scheme or (said if said in _USUAL_PORT else None)
        host = _authority(element.get("host", "").encode("latin-1"))
        authority = authority or (host[0] if host is not None else None)
    return Said(scheme, authority, prefix)


def _from_outermost(request: Request, name: bytes, trusted: TrustedNetworks) -> str:
    """The item of a comma list to which each proxy appended, or which one wrote, as the outermost of ours wrote it."""
    items = _items(request.field(name))
    if not items:
        return ""
    hops = 1  # our peer
    for address in reversed(_items(request.field(b"x-forwarded-for"))):
        if not trusted.address(address):
            break
        hops += 1
    return items[max(0, len(items) - hops)]


def _prefix(request: Request, trusted: TrustedNetworks) -> str:
    prefix = _from_outermost(request, b"x-forwarded-prefix", trusted)
    if _PREFIX.fullmatch(prefix) is None or any(segment in (".", "..") for segment in prefix.split("/")):
        return ""
    return prefix.rstrip("/")


def _items(field: bytes | None) -> list[str]:
    return [item.strip() for item in _text(field).split(",")] if field else []


def _authority(value: bytes) -> re.Match[str] | None:
    """A host and perhaps a port, in small letters; None where it is nothing of the kind."""
    return _AUTHORITY.fullmatch(_text(value).strip().lower())


def _split(address: str, usual: str) -> tuple[str, str]:
    """Host and port of an authority."""
    found = _AUTHORITY.fullmatch(address.lower())
    return (found["name"], found["port"] or usual) if found is not None else ("", "")


def _text(value: bytes) -> str:
    return value.decode("latin-1")
