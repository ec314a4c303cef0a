"""Texts with ``*`` for any run of characters. Linear in the length of the text; nothing but ``*`` is special."""

from __future__ import annotations

from functools import cache


def fits(pattern: str, text: str) -> bool:
    """Whether ``text`` is one that ``pattern`` stands for."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == first
    if not text.startswith(first):
        return False
    *middle, last = rest
    position = len(first)
    for part in middle:
        # The earliest place is always good enough: whatever follows has only more text to be found in.
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return len(text) - position >= len(last) and text.endswith(last)


def overlap(one: str, other: str) -> bool:
    """Whether some text fits both patterns."""

    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(one) and j == len(other):
            return True
        if i < len(one) and one[i] == "*":
            return meet(i + 1, j) or (j < len(other) and meet(i, j + 1))
        if j < len(other) and other[j] == "*":
            return meet(i, j + 1) or (i < len(one) and meet(i + 1, j))
        return i < len(one) and j < len(other) and one[i] == other[j] and meet(i + 1, j + 1)

    return meet(0, 0)
