"""The writer of the SQLite store: turns, poison, callers that go away, and the log."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.domain.errors import InternalError, StoreUnavailable
from strangler.ports import Commit, Committed, KeyTaken, Stale
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite import deliveries, exceptions, reads, scans, shedding, statements, sweeping
from strangler.store.sqlite.connection import Connection, open_writer
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.migrations import migrate
from strangler.store.sqlite.store import SqliteStore
from tests.store import builders as make
from tests.store.builders import FakeClock, after
from tests.store.test_conformance import done


class Turns:
    """What the store tells of its turns."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, size: int, seconds: float) -> None:
        assert seconds > 0
        self.sizes.append(size)
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock, turns: Turns) -> AsyncIterator[SqliteStore]:
    opened = open_store(f"sqlite:///{tmp_path}/s.db", AesGcmSealer(b"k" * 32), clock, on_group_commit=turns)
    assert isinstance(opened, SqliteStore)
    yield opened
    await opened.close()


class Gate:
    """Holds the writer in the middle of a turn, so that what is submitted meanwhile makes up the next one."""

    def __init__(self, store: SqliteStore) -> None:
        self._open = threading.Event()
        self._reached = threading.Event()
        self.future: asyncio.Future[Any] = store._do(self._hold)

    def _hold(self, _connection: Connection) -> None:
        self._reached.set()
        assert self._open.wait(30)

    async def reached(self) -> None:
        await asyncio.to_thread(self._reached.wait, 30)

    def open(self) -> None:
        self._open.set()


async def one_turn(store: SqliteStore, *commits: Commit) -> list[Any]:
    """Commit all of these by one turn; verdicts or exceptions."""
    gate = Gate(store)
    await gate.reached()
    futures = [store.commit(commit) for commit in commits]
    gate.open()
    await gate.future
    return await asyncio.gather(*futures, return_exceptions=True)


async def test_what_waits_is_written_by_one_transaction(store: SqliteStore, turns: Turns) -> None:
    commits = [make.accept(make.keyed(f"key-{number}")) for number in range(100)]
    assert await one_turn(store, *commits) == [Committed()] * 100
    assert turns.sizes == [1, 100]
    assert turns.threads == {threading.main_thread().name}
    for commit in commits:
        assert await store.process(after(commit).id) == after(commit)


async def test_a_turn_takes_256_items_at_most(store: SqliteStore, turns: Turns) -> None:
    assert await one_turn(store, *(make.accept() for _ in range(300))) == [Committed()] * 300
    assert turns.sizes == [1, 256, 44]


async def test_a_turn_takes_some_megabytes_at_most(store: SqliteStore, turns: Turns) -> None:
    gate = Gate(store)
    await gate.reached()
    process_id = make.make_id()
    chunks = [store.write_chunk(process_id, "request", number, b"x" * 256 * 1024) for number in range(33)]
    gate.open()
    await asyncio.gather(*chunks)
    assert turns.sizes == [1, 16, 16, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 9, 15, 31, 63, 64, 65, 100, 127, 255])
async def test_turns_of_any_size_are_whole(store: SqliteStore, size: int) -> None:
    accepted = [make.accept(make.keyed(f"key-{number}")) for number in range(size)]
    assert await one_turn(store, *accepted) == [Committed()] * size
    claimed = [make.claim(after(commit)) for commit in accepted]
    assert await one_turn(store, *claimed) == [Committed()] * size
    finished = [make.finish(after(commit)) for commit in claimed]
    assert await one_turn(store, *finished) == [Committed()] * size
    with store.ledgers() as ledgers:
        assert [ledger.process for ledger in ledgers.all()] == [after(commit) for commit in finished]
        assert not any(ledger.sealed for ledger in ledgers.all())


async def test_the_verdicts_of_one_turn_are_each_its_own(store: SqliteStore) -> None:
    held = await done(store, make.accept(make.keyed("held")))
    open_one = await done(store, make.accept())
    fresh, twice = make.accept(make.keyed("fresh")), make.accept(make.keyed("fresh"))
    verdicts = await one_turn(
        store,
        fresh,
        twice,
        make.claim(after(open_one)),
        make.claim(after(open_one), owner="second"),
        make.accept(make.keyed("held")),
        make.claim(after(make.accept())),
        make.claim(after(fresh)),
    )
    assert verdicts == [
        Committed(),
        KeyTaken(make.key_of(after(fresh))),
        Committed(),
        Stale(),
        KeyTaken(make.key_of(after(held))),
        Stale(),
        Committed(),
    ]


POISON = [
    ("a number that no column holds", make.accept(make.draft(body_size=2**63))),
    ("text that is no UTF-8", make.accept(request=make.request(method="\udcff"))),
    ("a value of the wrong type", make.accept(make.draft(retain="for long"))),
    ("a missing value", make.accept(make.draft(method=None))),
]


@pytest.mark.parametrize("poison", [commit for _, commit in POISON], ids=[name for name, _ in POISON])
async def test_an_item_that_cannot_be_written_harms_no_other(store: SqliteStore, poison: Commit) -> None:
    first, second = make.accept(make.keyed("a")), make.accept(make.keyed("b"))
    claimed = make.claim(after(first))
    again = make.accept(make.keyed("a"))
    verdicts = await one_turn(store, first, poison, claimed, again, second)
    assert isinstance(verdicts.pop(1), InternalError)
    assert verdicts == [Committed(), Committed(), KeyTaken(make.key_of(after(first))), Committed()]
    assert await store.process(after(first).id) == after(claimed)
    assert await store.process(after(second).id) == after(second)
    assert store.refusal() is None
    with store.ledgers() as ledgers:
        assert len(list(ledgers.all())) == 2
        assert list(ledgers.strays(lambda: make.NOON)) == []


async def test_an_id_that_is_taken_harms_no_other(store: SqliteStore) -> None:
    first = make.accept()
    second = make.accept(make.draft(id=after(first).id))
    third = make.accept()
    await done(store, first)
    assert await one_turn(store, second, third) == [Stale(), Committed()]


async def test_a_caller_that_goes_away_in_mid_turn_is_not_missed(store: SqliteStore) -> None:
    gate = Gate(store)
    await gate.reached()
    commits = [make.accept() for _ in range(3)]
    futures = [store.commit(commit) for commit in commits]
    futures[1].cancel()
    gate.open()
    assert await futures[0] == await futures[2] == Committed()
    assert await store.process(after(commits[1]).id) == after(commits[1])


async def test_a_row_that_was_not_written_is_no_committed_one(store: SqliteStore) -> None:
    """Whatever kept it from being written: here a trigger of somebody who works on the file."""

    def meddle(connection: Connection) -> None:
        connection.run("CREATE TRIGGER meddle BEFORE UPDATE ON process BEGIN SELECT RAISE(IGNORE); END")

    accepted = await done(store, make.accept())
    await store._do(meddle)
    with pytest.raises(InternalError, match="0 rows of 1 were written"):
        await store.commit(make.claim(after(accepted)))
    assert await store.process(after(accepted).id) == after(accepted)
    with store.ledgers() as ledgers:
        ledger = ledgers.one(after(accepted).id)
    assert ledger is not None
    assert len(ledger.attempts) == 0
    assert len(ledger.events) == 1


async def test_a_defect_of_an_action_reaches_who_asked_and_nobody_else(store: SqliteStore) -> None:
    def fail(_connection: Connection) -> None:
        raise ZeroDivisionError

    gate = Gate(store)
    await gate.reached()
    failing, commit = store._do(fail), store.commit(make.accept())
    gate.open()
    with pytest.raises(InternalError):
        await failing
    assert await commit == Committed()
    await done(store, make.accept())


async def test_what_is_closed_in_mid_turn_is_written_to_the_end(store: SqliteStore) -> None:
    gate = Gate(store)
    await gate.reached()
    futures = [store.commit(make.accept()) for _ in range(10)]
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await store.commit(make.accept())
    with pytest.raises(StoreUnavailable):
        await store.backlog()
    with pytest.raises(StoreUnavailable):
        await store.process(make.make_id())
    gate.open()
    assert await asyncio.gather(*futures) == [Committed()] * 10
    await closing


async def test_a_close_that_is_cancelled_goes_on(store: SqliteStore) -> None:
    gate = Gate(store)
    await gate.reached()
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    gate.open()
    await store.close()


# ── The log ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_log_does_not_grow_with_what_is_written(store: SqliteStore) -> None:
    process_id = make.make_id()
    for number in range(200):  # 50 MiB
        await store.write_chunk(process_id, "request", number, b"x" * 256 * 1024)
    assert 0 < store.wal_size() < 24 * 2**20
    await store.discard_chunks(process_id, "request")


async def test_the_log_is_cut_when_there_is_nothing_to_do(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("strangler.store.sqlite.writer._IDLE", 0.01)
        await done(store, make.accept())
        async with asyncio.timeout(10):
            while store.wal_size():
                await asyncio.sleep(0.005)
    await done(store, make.accept())  # with the usual patience, so that nothing is cut while it is looked at
    assert store.wal_size() > 0


async def test_a_reader_that_stays_neither_stops_the_writer_nor_is_disturbed(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.store.sqlite.writer._IDLE", 0.01)
    first = await done(store, make.accept())
    with store.ledgers() as ledgers:
        reading = ledgers.all()
        ledgers._connection.run("BEGIN")
        assert ledgers._connection.row("SELECT count(*) FROM process") == (1,)
        for _ in range(20):
            await done(store, make.accept())
        assert ledgers._connection.row("SELECT count(*) FROM process") == (1,)
        ledgers._connection.run("COMMIT")
        assert next(reading).process == after(first)
    async with asyncio.timeout(10):
        while store.wal_size():
            await asyncio.sleep(0.005)


async def test_pages_that_hold_nothing_go_back_to_the_file_system(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.store.sqlite.store._SLACK", 100)
    monkeypatch.setattr("strangler.store.sqlite.store._BACK", 1024)
    process_id = make.make_id()
    for number in range(40):  # 10 MiB
        await store.write_chunk(process_id, "request", number, b"x" * 256 * 1024)
    await store.discard_chunks(process_id, "request")

    async def pages() -> tuple[int, int]:
        return await store._scan(store._scans.pages)

    count, free = await pages()
    assert free > 2000
    await store.sweep(make.NOON, 10)
    fewer, _ = await pages()
    assert count - 1024 >= fewer > count // 2
    while (await pages())[1] > 400:
        await store.sweep(make.NOON, 10)
    await done(store, make.accept())


# ── Plans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


_TABLES = {
    *("process", "request", "credential", "reply", "chunk", "event", "outbox", "idempotency", "attempt", "evidence"),
    *("exception", "lease", "archive", "tombstone", "held"),
    *("delivery", "earlier", "delivery_attempt"),
}
_WHOLE = {"process USING INDEX process_due", "process USING COVERING INDEX process_due"}  # no more than what waits
_WHOLE |= {"process USING INDEX process_under_way"}  # no more than what is under way
_WHOLE |= {"process USING INDEX process_followed", "process USING COVERING INDEX process_followed"}  # likewise
_WHOLE |= {"process USING INDEX process_probed", "process USING COVERING INDEX process_probed"}  # likewise
_WHOLE |= {"delivery USING INDEX delivery_due", "delivery USING COVERING INDEX delivery_due"}  # likewise
_WHOLE |= {"delivery USING INDEX delivery_stuck", "delivery USING COVERING INDEX delivery_stuck"}  # likewise
_OPEN = {f"exception USING {kind}INDEX exception_{name}" for kind in ("", "COVERING ") for name in ("open", "due")}
"""No more than people have to look at; only for the gauges."""


@pytest.mark.parametrize("module", ["pysqlite3.dbapi2", "sqlite3.dbapi2"])
def test_no_statement_goes_through_a_table_or_a_growing_index(tmp_path: Path, module: str) -> None:
    connection = open_writer(tmp_path / "plans.db", choose_library(module))
    migrate(connection, tmp_path / "plans.db")
    texts = [
        text
        for module_of_statements in (deliveries, exceptions, reads, scans, shedding, statements, sweeping)
        for value in vars(module_of_statements).values()
        for text in _texts(value)
    ]
    assert len(texts) > 60
    for text in texts:
        plan = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {text}", [1] * _parameters(text))]
        scanned = {step.removeprefix("SCAN ") for step in plan if step.startswith("SCAN ")}
        allowed = _WHOLE | _OPEN if text in (scans._CENSUS, exceptions._COUNTS) else _WHOLE
        assert {step for step in scanned if step.split()[0] in _TABLES} <= allowed, (text, plan)
    connection.close()


@pytest.mark.parametrize("module", ["pysqlite3.dbapi2", "sqlite3.dbapi2"])
def test_what_a_commit_writes_is_found_by_its_key_however_many_commits_are_written_at_once(
    tmp_path: Path, module: str
) -> None:
    connection = open_writer(tmp_path / "plans.db", choose_library(module))
    migrate(connection, tmp_path / "plans.db")
    texts = [text for value in vars(statements).values() for text in _texts(value) if "{values}" not in text]
    assert len(texts) > 60
    for text in texts:
        plan = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {text}", [1] * _parameters(text))]
        # An index that is gone through by a range, or made for one statement, stands for all that was ever kept.
        assert not [step for step in plan if ">?" in step or "<?" in step or "AUTOMATIC" in step], (text, plan)
    connection.close()


def _texts(value: object) -> list[str]:
    if isinstance(value, statements.Statement):
        return [text for rows in (1, 3, 64) for text, _, _ in value.slices(rows)]
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, tuple):
        return [text for part in value for text in _texts(part)]
    whole = isinstance(value, str) and value.startswith(("SELECT", "WITH", "DELETE")) and not value.endswith(" ")
    return [value] if whole else []


def _parameters(text: str) -> int:
    return max(map(int, re.findall(r"\?(\d)", text)), default=text.count("?"))
