"""Links for passthrough: lent, queued for, given back, and renewed with the policy."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import pytest

from strangler.ports import Trouble
from strangler.upstream.pool import WAITING_PER_CONNECTION, Pool
from strangler.wire.reply_head import ReplyHead
from tests.upstream.borrowing import OK, Waiter, World


async def test_a_link_that_was_given_back_is_lent_again_at_once(world: World) -> None:
    first = await world.lent()
    await world.exchange(first, await world.legacy.accept())
    assert first.link is not None
    first.link.release()
    second = Waiter()
    assert world.connections.borrow(world.upstream, second) is None
    assert second.link is first.link
    assert second.link.reused


async def test_a_link_that_was_given_back_while_it_waited_is_read_again(world: World) -> None:
    first = await world.lent()
    upstream = await world.legacy.accept()
    await world.exchange(first, upstream)
    assert first.link is not None
    first.link.pause_reading()
    first.link.release()
    second = await world.lent()
    assert second.link is first.link
    await world.exchange(second, upstream)


class Patient(Waiter):
    """One whose request may be large, and whose reply may be a part of one."""

    def reply(self, head: ReplyHead, body: bytes, complete: bool) -> None:
        self.news.set()

    def pause_writing(self) -> None:
        pass


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"x" * 20_000_000, OK),  # the upstream has not read it
        (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"),
    ],
)
async def test_a_link_that_is_given_back_before_its_time_serves_nobody_else(
    world: World, request_: bytes, reply: bytes
) -> None:
    first = Patient()
    world.connections.borrow(world.upstream, first)
    await first.heard()
    upstream = await world.legacy.accept()
    upstream.writer.transport.pause_reading()  # type: ignore[attr-defined]
    assert first.link is not None
    first.link.send(b"POST / HTTP/1.1\r\n\r\n" + request_, first, to_head=False, decode=False)
    upstream.send(reply)
    await first.heard()
    first.link.release()
    second = await world.lent()
    assert second.link is not first.link


async def test_a_fresh_link_takes_the_place_of_an_idle_one(world: World) -> None:
    first = await world.lent()
    idle = await world.legacy.accept()
    await world.exchange(first, idle)
    assert first.link is not None
    first.link.release()
    second = await world.lent(fresh=True)
    assert second.link is not first.link
    assert second.link is not None
    assert not second.link.reused
    await idle.gone()


async def test_a_link_that_breaks_makes_room_for_who_waits(world: World) -> None:
    first = await world.lent()
    upstream = await world.legacy.accept()
    second = Waiter()
    assert world.connections.borrow(world.upstream, second) is not None
    assert first.link is not None
    first.link.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", first, to_head=False, decode=False)
    upstream.reset()
    await first.heard()
    assert first.failure is not None
    assert (first.failure.trouble, first.failure.silent) == (Trouble.BROKEN, True)
    await second.heard()
    assert second.link is not None
    assert second.link is not first.link


async def test_the_queue_is_bounded(world: World) -> None:
    await world.lent()
    waiting = [Waiter() for _ in range(WAITING_PER_CONNECTION)]
    places = [world.connections.borrow(world.upstream, waiter) for waiter in waiting]
    assert None not in places
    one_too_many = Waiter()
    assert world.connections.borrow(world.upstream, one_too_many) is None
    assert one_too_many.failure is not None
    assert one_too_many.failure.trouble is Trouble.OVERLOADED
    assert places[0] is not None
    places[0].cancel()
    assert world.connections.borrow(world.upstream, Waiter()) is not None


async def test_the_same_upstream_loaded_again_keeps_its_links(world: World) -> None:
    first = await world.lent()
    await world.exchange(first, await world.legacy.accept())
    assert first.link is not None
    first.link.release()
    again = Waiter()
    world.connections.borrow(replace(world.upstream), again)
    assert again.link is first.link


async def test_a_changed_upstream_gets_new_links_and_the_old_ones_end(world: World) -> None:
    idle, busy = Waiter(), Waiter()
    world.upstream = replace(world.upstream, max_connections=2)
    idle, busy = await world.lent(), await world.lent()
    ends = [await world.legacy.accept() for _ in range(2)]
    await world.exchange(idle, ends[0])
    assert idle.link is not None
    idle.link.release()
    changed = replace(world.upstream, connect_timeout=1.0)
    fresh = Waiter()
    world.connections.borrow(changed, fresh)
    await ends[0].gone()
    await fresh.heard()
    await world.exchange(busy, ends[1])
    assert busy.link is not None
    busy.link.release()
    await ends[1].gone()


def pools() -> list[Pool]:
    """All that are in memory."""
    return [one for one in gc.get_objects() if isinstance(one, Pool)]


async def test_a_pool_that_ended_is_forgotten_when_an_upstream_changes_again(world: World) -> None:
    of_others, replaced = pools(), None
    for number in range(5):
        world.upstream = replace(world.upstream, timeout=10.0 + number)
        lent = await world.lent()
        end = await world.legacy.accept()
        await world.exchange(lent, end)
        assert lent.link is not None
        lent.link.release()
        if replaced is not None:
            await replaced.gone()
        replaced = end
    gc.collect()
    kept = [pool.upstream.timeout for pool in pools() if pool not in of_others]
    assert sorted(kept) == [13.0, 14.0]  # the one in use, and the one that it took the place of


async def test_a_connection_that_nobody_waits_for_any_more_serves_the_next(world: World) -> None:
    place = world.connections.borrow(world.upstream, Waiter())
    assert place is not None
    place.cancel()
    end = await world.legacy.accept()
    second = await world.lent()
    await world.exchange(second, end)
    assert world.legacy.accepted == 1


async def test_a_connection_that_was_idle_is_lent_as_one_that_the_upstream_may_have_closed(world: World) -> None:
    place = world.connections.borrow(world.upstream, Waiter())
    assert place is not None
    place.cancel()
    await world.legacy.accept()
    while any("_open_link" in repr(task) for task in asyncio.all_tasks()):
        await asyncio.sleep(0)
    second = Waiter()
    assert world.connections.borrow(world.upstream, second) is None
    assert second.link is not None
    assert second.link.reused


async def test_a_failed_connection_is_told_and_the_next_who_waits_is_tried_for(world: World) -> None:
    await world.legacy.__aexit__()
    first, second = Waiter(), Waiter()
    world.connections.borrow(world.upstream, first)
    world.connections.borrow(world.upstream, second)
    for waiter in (first, second):
        await waiter.heard()
        assert waiter.failure is not None
        assert waiter.failure.trouble is Trouble.UNREACHABLE


async def test_who_still_waits_when_all_is_closed_is_told_and_nothing_is_opened_any_more(world: World) -> None:
    holder = await world.lent()
    waiting, elsewhere = Waiter(), Waiter()
    world.connections.borrow(world.upstream, waiting)
    # Another pool, of before a reload, with a connection that is being opened.
    world.connections.borrow(replace(world.upstream, name="other"), elsewhere)
    world.connections.borrow(replace(world.upstream, name="other", timeout=9.0), Waiter())
    world.connections.close()
    for waiter in (waiting, elsewhere):
        assert waiter.failure is not None
        assert waiter.failure.trouble is Trouble.UNREACHABLE
    assert holder.link is not None
    holder.link.abort()
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() if "_open_link" in repr(task) and not task.cancelling()} == set()


async def test_when_all_is_closed_what_is_idle_ends_now_and_the_rest_when_it_comes_back(world: World) -> None:
    world.upstream = replace(world.upstream, max_connections=2)
    idle, busy = await world.lent(), await world.lent()
    ends = [await world.legacy.accept() for _ in range(2)]
    await world.exchange(idle, ends[0])
    assert idle.link is not None
    idle.link.release()
    world.connections.close()
    await ends[0].gone()
    await world.exchange(busy, ends[1])
    assert busy.link is not None
    busy.link.release()
    await ends[1].gone()


async def test_who_waited_when_the_upstream_changed_gets_a_link_that_works(world: World) -> None:
    first, second = await world.lent(), Waiter()
    upstream = await world.legacy.accept()
    world.connections.borrow(world.upstream, second)
    other = Waiter()
    world.connections.borrow(replace(world.upstream, timeout=9.0), other)
    await other.heard()
    await world.legacy.accept()
    await world.exchange(first, upstream)
    assert first.link is not None
    first.link.release()
    await second.heard()
    await world.exchange(second, await world.legacy.accept())


async def test_an_upstream_that_has_no_connection_now_is_not_forgotten(world: World) -> None:
    quiet, other = world.upstream, replace(world.upstream, name="other")
    first = await world.lent()
    end = await world.legacy.accept()
    assert first.link is not None
    first.link.abort()
    await end.gone()
    for timeout in (8.0, 9.0):
        world.upstream = replace(other, timeout=timeout)
        await world.lent()
        await world.legacy.accept()
    world.upstream = quiet
    idle = await world.lent()
    end = await world.legacy.accept()
    await world.exchange(idle, end)
    assert idle.link is not None
    idle.link.release()
    world.connections.close()
    await end.gone()
