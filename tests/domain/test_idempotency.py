"""Keys, fingerprints and the judgement over them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.idempotency import (
    Judgement,
    KeyRecord,
    KeySyntaxError,
    fingerprint,
    judge,
    key_expiry,
    parse_key,
    retained_from,
    sought_key,
)
from strangler.domain.process import Effect
from tests.domain.drafts import NOON, a_draft


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'"8e03978e-40d5"', "8e03978e-40d5"),
        (b"8e03978e-40d5", "8e03978e-40d5"),
        (b'  "a b"\t', "a b"),
        (rb'"a\"b\\c"', r"a\"b\\c".replace(r"\"", '"').replace(r"\\", "\\")),
        (b"order:17/4=x", "order:17/4=x"),
        (b'""', None),
        (b"", None),
        (b"   ", None),
    ],
)
def test_quoted_and_bare_keys_are_read_alike(value: bytes, key: str | None) -> None:
    assert parse_key(value) == key


@pytest.mark.parametrize(
    "value", [b"a b", b"a,b", b'"a', b'a"', b"a\x00", b"\xc3\xa9", b'"\xc3\xa9"', b"x" * 256, b"a;b=1"]
)
def test_what_is_no_key_is_said_to_be_none(value: bytes) -> None:
    with pytest.raises(KeySyntaxError):
        parse_key(value)


def test_a_key_of_255_characters_is_taken() -> None:
    assert parse_key(b"x" * 255) == "x" * 255


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=100))
def test_any_printable_key_survives_quoting(key: str) -> None:
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse_key(quoted.encode()) == key


PARTS = st.tuples(
    st.sampled_from(["GET", "POST"]),
    st.binary(max_size=6),
    st.none() | st.binary(max_size=6),
    st.none() | st.binary(max_size=6),
    st.binary(min_size=32, max_size=32),
)


@given(PARTS, PARTS)
def test_only_equal_requests_have_equal_fingerprints(one: tuple, other: tuple) -> None:  # type: ignore[type-arg]
    assert (fingerprint(*one) == fingerprint(*other)) is (one == other)


@pytest.mark.parametrize(
    ("record", "now", "judgement"),
    [
        (None, 0, Judgement.FRESH),
        (KeyRecord("s", "k", b"same", "p"), 10**15, Judgement.REPLAY),
        (KeyRecord("s", "k", b"same", "p", expires_at=100), 99, Judgement.REPLAY),
        (KeyRecord("s", "k", b"same", "p", expires_at=100), 100, Judgement.FRESH),
        (KeyRecord("s", "k", b"other", "p"), 0, Judgement.MISMATCH),
    ],
)
def test_a_record_is_judged_by_its_fingerprint_and_its_age(
    record: KeyRecord | None, now: int, judgement: Judgement
) -> None:
    assert judge(record, b"same", now) is judgement


@pytest.mark.parametrize("effect", [Effect.APPLIED, Effect.UNKNOWN])
def test_a_key_outlives_the_end_of_what_may_have_been_done(effect: Effect) -> None:
    process = a_draft(key_lookup="k", key_life=5000, effect=effect)
    assert key_expiry(process, NOON) == NOON + 5000
    assert retained_from(process, NOON) == NOON + 5000


def test_a_key_is_free_again_as_soon_as_it_is_known_that_nothing_was_done() -> None:
    process = a_draft(key_lookup="k", key_life=5000, effect=Effect.NONE)
    assert key_expiry(process, NOON) == NOON
    assert retained_from(process, NOON) == NOON


def test_what_has_no_key_is_kept_from_its_end_on() -> None:
    process = a_draft(key_lookup=None, key_life=5000, effect=Effect.APPLIED)
    assert key_expiry(process, NOON) is None
    assert retained_from(process, NOON) == NOON


@pytest.mark.parametrize(
    ("text", "key"), [("a b", "a b"), ('"a b"', "a b"), ('"a\\"b"', 'a"b'), ('a"b', 'a"b'), ("", ""), ('""', "")]
)
def test_a_key_is_looked_for_as_it_is_shown_or_as_it_stands_in_a_header(text: str, key: str) -> None:
    assert sought_key(text) == key


@pytest.mark.parametrize("text", ['"a', '"\u00e9', '"a\\b"'])
def test_what_begins_with_a_quote_and_is_no_quoted_string_is_not_looked_for(text: str) -> None:
    with pytest.raises(KeySyntaxError):
        sought_key(text)
