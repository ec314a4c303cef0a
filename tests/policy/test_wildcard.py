from __future__ import annotations

import fnmatch
import re

from hypothesis import given
from hypothesis import strategies as st

from strangler.policy.wildcard import fits, overlap

TEXTS = st.text("ab", max_size=8)
PATTERNS = st.text("ab*", max_size=8)


@given(PATTERNS, TEXTS)
def test_a_pattern_fits_as_the_regular_expression_of_it_does(pattern: str, text: str) -> None:
    assert fits(pattern, text) == bool(re.fullmatch(fnmatch.translate(pattern), text))


@given(PATTERNS, PATTERNS, TEXTS)
def test_two_patterns_that_fit_one_text_overlap(one: str, other: str, text: str) -> None:
    if fits(one, text) and fits(other, text):
        assert overlap(one, other)


@given(PATTERNS, TEXTS)
def test_a_text_overlaps_what_it_fits_and_nothing_else(pattern: str, text: str) -> None:
    assert overlap(pattern, text) == fits(pattern, text)


def test_only_a_star_is_special() -> None:
    assert not fits("a?[b].", "aXb.")
    assert fits("a?[b].", "a?[b].")


def test_a_part_is_not_used_twice() -> None:
    assert not fits("ab*ba", "aba")
    assert fits("ab*ba", "abba")
