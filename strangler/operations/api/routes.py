"""``GET /routes``: what each route does today, and what waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from strangler.engine.instrument import QueueReading
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Told
from strangler.operations.api.schemas import COUNT, TEXT, TRUTH, a_list, an_object, one_of
from strangler.policy.model import Mode, Rollout, Route

ROUTE = an_object(
    {
        "name": TEXT,
        "paths": a_list(TEXT),
        "methods": a_list(TEXT),
        "hosts": a_list(TEXT),
        "upstream": TEXT,
        "mode": one_of(Mode),
        "waitSeconds": {"type": "number", "minimum": 0},
        "records": TRUTH,
        "resource": TEXT,
        "waiting": COUNT,
        "running": COUNT,
    },
    {
        "rollout": an_object({"mode": one_of(Mode), "percent": {"type": "number"}, "by": TEXT}),
    },
)


def endpoints(
    routes: Callable[[], Iterable[Route]], queues: Callable[[], Mapping[str, QueueReading]]
) -> tuple[Endpoint, ...]:
    """The endpoints of this module. ``queues``: what waits and runs, by route."""

    async def listed(asked: Asked) -> Told:
        readings = queues()
        return Done({"routes": [shown(route, readings.get(route.name)) for route in routes()]})

    return (
        Endpoint(
            method="GET",
            path="/routes",
            name="listRoutes",
            about="All routes of the policy in force, in its order, with what waits for each.",
            group="routes",
            handle=listed,
            answers={200: Answered("The routes", an_object({"routes": a_list(ROUTE)}))},
        ),
    )


def shown(route: Route, reading: QueueReading | None) -> dict[str, Any]:
    """A route as it is answered."""
    told: dict[str, Any] = {
        "name": route.name,
        "paths": list(route.match.paths),
        "methods": sorted(route.match.methods),
        "hosts": list(route.match.hosts),
        "upstream": route.upstream.name,
        "mode": route.mode,
        "waitSeconds": route.wait,
        "records": route.records,
        "resource": route.process.resource,
        "waiting": reading.waiting if reading is not None else 0,
        "running": reading.running if reading is not None else 0,
    }
    if route.rollout is not None:
        told["rollout"] = _rollout(route.rollout)
    return told


def _rollout(rollout: Rollout) -> dict[str, Any]:
    return {"mode": rollout.mode, "percent": rollout.percent, "by": rollout.by}
