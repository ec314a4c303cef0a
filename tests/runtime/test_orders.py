"""Modes that were ordered for a while: none is lost, and each ends when its time is over, whatever the store does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from strangler.engine.gates import Gatekeeper
from strangler.engine.pauses import Pauses
from strangler.policy.match import Matcher
from strangler.policy.model import Mode, Table
from strangler.policy.standing import Order
from strangler.runtime.policies import Policies
from strangler.runtime.standing import StandingOrders
from strangler.store.memory import MemoryStore
from strangler.store.standing import OrderKind
from tests.engine.world import FakeClock, Silent

POLICY = """
upstreams:
  legacy: {url: "http://127.0.0.1:9"}
routes:
  - {name: claims, match: {path: /claims, methods: [POST]}, upstream: legacy, mode: async}
  - {name: quotes, match: {path: /quotes, methods: [POST]}, upstream: legacy, process: {resource: /quotations}}
default: {upstream: legacy}
"""


class Switch:
    """Keeps the table that is in force."""

    table: Table

    def load(self, table: Table, matcher: Matcher, remembered: frozenset[str]) -> None:
        """See `TakesTable`."""
        self.table = table

    def modes(self) -> dict[str, Mode]:
        """The mode in force of each route."""
        return {name: route.mode for name, route in self.table.routes.items()}


class SlowStore(MemoryStore):
    """One that writes while others go on."""

    async def put_order(self, order: Order) -> None:
        """See `Standing.put_order`."""
        await asyncio.sleep(0)
        await super().put_order(order)

    async def remove_order(self, route: str, kind: OrderKind) -> None:
        """See `Standing.remove_order`."""
        await asyncio.sleep(0)
        await super().remove_order(route, kind)


class Place:
    """A server as far as orders need one."""

    def __init__(self, folder: Path) -> None:
        self.store, self.clock, self.switch = SlowStore(), FakeClock(), Switch()
        path = folder / "policy.yaml"
        path.write_text(POLICY)
        told = Silent()
        self.policies = Policies([path], {}, 15.0, True, self.store, told, self.clock, lambda: None)
        gates = Gatekeeper(self.store, Pauses(), self.clock, told, lambda route: None)
        self.orders = StandingOrders(self.store, gates, self.policies, self.clock, told)

    async def begin(self) -> None:
        """Put the policy in force."""
        await self.orders.begin()
        await self.policies.begin(self.policies.read(), self.switch)


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    await made.begin()
    return made


async def test_of_two_orders_at_once_none_is_lost(place: Place) -> None:
    await asyncio.gather(
        place.orders.set_mode("claims", Mode.PASSTHROUGH, 60, "ann", "x"),
        place.orders.set_mode("quotes", Mode.ASYNC, 60, "bob", "y"),
    )
    assert place.switch.modes() == {"claims": Mode.PASSTHROUGH, "quotes": Mode.ASYNC}
    await asyncio.gather(
        place.orders.set_mode("claims", Mode.COMPAT, 60, "ann", "x"),
        place.orders.clear_mode("quotes", "bob", "y"),
    )
    assert place.switch.modes() == {"claims": Mode.COMPAT, "quotes": Mode.PASSTHROUGH}
    assert await place.store.orders() == [*place.policies.orders]
    place.orders.close()
