from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from strangler.policy.model import Mode, Rollout
from strangler.policy.rollout import judge, point

PERCENT = st.floats(0, 100)
CLIENTS = st.text(min_size=1)


def rollout(percent: float = 50, **others: Any) -> Rollout:
    return Rollout(**{"mode": Mode.ASYNC, "percent": percent, "seed": "claims", **others})


@given(CLIENTS, PERCENT, PERCENT)
def test_raising_the_percentage_only_ever_adds_clients(client: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if judge(rollout(low), client) == "within":
        assert judge(rollout(high), client) == "within"


@given(CLIENTS, PERCENT)
def test_a_client_stays_where_it_is(client: str, percent: float) -> None:
    assert judge(rollout(percent), client) == judge(rollout(percent, mode=Mode.COMPAT), client)


@given(CLIENTS)
def test_a_hundred_percent_are_all_and_none_are_none(client: str) -> None:
    assert judge(rollout(100), client) == "within"
    assert judge(rollout(0), client) == "beyond"


@given(st.text(), st.text())
def test_every_client_has_a_point(seed: str, client: str) -> None:
    assert 0 <= point(seed, client) < 1


def test_clients_are_spread_evenly() -> None:
    inside = sum(judge(rollout(10), f"client-{number}") == "within" for number in range(10_000))
    assert 900 < inside < 1100


def test_equal_seeds_choose_equal_clients_and_others_do_not() -> None:
    clients = [f"client-{number}" for number in range(200)]

    def chosen(seed: str) -> set[str]:
        return {client for client in clients if judge(rollout(50, seed=seed), client) == "within"}

    assert chosen("a") == chosen("a") != chosen("b")


def test_points_never_move() -> None:
    # A change of the hash would move every client of every rollout that is under way.
    assert round(point("claims", "client-1"), 6) == 0.474873


def test_included_clients_are_in_and_excluded_ones_out_whatever_the_percentage() -> None:
    rule = rollout(0, include=("partner-*", "acme"), exclude=("partner-7", "*-test"))
    assert judge(rule, "partner-1") == "included"
    assert judge(rule, "acme") == "included"
    assert judge(rule, "partner-7") == "excluded"
    assert judge(rule, "partner-test") == "excluded"
    assert judge(rollout(100, exclude=("*",)), "anyone") == "excluded"


def test_a_client_without_a_value_is_never_in() -> None:
    assert judge(rollout(100, include=("*",)), None) == "no value"
    assert judge(rollout(100, include=("*",)), "") == "no value"
