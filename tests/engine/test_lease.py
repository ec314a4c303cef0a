"""The lease: how long first bytes leave under it, what a new term ends, and what is given back with it."""

from __future__ import annotations

import asyncio

from strangler.domain.errors import StoreUnavailable
from strangler.engine.lease import LeaseKeeper
from strangler.ports import Lease
from tests.engine.world import FakeClock, FlakyStore, Silent


class Leases(FlakyStore):
    """A store that cannot record the first few renewals, and says when one was recorded."""

    def __init__(self, unavailable: int = 0) -> None:
        super().__init__()
        self._unavailable = unavailable
        self.since: int | None = None
        self.renewed = asyncio.Event()

    async def renew(self, lease: Lease) -> int | None:
        if self._unavailable:
            self._unavailable -= 1
            raise StoreUnavailable("the disk is full")
        await super().renew(lease)
        self.renewed.set()
        return self.since


async def test_sending_stops_two_seconds_before_a_lease_of_fifteen_runs_out() -> None:
    clock = FakeClock()
    keeper = LeaseKeeper("w", 15.0, Leases(), clock, Silent())
    assert not keeper.holds()
    await keeper.renew()
    clock.nanoseconds += 13 * 10**9 - 1
    assert keeper.holds()
    assert keeper.may_send(keeper.term)
    clock.nanoseconds += 1
    assert not keeper.holds()
    assert not keeper.may_send(keeper.term)


async def test_a_lease_that_is_prolonged_in_time_is_the_same_term_and_one_that_ran_out_another() -> None:
    clock, terms = FakeClock(), list[int]()
    keeper = LeaseKeeper("w", 15.0, Leases(), clock, Silent(), lambda: terms.append(keeper.term))
    await keeper.renew()
    clock.nanoseconds += 15 * 10**9 - 1
    await keeper.renew()
    assert terms == [1]
    clock.nanoseconds += 15 * 10**9
    await keeper.renew()
    assert terms == [1, 2]


async def test_a_lease_that_was_prolonged_in_time_is_the_same_term_however_late_one_hears_of_it() -> None:
    clock, terms, store = FakeClock(), list[int](), Leases()
    keeper = LeaseKeeper("w", 15.0, store, clock, Silent(), lambda: terms.append(keeper.term))
    await keeper.renew()
    over = clock.boottime() + 15 * 10**9
    store.since = over - 1
    clock.nanoseconds += 16 * 10**9
    await keeper.renew()
    assert terms == [1]
    assert keeper.may_send(1)
    store.since = clock.boottime() + 15 * 10**9
    await keeper.renew()
    assert terms == [1, 2], "whoever recorded it saw that it had run out, and gave up what was under way"


async def test_a_lease_that_the_store_did_not_record_is_not_held() -> None:
    keeper = LeaseKeeper("w", 0.003, Leases(unavailable=10**6), FakeClock(), instrument := Silent())
    keeping = asyncio.create_task(keeper.keep())
    while len(instrument.told) < 2:
        await asyncio.sleep(0)
    keeping.cancel()
    assert instrument.told[0] == ("note", ("lease_not_renewed", "error", "the disk is full"))
    assert not keeper.holds()


async def test_a_renewal_that_failed_is_tried_again() -> None:
    store = Leases(unavailable=1)
    keeper = LeaseKeeper("w", 0.003, store, FakeClock(), Silent())
    keeping = asyncio.create_task(keeper.keep())
    await store.renewed.wait()
    assert keeper.holds()
    keeping.cancel()


async def test_under_a_lease_that_was_given_back_nothing_is_sent() -> None:
    keeper = LeaseKeeper("w", 15.0, store := Leases(), FakeClock(), Silent())
    await keeper.renew()
    first = keeper.term
    await keeper.resign()
    assert not keeper.holds()
    assert not keeper.may_send(first)
    await keeper.renew()
    assert keeper.term == first + 1
    assert not keeper.may_send(first)
    assert store.renewed.is_set()
