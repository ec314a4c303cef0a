"""Standing orders and pauses, over every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.domain.pause import Pause
from strangler.domain.process import Process
from strangler.policy.model import Mode
from strangler.policy.standing import Hold, ModeOrder
from strangler.ports import Commit, Committed
from strangler.store import Store
from tests.store import builders as make
from tests.store.backends import BACKENDS
from tests.store.builders import DAY, HOUR, NOON, FakeClock, after

ROUTE = "submit-claim"
HOLD = Hold(ROUTE, NOON, "alice", "the mainframe is patched")
MODE = ModeOrder(ROUTE, Mode.COMPAT, NOON, NOON + 2 * HOUR, "bob", "a client cannot poll")


async def done(store: Store, commit: Commit) -> Process:
    assert await store.commit(commit) == Committed()
    return after(commit)


async def waiting(store: Store, at: int = NOON, *, lives: int = HOUR, route: str = ROUTE) -> Process:
    """A process that waits for its claim."""
    return await done(store, make.accept(make.draft(at, deadline_at=at + lives, route=route)))


async def test_an_order_is_there_until_it_is_removed_one_of_a_kind_and_route(store: Store) -> None:
    assert list(await store.orders()) == []
    other = HOLD._replace(route="other")
    for order in (HOLD, MODE, other):
        await store.put_order(order)
    assert list(await store.orders()) == [other, HOLD, MODE]
    later = HOLD._replace(began_at=NOON + 5, why="it takes longer")
    await store.put_order(later)
    await store.remove_order(ROUTE, "mode")
    await store.remove_order("nobody", "mode")
    assert list(await store.orders()) == [other, later]


async def test_a_pause_goes_on_until_it_ends_and_there_is_one_at_a_time(store: Store) -> None:
    await store.end_pause(ROUTE, NOON)
    assert list(await store.pauses()) == []
    await store.begin_pause(ROUTE, NOON)
    await store.begin_pause(ROUTE, NOON + 5)
    await store.begin_pause("other", NOON + 6)
    assert list(await store.pauses()) == [Pause("other", NOON + 6), Pause(ROUTE, NOON)]
    await store.end_pause(ROUTE, NOON + 10)
    await store.end_pause(ROUTE, NOON + 20)
    await store.begin_pause(ROUTE, NOON + 30)
    assert list(await store.pauses())[1:] == [Pause(ROUTE, NOON, NOON + 10), Pause(ROUTE, NOON + 30)]


async def test_pauses_do_not_overlap_when_the_clock_was_set_back(store: Store) -> None:
    await store.begin_pause(ROUTE, NOON)
    await store.end_pause(ROUTE, NOON + 10)
    await store.begin_pause(ROUTE, NOON + 4)
    await store.end_pause(ROUTE, NOON + 3)
    assert list(await store.pauses()) == [Pause(ROUTE, NOON, NOON + 10), Pause(ROUTE, NOON + 10, NOON + 10)]
    await store.begin_pause(ROUTE, NOON + 10)
    assert (await store.pauses())[-1] == Pause(ROUTE, NOON + 10)


async def test_nothing_of_a_paused_route_is_overdue(store: Store) -> None:
    process = await waiting(store)
    other = await waiting(store, route="other")
    await store.begin_pause(ROUTE, NOON + 10)
    assert list(await store.overdue(NOON + DAY, 10)) == [other]
    await store.end_pause(ROUTE, NOON + DAY)
    assert process in await store.overdue(NOON + 2 * DAY, 10)


async def test_a_deadline_is_later_by_the_pauses_since_the_acceptance(store: Store) -> None:
    for began in (NOON - 500, NOON + 600, NOON + 2000):
        await store.begin_pause(ROUTE, began)
        await store.end_pause(ROUTE, began + 1000)
    process = await waiting(store)
    # 500 ms of the first, 1000 of each of the others.
    assert list(await store.overdue(NOON + HOUR + 2499, 10)) == []
    assert list(await store.overdue(NOON + HOUR + 2500, 10)) == [process]


async def test_being_followed_lasts_longer_by_the_pauses_too(store: Store) -> None:
    claimed = await done(store, make.claim(await waiting(store)))
    process = await done(store, make.follow(claimed, NOON + 20, NOON + HOUR))
    await store.begin_pause(ROUTE, NOON + 10)
    assert list(await store.overdue(NOON + DAY, 10)) == []
    await store.end_pause(ROUTE, NOON + 110)
    assert list(await store.overdue(NOON + HOUR + 99, 10)) == []
    assert list(await store.overdue(NOON + HOUR + 100, 10)) == [process]


async def test_many_whose_deadline_was_put_off_do_not_hide_one_that_is_over(store: Store) -> None:
    for _ in range(5):
        await waiting(store)
    await store.begin_pause(ROUTE, NOON + 1)
    await store.end_pause(ROUTE, NOON + DAY)
    over = await waiting(store, NOON + DAY, lives=HOUR // 2)
    assert list(await store.overdue(NOON + DAY + HOUR // 2, 2)) == [over]


async def test_pauses_that_nobody_lived_through_are_forgotten(store: Store) -> None:
    for began in (NOON - HOUR, NOON - 10, NOON + 100):
        await store.begin_pause(ROUTE, began)
        await store.end_pause(ROUTE, began + 20)
    await store.begin_pause("other", NOON - DAY)
    await waiting(store)
    assert await store.sweep_pauses() == 1
    assert [pause.began_at for pause in await store.pauses()] == [NOON - DAY, NOON - 10, NOON + 100]


async def test_where_nothing_is_kept_only_the_pause_that_goes_on_is(store: Store) -> None:
    await store.begin_pause(ROUTE, NOON)
    await store.end_pause(ROUTE, NOON + 20)
    await store.begin_pause("other", NOON)
    assert await store.sweep_pauses() == 1
    assert list(await store.pauses()) == [Pause("other", NOON)]


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_orders_and_pauses_outlive_a_restart(backend: str, tmp_path: Path, clock: FakeClock) -> None:
    first = BACKENDS[backend](tmp_path, clock)
    await first.put_order(HOLD)
    await first.put_order(MODE)
    await first.begin_pause(ROUTE, NOON)
    await first.close()
    second = BACKENDS[backend](tmp_path, clock)
    assert list(await second.orders()) == [HOLD, MODE]
    assert list(await second.pauses()) == [Pause(ROUTE, NOON)]
    await second.close()
