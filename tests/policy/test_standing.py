"""Standing orders over a table."""

from __future__ import annotations

from dataclasses import replace

from strangler.policy.decide import COMPAT_MARGIN
from strangler.policy.model import Mode, Rollout
from strangler.policy.standing import ModeOrder, in_force, obstacle, with_mode
from tests.policy.builders import a_route, a_table

NOON = 1_800_000_000_000
HOUR = 3_600_000


def order(route: str = "claims", mode: Mode = Mode.COMPAT, until: int = NOON + HOUR) -> ModeOrder:
    return ModeOrder(route, mode, NOON, until, "alice", "a client cannot poll")


def test_a_route_has_another_mode_until_the_order_is_over() -> None:
    table = a_table(a_route("claims", "/claims", mode=Mode.ASYNC), a_route("other", "/other"))
    changed = in_force(table, [order()], NOON + HOUR - 1)
    assert changed.routes["claims"].mode is Mode.COMPAT
    assert changed.routes["other"] is table.routes["other"]
    assert table.routes["claims"].mode is Mode.ASYNC
    assert in_force(table, [order()], NOON + HOUR) is table
    assert changed.revision == table.revision


def test_the_order_of_the_routes_stays() -> None:
    table = a_table(*[a_route(name, f"/{name}", mode=Mode.ASYNC) for name in ("c", "a", "b")])
    assert list(in_force(table, [order("a")], NOON).routes) == ["c", "a", "b"]


def test_an_order_for_a_route_that_is_gone_changes_nothing() -> None:
    table = a_table(a_route("claims", "/claims"))
    assert in_force(table, [order("gone")], NOON) is table


def test_it_is_for_all_clients_and_waits_as_its_mode_usually_does() -> None:
    rollout = Rollout(mode=Mode.ASYNC, percent=50, seed="claims")
    route = a_route("claims", mode=Mode.ASYNC, wait=2.0, rollout=rollout)
    changed = with_mode(route, Mode.COMPAT)
    assert (changed.mode, changed.rollout) == (Mode.COMPAT, None)
    assert changed.wait == route.call.timeout + COMPAT_MARGIN
    assert with_mode(route, Mode.ASYNC).wait == 2.0
    assert not with_mode(route, Mode.PASSTHROUGH).records


def test_what_was_promised_is_what_the_policy_promises() -> None:
    route = a_route("claims", mode=Mode.PASSTHROUGH)
    assert with_mode(route, Mode.ASYNC).promise == route.promise


def test_a_route_whose_processes_would_lie_on_another_route_cannot_record() -> None:
    table = a_table(
        a_route("claims", "/claims", resource="/processes"),
        a_route("all", "/processes/*"),
        a_route("own", "/own", resource="/processes", hosts=("own.example",)),
    )
    said = obstacle(table, "claims", Mode.ASYNC)
    assert said is not None
    assert "the path /processes/* of route all lies on /processes" in said
    assert in_force(table, [order()], NOON) is table
    assert obstacle(table, "claims", Mode.PASSTHROUGH) is None


def test_there_is_no_order_for_a_route_that_is_not_there() -> None:
    assert obstacle(a_table(), "claims", Mode.COMPAT) == "the policy in force has no route claims"


def test_equal_tables_are_the_same_one() -> None:
    table = a_table(replace(a_route("claims", "/claims", mode=Mode.COMPAT, wait=65.0)))
    assert in_force(table, [order()], NOON) is table
