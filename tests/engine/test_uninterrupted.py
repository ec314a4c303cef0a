"""A client that leaves while its acceptance is being committed."""

from __future__ import annotations

import asyncio

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.process import Process, State
from strangler.engine.submission import Accepted, Refused
from strangler.engine.uninterrupted import uninterrupted
from strangler.policy.model import AcceptPolicy, Route
from strangler.ports import Commit, Verdict
from tests.engine.world import FlakyStore, Gate, World, a_request, a_route


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


# ── What an acceptance takes before its commit ───────────────────────────────────────────────────────────────────────


async def slow(world: World, route: Route) -> SlowStore:
    world.load(route)
    store = world.store = SlowStore(world)
    world.restart("worker-2")
    await world.lease.renew()
    return store


async def test_requests_that_come_at_once_find_no_more_places_in_the_queue_than_there_are(world: World) -> None:
    store = await slow(world, a_route(concurrency=1, queue=2))
    world.upstream.script = [Gate()]
    clients = [asyncio.create_task(world.submit()) for _ in range(5)]
    await store.asked.wait()
    store.go.set()
    came_to = await asyncio.gather(*clients)
    assert [type(acceptance) for acceptance in came_to] == [Accepted] * 3 + [Refused] * 2


async def test_bodies_that_come_at_once_are_bounded_in_bytes(world: World) -> None:
    store = await slow(world, a_route(accept=AcceptPolicy(queue_bytes=30), concurrency=1))
    world.upstream.script = [Gate()]
    clients = [asyncio.create_task(world.submit(a_request(b"x" * 15))) for _ in range(5)]
    await store.asked.wait()
    store.go.set()
    came_to = await asyncio.gather(*clients)
    assert [type(acceptance) for acceptance in came_to] == [Accepted] * 3 + [Refused] * 2


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_commit_that_failed_gives_back_slot_and_place_whether_or_not_its_client_waits(
    world: World, leaves: bool
) -> None:
    store = await slow(world, a_route(concurrency=1, queue=1))
    clients = [asyncio.create_task(world.submit()) for _ in range(2)]
    await store.asked.wait()
    if leaves:
        for client in clients:
            client.cancel()
    store.refuses = lambda commit: commit.request is not None
    store.go.set()
    await asyncio.gather(*clients, return_exceptions=True)
    await store.refused.wait()
    store.refuses = lambda commit: False
    lane = world.lanes.of("submit-claim")
    async with asyncio.timeout(10):
        while lane.running or lane.coming:
            await asyncio.sleep(0)
    process = await world.accepted()
    assert (await world.ended(process.id)).state is State.COMPLETED
