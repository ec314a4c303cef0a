"""Retry-After: honest, bounded, and worth obeying."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.latency import LatencySketch, retry_after

Draw = Callable[[random.Random], float]


def lognormal(median: float, slowest_percent: float) -> Draw:
    """Durations of which half take less than ``median`` and one in a hundred over ``slowest_percent`` seconds."""
    spread = math.log(slowest_percent / median) / statistics.NormalDist().inv_cdf(0.99)
    return lambda chance: chance.lognormvariate(math.log(median), spread)


def polled(draw: Draw, seed: int, known: int = 2000, clients: int = 3000) -> tuple[float, float]:
    """What clients that obey Retry-After come to on a route: (polls on average, lateness at the median).

    The first Retry-After is that of the acceptance. Lateness is a share of what the process took.
    """
    chance = random.Random(seed)
    sketch = LatencySketch()
    for _ in range(known):
        sketch.observe(draw(chance))
    waits: dict[int, int] = {}
    polls, lateness = 0, []
    for _ in range(clients):
        took, elapsed = draw(chance), 0
        while elapsed < took:
            if elapsed not in waits:
                waits[elapsed] = retry_after(sketch, elapsed)
            elapsed += waits[elapsed]
            polls += 1
        lateness.append((elapsed - took) / took)
    return polls / clients, statistics.median(lateness)


@pytest.mark.parametrize("seed", range(1, 6))
def test_who_obeys_on_a_usual_route_asks_at_most_four_times_and_is_late_by_at_most_15_percent(seed: int) -> None:
    polls, late = polled(lognormal(4, 30), seed)

    assert polls <= 4
    assert late <= 0.15


@pytest.mark.parametrize(
    ("draw", "most_polls", "latest"),
    [
        (lognormal(40, 300), 5.0, 0.15),  # ten times as slow
        (lognormal(20, 40), 4.0, 0.12),  # all alike
        (lognormal(120, 200), 4.0, 0.12),
        (lambda chance: 30.0, 3.0, 0.2),  # always the same
        (lambda chance: chance.uniform(0, 60), 4.0, 0.2),
        (lambda chance: chance.expovariate(1 / 20), 4.5, 0.2),
        (lambda chance: chance.uniform(50, 80) if chance.random() < 0.5 else 0.2, 3.5, 5.0),  # quick or slow
    ],
)
def test_who_obeys_on_other_routes_fares_as_well(draw: Draw, most_polls: float, latest: float) -> None:
    polls, late = polled(draw, 1)

    assert polls <= most_polls
    assert late <= latest


def test_a_few_observations_are_enough_to_begin_with() -> None:
    polls, late = polled(lognormal(20, 40), 1, known=20)

    assert polls <= 4
    assert late <= 0.15


def test_the_guidance_follows_a_route_that_becomes_slow() -> None:
    sketch = LatencySketch()
    for _ in range(5000):
        sketch.observe(2.0)
    before = retry_after(sketch, 0)
    for _ in range(3000):
        sketch.observe(60.0)

    assert before <= 2
    assert retry_after(sketch, 3.0) >= 30


def test_a_new_route_is_asked_after_three_seconds_and_then_ever_more_seldom() -> None:
    assert [retry_after(None, elapsed) for elapsed in (0, 3, 40, 400)] == [3, 3, 10, 100]


def test_what_outlasts_all_that_was_seen_is_asked_for_ever_more_seldom() -> None:
    sketch = LatencySketch()
    for _ in range(100):
        sketch.observe(1.0)

    assert [retry_after(sketch, elapsed) for elapsed in (4, 40, 400, 4_000_000_000)] == [3, 10, 100, 300]


def test_an_unconfirmed_process_is_asked_for_every_30_seconds() -> None:
    sketch = LatencySketch()
    sketch.observe(1.0)

    assert retry_after(sketch, 5.0, unconfirmed=True) == 30


@given(
    st.lists(st.floats(min_value=0, max_value=1e9), max_size=60),
    st.floats(min_value=0, max_value=1e9),
)
def test_retry_after_is_a_whole_number_from_1_to_300(took: list[float], elapsed: float) -> None:
    sketch = LatencySketch()
    for seconds in took:
        sketch.observe(seconds)

    assert retry_after(sketch, elapsed) in range(1, 301)


@given(st.lists(st.floats(min_value=0, max_value=1e7), max_size=200))
def test_a_sketch_kept_as_json_gives_the_same_guidance(took: list[float]) -> None:
    sketch = LatencySketch()
    for seconds in took:
        sketch.observe(seconds)

    kept = LatencySketch.from_json(json.loads(json.dumps(sketch.to_json())))

    assert kept.to_json() == sketch.to_json()
    for elapsed in (0.0, 1.0, 10.0, 100.0):
        assert abs(retry_after(kept, elapsed) - retry_after(sketch, elapsed)) <= max(1, elapsed / 4)


def test_ever_so_many_observations_are_counted_without_overflow() -> None:
    sketch = LatencySketch()
    for _ in range(50_000):
        sketch.observe(10.0)

    assert 5 <= retry_after(sketch, 0) <= 12
    assert all(count < 1e12 for count in _counts(sketch))


@pytest.mark.parametrize(
    "kept",
    [{}, {"counts": []}, {"counts": {"x": 1}}, {"counts": {"-1": 1}}, {"counts": {"9999": 1}}, {"counts": {"3": "1"}}],
)
def test_what_is_no_sketch_is_refused(kept: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        LatencySketch.from_json(kept)


def _counts(sketch: LatencySketch) -> list[float]:
    counts = sketch.to_json()["counts"]
    assert isinstance(counts, dict)
    return list(counts.values())
