"""Marks: how far a reader has come in all that was committed, as a text that a client keeps for it.

A mark is the number of an event in the order of the commits, and the begin of its digest: a number alone could, after
the event was forgotten, be given to another.
"""

from __future__ import annotations

import re
from typing import NamedTuple

STEP = 20_000
"""Events that are looked at in one go: some ten milliseconds."""

MOST = 200_000
"""Events that a reader may be behind; one that is further behind begins anew."""

_MARK = re.compile(r"([0-9a-f]{1,15})-([0-9A-F]{8}|)")
_DIGITS = 8


class Mark(NamedTuple):
    """A mark that was read."""

    position: int  # 0: before the first event
    digest: str


def write(position: int, digest: str) -> str:
    """The mark of an event; ``digest`` in capital hexadecimal digits."""
    return f"{position:x}-{digest[:_DIGITS]}"


def read(text: str) -> Mark | None:
    """A mark from its text; None: it is none."""
    found = _MARK.fullmatch(text)
    if found is None or (found[1] == "0") is not (found[2] == ""):
        return None
    return Mark(int(found[1], 16), found[2])
