"""How the command line shows what it was answered: tables for people, JSON for programs."""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# Control characters, line separators, marks that turn the direction of text, and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NARROWEST = 12  # columns that the last one keeps


def print_json(document: Any) -> None:
    """What the server answered, for programs."""
    print(json.dumps(document, indent=2, ensure_ascii=not _takes_unicode()))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as what is in them; the last one is cut at the edge of a terminal."""
    lines = [[safe(cell) for cell in row] for row in rows]
    widths = [max([len(head), *(_width(line[at]) for line in lines)]) for at, head in enumerate(heads)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in [[head.upper() for head in heads], *lines]:
        text = "  ".join(_padded(cell, width) for cell, width in zip(line[:-1], widths, strict=False))
        last = line[-1]
        if room is not None and (left := max(_NARROWEST, room - _width(text) - 2)) < len(last):
            last = last[: left - 1] + "…"
        print(f"{text}  {last}".rstrip() if len(line) > 1 else last)


def print_hints(hints: Iterable[str]) -> None:
    """What may be why there is nothing to show; not into what a program reads."""
    for hint in hints:
        print(safe(hint), file=sys.stderr)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Names and values, one per line; what is None is left out."""
    told = [(name, safe(value)) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        print(f"{name:<{width}}  {value}")


def short_time(text: str | None) -> str:
    """An instant of the server as people read it: 2026-11-21 10:00:00Z."""
    return "" if text is None else f"{text[:10]} {text[11:19]}Z"


def safe(value: object) -> str:
    """A value on one line, that cannot move the cursor of a terminal."""
    return _CONTROL.sub("�", "" if value is None else str(value))


def _takes_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
