"""How large a plain document is, or can be: found before anything recursive looks at it, and once however many
expressions do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAX_DEPTH = 100  # of nested mappings and lists, in a document or a result
MAX_VALUES = 200_000  # in a document or a result
_SHORT = 64 * 1024  # characters of a text, and
_FEW = MAX_DEPTH // 2  # brackets that open in it, up to which nobody needs to know more than what it holds at most


class TooLarge(ValueError):
    """A document is nested deeper than `MAX_DEPTH`, or holds more than `MAX_VALUES`."""


class Measure(NamedTuple):
    """What a document holds."""

    values: int  # it itself, and all in it
    letters: int  # of its texts, names not counted
    depth: int  # of a scalar: 1
    plain: bool  # no fraction in it is so large or so small that it may be written with an exponent, or not at all


class Document:
    """A plain value that expressions look at.

    Args:
        measure: what it holds at most; None: it is measured when somebody asks.
        parts: documents that stand in it, each measured at most once for all in which it stands.
    """

    __slots__ = ("_measure", "_parts", "value")

    def __init__(self, value: Any, measure: Measure | None = None, parts: Sequence[Document] = ()) -> None:
        self.value = value
        self._measure = measure
        self._parts = parts

    @classmethod
    def of(cls, value: Any) -> Document:
        """A plain value as a document; a document as it is."""
        return value if isinstance(value, cls) else cls(value)

    @property
    def measure(self) -> Measure:
        """What it holds, or more.

        Raises:
            TooLarge: it is too deep, or holds too much.
        """
        if self._measure is None:
            known = {id(part.value): part.measure for part in self._parts if part.value is not None}
            self._measure = measured(self.value, known)
        return self._measure


def most(size: int, brackets: int) -> Measure | None:
    """What a document can hold that is `Measure.plain`; None: it has to be measured.

    Args:
        size: bytes of its JSON text.
        brackets: that open in it.
    """
    if size > _SHORT or brackets > _FEW:
        return None
    return Measure(size // 2 + 1, size, brackets + 1, True)  # between two values there is a character


def measured(document: Any, known: Mapping[int, Measure] | None = None) -> Measure:
    """What a document holds.

    Args:
        known: by `id`, mappings and lists in it that were measured before.

    Raises:
        TooLarge: it is too deep, or holds too much.
    """
    values, letters, deepest, plain = 1, 0, 1, True
    level = [document]
    for depth in range(1, MAX_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            # Exact types, because these are plain documents and there are thousands of values.
            kind = type(value)
            if kind is str:
                letters += len(value)
            elif kind is dict or kind is list:
                if known and (part := known.get(id(value))) is not None:
                    values, letters, plain = values + part.values - 1, letters + part.letters, plain and part.plain
                    deepest = max(deepest, depth + part.depth - 1)
                else:
                    below += value.values() if kind is dict else value
                if len(below) > MAX_VALUES:
                    raise TooLarge(f"more than {MAX_VALUES} values")
            elif kind is float and plain:
                plain = 1e-4 <= value < 1e16 or -1e16 < value <= -1e-4 or value == 0
        values += len(below)
        if values > MAX_VALUES + 1:
            raise TooLarge(f"more than {MAX_VALUES} values")
        if not below:
            break
        level = below
    else:
        deepest = MAX_DEPTH + 1
    if deepest > MAX_DEPTH:
        raise TooLarge(f"nested more than {MAX_DEPTH} deep")
    return Measure(values, letters, max(deepest, depth), plain)
