"""What the schemas of the operations API take for a line."""

from __future__ import annotations

import re

import pytest

from strangler.operations.api.schemas import LINE, is_line


@pytest.mark.parametrize("text", ["a", " a", "a ", "\u3000a\xa0", "one line of text"])
def test_a_text_with_something_on_one_line_is_one(text: str) -> None:
    assert is_line(text)


@pytest.mark.parametrize("text", ["", " ", "\u3000", "a\n", "\na", "a\x85", " \t", "a\x00", "a" * 1001])
def test_what_is_blank_or_breaks_or_is_too_long_is_none(text: str) -> None:
    assert not is_line(text)


@pytest.mark.parametrize("begin", ["a", " ", " a", "a "])
def test_a_long_text_is_read_once(begin: str) -> None:
    """Whoever reads it again from each of its characters is at it for hours."""
    assert re.search(LINE["pattern"], begin * 500_000 + "\x01") is None
