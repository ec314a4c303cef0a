"""How many requests a client may send."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from strangler.policy.limit import Reading, take
from strangler.policy.model import Rate

NOON = 1_800_000_000_000


def sent(rate: Rate, *after: int) -> list[Reading]:
    """What requests are told that come so many milliseconds after noon."""
    readings, full_at = [], None
    for moment in after:
        full_at, reading = take(rate, full_at, NOON + moment)
        readings.append(reading)
    return readings


def test_a_client_that_was_quiet_has_its_whole_quota_at_once() -> None:
    readings = sent(Rate(3, 60.0), 0, 0, 0, 0)
    assert [reading.allowed for reading in readings] == [True, True, True, False]
    assert [reading.remaining for reading in readings] == [2, 1, 0, 0]


def test_then_it_comes_back_evenly() -> None:
    readings = sent(Rate(3, 60.0), 0, 0, 0, 19_999, 20_000, 39_999, 40_000)
    assert [reading.allowed for reading in readings[3:]] == [False, True, False, True]


def test_who_is_refused_is_told_when_to_come_again() -> None:
    refused = sent(Rate(3, 60.0), 0, 0, 0, 5_500)[-1]
    assert (refused.allowed, refused.retry_after, refused.reset) == (False, 15, 55)
    assert (refused.quota, refused.window) == (3, 60)


def test_being_refused_costs_nothing() -> None:
    readings = sent(Rate(1, 1.0), 0, *[900] * 5, 1000)
    assert readings[-1].allowed


def test_a_quota_that_is_whole_again_is_no_larger_than_before() -> None:
    readings = sent(Rate(2, 10.0), 0, 1_000_000, 1_000_000, 1_000_000)
    assert [reading.allowed for reading in readings] == [True, True, True, False]


def test_a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_window() -> None:
    full_at, _ = take(Rate(1, 10.0), None, NOON)
    refused = take(Rate(1, 10.0), full_at, NOON - 3_600_000).reading
    assert not refused.allowed
    assert refused.retry_after <= 10


@given(
    st.builds(Rate, st.integers(1, 50), st.sampled_from([1.0, 60.0, 3600.0])),
    st.lists(st.integers(0, 5000), min_size=1, max_size=120),
)
def test_no_window_sees_more_than_twice_the_quota_and_patience_is_rewarded(rate: Rate, gaps: list[int]) -> None:
    moment, full_at = NOON, None
    allowed = []
    for gap in gaps:
        moment += gap
        full_at, reading = take(rate, full_at, moment)
        if reading.allowed:
            allowed.append(moment)
        else:
            # Whoever waits as told is let in.
            assert take(rate, full_at, moment + reading.retry_after * 1000).reading.allowed
        assert 0 <= reading.remaining < rate.requests
        assert 0 <= reading.reset <= rate.seconds + 1
    for first, later in pairwise(range(0, len(allowed), 2 * rate.requests)):
        assert allowed[later] - allowed[first] >= rate.seconds * 1000 - rate.seconds * 1000 / rate.requests
