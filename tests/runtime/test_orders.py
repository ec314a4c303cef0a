"""Modes that were ordered for a while: none is lost, and each ends when its time is over, whatever the store does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from strangler.config.settings import Settings
from strangler.domain.errors import StoreUnavailable
from strangler.engine.gates import Gatekeeper
from strangler.engine.pauses import Pauses
from strangler.operations.application import Reloaded, ReloadRefused
from strangler.policy.match import Matcher
from strangler.policy.model import Mode, Table
from strangler.policy.standing import ModeOrder, Order
from strangler.ports import ArchiveKind
from strangler.runtime import standing
from strangler.runtime.policies import ChangeOrders, Policies
from strangler.runtime.standing import StandingOrders
from strangler.store.memory import MemoryStore
from strangler.store.standing import OrderKind
from tests.engine.world import NOON, FakeClock, Silent
from tests.harness.waiting import eventually

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
    """One that writes while others go on, and may refuse some promises."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = 0
        self.removes = asyncio.Event()
        self.removes.set()

    async def save(self, kind: ArchiveKind, name: str, text: str) -> None:
        """See `Archive.save`."""
        if kind == "promise" and self.refuses:
            self.refuses -= 1
            raise StoreUnavailable("the disk is full")
        await super().save(kind, name, text)

    async def put_order(self, order: Order) -> None:
        """See `Standing.put_order`."""
        await asyncio.sleep(0)
        await super().put_order(order)

    async def remove_order(self, route: str, kind: OrderKind) -> None:
        """See `Standing.remove_order`."""
        await asyncio.sleep(0)
        await self.removes.wait()
        await super().remove_order(route, kind)


class Place:
    """A server as far as orders need one."""

    def __init__(self, folder: Path) -> None:
        self.store, self.clock, self.switch = SlowStore(), FakeClock(), Switch()
        self.path = path = folder / "policy.yaml"
        path.write_text(POLICY)
        self.told = told = Silent()
        self.policies = Policies(
            Settings(public_url="https://api.example"), [path], {}, self.store, told, self.clock, lambda: None
        )
        gates = Gatekeeper(self.store, Pauses(), self.clock, told, lambda route: None)
        self.orders = StandingOrders(self.store, gates, self.policies, self.clock, told)

    def is_over(self) -> int:
        """How often it was told that a mode is over."""
        return [values[0] for name, values in self.told.told if name == "note"].count("mode_over")

    async def begin(self) -> None:
        """Put the policy in force."""
        await self.orders.begin()
        await self.policies.begin(self.policies.read(), self.switch)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_of_two_orders_at_once_none_is_lost(place: Place) -> None:
    await place.begin()
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


async def test_a_mode_ends_after_its_time_as_soon_as_the_store_takes_the_promise_of_what_follows(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_PAUSE", 0.0)
    await place.store.put_order(ModeOrder("claims", Mode.PASSTHROUGH, NOON, NOON + 1, "ann", "x"))
    await place.begin()
    assert place.switch.modes()["claims"] is Mode.PASSTHROUGH
    place.store.refuses = 3
    place.clock.pass_(0.001)
    await eventually(lambda: place.is_over() == 1, what="the mode is over")
    assert place.switch.modes()["claims"] is Mode.ASYNC
    place.orders.close()


async def test_a_defect_as_a_mode_ends_is_told_and_the_mode_ends_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_PAUSE", 0.0)
    await place.store.put_order(ModeOrder("claims", Mode.PASSTHROUGH, NOON, NOON + 1, "ann", "x"))
    await place.begin()
    follow, defects = place.policies.follow, [ZeroDivisionError("a defect")]

    async def broken(change: ChangeOrders, keep: Any = None) -> Sequence[ModeOrder]:
        if defects:
            raise defects.pop()
        return await follow(change, keep)

    told: list[str] = []
    monkeypatch.setattr(place.policies, "follow", broken)
    monkeypatch.setattr(place.told, "failed", lambda place, error: told.append(place), raising=False)
    place.clock.pass_(0.001)
    await eventually(lambda: place.is_over() == 1, what="the mode is over")
    assert told == ["orders"]
    assert place.switch.modes()["claims"] is Mode.ASYNC
    place.orders.close()


async def test_a_mode_whose_time_ends_while_the_server_starts_ends_and_so_do_all_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_PAUSE", 0.0)
    await place.store.put_order(ModeOrder("claims", Mode.PASSTHROUGH, NOON, NOON + 1, "ann", "x"))
    await place.store.put_order(ModeOrder("quotes", Mode.ASYNC, NOON, NOON + 2, "bob", "y"))
    await place.orders.begin()
    place.clock.pass_(0.002)
    assert place.orders._timer is not None
    place.orders._timer.cancel()
    place.orders._look()  # as the timer does, and no other time
    await asyncio.sleep(0)
    await place.policies.begin(place.policies.read(), place.switch)
    await eventually(lambda: place.is_over() == 2, what="both modes are over")
    assert place.switch.modes() == {"claims": Mode.ASYNC, "quotes": Mode.PASSTHROUGH}
    place.orders.close()


async def test_a_mode_that_is_ordered_as_an_earlier_one_ends_is_there_after_a_restart(place: Place) -> None:
    await place.store.put_order(ModeOrder("claims", Mode.PASSTHROUGH, NOON, NOON + 1, "ann", "x"))
    await place.begin()
    place.store.removes.clear()
    place.clock.pass_(0.001)
    await eventually(lambda: place.is_over() == 1, what="the mode is over")
    await place.orders.set_mode("claims", Mode.COMPAT, 60, "bob", "y")
    place.store.removes.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert await place.store.orders() == [*place.policies.orders] != []
    place.orders.close()


async def test_what_is_over_is_gone_after_the_next_start(place: Place) -> None:
    await place.store.put_order(ModeOrder("claims", Mode.PASSTHROUGH, NOON - 1, NOON, "ann", "x"))
    await place.begin()
    assert await place.store.orders() == []
    assert place.switch.modes()["claims"] is Mode.ASYNC


async def test_a_route_that_left_the_policy_with_keys_that_clients_may_repeat_is_told_of(place: Place) -> None:
    await place.begin()
    place.path.write_text(POLICY.replace("name: claims", "name: demands").replace("name: quotes", "name: offers"))
    found = await place.policies.reload()
    assert isinstance(found, Reloaded)
    [warning] = [text for text in found.warnings if "left the policy" in text]
    assert warning.startswith("route claims: ")  # quotes never recorded
    assert [values[:3] for fact, values in place.told.told if fact == "note"] == [("route_left", "warning", "claims")]
    found = await place.policies.reload()
    assert isinstance(found, Reloaded)
    assert not [text for text in found.warnings if "left the policy" in text]


async def test_what_is_promised_on_a_route_that_went_back_to_passthrough_is_kept_for_what_is_tried_once_more(
    place: Place,
) -> None:
    await place.begin()
    changed = POLICY.replace(", mode: async", ", process: {type: Demand}")
    place.path.write_text(changed)
    assert isinstance(await place.policies.reload(), Reloaded)
    routes = place.switch.table.routes
    today = routes["claims"].promise
    assert place.policies.promise_of(today.digest) == today
    kept = await place.store.load("promise")
    assert today.digest in kept
    assert routes["quotes"].promise.digest not in kept  # it never recorded: there is nothing to try once more


async def test_a_route_that_left_after_it_had_gone_back_to_passthrough_is_told_of_too(place: Place) -> None:
    await place.begin()
    place.path.write_text(POLICY.replace(", mode: async", ""))
    found = await place.policies.reload()
    assert isinstance(found, Reloaded)
    assert not [text for text in found.warnings if "left the policy" in text]
    place.path.write_text(POLICY.replace("name: claims", "name: demands"))
    found = await place.policies.reload()
    assert isinstance(found, Reloaded)
    assert [text.partition(":")[0] for text in found.warnings if "left the policy" in text] == ["route claims"]


async def test_before_a_policy_is_in_force_nothing_is_reloaded_or_ordered_and_that_is_no_defect(place: Place) -> None:
    await place.store.put_order(ModeOrder("claims", Mode.PASSTHROUGH, NOON, NOON + 60_000, "ann", "x"))
    await place.orders.begin()
    assert await place.policies.reload() == ReloadRefused([{"detail": "it is starting; ask again"}])
    with pytest.raises(StoreUnavailable):
        await place.orders.set_mode("claims", Mode.COMPAT, 60, "bob", "y")
    with pytest.raises(StoreUnavailable):
        await place.orders.clear_mode("claims", "bob", "y")
    await place.policies.begin(place.policies.read(), place.switch)
    assert place.switch.modes()["claims"] is Mode.PASSTHROUGH
    assert await place.store.orders() == [*place.policies.orders]
    assert isinstance(await place.policies.reload(), Reloaded)
    place.orders.close()
