"""Standing orders of operators, carried out: in the one place that speaks for all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from strangler.domain import instant
from strangler.domain.errors import StoreUnavailable
from strangler.domain.process import Process, PublicState, State
from strangler.engine.gates import CircuitState, Gatekeeper, GateState
from strangler.engine.instrument import Instrument, StandingReading
from strangler.policy.model import Mode
from strangler.policy.standing import Hold, ModeOrder
from strangler.ports import Clock, Standing
from strangler.runtime.policies import ChangeOrders, Policies

_PAUSE = 1.0  # seconds until the store is asked again after it could not write
_LONGEST_TIMER = 86400.0  # seconds: what is further off is looked at again then


_CIRCUIT: Mapping[CircuitState, str] = {
    "closed": "calls go on",
    "open": "the legacy system did not answer; calls are paused",
    "half-open": "the legacy system did not answer; the next call is let through to see",
    "trying": "the legacy system did not answer; one call is under way to see",
}


class StandingOrders:
    """Holds, releases, and modes for a while. See `operations.api.routes.Orders`.

    Args:
        tell: has all other workers follow these orders, too.
    """

    def __init__(
        self,
        store: Standing,
        gates: Gatekeeper,
        policies: Policies,
        clock: Clock,
        instrument: Instrument,
        tell: Callable[[Sequence[ModeOrder]], None] = lambda orders: None,
    ) -> None:
        self._store = store
        self._gates = gates
        self._policies = policies
        self._clock = clock
        self._instrument = instrument
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Take up what an earlier run left, before the first policy is in force.

        Raises:
            StoreUnavailable: the store can be neither read nor written.
        """
        now = self._clock.now()
        orders = [order for order in await self._store.orders() if isinstance(order, ModeOrder)]
        for over in [order for order in orders if order.until_at <= now]:
            await self._store.remove_order(over.route, "mode")
        self._policies.orders = [order for order in orders if order.until_at > now]
        await self._gates.begin()
        self._set_timer()

    def close(self) -> None:
        """Look at nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._gates.close()

    # What is asked.

    def hold_of(self, route: str) -> Hold | None:
        """The hold of a route."""
        return self._gates.held(route)

    def mode_of(self, route: str) -> ModeOrder | None:
        """The mode that was ordered of a route for a while."""
        return next((order for order in self._policies.orders if order.route == route), None)

    def gate_of(self, route: str) -> GateState:
        """How the gate of its calls stands."""
        return self._gates.state(route)

    def own_mode(self, route: str) -> Mode | None:
        """The mode that the policy gives a route."""
        loaded = self._policies.loaded
        found = loaded.table.routes.get(route) if loaded is not None else None
        return found.mode if found is not None else None

    def waits_for(self, process: Process) -> str | None:
        """What keeps the next call of a process, or the next question about it, from being made, for people."""
        if process.final or process.state is State.PROCESSING or process.public_state is PublicState.UNCONFIRMED:
            return None
        if self._left(process.route):
            return f"the policy has no route {process.route} any more: it goes on when one of this name is back"
        if (hold := self._gates.held(process.route)) is not None:
            return f"its route is on hold since {instant.to_text(hold.began_at)} by {hold.who}: {hold.why}"
        circuit = self._gates.state(process.route).circuit
        return f"the circuit of its route is {circuit}: {_CIRCUIT[circuit]}" if circuit != "closed" else None

    def degraded(self, waiting: Mapping[str, int]) -> Mapping[str, str]:
        """What is not as the policy says, by name, for people. ``waiting``: processes to be sent, by route."""
        told: dict[str, str] = {
            f"route:{name}": f"{count} to be sent, and the policy has no route of this name"
            for name, count in sorted(waiting.items())
            if self._left(name)
        }
        for route, state in sorted(self._gates.states().items()):
            hold = self._gates.held(route)
            if hold is not None:
                told[f"hold:{route}"] = f"held by {hold.who} since {instant.to_text(hold.began_at)}: {hold.why}"
            if state.circuit != "closed":
                told[f"circuit:{route}"] = f"{state.circuit}: {_CIRCUIT[state.circuit]}"
        for order in self._policies.orders:
            until = instant.to_text(order.until_at)
            told[f"mode:{order.route}"] = f"{order.mode} until {until}, set by {order.who}: {order.why}"
            if (obstacle := self._policies.obstacle(order)) is not None:
                told[f"mode:{order.route}"] += f" (not followed: {obstacle})"
        return told

    def _left(self, route: str) -> bool:
        """Whether the policy in force has no route of this name."""
        return self._policies.loaded is not None and self.own_mode(route) is None

    def readings(self) -> Mapping[str, StandingReading]:
        """What stands in the way of each route that records."""
        told: dict[str, StandingReading] = {}
        for route in self._policies.routes():
            order, state = self.mode_of(route.name), self._gates.state(route.name)
            if route.records or state.held or order is not None:
                circuit = state.circuit if route.call.circuit is not None else None
                told[route.name] = StandingReading(state.held, circuit, order.mode.value if order is not None else None)
        return told

    # What is ordered. Each may raise `StoreUnavailable`; nothing has changed then.

    async def hold(self, route: str, who: str, why: str) -> str | None:
        """Let the recorded calls of a route wait. Why that cannot be, for people, or None."""
        if not self._policies.may_have_processes(route):
            return f"{route} passes all requests through: there are no recorded calls to hold"
        await self._gates.hold(Hold(route, self._clock.now(), who, why))
        return None

    async def release(self, route: str, who: str, why: str) -> str | None:
        """Let them go on. Why that cannot be, for people, or None."""
        return None if await self._gates.release(route, who, why) else f"{route} is not on hold"

    async def set_mode(self, route: str, mode: Mode, seconds: float, who: str, why: str) -> str | None:
        """Give a route another mode for a while. Why that cannot be, for people, or None."""
        now = self._clock.now()
        order = ModeOrder(route, mode, now, now + round(seconds * 1000), who, why)
        if (obstacle := self._policies.obstacle(order)) is not None:
            return obstacle
        await self._follow(lambda orders: [*_of_others(route, orders), order], partial(self._store.put_order, order))
        until = instant.to_text(order.until_at)
        self._instrument.note("mode_set", "warning", route=route, mode=mode.value, until=until, who=who, why=why)
        return None

    async def clear_mode(self, route: str, who: str, why: str) -> str | None:
        """Give a route its own mode back. Why that cannot be, for people, or None."""
        if self.mode_of(route) is None:
            return f"{route} has the mode that its policy says"
        await self._follow(partial(_of_others, route), partial(self._store.remove_order, route, "mode"))
        self._instrument.note("mode_cleared", "warning", route=route, who=who, why=why)
        return None

    # Inside.

    async def _follow(
        self, change: ChangeOrders, kept: Callable[[], Awaitable[None]] | None = None
    ) -> Sequence[ModeOrder]:
        stood = await self._policies.follow(change, kept)
        self._tell(self._policies.orders)
        self._set_timer()
        return stood

    def _set_timer(self, at_least: float = 0.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = [order.until_at for order in self._policies.orders]
        if ends:
            seconds = min(_LONGEST_TIMER, max(at_least, (min(ends) - self._clock.now()) / 1000))
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self._end_what_is_over())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_what_is_over(self) -> None:
        """Its row stays until another takes its place, or the next start: deleting it here could hit a newer one."""
        if self._policies.loaded is None:  # it is starting, and no policy is in force that could change
            self._set_timer(_PAUSE)
            return
        now = self._clock.now()
        try:
            stood = await self._follow(lambda orders: [order for order in orders if order.until_at > now])
        except StoreUnavailable:
            self._set_timer(_PAUSE)
            return
        except Exception as error:
            # A defect of ours must not make a mode for a while one for good.
            self._instrument.failed("orders", error)
            self._set_timer(_PAUSE)
            return
        for order in stood:
            if order.until_at <= now:
                self._instrument.note("mode_over", "warning", route=order.route, mode=order.mode.value, who=order.who)


def _of_others(route: str, orders: Sequence[ModeOrder]) -> list[ModeOrder]:
    return [order for order in orders if order.route != route]
