"""Who may come in at the private listener: no page of a browser that was led here, by a name or across origins."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit


def host_name(authority: str) -> str | None:
    """The host of a Host header in lower case, without port and brackets (RFC 9110 section 7.2); None: it has none."""
    name, colon, port = authority.strip().lower().rpartition(":")
    if not colon or "]" in port:
        name, port = f"{name}{colon}{port}", ""
    if port and not (port.isascii() and port.isdigit()):
        return None
    if name.startswith("["):
        return name[1:-1] if name.endswith("]") and _is_address(name[1:-1], 6) else None
    return name if name and ":" not in name else None


def host_refusal(hosts: Collection[str], authorities: Collection[str], local: str | None) -> str | None:
    """Why a request may not come in, by its Host headers; None: it may.

    A name that somebody else rules can be made to resolve to this machine (DNS rebinding), so only names that are
    known to be ours are answered: those of the loopback, ``hosts``, and the address of the socket itself, which no
    other page can claim to be. ``local`` is None on a Unix socket, where no browser comes from.
    """
    if local is None:
        return None
    if len(authorities) != 1:
        return "exactly one Host header is expected"
    name = host_name(next(iter(authorities)))
    if name is None:
        return "the Host header is not well formed"
    if name == "localhost" or name in hosts or _is_loopback(name) or _same_address(name, local):
        return None
    return "the Host header names neither this machine's loopback nor a host of --ops-host"


def origin_refusal(origin: str | None, fetch_site: str | None, authority: str | None) -> str | None:
    """Why a request that changes something may not come in, by who sends it; None: it may.

    Browsers send Origin with every POST, and Sec-Fetch-Site (Fetch Metadata); other clients send neither.
    """
    if fetch_site is not None and fetch_site.lower() not in ("same-origin", "none"):
        return "it was sent by a page of another origin"
    if origin is not None and (authority is None or _authority_of(origin) != authority.strip().lower()):
        return "it was sent by a page of another origin"
    return None


def _authority_of(origin: str) -> str | None:
    try:
        parts = urlsplit(origin.strip().lower())
    except ValueError:
        return None
    return parts.netloc if parts.scheme in ("http", "https") else None


def _is_loopback(name: str) -> bool:
    return _is_address(name) and ip_address(name).is_loopback


def _same_address(name: str, local: str) -> bool:
    if not _is_address(name) or not _is_address(local):
        return False
    own = ip_address(local)
    # A socket of both families calls its IPv4 end "::ffff:192.0.2.1".
    return ip_address(name) in (own, own.ipv4_mapped if isinstance(own, IPv6Address) else own)


def _is_address(text: str, version: int | None = None) -> bool:
    try:
        return version in (None, ip_address(text).version)
    except ValueError:
        return False
