"""Header field lines (RFC 9110 section 5, RFC 9112 section 5): strict, in one pass, bytes as they came."""

from __future__ import annotations

import re
from typing import NamedTuple

from strangler.domain.exchange import Header
from strangler.wire.malformed import bad

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_NAME = re.compile(TOKEN + rb"++")
_CONTROLS = bytes(range(9)) + b"\x0b\x0c" + bytes(range(14, 32)) + b"\x7f"  # all but TAB, CR and LF

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields for one connection only (RFC 9110 section 7.6.1). ``Trailer`` is not one: trailers are carried."""

FORWARDING = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded", b"via"})
"""Fields by which a proxy says whom it speaks for."""

PROTECTED = FORWARDING | {
    b"host",
    b"content-length",
    b"authorization",
    b"cookie",
    b"expect",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
}
"""Fields that a ``Connection`` field cannot nominate away (golang issue 50580 shows what happens otherwise)."""


def _both_cases(*names: str) -> frozenset[bytes]:
    return frozenset(name.encode() for known in names for name in (known, known.lower()))


# Names that are well formed and that no proxy has to look at: most lines of most heads are settled by this look-up.
_PLAIN = _both_cases(
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Accept-Ranges",
    "Access-Control-Allow-Origin",
    "Age",
    "Cache-Control",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "Cookie",
    "Date",
    "ETag",
    "Expires",
    "If-Modified-Since",
    "If-None-Match",
    "Last-Modified",
    "Link",
    "Location",
    "Origin",
    "Pragma",
    "Range",
    "Referer",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Site",
    "Server",
    "Set-Cookie",
    "Strict-Transport-Security",
    "User-Agent",
    "Vary",
    "X-Api-Key",
    "X-Content-Type-Options",
    "X-Correlation-ID",
    "X-Frame-Options",
    "X-Powered-By",
    "X-Request-ID",
)


class Fields(NamedTuple):
    """Field lines: as they came without CRLF, the same as (name, value), and those that were asked for."""

    lines: list[bytes]
    headers: list[Header]
    noted: list[tuple[int, bytes]]  # (index, lower-case name)


def parse_fields(block: bytes, note: frozenset[bytes] = frozenset()) -> Fields:
    """Parse a block of field lines, each ended by CRLF; values lose the white space around them.

    ``note``: lower-case names whose lines are noted; so is every name with an underscore, because some old servers take
    it for a hyphen.

    Raises:
        Malformed: a line is not one name, a colon and a value; a line is folded; there is a bare CR or LF, or another
            control character.
    """
    lines = block.split(b"\r\n")
    if lines.pop() or len(block.translate(None, _CONTROLS)) != len(block):
        raise bad("A header line holds a control character, or is cut short.")
    if block.count(b"\r") != len(lines) or block.count(b"\n") != len(lines):
        raise bad("A header line does not end with CR LF.")
    headers: list[Header] = []
    noted: list[tuple[int, bytes]] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if name not in _PLAIN:
            key = name.lower()
            if key in note or b"_" in key:
                noted.append((len(headers), key))
            if not _NAME.fullmatch(name):
                raise bad("A header name is not well formed.")
        if not colon:
            raise bad("A header line has no colon.")
        headers.append((name, value.strip(b" \t")))
    return Fields(lines, headers, noted)


def list_items(value: bytes) -> list[bytes]:
    """The lower-case members of a comma separated list of tokens."""
    return [item for part in value.lower().split(b",") if (item := part.strip(b" \t"))]


def nominated(connection: bytes) -> frozenset[bytes]:
    """Names that a ``Connection`` value takes out of the message, beside the usual hop-by-hop ones."""
    return frozenset(list_items(connection)) - HOP_BY_HOP - PROTECTED - {b"close"}


def end_to_end(headers: list[Header]) -> list[Header]:
    """The fields that are for the far end where trailers are not carried: without hop-by-hop fields, ``Trailer`` and
    what ``Connection`` nominates."""
    lowered = [name.lower() for name, _ in headers]
    dropped = HOP_BY_HOP | {b"trailer"}
    for key, (_, value) in zip(lowered, headers, strict=True):
        if key == b"connection":
            dropped = dropped | nominated(value)
    return [header for key, header in zip(lowered, headers, strict=True) if key not in dropped]
