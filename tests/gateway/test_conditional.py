"""Conditionals and ranges (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.exchange import Header
from strangler.gateway.conditional import Span, Whole, none_match, not_modified, span
from tests.gateway.scene import a_request

TAG = b'W/"3-native"'
THEN = b"Sat, 21 Nov 2026 10:00:00 GMT"
EARLIER = b"Fri, 20 Nov 2026 10:00:00 GMT"
LATER = b"Sun, 22 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("field", "holds"),
    [
        (b'W/"3-native"', False),
        (b'"3-native"', False),
        (b"*", False),
        (b' W/"1-native" , W/"3-native"', False),
        (b'"x",,"3-native",', False),
        (b'"with,comma", "3-native"', False),
        (b'W/"2-native"', True),
        (b'"W/3-native"', True),
        (b"3-native", True),
        (b'w/"3-native"', True),
        (b'"3-native', True),
        (b'"3-native" "x"', True),
        (b"", True),
    ],
)
def test_if_none_match_compares_weakly_and_takes_lists(field: bytes, holds: bool) -> None:
    assert none_match(field, TAG) is holds


@given(st.binary(max_size=200))
def test_no_if_none_match_is_too_strange(field: bytes) -> None:
    none_match(field, TAG)
    not_modified(a_request("GET", "/", (b"If-None-Match", field), (b"If-Modified-Since", field)), TAG, field)
    span(a_request("GET", "/", (b"Range", field), (b"If-Range", field)), 10, TAG, None)


@pytest.mark.parametrize(
    ("headers", "tag", "modified", "expected"),
    [
        ([], b'"a"', THEN, False),
        ([(b"If-None-Match", b'"a"')], b'"a"', None, True),
        ([(b"If-None-Match", b'"a"')], b'W/"a"', None, True),
        ([(b"If-None-Match", b'"b"')], b'"a"', None, False),
        ([(b"If-None-Match", b"*")], None, None, True),
        ([(b"If-None-Match", b'"a"')], None, THEN, False),
        ([(b"If-Modified-Since", THEN)], None, THEN, True),
        ([(b"If-Modified-Since", LATER)], None, THEN, True),
        ([(b"If-Modified-Since", EARLIER)], None, THEN, False),
        ([(b"If-Modified-Since", THEN)], None, None, False),
        ([(b"If-Modified-Since", b"yesterday")], None, THEN, False),
        ([(b"If-Modified-Since", b"Sun, 22 Nov 99999999999999999999 12:00:00 GMT")], None, THEN, False),
        # The tag goes before the date.
        ([(b"If-None-Match", b'"b"'), (b"If-Modified-Since", LATER)], b'"a"', THEN, False),
    ],
)
def test_whether_a_client_has_it_already(
    headers: list[Header], tag: bytes | None, modified: bytes | None, expected: bool
) -> None:
    assert not_modified(a_request("GET", "/", *headers), tag, modified) is expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"bytes=0-3", Span(0, 3)),
        (b"bytes=5-", Span(5, 9)),
        (b"bytes=5-100", Span(5, 9)),
        (b"bytes=-3", Span(7, 9)),
        (b"bytes=-100", Span(0, 9)),
        (b"Bytes = 0-0", Span(0, 0)),
        (b"bytes=9-9", Span(9, 9)),
        (b"bytes=10-", Whole.UNSATISFIABLE),
        (b"bytes=-0", Whole.UNSATISFIABLE),
        (b"bytes=10-12, 20-", Whole.UNSATISFIABLE),
        (b"bytes=10-12, 1-2", Span(1, 2)),
        (b"bytes=0-2,3-4", Span(0, 4)),
        (b"bytes=4-6 , 0-5", Span(0, 6)),
        (b"bytes=0-1,5-6", Whole.WHOLE),
        (b"bytes=0-2,4-5", Whole.WHOLE),
        (b"bytes=" + b",".join([b"0-1"] * 33), Whole.WHOLE),
        (b"bytes=3-1", Whole.WHOLE),
        (b"bytes=-", Whole.WHOLE),
        (b"bytes=", Whole.WHOLE),
        (b"bytes=a-b", Whole.WHOLE),
        (b"lines=0-1", Whole.WHOLE),
        (b"bytes=1-2-3", Whole.WHOLE),
    ],
)
def test_which_part_a_range_asks_for(field: bytes, expected: Span | Whole) -> None:
    assert span(a_request("GET", "/", (b"Range", field)), 10, None, None) == expected


def test_an_empty_body_has_no_part() -> None:
    assert span(a_request("GET", "/", (b"Range", b"bytes=0-")), 0, None, None) is Whole.UNSATISFIABLE


def test_only_get_has_ranges() -> None:
    assert span(a_request("HEAD", "/", (b"Range", b"bytes=0-3")), 10, None, None) is Whole.WHOLE
    assert span(a_request("GET", "/"), 10, None, None) is Whole.WHOLE


@pytest.mark.parametrize(
    ("field", "tag", "modified", "part"),
    [
        (b'"a"', b'"a"', None, True),
        (b'"b"', b'"a"', None, False),
        (b'W/"a"', b'W/"a"', None, False),  # a weak tag proves nothing about bytes
        (THEN, None, THEN, True),
        (LATER, None, THEN, False),
        (THEN, b'"a"', None, False),
    ],
)
def test_a_part_is_served_only_of_what_the_client_has_begun(
    field: bytes, tag: bytes | None, modified: bytes | None, part: bool
) -> None:
    found = span(a_request("GET", "/", (b"Range", b"bytes=0-3"), (b"If-Range", field)), 10, tag, modified)

    assert isinstance(found, Span) is part
