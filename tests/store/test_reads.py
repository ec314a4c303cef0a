"""Processes that are read again and again, as pollers do it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from strangler.domain.process import Tombstone
from strangler.ports import DeliveryQuery, ExceptionQuery
from strangler.store import Store
from strangler.store.sqlite import reads
from strangler.store.sqlite.reader import SqliteReader
from tests.store import builders as make
from tests.store.backends import BACKENDS
from tests.store.builders import FakeClock, after
from tests.store.test_conformance import done


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = BACKENDS["sqlite"](folder, FakeClock())
    yield store
    await store.close()


async def test_a_process_that_stands_still_is_not_read_whole_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        accepted = after(await done(store, make.accept()))
        found = await store.process(accepted.id)
        assert found == accepted
        assert await store.process(accepted.id) is found
        claimed = after(await done(store, make.claim(accepted)))
        assert await store.process(accepted.id) == claimed


async def test_a_process_that_was_read_and_is_forgotten_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        claimed = after(await done(store, make.claim(after(await done(store, make.accept())))))
        finished = await done(store, make.finish(claimed))
        assert await store.process(claimed.id) == after(finished)
        assert finished.end is not None
        await store.sweep(finished.end.retain_until_at, 100)
        assert isinstance(await store.process(claimed.id), Tombstone)


async def test_only_so_many_processes_are_kept_as_they_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "_KNOWN", 2)
    async with opened(tmp_path) as store:
        processes = [after(await done(store, make.accept(make.draft(make.NOON + number)))) for number in range(3)]
        first, second, third = [await store.process(process.id) for process in processes]
        assert await store.process(processes[1].id) is second
        assert await store.process(processes[2].id) is third
        again = await store.process(processes[0].id)
        assert again == first
        assert again is not first


@pytest.mark.parametrize("backend", ["sqlite", "remote"])
async def test_people_who_look_around_and_what_is_due_do_not_wait_for_each_other(tmp_path: Path, backend: str) -> None:
    store = BACKENDS[backend](tmp_path, FakeClock())
    assert isinstance(store, SqliteReader)
    process = after(await done(store, make.accept()))
    goes_on = threading.Event()
    due = asyncio.ensure_future(store._scan(goes_on.wait))
    try:
        async with asyncio.timeout(10):
            assert await store.exceptions.page(ExceptionQuery()) == []
            assert await store.exceptions.one(1) is None
            assert await store.deliveries.find(DeliveryQuery()) == []
            assert await store.deliveries.log((process.id, 1, 0)) is None
    finally:
        goes_on.set()
        await due
    goes_on.clear()
    search = asyncio.ensure_future(store._browse(lambda _connection: goes_on.wait()))
    try:
        async with asyncio.timeout(10):
            assert await store.due(process.route, process.created_at, 9) == [process]
            assert await store.deliveries.due("lane", 0, 9) == []
            assert await store.deliveries.next_due(0) == {}
            assert await store.deliveries.totals() == await store.deliveries.pauses() == []
            assert await store.exceptions.counts() == {}
    finally:
        goes_on.set()
        await search
    await store.close()
