"""Backoff and Retry-After."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.retry import Backoff, delay, parse_retry_after

NOON = 1_795_348_800_000  # Sun, 22 Nov 2026 12:00:00 GMT


@pytest.mark.parametrize(("tries", "seconds"), [(1, 1), (2, 2), (3, 4), (7, 60), (10**6, 60)])
def test_without_jitter_each_wait_is_the_double_of_the_one_before_up_to_a_limit(tries: int, seconds: float) -> None:
    assert delay(Backoff(jitter="none"), tries, 0.5) == seconds


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True), st.sampled_from(["full", "equal", "none"]))
def test_a_wait_stays_within_its_bounds(tries: int, chance: float, jitter: str) -> None:
    backoff = Backoff(jitter=jitter)  # type: ignore[arg-type]
    whole = delay(Backoff(jitter="none"), tries, 0.0)
    assert (0 if jitter == "full" else whole / 2) <= delay(backoff, tries, chance) <= whole


def test_the_upstreams_retry_after_is_a_lower_bound() -> None:
    assert delay(Backoff(), 1, 0.0, retry_after=90.0) == 90.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b" 0 ", 0.0),
        (b"Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        (b"Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        (b"Sunday, 22-Nov-26 12:00:30 GMT", 30.0),
        (b"Sun Nov 22 12:00:30 2026", 30.0),
        (b"9" * 400, 999_999_999.0),
        (b"soon", None),
        (b"-5", None),
        (b"1.5", None),
        (b"", None),
        (None, None),
        ("٣".encode(), None),
        (b"\xb2", None),
        (b"Sun, 22 Nov 99999999999999999999 12:00:00 GMT", None),
    ],
)
def test_seconds_and_dates_are_understood_and_all_else_says_nothing(value: bytes | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOON) == seconds
