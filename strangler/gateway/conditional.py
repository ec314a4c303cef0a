"""Conditional and range requests (RFC 9110 sections 13 and 14), decided over plain values."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

from strangler.domain.exchange import Request
from strangler.domain.instant import from_http_date

_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_LIST_OF_TAGS = re.compile(rb"[ \t,]*(?:%b(?:[ \t]*,[ \t,]*|[ \t]*$))+" % _ENTITY_TAG.pattern)
_RANGES = re.compile(rb"[ \t]*bytes[ \t]*=([0-9, \t-]*)", re.IGNORECASE)
_RANGE = re.compile(rb"([0-9]{0,18})-([0-9]{0,18})")
_MOST_RANGES = 32
"""More than this many are not worth reading, and ignored: they are how a server is made to work (CVE-2011-3192)."""


class Span(NamedTuple):
    """A part of a body: the places of its first and last byte, both counted."""

    first: int
    last: int


class Whole(Enum):
    """Verdicts over a ``Range`` other than a part."""

    WHOLE = auto()  # all of it, as without a Range
    UNSATISFIABLE = auto()


def none_match(field: bytes, tag: bytes) -> bool:
    """Whether ``If-None-Match`` holds: no tag in it is ``tag``, by weak comparison. What is no list of tags holds."""
    if field == tag:
        return False
    if field.strip(b" \t") == b"*":
        return False
    if _LIST_OF_TAGS.fullmatch(field) is None:
        return True
    opaque = tag.removeprefix(b"W/")
    return all(given.removeprefix(b"W/") != opaque for given in _ENTITY_TAG.findall(field))


def not_modified(request: Request, tag: bytes | None, modified: bytes | None) -> bool:
    """Whether a client has what is stored already. ``tag`` and ``modified`` are the ETag and Last-Modified of that."""
    given = request.field(b"if-none-match")
    if given is not None:
        # It takes precedence over the date (section 13.2.2), whether or not there is a tag to compare with.
        return given.strip(b" \t") == b"*" if tag is None else not none_match(given, tag)
    since = _date(request.field(b"if-modified-since"))
    changed = _date(modified)
    return since is not None and changed is not None and changed <= since


def span(request: Request, length: int, tag: bytes | None, modified: bytes | None) -> Span | Whole:
    """Which part of a stored body of ``length`` bytes a GET asks for.

    Several ranges are served where they make up one; else the whole is sent, as section 14.2 allows.
    """
    field = request.field(b"range")
    if field is None or request.method != "GET" or not _still_the_same(request.field(b"if-range"), tag, modified):
        return Whole.WHOLE
    found = _RANGES.fullmatch(field)
    if found is None:
        return Whole.WHOLE
    items = [item.strip(b" \t") for item in found[1].split(b",")]
    parts = [_RANGE.fullmatch(item) for item in items if item]
    if not parts or len(parts) > _MOST_RANGES:
        return Whole.WHOLE
    spans: list[Span] = []
    for part in parts:
        if part is None or (not part[1] and not part[2]) or (part[1] and part[2] and int(part[1]) > int(part[2])):
            return Whole.WHOLE  # not well formed: as if it were not there
        placed = _placed(part[1], part[2], length)
        if placed is not None:
            spans.append(placed)
    return _joined(spans) if spans else Whole.UNSATISFIABLE


def _placed(first: bytes, last: bytes, length: int) -> Span | None:
    """Where a range falls in a body; None: beyond it."""
    if not first:
        suffix = min(int(last), length)
        return Span(length - suffix, length - 1) if suffix else None
    if int(first) >= length:
        return None
    return Span(int(first), min(int(last), length - 1) if last else length - 1)


def _joined(spans: list[Span]) -> Span | Whole:
    """The one span that several which overlap or touch make up."""
    spans.sort()
    whole = spans[0]
    for part in spans[1:]:
        if part.first > whole.last + 1:
            return Whole.WHOLE
        whole = Span(whole.first, max(whole.last, part.last))
    return whole


def _still_the_same(field: bytes | None, tag: bytes | None, modified: bytes | None) -> bool:
    """Whether ``If-Range`` holds: a strong tag that is the same, or the very date (section 13.1.5)."""
    if field is None:
        return True
    field = field.strip(b" \t")
    if field.startswith((b'"', b"W/")):
        return field == tag and not field.startswith(b"W/")
    return modified is not None and field == modified.strip(b" \t")


def _date(field: bytes | None) -> int | None:
    """The instant that a field names; None: it is not there, or names none."""
    return from_http_date(field.decode("latin-1")) if field is not None else None
