"""Every test of the data plane runs on both event loops that it is made for; and the world of those that borrow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.front.raw import RawUpstream
from tests.upstream.borrowing import World


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with RawUpstream() as legacy:
        world = World(legacy)
        yield world
        world.connections.close()
