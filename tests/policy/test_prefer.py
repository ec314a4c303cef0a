from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.policy.prefer import MAX_WAIT, Preferences, parse, without


@pytest.mark.parametrize(
    ("field", "respond_async", "wait"),
    [
        (None, False, None),
        (b"", False, None),
        (b"respond-async", True, None),
        (b"Respond-Async", True, None),
        (b"respond-async, wait=5", True, 5),
        (b"wait=5; x=y, Respond-Async", True, 5),
        (b"respond-async;foo, handling=lenient", True, None),
        (b'respond-async;foo="a, wait=3", wait=4', True, 4),
        (b'respond-async;foo="a\\", wait=3", wait=4', True, 4),
        (b'wait="5"', False, 5),
        (b'wait="\\5"', False, 5),
        (b"wait = 5", False, 5),
        (b"WAIT=05", False, 5),
        (b"wait=0", False, 0),
        (b"wait=60", False, 60),
        (b"wait=61", False, 60),
        (b"wait=99999999999999999999", False, 60),
        (b"wait=" + b"9" * 5000, False, 60),
        (b"wait=-1", False, None),
        (b"wait=abc", False, None),
        (b"wait=1.5", False, None),
        (b"wait=\xb2", False, None),
        (b"wait", False, None),
        (b'wait=""', False, None),
        (b"respond-sync", False, None),
        (b"wait-ms=250", False, None),
        (b'respond-async=""', True, None),
        (b"respond-async=yes", False, None),
        (b"respond-async=no, respond-async", False, None),
        (b"wait=5, wait=10", False, 5),
        (b"wait=abc, wait=10", False, None),
        (b", ,respond-async,,", True, None),
        (b"respond-async wait=5", False, None),
        (b'"respond-async"', False, None),
        (b'foo="unclosed, respond-async', False, None),
        (b"return=minimal;respond-async", False, None),
        (b"respond-async ; ; a = b", True, None),
    ],
)
def test_the_preferences_of_a_field(field: bytes | None, respond_async: bool, wait: int | None) -> None:
    assert parse(field) == Preferences(respond_async, wait)


TOKENS = st.text("abcwait-respondsync", min_size=1, max_size=12)
QUOTED = st.text("a, ;=\\", max_size=6).map(lambda text: '="' + text.replace("\\", "\\\\") + '"')
VALUES = st.one_of(st.just(""), TOKENS.map("={}".format), QUOTED)
PREFERENCES = st.builds("{}{}".format, TOKENS, VALUES)


@given(st.lists(PREFERENCES, max_size=4), st.integers(0, 200), st.lists(PREFERENCES, max_size=4))
def test_what_stands_around_a_preference_does_not_hide_it(before: list[str], wait: int, after: list[str]) -> None:
    names = {text.partition("=")[0] for text in before}
    parsed = parse(", ".join([*before, f"wait={wait}", "respond-async", *after]).encode())
    if "wait" not in names:
        assert parsed.wait == min(wait, MAX_WAIT)
    if "respond-async" not in names:
        assert parsed.respond_async


@given(st.binary(max_size=60))
def test_no_bytes_make_the_parser_fail(field: bytes) -> None:
    parsed = parse(field)
    assert parsed.wait is None or 0 <= parsed.wait <= MAX_WAIT


@given(st.binary(max_size=60))
def test_what_was_taken_out_is_not_there_any_more(field: bytes) -> None:
    rest = without([(b"Prefer", field)], ["respond-async", "wait"])
    assert parse(b", ".join(value for _, value in rest)) == Preferences()


def test_only_what_was_honoured_is_taken_out() -> None:
    headers = [(b"A", b"1"), (b"prefer", b'return=minimal, wait=5;x, foo="a,b"'), (b"B", b"2")]
    assert without(headers, ["wait"]) == [(b"A", b"1"), (b"prefer", b'return=minimal, foo="a,b"'), (b"B", b"2")]


def test_every_instance_of_what_was_honoured_is_taken_out() -> None:
    headers = [(b"Prefer", b"wait=5"), (b"PREFER", b"x, Wait=10"), (b"Prefer", b"wait")]
    assert without(headers, ["wait"]) == [(b"PREFER", b"x")]


def test_a_line_with_nothing_to_take_out_stays_as_it_came() -> None:
    headers = [(b"Prefer", b' a ,, b="c" ,'), (b"X", b"respond-async")]
    assert without(headers, ["respond-async"]) == headers
    assert without(headers, []) == headers
