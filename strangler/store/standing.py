"""Standing orders and pauses in memory, and orders as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from strangler.domain.errors import StoreUnavailable
from strangler.domain.pause import Pause, over_at
from strangler.domain.process import Process
from strangler.policy.model import Mode
from strangler.policy.standing import Hold, ModeOrder, Order

OrderKind = Literal["hold", "mode"]


def kind_of(order: Order) -> OrderKind:
    """The kind of an order; there is at most one of each of a route."""
    return "hold" if isinstance(order, Hold) else "mode"


def packed(order: Order) -> tuple[Any, ...]:
    """An order as plain values: (route, kind, mode, began_at, until_at, who, why)."""
    match order:
        case Hold(route, began_at, who, why):
            return route, "hold", None, began_at, None, who, why
        case ModeOrder(route, mode, began_at, until_at, who, why):
            return route, "mode", mode.value, began_at, until_at, who, why


def unpacked(values: Sequence[Any]) -> Order:
    """The order that `packed` made these values of."""
    route, _, mode, began_at, until_at, who, why = values
    if mode is None:
        return Hold(route, began_at, who, why)
    return ModeOrder(route, Mode(mode), began_at, until_at, who, why)


def unpacked_mode(values: Sequence[Any]) -> ModeOrder:
    """The same of an order that is known to be about a mode."""
    order = unpacked(values)
    assert isinstance(order, ModeOrder)
    return order


class MemoryStanding:
    """The port `Standing` over dictionaries."""

    def __init__(self) -> None:
        self._orders: dict[tuple[str, str], Order] = {}
        self._pauses: dict[str, list[Pause]] = {}
        self._closed = False

    async def orders(self) -> Sequence[Order]:
        """See `Standing.orders`."""
        return [self._orders[place] for place in sorted(self._orders)]

    async def put_order(self, order: Order) -> None:
        """See `Standing.put_order`."""
        self._require_open()
        self._orders[order.route, kind_of(order)] = order

    async def remove_order(self, route: str, kind: OrderKind) -> None:
        """See `Standing.remove_order`."""
        self._require_open()
        self._orders.pop((route, kind), None)

    async def pauses(self) -> Sequence[Pause]:
        """See `Standing.pauses`."""
        return [pause for route in sorted(self._pauses) for pause in self._pauses[route]]

    async def begin_pause(self, route: str, at: int) -> None:
        """See `Standing.begin_pause`."""
        self._require_open()
        pauses = self._pauses.setdefault(route, [])
        last = pauses[-1].ended_at if pauses else 0
        if last is not None:
            pauses.append(Pause(route, max(at, last)))

    async def end_pause(self, route: str, at: int) -> None:
        """See `Standing.end_pause`."""
        self._require_open()
        pauses = self._pauses.get(route, [])
        if pauses and pauses[-1].ended_at is None:
            pauses[-1] = pauses[-1]._replace(ended_at=max(at, pauses[-1].began_at))

    def _is_over(self, process: Process, now: int) -> bool:
        """Whether it is too late for a process; it never is while calls of its route are paused."""
        pauses = self._pauses.get(process.route, ())
        return not (pauses and pauses[-1].ended_at is None) and over_at(process, pauses, now) <= now

    def forget_pauses(self, created: Iterable[int]) -> int:
        """Forget what was over before the earliest of these instants."""
        oldest = min(created, default=None)
        swept = 0
        for route, pauses in self._pauses.items():
            kept = [p for p in pauses if p.ended_at is None or (oldest is not None and p.ended_at >= oldest)]
            swept += len(pauses) - len(kept)
            self._pauses[route] = kept
        return swept

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
