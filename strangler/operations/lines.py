"""How a log line looks: JSON, or text for people. Whatever a field holds, it stays one line."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from strangler.domain.errors import StranglerError
from strangler.engine.instrument import Level

LogFormat = Literal["json", "text"]

RANKS: Mapping[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}

MAX_FIELD = 2048
MAX_TRACEBACK = 16 * 1024
"""Characters; what is longer is cut, so that a queue full of lines has a bound in bytes too."""

_TELLING = (
    StranglerError,
    OSError,
    AttributeError,
    NameError,
    TypeError,
    ImportError,
    NotImplementedError,
    MemoryError,
)
"""Errors whose text is written by code and tells of code; any other text may quote a request."""

_MAX_CHAIN = 5


class Line(NamedTuple):
    """One thing that happened."""

    at: int  # milliseconds since the epoch
    level: Level
    event: str
    fields: Mapping[str, object]


def formatter(form: LogFormat) -> Callable[[Line], str]:
    """The function that makes text, without a line end, of a line."""
    return as_json if form == "json" else as_text


def as_json(line: Line) -> str:
    """A JSON object in printable ASCII."""
    document: dict[str, object] = {"at": _instant(line.at), "level": line.level, "event": line.event}
    for name, value in line.fields.items():
        if value is not None:
            document[name] = _plain(value)
    # DEL is the one control character that JSON leaves as it is.
    return _encode(document).replace("\x7f", "\\u007f")


def as_text(line: Line) -> str:
    """``INSTANT LEVEL EVENT name=value …``; values that are not plain words are quoted, as in JSON."""
    parts = [_instant(line.at), line.level, line.event]
    parts += (f"{name}={_shown(_plain(value))}" for name, value in line.fields.items() if value is not None)
    return " ".join(parts)


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _instant(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _plain(value: object) -> str | int | float | bool:
    """A field as a JSON scalar. Of what is none only the type is told: its representation might show anything."""
    match value:
        case bool() | int():
            return value
        case float():
            return round(value, 3) if abs(value) < float("inf") else str(value)
        case bytes():
            return _cut(value[: 4 * MAX_FIELD].decode("utf-8", "backslashreplace"), MAX_FIELD)
        case Trace():
            return _cut(str(value), MAX_TRACEBACK)
        case str():
            return _cut(str(value), MAX_FIELD)
        case _:
            return f"<{type(value).__name__}>"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def _shown(value: str | int | float | bool) -> str:
    if not isinstance(value, str):
        return _encode(value)
    if value.isprintable():
        if value and not any(mark in value for mark in ' "=\\'):
            return value
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    # Not printable: controls, line and paragraph separators, marks that turn the direction of text, lone surrogates.
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else _encode(character)[1:-1].replace("\x7f", "\\u007f")


class Trace(str):
    """The text of a traceback."""

    __slots__ = ()


def trace(error: BaseException) -> Trace:
    """Where an error arose and what it led to, the cause first, with the text of those alone that tell of code."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < _MAX_CHAIN and current not in chain:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return Trace("\n".join(_one(link) for link in reversed(chain)))


def _one(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    text = frames + describe(error)
    if isinstance(error, BaseExceptionGroup):
        text += "".join(f"\n| {line}" for part in error.exceptions[:_MAX_CHAIN] for line in trace(part).split("\n"))
    return text


def describe(error: BaseException) -> str:
    """The type of an error, and its text where that tells of code and not of a request."""
    name = type(error).__qualname__
    return f"{name}: {error}" if isinstance(error, _TELLING) else f"{name} (its text is withheld)"
