"""Routes and tables with as little said as a test needs."""

from __future__ import annotations

from typing import Any

from strangler.policy.model import (
    AcceptPolicy,
    AccessPolicy,
    CallPolicy,
    Match,
    Mode,
    ProcessPolicy,
    Promise,
    Rollout,
    Route,
    Table,
)
from strangler.policy.upstreams import Upstream


def a_route(
    name: str,
    *paths: str,
    mode: Mode = Mode.PASSTHROUGH,
    wait: float = 0.0,
    prefer: Any = "honor",
    rollout: Rollout | None = None,
    resource: str = "/processes",
    **match: Any,
) -> Route:
    """A route; ``match`` holds further parts of its match."""
    process = ProcessPolicy(type=name, resource=resource)
    access = AccessPolicy()
    return Route(
        name=name,
        match=Match(paths=paths or ("/",), **{key: _frozen(value) for key, value in match.items()}),
        upstream=Upstream(name="legacy", scheme="http", host="legacy", port=80),
        mode=mode,
        wait=wait,
        promise=Promise(digest="", route=name, process=process, access=access, on_in_doubt="review", wait=wait),
        process=process,
        accept=AcceptPolicy(),
        access=access,
        call=CallPolicy(timeout=60.0, attempts=1, on_in_doubt="review", settle=75.0),
        prefer=prefer,
        rollout=rollout,
    )


def a_table(*routes: Route) -> Table:
    """A table of these routes."""
    return Table(revision="", upstreams={}, routes={route.name: route for route in routes})


def _frozen(value: Any) -> Any:
    return frozenset(value) if isinstance(value, set) else value
