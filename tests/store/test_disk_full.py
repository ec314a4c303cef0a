"""A disk that is full or fails: nothing is promised that cannot be kept, reading goes on, and it mends by itself."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.ports import Commit, Committed
from strangler.store.fsck import Report
from strangler.store.ledger import Ledger
from strangler.store.open import open_ledgers, open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.connection import PAGE_SIZE, Connection
from strangler.store.sqlite.store import SqliteStore
from tests.store import builders as make
from tests.store.builders import FakeClock, after
from tests.store.test_conformance import done
from tests.store.test_crash import ROOT, told
from tests.store.test_writer import POISON, one_turn

SECOND = 1_000_000_000
BIG = b"x" * 200_000


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    opened = open_store(f"sqlite:///{tmp_path}/s.db", AesGcmSealer(b"k" * 32), clock)
    assert isinstance(opened, SqliteStore)
    await make.promise(opened)
    yield opened
    await opened.close()


def big(size: int = len(BIG)) -> Commit:
    return make.accept(make.draft(body_size=size), request=make.request(BIG[:size]))


async def limit(store: SqliteStore, pages: int) -> None:
    """The disk is full at so many pages."""

    def set_limit(connection: Connection) -> None:
        connection.rows(f"PRAGMA max_page_count = {pages:d}")

    await store._do(set_limit)


async def fill(store: SqliteStore, pages: int = 200) -> list[Commit]:
    """Accept until the disk is full; what was accepted."""
    await limit(store, pages)
    accepted: list[Commit] = []

    async def accept_on(make_one: Callable[[], Commit]) -> None:
        while True:
            accepted.append(await done(store, make_one()))

    for make_one in (big, make.accept):  # what does not hold a large one may hold some small ones
        with pytest.raises(StoreUnavailable, match="full"):
            await accept_on(make_one)
    return accepted


async def probed(store: SqliteStore, clock: FakeClock) -> str | None:
    """The refusal after a probe has had its turn."""
    clock.nanoseconds += SECOND
    store.refusal()  # starts the probe
    for _ in range(3):
        with suppress(StoreUnavailable):
            await store._do(lambda _connection: None)  # whatever was asked before has been done
        await asyncio.sleep(0)
    return store.refusal()


async def test_what_does_not_fit_is_refused_whole_and_reading_goes_on(store: SqliteStore) -> None:
    accepted = await fill(store)
    assert accepted
    for commit in accepted:
        assert await store.process(after(commit).id) == after(commit)
    late = big()
    with pytest.raises(StoreUnavailable):
        await store.commit(late)
    assert await store.process(after(late).id) is None
    with store.ledgers() as ledgers:
        assert list(Report(ledgers)) == []
        assert len(list(ledgers.all())) == len(accepted)


async def test_a_turn_that_does_not_fit_is_no_group_commit(tmp_path: Path, clock: FakeClock) -> None:
    told: list[int] = []
    store = open_store(
        f"sqlite:///{tmp_path}/s.db",
        AesGcmSealer(b"k" * 32),
        clock,
        on_group_commit=lambda size, _seconds: told.append(size),
    )
    assert isinstance(store, SqliteStore)
    await make.promise(store)
    await fill(store)
    before = len(told)
    with pytest.raises(StoreUnavailable):
        await store.commit(big())
    assert len(told) == before
    await store.close()


async def test_all_of_a_turn_that_does_not_fit_are_told(store: SqliteStore) -> None:
    await fill(store)
    results = await asyncio.gather(*(store.commit(big()) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 5


async def test_a_disk_that_is_full_while_one_item_after_the_other_is_written_refuses_all_of_the_turn(
    store: SqliteStore,
) -> None:
    def leave_little(connection: Connection) -> None:
        count = connection.row("PRAGMA page_count")
        assert count is not None
        connection.rows(f"PRAGMA max_page_count = {count[0] + len(BIG) // PAGE_SIZE // 2:d}")

    await store._do(leave_little)
    assert await one_turn(store, make.accept()) == [Committed()]
    _, poison = POISON[0]
    refused = await one_turn(store, poison, make.accept(), big(), make.accept())
    assert [type(result) for result in refused] == [StoreUnavailable] * 4
    refusal = store.refusal()
    assert refusal is not None
    assert "full" in refusal
    with store.ledgers() as ledgers:
        assert len(list(ledgers.all())) == 1
    assert (await one_turn(store, poison, make.accept()))[1] == Committed()


async def test_new_work_is_refused_until_a_probe_was_written(store: SqliteStore, clock: FakeClock) -> None:
    assert store.refusal() is None
    await fill(store)
    refusal = store.refusal()
    assert refusal is not None
    assert "full" in refusal
    assert await probed(store, clock) is not None
    await limit(store, 100_000)
    assert await probed(store, clock) is None
    await done(store, big())


async def test_a_probe_is_written_at_most_once_a_second(store: SqliteStore, clock: FakeClock) -> None:
    await fill(store)
    assert await probed(store, clock) is not None
    await limit(store, 100_000)
    for _ in range(5):
        assert store.refusal() is not None
        await store._do(lambda _connection: None)
    assert await probed(store, clock) is None


async def test_a_probe_leaves_nothing_behind(store: SqliteStore, clock: FakeClock) -> None:
    await fill(store)
    await limit(store, 100_000)
    assert await probed(store, clock) is None
    with store.ledgers() as ledgers:
        assert ledgers._connection.row("SELECT count(*) FROM probe") == (0,)


async def test_outcomes_are_still_tried_and_kept_where_they_fit(store: SqliteStore) -> None:
    accepted = await fill(store)
    assert store.refusal() is not None
    claimed = make.claim(after(accepted[0]))
    try:
        verdict = await store.commit(claimed)
    except StoreUnavailable:
        # Not a page is left for it: one is made, as by an operator.
        await limit(store, 210)
        verdict = await store.commit(claimed)
    assert verdict == Committed()
    assert await store.process(after(claimed).id) == after(claimed)


async def test_a_sweep_makes_room(store: SqliteStore, clock: FakeClock) -> None:
    first = await done(store, make.claim(after(await done(store, big()))))
    await done(store, make.finish(after(first), at=make.NOON))
    await fill(store)
    await store.sweep(make.NOON + make.RETAIN, 10)
    assert await probed(store, clock) is None
    await done(store, big(len(BIG) // 2))  # what is kept of what was swept takes room, too


async def test_below_the_reserve_new_work_is_refused(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10 * 2**20
    looks = 0

    def statvfs(path: Any) -> Any:
        nonlocal looks
        looks += 1
        assert Path(path) == tmp_path
        return SimpleNamespace(f_bavail=free // 4096, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    store = open_store(f"sqlite:///{tmp_path}/s.db", AesGcmSealer(b"k" * 32), clock, disk_reserve=10 * 2**20)
    assert store.refusal() is None
    free -= 4096
    assert store.refusal() is None  # the disk is looked at once a second
    assert looks == 1
    clock.nanoseconds += SECOND
    refusal = store.refusal()
    assert refusal is not None
    assert "--disk-reserve" in refusal
    assert str(tmp_path) in refusal
    await done(store, make.accept())  # what comes all the same is written
    free += 4096
    clock.nanoseconds += SECOND
    assert store.refusal() is None
    await store.close()
    assert store.refusal() is not None


async def test_a_folder_that_is_gone_is_a_reason_to_refuse(
    store: SqliteStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statvfs(_path: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "statvfs", statvfs)
    refusal = store.refusal()
    assert refusal is not None
    assert "No such file" in refusal


# ── Whole processes ──────────────────────────────────────────────────────────────────────────────────────────────────


def run(file: Path, environ: dict[str, str], file_size: int | None = None) -> list[str]:
    def restrict() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    command = [sys.executable, "-m", "tests.store.committing", str(file), "1000", "8", "20000"]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environ},
        preexec_fn=restrict,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize(
    ("environ", "file_size"),
    [({"STRANGLER_SQLITE_MAX_PAGES": "300"}, None), ({}, 1_500_000)],
    ids=["a full disk", "a disk that fails to write"],
)
def test_a_process_on_a_bad_disk_keeps_all_that_it_acknowledged(
    tmp_path: Path, environ: dict[str, str], file_size: int | None
) -> None:
    file = tmp_path / "strangler.db"
    lines = run(file, environ, file_size)
    assert any(line.startswith("unavailable") for line in lines)
    assert not any(line.startswith("unavailable None") for line in lines)
    acknowledged = told(lines)
    assert acknowledged
    with open_ledgers(f"sqlite:///{file}") as ledgers:
        assert list(Report(ledgers)) == []
        kept = {ledger.process.id: ledger.process.state for ledger in ledgers.all() if isinstance(ledger, Ledger)}
    assert acknowledged == kept


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_not_there_any_more_takes_no_new_work(tmp_path: Path, replaced: bool) -> None:
    """What is written into it is found by nobody who starts next."""
    clock = FakeClock()
    store = open_store(f"sqlite:///{tmp_path}/s.db", AesGcmSealer(b"k" * 32), clock)
    try:
        assert store.refusal() is None
        (tmp_path / "s.db").rename(tmp_path / "elsewhere.db")
        if replaced:
            (tmp_path / "s.db").touch()
        clock.nanoseconds += 2 * SECOND
        assert "removed or replaced" in (store.refusal() or "")
        (tmp_path / "elsewhere.db").rename(tmp_path / "s.db")
        clock.nanoseconds += 2 * SECOND
        assert store.refusal() is None
    finally:
        await store.close()
