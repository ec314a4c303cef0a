"""A client that leaves while its acceptance is being committed."""

from __future__ import annotations

import asyncio

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.process import Process, State
from strangler.engine.uninterrupted import uninterrupted
from strangler.ports import Commit, Verdict
from tests.engine.world import FlakyStore, World


async def test_what_follows_from_a_commit_happens_although_the_caller_left() -> None:
    commit: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []
    task = asyncio.create_task(uninterrupted(commit, seen.append))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == []
    commit.set_result("on disk")
    await asyncio.sleep(0)
    assert seen == ["on disk"]


async def test_what_follows_happens_once_when_the_caller_leaves_as_the_commit_is_done() -> None:
    commit: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []
    task = asyncio.create_task(uninterrupted(commit, seen.append))
    await asyncio.sleep(0)
    commit.set_result("on disk")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert seen == ["on disk"]


async def test_a_commit_that_failed_is_followed_by_nothing() -> None:
    commit: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []
    task = asyncio.create_task(uninterrupted(commit, seen.append))
    await asyncio.sleep(0)
    commit.set_exception(StoreUnavailable("full"))
    with pytest.raises(StoreUnavailable):
        await task
    assert seen == []


class SlowStore(FlakyStore):
    """A store whose acceptances are on disk only when it is told so."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    def commit(self, commit: Commit) -> asyncio.Future[Verdict]:
        if commit.request is None:
            return super().commit(commit)
        self.asked.set()
        return asyncio.ensure_future(self._later(commit))

    async def _later(self, commit: Commit) -> Verdict:
        await self.go.wait()
        return await super().commit(commit)


async def test_a_process_whose_client_left_during_the_commit_is_called_all_the_same(world: World) -> None:
    store = world.store = SlowStore(world)
    world.restart("worker-2")
    await world.lease.renew()
    client = asyncio.create_task(world.submit())
    await store.asked.wait()
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    store.go.set()
    with world.store.ledgers() as ledgers:
        assert [*ledgers.all()] == []
    while not (found := await everything(world)):
        await asyncio.sleep(0)
    process = await world.ended(found[0].id)
    assert process.state is State.COMPLETED
    assert len(world.upstream.sent) == 1


async def everything(world: World) -> list[Process]:
    with world.store.ledgers() as ledgers:
        return [ledger.process for ledger in ledgers.all()]
