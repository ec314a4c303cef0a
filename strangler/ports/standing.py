"""What operators ordered of routes, and when calls of a route were paused, as it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from strangler.domain.pause import Pause
from strangler.policy.standing import Order


class Standing(Protocol):
    """Standing orders and pauses; they outlive a restart. Every method may raise `StoreUnavailable`."""

    async def orders(self) -> Sequence[Order]:
        """All orders; at most one of each kind is there of a route."""
        ...

    async def put_order(self, order: Order) -> None:
        """Keep an order in place of the one of its route and kind; on disk when this returns."""
        ...

    async def remove_order(self, route: str, kind: Literal["hold", "mode"]) -> None:
        """Forget the order of a route and kind, if there is one."""
        ...

    async def pauses(self) -> Sequence[Pause]:
        """All pauses that a process still kept may have lived through, by route, the earliest first."""
        ...

    async def begin_pause(self, route: str, at: int) -> None:
        """Calls of a route are paused from an instant on, if they are not already."""
        ...

    async def end_pause(self, route: str, at: int) -> None:
        """They go on from an instant, if they were paused."""
        ...

    async def sweep_pauses(self) -> int:
        """Forget the pauses that were over before the oldest process that is kept was accepted. Returns how many."""
        ...


class Shut(NamedTuple):
    """Why no call of a route begins."""

    why: str  # for people
    retry_after: int  # seconds after which it is worth asking again


class Gate(Protocol):
    """Whether recorded calls of a route may begin: it may be on hold, or its circuit open."""

    def shut(self, route: str) -> Shut | None:
        """Why none begins now; None: the next one may."""
        ...

    def enter(self, route: str) -> int | None:
        """Begin a call; then `leave`. The number says which trial of a circuit it is, 0: none; None: it may not begin.

        Whoever opens the gate calls `Executor.look`.
        """
        ...

    def leave(self, route: str, trial: int, failed: bool | None) -> None:
        """A call is over. ``failed`` is what it says of the upstream; None: nothing."""
        ...

    def spare(self, route: str) -> None:
        """There is nothing to call for right now."""
        ...
