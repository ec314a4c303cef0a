"""Header field lines (RFC 9110 section 5, RFC 9112 section 5): strict, bytes as they came.

Most lines of a head are nobody's business. So the block of all of them is checked as a whole, those that frame the
message or are for one connection are found in one pass, and what goes on is that block, cut where a line does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from strangler.domain.exchange import Header
from strangler.wire.malformed import Malformed, bad

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_NAME = re.compile(TOKEN + rb"++")
_CONTROLS = bytes(range(9)) + b"\x0b\x0c" + bytes(range(14, 32)) + b"\x7f"  # all but TAB, CR and LF

MAX_REMEMBERED = 2048
"""Bytes of a head, or of its fields, that a connection remembers: programs say the same again and again."""

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

_NOT_CARRIED = HOP_BY_HOP | {b"trailer"}  # where trailers are not

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


# A block of field lines, as every head holds one: a CRLF, and the lines, each with its CRLF.
VALUE = rb"[^\x00-\x08\x0a-\x1f\x7f]"
BLOCK = rb"\r\n(?:" + TOKEN + rb"++:" + VALUE + rb"*+\r\n)*+"
_BLOCK = re.compile(BLOCK)
_FIELD = re.compile(rb"\r\n([^:]*+):[\t ]*+([^\r]*+)")

Line = tuple[bytes, bytes, bytes]
"""A line that somebody has to look at: as it came with the CRLF before it, its lower-case name, its value."""

Search = re.Pattern[bytes]
"""What finds lines by their names; see `search`."""


def search(names: Iterable[bytes]) -> Search:
    """What finds the lines of some names (patterns of names, lower case) in a sound block: ``findall`` gives a `Line`
    for each, in order, with its name as it came and the white space after its value."""
    # Told apart by their initials first, which the machine of `re` does at once where no case is to be ignored.
    rests: dict[bytes, list[bytes]] = {}
    for name in sorted(names):
        rests.setdefault(name[:1], []).append(name[1:])
    known = b"|".join(b"[%b%b](?i:%b)" % (one, one.upper(), b"|".join(rest)) for one, rest in rests.items())
    return re.compile(rb"(\r\n(%b):[\t ]*([^\r]*))" % known)


def check_block(block: bytes) -> None:
    """See that a block is sound.

    Raises:
        Malformed: a line is not one name, a colon and a value; a line is folded; there is a bare CR or LF, or another
            control character.
    """
    if _BLOCK.fullmatch(block) is None:
        raise _unsound(block)


def _unsound(block: bytes) -> Malformed:
    lines = block[2:].split(b"\r\n")
    if lines.pop() or len(block.translate(None, _CONTROLS)) != len(block):
        return bad("A header line holds a control character, or is cut short.")
    if block.count(b"\r") != len(lines) + 1 or block.count(b"\n") != len(lines) + 1:
        return bad("A header line does not end with CR LF.")
    if all(_NAME.fullmatch(line.partition(b":")[0]) for line in lines):
        return bad("A header line has no colon.")
    return bad("A header name is not well formed.")


def parse_block(block: bytes) -> list[Header]:
    """All fields of a sound block as (name, value); values lose the white space around them."""
    headers: list[Header] = _FIELD.findall(block)
    if b" \r" in block or b"\t\r" in block:
        return [(name, value.rstrip(b" \t")) for name, value in headers]
    return headers


def cut(block: bytes, lines: Iterable[bytes]) -> bytes:
    """A block without some of its lines: given in their order, each with the CRLF before it, all that are alike."""
    pieces: list[bytes] = []
    position = 0
    for line in lines:
        start = block.index(line + b"\r\n", position)
        pieces.append(block[position:start])
        position = start + len(line)
    pieces.append(block[position:])
    return b"".join(pieces)


def without(block: bytes, names: frozenset[bytes]) -> bytes:
    """A block without the lines of some names."""
    lines = block.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in names)


def list_items(value: bytes) -> list[bytes]:
    """The lower-case members of a comma separated list of tokens."""
    return [item for part in value.lower().split(b",") if (item := part.strip(b" \t"))]


def nominated(connection: bytes) -> frozenset[bytes]:
    """Names that a ``Connection`` value takes out of the message, beside the usual hop-by-hop ones."""
    return frozenset(list_items(connection)) - HOP_BY_HOP - PROTECTED - {b"close"}


def end_to_end(headers: list[Header]) -> list[Header]:
    """The fields that are for the far end where trailers are not carried: without hop-by-hop fields, ``Trailer`` and
    what ``Connection`` nominates."""
    dropped = _NOT_CARRIED
    for name, value in headers:
        if name.lower() == b"connection":
            dropped = dropped | nominated(value)
    return [header for header in headers if header[0].lower() not in dropped]
