"""Routes that share with pages of other origins."""

from __future__ import annotations

from typing import Any

from strangler.gateway.cors import Cors
from strangler.policy.match import Matcher, compile_table
from strangler.policy.model import (
    AcceptPolicy,
    AccessPolicy,
    CallPolicy,
    CorsPolicy,
    Match,
    Mode,
    ProcessPolicy,
    Promise,
    Route,
    Table,
)
from strangler.policy.upstreams import Upstream
from tests.gateway.scene import R

LEGACY = Upstream(name="legacy", scheme="http", host="127.0.0.1", port=1)


def a_route(cors: CorsPolicy, **fields: Any) -> Route:
    """The route submit-claim."""
    access = fields.pop("access", AccessPolicy())
    process = fields.pop("process", None) or ProcessPolicy(type="ClaimSubmission", resource=fields.pop("resource", R))
    name = fields.pop("name", "submit-claim")
    promise = Promise(digest="d", route=name, process=process, access=access, on_in_doubt="review", wait=0.0)
    given: dict[str, Any] = {
        "match": Match(paths=("/claims",), methods=frozenset({"POST"})),
        "upstream": LEGACY,
        "mode": Mode.ASYNC,
        "wait": 0.0,
        "accept": AcceptPolicy(),
        "call": CallPolicy(timeout=60.0, attempts=1, on_in_doubt="review", settle=75.0),
        **fields,
    }
    return Route(name=name, promise=promise, process=process, access=access, cors=cors, **given)


def shares(target: Cors, *policies: CorsPolicy, **fields: Any) -> Matcher:
    """Put a table with a route for each policy in force."""
    routes = {
        route.name: route
        for number, policy in enumerate(policies)
        for route in [a_route(policy, **{"name": f"submit-claim-{number}" if number else "submit-claim", **fields})]
    }
    table = Table(revision="1", upstreams={"legacy": LEGACY}, routes=routes)
    target.load(table)
    return compile_table(table)
