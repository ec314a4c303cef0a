"""A worker is not told of everything: what it was not told of is done all the same."""

from __future__ import annotations

import asyncio

import pytest

from strangler.domain.errors import StoreUnavailable
from tests.harness.waiting import eventually
from tests.runtime.one_worker import OWNER, OneWorker, one_worker

__all__ = ["one_worker"]


async def test_what_is_due_and_only_an_earlier_store_process_knew_is_called_under_the_next_one(
    one_worker: OneWorker,
) -> None:
    await one_worker.begin()
    await one_worker.close_hub()
    await one_worker.accepted()
    await one_worker.open_hub()
    await one_worker.called()


async def test_who_waits_for_what_an_earlier_store_process_had_yet_to_tell_looks_again(one_worker: OneWorker) -> None:
    await one_worker.begin()
    with one_worker.worker._signals.watch("a process of another worker") as watch:
        waiting = asyncio.create_task(watch.changed(1, 60.0))
        await one_worker.close_hub()
        await one_worker.open_hub()
        assert await asyncio.wait_for(waiting, 15.0)


async def test_what_fell_due_while_a_worker_was_slow_is_called_when_it_has_caught_up(one_worker: OneWorker) -> None:
    await one_worker.begin()
    await one_worker.accepted()
    guest = one_worker.hub._members[OWNER]
    guest.missed = True
    one_worker.hub.caught_up(guest)
    await one_worker.called()


async def test_what_another_worker_knew_and_took_along_is_called(one_worker: OneWorker) -> None:
    await one_worker.begin()
    await one_worker.accepted()
    one_worker.hub.tell_all("restock")
    await one_worker.called()


async def test_what_another_worker_took_along_is_looked_for_until_the_store_can_say(
    one_worker: OneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.runtime.worker._AGAIN", 0.01)
    await one_worker.begin()
    await one_worker.accepted()
    store = one_worker.worker._store
    with monkeypatch.context() as patched:
        asked: list[str] = []

        async def unreadable() -> None:
            asked.append("backlog")
            raise StoreUnavailable("disk I/O error")

        patched.setattr(store, "backlog", unreadable)
        one_worker.hub.tell_all("restock")
        await eventually(lambda: asked)
    await one_worker.called()


async def test_what_another_worker_postponed_and_took_along_is_called_when_it_is_due(one_worker: OneWorker) -> None:
    await one_worker.begin()
    await one_worker.postponed()
    one_worker.hub.tell_all("restock")
    await one_worker.called()
