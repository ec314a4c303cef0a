"""What of a recorded exchange people are not to see: header fields by name, members of JSON bodies by pointer.

The record itself stays whole, since it is what is sent and what clients get; this is about what is shown of it: logs,
views of operators, exports.
"""

from __future__ import annotations

import json
from typing import Any

from strangler.domain.exchange import Header, Headers, joined_fields
from strangler.policy.documents import read_body
from strangler.policy.model import Redaction
from strangler.policy.readable import Unparsable, is_packed, media_type
from strangler.policy.wall import Source

HIDDEN = "[redacted]"
"""Stands in the place of what is not shown."""

CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Fields that are never shown, whatever the policy says."""

_EVERY = "*"


def parse_pointer(text: str) -> tuple[str, ...]:
    """The tokens of a JSON Pointer (RFC 6901 section 3); none for the whole document.

    Raises:
        ValueError: it does not begin with /, or a ~ is neither ~0 nor ~1.
    """
    if not text:
        return ()
    if not text.startswith("/"):
        raise ValueError("a JSON Pointer begins with /")
    if any(part[:1] not in ("0", "1") for part in text.split("~")[1:]):
        raise ValueError("in a JSON Pointer ~ is written ~0, and / within a name ~1")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/"))


def shown_headers(headers: Headers, redaction: Redaction) -> list[Header]:
    """The fields as they may be shown: their names all stay, the values of some are hidden."""
    hidden = CREDENTIALS | redaction.headers
    return [(name, HIDDEN.encode() if name.decode("latin-1").lower() in hidden else value) for name, value in headers]


def shown_body(data: bytes, size: int, headers: Headers, redaction: Redaction) -> bytes | None:
    """A body as it may be shown; None: not at all, only its size.

    Where pointers are set, a body that cannot be looked into (no JSON, encoded, too large, or ``data`` is only the
    first of its ``size`` bytes) is not shown, because nobody can say that what is to be hidden is not in it.
    """
    if not redaction.pointers or not data:
        return data
    if len(data) < size or not _is_plain_json(headers):
        return None
    try:
        value = read_body(data, headers, Source()).body
    except Unparsable:
        return None
    for pointer in redaction.pointers:
        value = _without(value, parse_pointer(pointer))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _is_plain_json(headers: Headers) -> bool:
    fields = joined_fields(headers)
    if is_packed(fields.get(b"content-encoding", b"").decode("latin-1")):
        return False  # nobody knows how large it is
    kind = media_type(fields.get(b"content-type", b"").decode("latin-1"))
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def _without(value: Any, tokens: tuple[str, ...]) -> Any:
    """A value without what a pointer names; what it does not name is the same."""
    if not tokens:
        return HIDDEN
    token, rest = tokens[0], tokens[1:]
    match value:
        case dict():
            return {name: _without(part, rest) if token in (_EVERY, name) else part for name, part in value.items()}
        case list():
            return [_without(part, rest) if token in (_EVERY, str(index)) else part for index, part in enumerate(value)]
    return value
