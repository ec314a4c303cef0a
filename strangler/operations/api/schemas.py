"""Pieces of JSON Schema that several endpoints share. Objects are closed: what is not named is not sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from strangler.domain import instant
from strangler.domain.problem import TITLES
from strangler.domain.process import is_id

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TRUTH: Schema = {"type": "boolean"}
INSTANT: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
    "description": "RFC 3339, UTC, milliseconds",
}
ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}
LINE: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 1000,
    # Some of it is not blank. To Python, `$` also stands before a line feed that ends a text. What is blank at the
    # begin is taken by itself: a text is read once, however long it is.
    "pattern": r"^(?=[^\S\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])[^\x00-\x1f\x7f-\x9f]*$(?!\n)",
}
"""Text on one line, without control characters."""


def is_line(text: str) -> bool:
    """Whether a text is one by `LINE`."""
    return len(text) <= LINE["maxLength"] and re.search(LINE["pattern"], text) is not None


def an_object(members: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """A closed object: members that are always there, and some that are there where they are known."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": sorted(members),
        "additionalProperties": False,
    }


def a_list(items: Schema) -> Schema:
    """A list of one kind of thing."""
    return {"type": "array", "items": items}


def one_of(words: Iterable[object]) -> Schema:
    """One of some words."""
    return {"type": "string", "enum": sorted(str(word) for word in words)}


PROBLEM: Schema = an_object(
    {
        "type": {"type": "string", "pattern": "^urn:strangler:problem:[a-z-]+$"},
        "code": one_of(TITLES),
        "title": TEXT,
        "status": NUMBER,
        "detail": TEXT,
        "instance": TEXT,
    },
    {
        "correlationId": TEXT,
        "process": TEXT,
        "effect": TEXT,
        "errors": a_list(an_object({"detail": TEXT}, {"pointer": TEXT})),
    },
)


# ── Readers of parameters ────────────────────────────────────────────────────────────────────────────────────────────


def read_instant(value: str) -> int:
    """An RFC 3339 instant, or a day (its begin, UTC), in milliseconds since the epoch."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        value += "T00:00:00Z"
    # A "+" that the client did not encode came out as a space; where an offset stands it can be nothing else.
    return instant.from_text(re.sub(r" (?=\d{2}:\d{2}$)", "+", value))


def read_number(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers."""

    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) <= 18 and least <= int(value) <= most):
            raise ValueError(f"expected a whole number from {least} to {most}")
        return int(value)

    return read


def read_id(value: str) -> str:
    """A process id."""
    if not is_id(value):
        raise ValueError("expected the id of a process, as in 01a1f000-0000-7000-8000-000000000001")
    return value


def read_word(words: Iterable[object]) -> Callable[[str], str]:
    """A reader of one of some words."""
    known = sorted(str(word) for word in words)

    def read(value: str) -> str:
        if value not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return value

    return read


def read_text(most: int = 200) -> Callable[[str], str]:
    """A reader of text that is not empty."""

    def read(value: str) -> str:
        if not 0 < len(value) <= most or not value.isprintable():
            raise ValueError(f"expected 1 to {most} printable characters")
        return value

    return read


LIMIT_MOST = 200
LIMIT_SCHEMA: Schema = {"type": "integer", "minimum": 1, "maximum": LIMIT_MOST, "default": 50}
read_limit = read_number(1, LIMIT_MOST)
INSTANT_PARAMETER: Schema = {
    "type": "string",
    "description": "RFC 3339 instant, or a day as in 2026-11-21, which begins at midnight UTC",
    "examples": ["2026-11-21T10:00:00Z", "2026-11-21"],
}
