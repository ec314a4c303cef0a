"""Links that wait for work are closed when they have waited for too long: each, every time, and no other."""

from __future__ import annotations

from dataclasses import replace

from strangler.upstream.link import UpstreamLink
from tests.front.raw import End
from tests.upstream.borrowing import Waiter, World

SOON = 0.05


async def two_idle(world: World, keepalive: float, later: float = 0.0) -> tuple[list[End], list[Waiter]]:
    """Two links that were given back one after the other, the second ``later`` seconds after it was."""
    world.upstream = replace(world.upstream, max_connections=2, keepalive=keepalive)
    lent = [await world.lent(), await world.lent()]
    ends = [await world.returned(waiter) for waiter in lent]
    second = lent[1].link
    assert isinstance(second, UpstreamLink)
    second.idle_since += later
    return ends, lent


async def test_what_was_idle_for_too_long_is_closed_every_time(world: World) -> None:
    world.upstream = replace(world.upstream, keepalive=SOON)
    for _ in range(2):
        end = await world.returned(await world.lent())
        await end.gone()


async def test_each_is_closed_when_its_own_time_is_over(world: World) -> None:
    ends, _ = await two_idle(world, SOON, later=SOON)
    for end in ends:
        await end.gone()


async def test_what_is_idle_for_a_short_time_only_stays(world: World) -> None:
    ends, lent = await two_idle(world, SOON, later=3600.0)
    await ends[0].gone()
    assert (await world.lent()).link is lent[1].link


async def test_a_fresh_link_takes_the_place_of_the_one_that_was_idle_for_longest(world: World) -> None:
    ends, lent = await two_idle(world, 3600.0)
    await world.lent(fresh=True)
    await ends[0].gone()
    assert (await world.lent()).link is lent[1].link
