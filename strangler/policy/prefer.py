"""``Prefer`` as RFC 7240 says it: reading it, and taking what was honoured out of what goes upstream.

All header lines are one list, names have no case, the first instance of a name wins even where its value is bad,
unknown names and bad values are ignored, and ``foo=""`` is ``foo``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from strangler.domain.exchange import Header, Headers

MAX_WAIT = 60
"""Seconds. Who asks for a longer wait gets this one."""

RESPOND_ASYNC = "respond-async"
WAIT = "wait"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[^"\\]|\\.)*"'
_WORD = rb"(?:%b|%b)" % (_TOKEN, _QUOTED)
# preference = token [ BWS "=" BWS word ] *( OWS ";" [ OWS parameter ] ), RFC 7240 section 2
_PREFERENCE = re.compile(
    rb"[ \t]*(%(token)b)(?:[ \t]*=[ \t]*(%(word)b))?"
    rb"(?:[ \t]*;(?:[ \t]*%(token)b(?:[ \t]*=[ \t]*%(word)b)?)?)*[ \t]*" % {b"token": _TOKEN, b"word": _WORD},
    re.DOTALL,
)


class Preferences(NamedTuple):
    """What a client asks for, as far as it is known here."""

    respond_async: bool = False
    wait: int | None = None  # seconds, 0 to `MAX_WAIT`


NONE = Preferences()


def parse(field: bytes | None) -> Preferences:
    """The preferences of a ``Prefer`` field, its lines joined by commas; None where there is none."""
    if not field:
        return NONE
    first: dict[bytes, bytes] = {}
    for element in _elements(field):
        if found := _PREFERENCE.fullmatch(element):
            first.setdefault(found[1].lower(), _word(found[2]))
    return Preferences(first.get(b"respond-async") == b"", _seconds(first.get(b"wait", b"")))


def without(headers: Headers, names: Collection[str]) -> list[Header]:
    """The headers without the preferences of these names (lower case), every instance; all else as it came."""
    if not names:
        return list(headers)
    gone = {name.encode() for name in names}
    kept: list[Header] = []
    for name, value in headers:
        if name.lower() == b"prefer":
            elements = list(_elements(value))
            left = [element for element in elements if _name(element) not in gone]
            if len(left) < len(elements):
                value = b",".join(left).strip(b" \t")
                if not value.strip(b", \t"):
                    continue
        kept.append((name, value))
    return kept


def _elements(field: bytes) -> Iterator[bytes]:
    """The elements of a comma list; a comma within a quoted string does not part them."""
    if b'"' not in field:
        yield from field.split(b",")
        return
    start, quoted, position = 0, False, 0
    while position < len(field):
        octet = field[position]
        if quoted and octet == 0x5C:  # a backslash: what follows stands for itself
            position += 1
        elif octet == 0x22:
            quoted = not quoted
        elif octet == 0x2C and not quoted:
            yield field[start:position]
            start = position + 1
        position += 1
    yield field[start:]


def _name(element: bytes) -> bytes | None:
    found = _PREFERENCE.fullmatch(element)
    return found[1].lower() if found else None


def _word(word: bytes | None) -> bytes:
    if word is None:
        return b""
    if word.startswith(b'"'):
        return re.sub(rb"\\(.)", rb"\1", word[1:-1], flags=re.DOTALL)
    return word


def _seconds(word: bytes) -> int | None:
    if not word.isdigit():  # of bytes: ASCII digits only
        return None
    digits = word.lstrip(b"0")
    return MAX_WAIT if len(digits) > 2 else min(MAX_WAIT, int(digits or b"0"))
