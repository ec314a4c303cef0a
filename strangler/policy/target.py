"""Paths in normal form, so that no spelling of a path slips past the route that is meant for it.

Only matching uses the normal form: what goes upstream is the target as it came.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 section 2.3
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_UNCLEAR = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")
_SLASHES = re.compile(rb"//+")


def spelled(path: bytes) -> bytes:
    """The path with hexadecimal digits in capitals and non-ASCII octets encoded (RFC 3986 sections 2.5 and 6.2.2.1).

    Two paths that differ in nothing else are the same for everyone.
    """
    if b"%" in path:
        path = _ENCODED.sub(lambda found: found[0].upper(), path)
    return path if path.isascii() else _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], path)


def normal(path: bytes) -> bytes:
    """The normal form: unreserved octets decoded, ``//`` merged, dot segments resolved, in this order."""
    path = spelled(path)
    if b"%" in path:
        path = _ENCODED.sub(_decoded, path)
    if b"//" in path:
        path = _SLASHES.sub(b"/", path)
    return _without_dots(path) if b"/." in path else path


def plain(path: bytes) -> bool:
    """Whether a path is in normal form already, as nearly all are; a few dotted names are taken for not plain."""
    # `find`, because whether bytes are in bytes is asked only after trying whether they are a number.
    return 0x25 not in path and path.find(b"/.") < 0 and path.find(b"//") < 0 and path.isascii()


def clear(path: bytes) -> bool:
    """Whether everyone decodes a path alike: each ``%`` begins two hexadecimal digits (RFC 3986 section 2.1), and none
    of them is NUL, at which some programs end a string."""
    return 0x25 not in path or _UNCLEAR.search(path) is None


def _decoded(found: re.Match[bytes]) -> bytes:
    octet = int(found[1], 16)
    return bytes((octet,)) if octet in _UNRESERVED else found[0]


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4; what would climb over the root stays there."""
    kept: list[bytes] = []
    segments = path.split(b"/")
    for segment in segments[1:]:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")  # "/a/." is "/a/"
    return b"/" + b"/".join(kept)


def as_text(part: bytes) -> str:
    """A segment of a path, or a name or value of a query, as text.

    What is no UTF-8 must not fall together with anything else, so its octets are spelled out.
    """
    return unquote_to_bytes(part).decode("utf-8", "backslashreplace")


def first_values(query: bytes | None) -> dict[str, str]:
    """The first value of each query parameter, decoded as a form field."""
    values: dict[str, str] = {}
    for pair in (query or b"").split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            values.setdefault(as_text(name.replace(b"+", b" ")), as_text(value.replace(b"+", b" ")))
    return values
