"""What is due is told to the end, also while it is being claimed: who gets a short answer takes it for all there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.store import SqliteStore
from tests.store import builders as make
from tests.store.builders import NOON, FakeClock, after
from tests.store.test_conformance import done


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
