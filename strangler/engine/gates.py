"""What holds the recorded calls of each route back: an operator's hold, or its circuit; and how long they were held.

`Gatekeeper` is the one place that decides, over all workers. A call that is about to begin asks it, or what it told
(`Gate`); how a call ended is told to it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from strangler.domain.errors import StoreUnavailable
from strangler.engine.instrument import Instrument
from strangler.engine.pauses import Pauses
from strangler.policy import circuit as circuits
from strangler.policy.circuit import Circuit, Closed, HalfOpen, Open
from strangler.policy.model import CircuitPolicy, Route
from strangler.policy.standing import Hold
from strangler.ports import Clock, Shut, Standing

CircuitState = Literal["closed", "open", "half-open", "trying"]
"""Calls go on; are paused; the next one is let through to see; it is under way."""

_STORE_PAUSE = 1.0  # seconds until the store is asked again after it could not write
_HELD_RETRY = 30  # seconds: nobody knows when an operator releases a route
_TRYING_RETRY = 5  # seconds: about a call


class GateState(NamedTuple):
    """How the gate of a route stands."""

    held: bool = False
    circuit: CircuitState = "closed"
    until_at: int = 0  # an open circuit lets one through from then on

    def shut(self, now: int) -> Shut | None:
        """See `Gate.shut`."""
        if self.held:
            return Shut("an operator holds the calls to the legacy system back", _HELD_RETRY)
        if self.circuit == "open":
            seconds = max(1, math.ceil((self.until_at - now) / 1000))
            return Shut("the legacy system did not answer lately; calls to it are paused", seconds)
        if self.circuit == "trying":
            return Shut("the legacy system did not answer lately; one call is under way to see", _TRYING_RETRY)
        return None


OPEN = GateState()
"""Nothing holds calls back."""


class OpenGate:
    """The `Gate` where nothing is ever held back."""

    def shut(self, route: str) -> Shut | None:
        """See `Gate.shut`."""
        return None

    def enter(self, route: str) -> int | None:
        """See `Gate.enter`."""
        return 0

    def leave(self, route: str, trial: int, failed: bool | None) -> None:
        """See `Gate.leave`."""

    def spare(self, route: str) -> None:
        """See `Gate.spare`."""


class Gatekeeper:
    """Decides for all workers; also the `Gate` of one that is the only one.

    Args:
        pauses: is kept up to date, at once; the store follows.
        changed: told of each route whose gate has changed.
    """

    def __init__(
        self, store: Standing, pauses: Pauses, clock: Clock, instrument: Instrument, changed: Callable[[str], None]
    ) -> None:
        self._store = store
        self._pauses = pauses
        self._clock = clock
        self._instrument = instrument
        self._changed = changed
        self._holds: dict[str, Hold] = {}
        self._policies: dict[str, CircuitPolicy] = {}
        self._circuits: dict[str, Circuit] = {}
        self._trials: dict[str, tuple[int, str]] = {}  # by route the trial under way, and whose it is
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._unwritten: list[tuple[str, int, bool]] = []  # (route, instant, begins): pauses that the store has not
        self._writing: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Take up what an earlier run left. A circuit that was not closed then lets one call through to see.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        for order in await self._store.orders():
            if isinstance(order, Hold):
                self._holds[order.route] = order
        self._pauses.load(await self._store.pauses())
        for pause in self._pauses.all():
            if pause.ended_at is None and pause.route not in self._holds:
                self._circuits[pause.route] = HalfOpen()
        for route in self._holds:
            self._settle(route)

    def load(self, routes: Mapping[str, Route]) -> None:
        """A policy is in force; a circuit that it does not have is closed."""
        self._policies = {name: route.call.circuit for name, route in routes.items() if route.call.circuit is not None}
        for route in [route for route in self._circuits if route not in self._policies]:
            self._put(route, Closed())

    # What operators order.

    def held(self, route: str) -> Hold | None:
        """The hold of a route."""
        return self._holds.get(route)

    async def hold(self, hold: Hold) -> None:
        """Let the calls of a route wait; those under way go on.

        Raises:
            StoreUnavailable: it cannot be kept; nothing has changed.
        """
        await self._store.put_order(hold)
        self._holds[hold.route] = hold
        self._instrument.note("route_held", route=hold.route, who=hold.who, why=hold.why)
        self._settle(hold.route)

    async def release(self, route: str, who: str, why: str) -> bool:
        """Let the calls of a route go on; False: they were not held.

        Raises:
            StoreUnavailable: it cannot be kept; nothing has changed.
        """
        await self._store.remove_order(route, "hold")
        if self._holds.pop(route, None) is None:
            return False
        self._instrument.note("route_released", route=route, who=who, why=why)
        self._settle(route)
        return True

    # What calls ask and tell.

    def state(self, route: str) -> GateState:
        """How the gate of a route stands now."""
        held = route in self._holds
        match self._circuits.get(route):
            case Open(until_at):
                return GateState(held, "open", until_at)
            case HalfOpen(trial):
                return GateState(held, "trying" if trial else "half-open")
        return GateState(held)

    def states(self) -> dict[str, GateState]:
        """The gates of all routes of which there is more to say than that they are open."""
        return {route: self.state(route) for route in {*self._holds, *self._circuits, *self._policies}}

    def shut(self, route: str) -> Shut | None:
        """See `Gate.shut`."""
        return self.state(route).shut(self._clock.now())

    def enter(self, route: str, owner: str = "") -> int | None:
        """See `Gate.enter`; ``owner`` is the worker whose call it is."""
        if route in self._holds:
            return None
        match self._circuits.get(route):
            case Open() | HalfOpen(trial=True):
                return None
            case HalfOpen():
                trial = max(1, self._clock.now())
                self._trials[route] = trial, owner
                self._put(route, HalfOpen(trial=True))
                return trial
        return 0

    def leave(self, route: str, trial: int, failed: bool | None) -> None:
        """See `Gate.leave`."""
        policy = self._policies.get(route)
        mine = trial != 0 and self._trials.get(route, (0, ""))[0] == trial
        if failed is None or policy is None:
            if mine:
                self._put(route, HalfOpen())
            return
        circuit = self._circuits.get(route, Closed())
        after = circuits.after_call(circuit, policy, failed, self._clock.now(), trial=mine)
        if after != circuit:
            self._put(route, after)

    def spare(self, route: str) -> None:
        """See `Gate.spare`."""

    def left(self, owner: str) -> None:
        """A worker is gone: nobody is going to say what became of its trials."""
        for route in [route for route, (_, whose) in self._trials.items() if whose == owner]:
            self._put(route, HalfOpen())

    def close(self) -> None:
        """Look at nothing more. What the store has not is begun anew by the next run."""
        for timer in self._timers.values():
            timer.cancel()
        if self._writing is not None:
            self._writing.cancel()

    # Inside.

    def _put(self, route: str, circuit: Circuit) -> None:
        """The circuit of a route is another one from now on."""
        before = self._circuits.get(route, Closed())
        if isinstance(circuit, Closed) and not circuit.failures:
            self._circuits.pop(route, None)
        else:
            self._circuits[route] = circuit
        if not isinstance(circuit, HalfOpen) or not circuit.trial:
            self._trials.pop(route, None)  # nothing waits for what becomes of it
        if (timer := self._timers.pop(route, None)) is not None:
            timer.cancel()
        if isinstance(circuit, Open):
            seconds = max(0.0, (circuit.until_at - self._clock.now()) / 1000)
            self._timers[route] = asyncio.get_running_loop().call_later(seconds, self._half_open, route)
        match before, circuit:
            case Closed(), Closed():
                return  # failures are counted; nobody else needs to know
            case Closed(), Open():
                self._instrument.note("circuit_opened", "warning", route=route)
            case _, Closed():
                self._instrument.note("circuit_closed", route=route)
        self._settle(route)

    def _half_open(self, route: str) -> None:
        del self._timers[route]
        if isinstance(self._circuits.get(route), Open):
            self._put(route, HalfOpen())

    def _settle(self, route: str) -> None:
        """Have the pause of a route begin or end as its gate stands, and tell."""
        paused = route in self._holds or isinstance(self._circuits.get(route), Open | HalfOpen)
        if paused != self._pauses.open(route):
            now = self._clock.now()
            (self._pauses.begin if paused else self._pauses.end)(route, now)
            self._unwritten.append((route, now, paused))
            if self._writing is None:
                self._writing = asyncio.get_running_loop().create_task(self._write())
        self._changed(route)

    async def _write(self) -> None:
        """Bring the pauses to the store, in their order, however long that takes."""
        try:
            while self._unwritten:
                route, at, begins = self._unwritten[0]
                try:
                    if begins:
                        await self._store.begin_pause(route, at)
                    else:
                        await self._store.end_pause(route, at)
                        await self._sweep()
                except StoreUnavailable:
                    await asyncio.sleep(_STORE_PAUSE)
                else:
                    del self._unwritten[0]
        finally:
            self._writing = None

    async def _sweep(self) -> None:
        """Forget the pauses that no process has lived through, in the store and here."""
        if await self._store.sweep_pauses() and len(self._unwritten) == 1:
            kept = {(pause.route, pause.began_at) for pause in await self._store.pauses()}
            for route in {pause.route for pause in self._pauses.all()}:
                recent = [p for p in self._pauses.of(route) if (route, p.began_at) in kept or p.ended_at is None]
                self._pauses.put(route, recent)
