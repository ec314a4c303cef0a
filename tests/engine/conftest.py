from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.engine.receivers import Telling
from tests.engine.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The engine over a store in memory, its lease taken."""
    world = World()
    await world.lease.renew()
    yield world
    await world.executor.drain(0.0)


@pytest.fixture(params=["here", "by a worker", "elsewhere"])
async def telling(request: pytest.FixtureRequest) -> AsyncIterator[Telling]:
    """Delivering, whole, over a store in memory, with one receiver; not begun."""
    telling = Telling(here=request.param != "elsewhere", worker=request.param == "by a worker")
    telling.receiver()
    yield telling
    await telling.deliverer.drain(0.0)


@pytest.fixture
async def begun(telling: Telling) -> Telling:
    """The same, begun."""
    await telling.deliverer.begin()
    return telling
