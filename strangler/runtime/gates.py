"""What holds traffic back in several workers: the store process decides and counts, and each worker asks, or knows what
it was told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from strangler.domain.errors import StoreUnavailable
from strangler.domain.pause import Pause
from strangler.engine.gates import OPEN, Gatekeeper, GateState
from strangler.engine.pauses import Pauses
from strangler.policy.limit import Reading
from strangler.policy.model import Rate
from strangler.policy.standing import ModeOrder
from strangler.ports import Clock, Limiter, Shut
from strangler.store.remote.frames import Message
from strangler.store.standing import packed

Tell = Callable[..., None]


class ToldGate:
    """The `Gate` of one worker among several.

    Args:
        tell: says something to whoever decides.
        watched: whether a route has a circuit, so that how its calls end has to be told.
        opened: told of a route whose calls may begin.
    """

    def __init__(
        self, pauses: Pauses, clock: Clock, tell: Tell, watched: Callable[[str], bool], opened: Callable[[str], Any]
    ) -> None:
        self._pauses = pauses
        self._clock = clock
        self._tell = tell
        self._watched = watched
        self._opened = opened
        self._states: dict[str, GateState] = {}
        self._lent: dict[str, int] = {}  # by route a trial that is this worker's, and has not begun
        self._asked: set[str] = set()  # routes whose trial was asked for

    def shut(self, route: str) -> Shut | None:
        """See `Gate.shut`."""
        return None if route in self._lent else self._states.get(route, OPEN).shut(self._clock.now())

    def enter(self, route: str) -> int | None:
        """See `Gate.enter`."""
        state = self._states.get(route, OPEN)
        if state.held:
            return None
        if (trial := self._lent.pop(route, None)) is not None:
            return trial
        if state.circuit == "half-open" and route not in self._asked:
            self._asked.add(route)
            self._tell("trial", route)
        return 0 if state.circuit == "closed" else None

    def leave(self, route: str, trial: int, failed: bool | None) -> None:
        """See `Gate.leave`."""
        if trial or (failed is not None and self._watched(route)):
            self._tell("called", route, trial, failed)

    def spare(self, route: str) -> None:
        """See `Gate.spare`."""
        if (trial := self._lent.pop(route, None)) is not None:
            self._tell("called", route, trial, None)

    def heard(self, message: Message) -> None:
        """Whoever decides says how a gate stands, or lends a trial."""
        match message:
            case ("gate", *told):
                self._stands(*told)
            case ("gates", told):
                known = {route for route, *_ in told}
                for route in self._states.keys() - known:
                    self._stands(route, tuple(OPEN), ())
                for one in told:
                    self._stands(*one)
            case ("trial", route, trial):
                self._lent[route] = trial
                self._opened(route)

    def _stands(self, route: str, state: Sequence[Any], pauses: Iterable[tuple[int, int | None]]) -> None:
        self._states[route] = GateState._make(state)
        self._pauses.put(route, (Pause(route, began_at, ended_at) for began_at, ended_at in pauses))
        self._asked.discard(route)
        if self.shut(route) is None:
            self._opened(route)

    def give_back(self) -> None:
        """What was lent, and is not in use, is lent no longer; what was asked for is asked for again where it is
        needed: whoever decides may have given this worker up meanwhile, and not have heard it."""
        for route in list(self._lent):
            self.spare(route)
        self._asked.clear()

    def restart(self) -> None:
        """Whoever decides is another one, and is going to say how all gates stand."""
        self._lent.clear()
        self._asked.clear()


class ToldLimiter:
    """The `Limiter` of one worker among several: it asks for each request, so that what clients are told is true."""

    def __init__(self, ask: Callable[..., Awaitable[Any]]) -> None:
        self._ask = ask

    async def take(self, client: str, rate: Rate) -> Reading | None:
        """See `Limiter.take`."""
        try:
            found = await self._ask("call", "take", (client, tuple(rate)))
        except StoreUnavailable:
            return None  # new work is refused meanwhile, and reading may go on
        return Reading._make(found) if found is not None else None


class Counter:
    """The other end of `ToldLimiter`."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def take(self, client: str, rate: tuple[int, float]) -> tuple[Any, ...] | None:
        """Take one request from the quota of a client; plain values."""
        reading = await self._limiter.take(client, Rate._make(rate))
        return tuple(reading) if reading is not None else None


def gate_message(route: str, gates: Gatekeeper, pauses: Pauses) -> Message:
    """How the gate of a route stands, for the workers."""
    return "gate", *_stands(route, gates, pauses)


def gates_message(gates: Gatekeeper, pauses: Pauses) -> Message:
    """How all gates stand of which there is something to say; there are no others."""
    routes = {*gates.states(), *(one.route for one in pauses.all())}
    return "gates", [_stands(route, gates, pauses) for route in sorted(routes)]


def _stands(route: str, gates: Gatekeeper, pauses: Pauses) -> tuple[Any, ...]:
    return route, tuple(gates.state(route)), [(one.began_at, one.ended_at) for one in pauses.of(route)]


def orders_message(orders: Sequence[ModeOrder]) -> Message:
    """The modes that were ordered for a while, for the workers."""
    return "orders", [packed(order) for order in orders]
