"""Standing orders: what an operator ordered of a route beside its policy, until further notice or for a while.

They are no part of the policy file, which stays as it is; `in_force` puts them over the table that was made of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from strangler.policy.decide import usual_wait
from strangler.policy.model import Mode, Route, Table
from strangler.policy.pattern import covers_resource, hosts_overlap, parse_path


class Hold(NamedTuple):
    """Recorded calls of a route wait until it is released."""

    route: str
    began_at: int
    who: str
    why: str


class ModeOrder(NamedTuple):
    """A route has another mode for a while."""

    route: str
    mode: Mode
    began_at: int
    until_at: int
    who: str
    why: str


Order = Hold | ModeOrder


def in_force(table: Table, orders: Iterable[ModeOrder], now: int) -> Table:
    """The table as it is in force at an instant. An order that is over, or cannot be followed, changes nothing."""
    routes = dict(table.routes)
    for order in orders:
        if order.until_at > now and obstacle(table, order.route, order.mode) is None:
            routes[order.route] = with_mode(routes[order.route], order.mode)
    return replace(table, routes=routes) if routes != table.routes else table


def with_mode(route: Route, mode: Mode) -> Route:
    """The route in another mode, for all of its clients: a rollout is suspended."""
    wait = route.wait if mode is route.mode else usual_wait(mode, route.call.timeout)
    return replace(route, mode=mode, wait=wait, rollout=None)


def obstacle(table: Table, name: str, mode: Mode) -> str | None:
    """Why a route cannot have a mode under this table, for people; None: it can."""
    route = table.routes.get(name)
    if route is None:
        return f"the policy in force has no route {name}"
    if mode is Mode.PASSTHROUGH:
        return None
    resource = parse_path(route.process.resource)
    for other in table.routes.values():
        for path in other.match.paths:
            covers = covers_resource(parse_path(path), other.match.methods, resource)
            if covers and hosts_overlap(route.match.hosts, other.match.hosts):
                return (
                    f"the path {path} of route {other.name} lies on {route.process.resource}, where its processes are"
                )
    return None
