"""Scalars of YAML 1.2's core schema (section 10.3.2), durations and sizes."""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_HALF = re.compile("[\ud800-\udfff]")
_MAX_DIGITS = 100  # what is longer stays text: int() of a long run of digits is slow, and none is meant as a number


def is_text(value: str) -> bool:
    """Whether a string is text, and holds no half of a surrogate pair: what is none cannot be sent or stored."""
    return value.isascii() or _HALF.search(value) is None


def typed(text: str) -> Scalar:
    """What a plain scalar is: null, a boolean, a number, or else text. No dates; on, off, yes and no are words."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if len(text) <= _MAX_DIGITS:
        if _DECIMAL.fullmatch(text):
            return int(text)
        if _OCTAL.fullmatch(text):
            return int(text[2:], 8)
        if _HEXADECIMAL.fullmatch(text):
            return int(text[2:], 16)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def seconds(text: str) -> float:
    """Seconds of a duration: ``250ms 2s 5m 24h 30d``.

    Raises:
        ValueError: it is none.
    """
    if found := _DURATION.fullmatch(text):
        return int(found[1]) * _SECONDS[found[2]]
    raise ValueError("expected a duration such as 250ms, 2s, 5m, 24h or 30d")


def size(text: str) -> int:
    """Bytes of a size: ``64KiB 10MiB``.

    Raises:
        ValueError: it is none.
    """
    if found := _SIZE.fullmatch(text):
        return int(found[1]) * _BYTES[found[2]]
    raise ValueError("expected a size such as 64KiB or 10MiB")


def duration_text(value: float) -> str:
    """A duration as a policy writes it, in the largest unit that it is a whole number of."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if value >= length and value % length == 0:
            return f"{value / length:.0f}{unit}"
    return f"{value * 1000:.0f}ms"
