"""An upstream gets no more connections than it is said to bear, whatever became of those before; and no fewer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from strangler.ports import Trouble
from strangler.upstream.dial import Dialer
from strangler.upstream.link import UpstreamLink
from strangler.wire.reply_head import ReplyHead
from tests.front.raw import End
from tests.upstream.borrowing import Waiter, World

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"


class Tunnelling(Waiter):
    """One that wants a tunnel."""

    def reply(self, head: ReplyHead, body: bytes, complete: bool) -> None:
        self.status = head.status
        self.news.set()


async def tunnelled(world: World) -> tuple[Tunnelling, End]:
    waiter = Tunnelling()
    world.connections.borrow(world.upstream, waiter)
    await waiter.heard()
    end = await world.legacy.accept()
    assert waiter.link is not None
    waiter.link.send(b"GET / HTTP/1.1\r\n\r\n", waiter, to_head=False, decode=False, upgrade=True)
    end.send(SWITCH)
    await waiter.heard()
    assert waiter.status == 101
    return waiter, end


async def a_tunnel_has_ended(world: World) -> None:
    waiter, end = await tunnelled(world)
    end.reset()
    await waiter.heard()
    assert waiter.failure is not None


async def an_idle_link_was_replaced(world: World) -> None:
    idle = await world.returned(await world.lent())
    await a_link_was_aborted(world, fresh=True)
    await idle.gone()


async def an_idle_link_has_ended(world: World) -> None:
    waiter = await world.lent()
    idle = await world.returned(waiter)
    idle.close()
    assert isinstance(waiter.link, UpstreamLink)
    while waiter.link.counted:
        await asyncio.sleep(0)


async def a_link_was_aborted(world: World, *, fresh: bool = False) -> None:
    waiter = await world.lent(fresh=fresh)
    await world.legacy.accept()
    assert waiter.link is not None
    waiter.link.abort()


async def not_lent(world: World, connect: Callable[..., Awaitable[UpstreamLink]]) -> None:
    """Who waits is told, where connecting goes like this."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Dialer, "_connect", connect)
        waiter = Waiter()
        world.connections.borrow(world.upstream, waiter)
        await waiter.heard()
        assert waiter.failure is not None
        assert waiter.failure.trouble is Trouble.UNREACHABLE


async def a_connection_was_closed_at_once(world: World) -> None:
    """It is gone before it is lent."""
    connect = Dialer._connect

    async def closed(dialer: Dialer, make: Callable[[], UpstreamLink]) -> UpstreamLink:
        link = await connect(dialer, make)
        link.abort()
        await asyncio.sleep(0)
        return link

    await not_lent(world, closed)
    await world.legacy.accept()


async def a_defect_was_in_the_way(world: World) -> None:
    async def broken(dialer: Dialer, make: Callable[[], UpstreamLink]) -> UpstreamLink:
        raise AttributeError("a defect")

    await not_lent(world, broken)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "before",
    [
        a_tunnel_has_ended,
        an_idle_link_was_replaced,
        an_idle_link_has_ended,
        a_link_was_aborted,
        a_connection_was_closed_at_once,
        a_defect_was_in_the_way,
    ],
)
async def test_there_is_one_connection_where_one_is_allowed(
    world: World, before: Callable[[World], Awaitable[None]], fresh: bool
) -> None:
    await before(world)
    first, second = Waiter(), Waiter()
    world.connections.borrow(world.upstream, first, fresh=fresh)
    place = world.connections.borrow(world.upstream, second, fresh=fresh)
    assert place is not None
    await first.heard()
    await world.exchange(first, await world.legacy.accept())
    assert (second.link, world.legacy.waiting) == (None, 0)
    assert first.link is not None
    first.link.abort()
    await second.heard()
    assert second.link is not None


async def test_a_tunnel_makes_room_for_who_waits(world: World) -> None:
    waiter = Tunnelling()
    world.connections.borrow(world.upstream, waiter)
    await waiter.heard()
    end = await world.legacy.accept()
    second = Waiter()
    assert world.connections.borrow(world.upstream, second) is not None
    assert waiter.link is not None
    waiter.link.send(b"GET / HTTP/1.1\r\n\r\n", waiter, to_head=False, decode=False, upgrade=True)
    end.send(SWITCH)
    await second.heard()
    await world.exchange(second, await world.legacy.accept())


async def test_where_there_is_room_a_fresh_link_closes_no_other(world: World) -> None:
    world.upstream = replace(world.upstream, max_connections=2)
    first = await world.lent()
    await world.returned(first)
    await world.lent(fresh=True)
    again = await world.lent()
    assert again.link is first.link


async def test_who_was_served_is_not_told_later_that_the_wait_is_over(world: World) -> None:
    first, second = await world.lent(), Waiter()
    place = world.connections.borrow(world.upstream, second)
    await world.returned(first)
    assert second.link is first.link
    assert place.timer.cancelled()  # type: ignore[union-attr]


async def test_who_a_connection_is_opened_for_after_all_waits_for_it_as_long_as_that_takes(world: World) -> None:
    first, second = await world.lent(), Waiter()
    place = world.connections.borrow(world.upstream, second)
    assert first.link is not None
    first.link.abort()
    while not place.timer.cancelled():  # type: ignore[union-attr]
        await asyncio.sleep(0)
    assert second.link is None
    await second.heard()
    assert second.link is not None


async def test_a_link_that_ended_while_it_was_idle_is_not_taken_for_one_that_can_make_room(world: World) -> None:
    world.upstream = replace(world.upstream, max_connections=2)
    lent = [await world.lent(), await world.lent()]
    ends = [await world.returned(waiter) for waiter in lent]
    ends[0].close()
    gone = lent[0].link
    assert isinstance(gone, UpstreamLink)
    while gone.counted:
        await asyncio.sleep(0)
    await world.lent(fresh=True)
    await world.lent(fresh=True)
    await ends[1].gone()


async def test_what_was_opened_is_forgotten_when_it_is_open(world: World) -> None:
    await world.returned(await world.lent())
    gc.collect()
    tasks = [one for one in gc.get_objects() if isinstance(one, asyncio.Task) and "Pool._open_link" in repr(one)]
    assert tasks == []
