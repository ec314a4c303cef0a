"""``/routes``: what each route does today, what waits for it, and what operators order of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, get_args

from strangler.domain import instant
from strangler.engine.gates import CircuitState, GateState
from strangler.engine.instrument import QueueReading
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Refusal, Role, Told
from strangler.operations.api.schemas import COUNT, INSTANT, TEXT, TRUTH, a_list, an_object, one_of
from strangler.policy.model import Mode, Rollout, Route
from strangler.policy.standing import Hold, ModeOrder

LONGEST = 366 * 86400
"""Seconds that a mode may be ordered for: what is meant for good belongs into the policy."""

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
        "references": a_list(TEXT),
        "waiting": COUNT,
        "running": COUNT,
        "circuit": one_of(get_args(CircuitState)),
    },
    {
        "hold": an_object({"since": INSTANT, "who": TEXT, "why": TEXT}),
        "ordered": an_object({"until": INSTANT, "since": INSTANT, "instead": one_of(Mode), "who": TEXT, "why": TEXT}),
        "rollout": an_object({"mode": one_of(Mode), "percent": {"type": "number"}, "by": TEXT}),
    },
)


GONE = an_object({"name": TEXT, "gone": TRUTH})
"""An order was taken back of a route that the policy in force does not have."""


class Orders(Protocol):
    """Standing orders: what operators order of routes beside the policy.

    Those that change something answer why that cannot be, for people, or None.
    """

    def hold_of(self, route: str) -> Hold | None:
        """The hold of a route."""
        ...

    def mode_of(self, route: str) -> ModeOrder | None:
        """The mode that was ordered of a route for a while."""
        ...

    def own_mode(self, route: str) -> Mode | None:
        """The mode that the policy gives a route."""
        ...

    def gate_of(self, route: str) -> GateState:
        """How the gate of its calls stands."""
        ...

    async def hold(self, route: str, who: str, why: str) -> str | None:
        """Let the recorded calls of a route wait."""
        ...

    async def release(self, route: str, who: str, why: str) -> str | None:
        """Let them go on."""
        ...

    async def set_mode(self, route: str, mode: Mode, seconds: float, who: str, why: str) -> str | None:
        """Give a route another mode for a while."""
        ...

    async def clear_mode(self, route: str, who: str, why: str) -> str | None:
        """Give a route its own mode back."""
        ...


class RouteDesk(NamedTuple):
    """Where the routes are asked about, and ordered about."""

    routes: Callable[[], Iterable[Route]]
    queues: Callable[[], Mapping[str, QueueReading]]  # by route what waits and runs
    orders: Orders

    async def listed(self, asked: Asked) -> Told:
        """All routes."""
        readings = self.queues()
        return Done({"routes": [shown(route, readings.get(route.name), self.orders) for route in self.routes()]})

    async def hold(self, asked: Asked) -> Told:
        """See `Orders.hold`."""
        return await self._follow(asked, self.orders.hold)

    async def release(self, asked: Asked) -> Told:
        """See `Orders.release`."""
        return await self._follow(asked, self.orders.release)

    async def set_mode(self, asked: Asked) -> Told:
        """See `Orders.set_mode`."""
        mode, seconds = Mode(asked.body["mode"]), asked.body["seconds"]
        return await self._follow(asked, lambda name, who, why: self.orders.set_mode(name, mode, seconds, who, why))

    async def clear_mode(self, asked: Asked) -> Told:
        """See `Orders.clear_mode`."""
        return await self._follow(asked, self.orders.clear_mode)

    async def _follow(self, asked: Asked, order: Callable[[str, str, str], Awaitable[str | None]]) -> Told:
        """Follow an order, and answer with the route as it is then."""
        name, orders = asked.path["name"], self.orders
        gone = all(route.name != name for route in self.routes())
        if gone and orders.hold_of(name) is None and orders.mode_of(name) is None:
            return Refusal("no-route", "the policy in force has no route of this name")
        if (obstacle := await order(name, asked.who, asked.body["why"])) is not None:
            return Refusal("order-not-possible", obstacle)
        if gone:
            return Done({"name": name, "gone": True})
        reading = self.queues().get(name)
        return Done(next(shown(route, reading, orders) for route in self.routes() if route.name == name))


def endpoints(desk: RouteDesk) -> tuple[Endpoint, ...]:
    """The endpoints of this module."""
    order = partial(
        Endpoint,
        method="POST",
        role=Role.OPERATOR,
        group="routes",
        answers={200: Answered("The route, as it is now", {"anyOf": [ROUTE, GONE]})},
        problems=("no-route", "order-not-possible", "store-unavailable"),
    )
    return (
        Endpoint(
            method="GET",
            path="/routes",
            name="listRoutes",
            about="All routes of the policy in force, in its order, with what waits for each.",
            group="routes",
            handle=desk.listed,
            answers={200: Answered("The routes", an_object({"routes": a_list(ROUTE)}))},
        ),
        order(
            path="/routes/{name}/hold",
            name="holdRoute",
            about="Recorded calls of the route wait from now on; new requests are accepted up to `call.queue`.",
            handle=desk.hold,
        ),
        order(
            path="/routes/{name}/release",
            name="releaseRoute",
            about="Its recorded calls go on.",
            handle=desk.release,
        ),
        order(
            path="/routes/{name}/mode",
            name="setRouteMode",
            about="Gives the route another mode for so many seconds, for all of its clients; the policy file stays.",
            body={"mode": one_of(Mode), "seconds": {"type": "integer", "minimum": 1, "maximum": LONGEST}},
            required=("mode", "seconds"),
            handle=desk.set_mode,
        ),
        order(
            path="/routes/{name}/mode/clear",
            name="clearRouteMode",
            about="Gives the route the mode that its policy says, before the time is over.",
            handle=desk.clear_mode,
        ),
    )


def shown(route: Route, reading: QueueReading | None, orders: Orders) -> dict[str, Any]:
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
        "references": [*sought.sought.expressions] if (sought := route.promise.references) is not None else [],
        "waiting": reading.waiting if reading is not None else 0,
        "running": reading.running if reading is not None else 0,
        "circuit": orders.gate_of(route.name).circuit,
    }
    if (hold := orders.hold_of(route.name)) is not None:
        told["hold"] = {"since": instant.to_text(hold.began_at), "who": hold.who, "why": hold.why}
    if (order := orders.mode_of(route.name)) is not None:
        told["ordered"] = {
            "until": instant.to_text(order.until_at),
            "since": instant.to_text(order.began_at),
            "instead": orders.own_mode(route.name) or route.mode,
            "who": order.who,
            "why": order.why,
        }
    if route.rollout is not None:
        told["rollout"] = _rollout(route.rollout)
    return told


def _rollout(rollout: Rollout) -> dict[str, Any]:
    return {"mode": rollout.mode, "percent": rollout.percent, "by": rollout.by}
