from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.engine.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The engine over a store in memory, its lease taken."""
    world = World()
    await world.lease.renew()
    yield world
    await world.executor.drain(0.0)
