"""What is due is told to the end, also while it is being claimed: who gets a short answer takes it for all there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from strangler.ports import ListQuery
from strangler.store.ids import id_bytes
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.store import SqliteStore
from tests.store import builders as make
from tests.store.builders import CALLER, NOON, FakeClock, after
from tests.store.test_conformance import done
from tests.store.test_fsck import tamper


async def test_what_is_claimed_while_it_is_looked_for_does_not_hide_what_is_behind_it(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/strangler.db", AesGcmSealer(b"k" * 32), clock)
    assert isinstance(store, SqliteStore)
    waiting = [after(await done(store, make.accept(make.draft(NOON + number)))) for number in range(5)]
    scan: Callable[[Callable[[], Any]], Awaitable[Any]] = store._scan

    async def claimed_meanwhile(looked: Callable[[], Any]) -> Any:
        found = await scan(looked)
        monkeypatch.setattr(store, "_scan", scan)
        await done(store, make.claim(waiting[0]))
        return found

    monkeypatch.setattr(store, "_scan", claimed_meanwhile)
    assert list(await store.due("submit-claim", NOON + 10, 3)) == waiting[1:4]
    await store.close()


@pytest.mark.parametrize("damage", ["correlation_id = CAST(x'ff7b' AS TEXT)", "state = 'undone'"])
async def test_one_that_cannot_be_read_holds_up_no_other_and_is_told_once(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    url = f"sqlite:///{tmp_path}/strangler.db"
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    first, damaged, last = [after(await done(store, make.accept(make.draft(NOON + number)))) for number in range(3)]
    tamper(url, f"UPDATE process SET {damage} WHERE id = ?", id_bytes(damaged.id))

    assert list(await store.due("submit-claim", NOON + 10, 1)) == [first]
    for limit in (2, 3, 4):
        assert list(await store.due("submit-claim", NOON + 10, limit)) == [first, last]
    await done(store, make.claim(first))
    assert list(await store.due("submit-claim", NOON + 10, 1)) == [last]
    listed = await store.page(ListQuery("/claim-submissions", CALLER))
    assert [process.id for process in listed] == [last.id, first.id]
    told = [record for record in caplog.records if record.name == "strangler.store"]
    assert [damaged.id in record.getMessage() for record in told] == [True]
    await store.close()
