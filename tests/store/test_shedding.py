"""Bodies that are shed on command: the oldest first, no more than is wanted, and nothing that somebody needs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from strangler.domain.errors import InternalError
from strangler.domain.exchange import CHUNK_SIZE, Body
from strangler.domain.process import Process
from strangler.ports import Commit, Evidence, ExceptionQuery, OpenException, Shed
from strangler.store import Store
from strangler.store import shedding as steps
from strangler.store.fsck import Report
from strangler.store.ids import id_bytes
from strangler.store.ledger import Ledger, Unreadable
from strangler.store.open import open_store
from strangler.store.retention import Part
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite import shedding, sweeping
from strangler.store.sqlite import store as sqlite_store
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.store import SqliteStore
from strangler.store.sqlite.turn import Action
from tests.store import builders as make
from tests.store.builders import HOUR, NOON, RETAIN, FakeClock, after
from tests.store.test_conformance import done


async def ended(store: Store, number: int, body: bytes = b"0123456789", **fields: Any) -> Process:
    draft = make.draft(NOON + number, **fields)
    claimed = after(await done(store, make.claim(after(await done(store, make.accept(draft))))))
    return after(await done(store, make.finish(claimed, answer=make.reply(body))))


def gone(store: Store) -> set[str]:
    with store.ledgers() as ledgers:
        assert [*Report(ledgers)] == []
        return {ledger.process.id for ledger in ledgers.all() if Part.BODIES in ledger.gone}


def sizes(*processes: Process) -> int:
    return sum(process.body_size + (process.result_length or 0) for process in processes)


async def test_the_oldest_go_first_and_no_more_than_is_wanted(store: Store) -> None:
    processes = [await ended(store, number) for number in range(4)]
    enough = sizes(*processes[:2])
    would = await store.sheddable(None, enough)
    assert would == Shed(2, enough, processes[1].id)
    assert gone(store) == set()
    assert await store.shed(None, enough) == would
    assert gone(store) == {processes[0].id, processes[1].id}
    assert await store.reply(processes[0].id) is None
    assert await store.process(processes[0].id) == processes[0]
    assert len(await store.events(processes[0].id)) == len(await store.events(processes[3].id))


async def test_what_is_kept_as_evidence_is_counted_and_no_more_goes_for_it(store: Store) -> None:
    processes = [await ended(store, number) for number in range(3)]
    for process in processes:
        sent = Evidence(process.id, 1, "sent", NOON, None, [(b":method", b"POST")], b"x" * 1000)
        await done(store, Commit(None, evidence=sent))
        await done(store, Commit(None, evidence=sent._replace(source="reply", body=b"y" * 500)))
    enough = sizes(processes[0]) + 1500
    assert await store.sheddable(None, enough) == Shed(1, enough, processes[0].id)
    assert await store.shed(None, enough) == Shed(1, enough, processes[0].id)
    assert gone(store) == {processes[0].id}


async def test_it_goes_on_behind_the_last_one_until_there_are_no_more(store: Store) -> None:
    processes = [await ended(store, number) for number in range(3)]
    first = await store.shed(None, 1)
    assert first == Shed(1, sizes(processes[0]), processes[0].id)
    rest = await store.shed(first.after, 10**9)
    assert rest == Shed(2, sizes(*processes[1:]), None)
    assert await store.shed(None, 10**9) == Shed(0, 0, None)
    assert gone(store) == {process.id for process in processes}


async def test_what_would_go_is_counted_once_by_who_goes_on_behind_it(store: Store) -> None:
    processes = [await ended(store, number) for number in range(3)]
    first = await store.sheddable(None, 1)
    assert await store.sheddable(first.after, 10**9) == Shed(2, sizes(*processes[1:]), None)


IDS = [make.make_id(NOON + number) for number in range(3)]


async def a_shed(monkeypatch: pytest.MonkeyPatch, *instants: float, enough: int, there: int = 3) -> Shed:
    """Two at a time, of three that have ten bytes each."""
    monkeypatch.setattr(steps, "_STEP", 2)
    monkeypatch.setattr(steps, "time", SimpleNamespace(monotonic=chain(instants, repeat(instants[-1])).__next__))

    async def find(after: bytes, limit: int) -> list[steps.Candidate]:
        behind = [key for key in map(id_bytes, IDS[:there]) if key > after]
        return [steps.Candidate(bytes(key), 10, True) for key in behind[:limit]]

    async def forget(_: Sequence[bytes]) -> None:
        pass

    return await steps.shed_with(find, forget, None, enough)


@pytest.mark.parametrize(
    ("enough", "there", "told"),
    [
        (100, 3, Shed(3, 30, None)),
        (100, 2, Shed(2, 20, None)),
        (100, 0, Shed(0, 0, None)),
        (10, 3, Shed(1, 10, IDS[0])),
        (20, 3, Shed(2, 20, IDS[1])),
        (30, 3, Shed(3, 30, None)),
        (10, 1, Shed(1, 10, None)),
    ],
)
async def test_it_says_where_to_go_on_unless_all_were_looked_at(
    monkeypatch: pytest.MonkeyPatch, enough: int, there: int, told: Shed
) -> None:
    assert await a_shed(monkeypatch, 0.0, enough=enough, there=there) == told


async def test_after_a_while_it_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await a_shed(monkeypatch, 5.0, 5.0, 15.0, enough=100) == Shed(2, 20, IDS[1])


async def test_what_is_open_or_looked_at_stays(store: Store) -> None:
    await done(store, make.accept())
    watched = await ended(store, 1)
    await done(store, Commit(None, opens=OpenException(watched.id, "late_reply", NOON, "x")))
    assert await store.shed(None, 10**9) == Shed(0, 0, None)
    assert gone(store) == set()


async def test_what_is_needed_again_since_it_was_looked_at_stays(tmp_path: Path, clock: FakeClock) -> None:
    store = SqliteStore(tmp_path / "s.db", choose_library(), AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    accepted = after(await done(store, make.accept()))
    await store.write_chunk(accepted.id, "request", 0, b"x")
    key = bytes(id_bytes(accepted.id))

    assert await store._do(sweeping.chunks([key], 10)) == (0, False)  # as if it was to be read by nobody
    assert await store._do(shedding.bodies([key]))  # as if it had ended
    assert await store.request(accepted.id) is not None
    assert await store.read_chunk(accepted.id, "request", 0) == b"x"

    finished = after(await done(store, make.finish(after(await done(store, make.claim(accepted))))))
    assert await store.exceptions.open(OpenException(finished.id, "in_doubt", 1, "d"))
    assert await store._do(shedding.bodies([key]))
    assert await store.request(finished.id) is not None
    assert await store.read_chunk(finished.id, "request", 0) == b"x"
    assert gone(store) == set()
    await store.close()


@pytest.mark.parametrize("really", [True, False])
async def test_long_bodies_go_piece_by_piece(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, really: bool
) -> None:
    monkeypatch.setattr(shedding, "PATIENCE", -1)
    store = open_store(f"sqlite:///{tmp_path}/s.db", AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    process = await ended(store, 1)
    for number in range(40):
        await store.write_chunk(process.id, "reply-1", number, b"x" * 1000)
    assert (await (store.shed if really else store.sheddable)(None, 1)).processes == 1
    if really:
        with pytest.raises(KeyError):
            await store.read_chunk(process.id, "reply-1", 39)
    else:
        assert await store.read_chunk(process.id, "reply-1", 39)
    await store.close()


@pytest.mark.parametrize("by_the_clock", [True, False])
async def test_the_room_goes_back_to_the_file_system(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, by_the_clock: bool
) -> None:
    monkeypatch.setattr(sqlite_store, "_SLACK", 0)
    store = SqliteStore(tmp_path / "s.db", choose_library(), AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    process = await ended(store, 1)
    for number in range(8):
        await store.write_chunk(process.id, "reply-1", number, b"x" * CHUNK_SIZE)
    pages, _ = await store._scan(store._scans.pages)
    await (store.sweep(NOON + 10 * RETAIN, 100) if by_the_clock else store.shed(None, 1))
    left, _ = await store._scan(store._scans.pages)
    await store.close()
    assert pages - left > 6 * CHUNK_SIZE // 4096


@pytest.mark.parametrize("by_the_clock", [True, False])
async def test_a_long_body_that_is_half_forgotten_is_nobodys_and_the_rest_of_it_is_swept(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, by_the_clock: bool
) -> None:
    """Its pieces go in several commits, between which the program may end."""
    monkeypatch.setattr(sweeping, "PATIENCE", -1)
    monkeypatch.setattr(shedding, "PATIENCE", -1)
    store = SqliteStore(tmp_path / "s.db", choose_library(), AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    pieces = sweeping.CHUNKS + 4
    piece = b"x" * CHUNK_SIZE
    accepted = after(await done(store, make.accept(make.draft(retain_bodies=HOUR))))
    claimed = after(await done(store, make.claim(accepted)))
    for number in range(pieces):
        await store.write_chunk(claimed.id, "reply-1", number, piece)
    body = Body(pieces * CHUNK_SIZE, hashlib.sha256(piece * pieces).digest(), None)
    await done(store, make.finish(claimed, at=NOON, answer=make.reply()._replace(body=body)))
    assert gone(store) == set()

    some = [bytes(id_bytes(claimed.id))]
    await store._do(shedding.parts(Part.BODIES, NOON + HOUR, some) if by_the_clock else shedding.bodies(some))

    assert gone(store) == {claimed.id}
    assert await store.reply(claimed.id) is None
    assert await store.read_chunk(claimed.id, "reply-1", pieces - 1)
    while await store.sweep(NOON + HOUR, 1):
        pass
    with pytest.raises(KeyError):
        await store.read_chunk(claimed.id, "reply-1", pieces - 1)
    await store.close()


@pytest.fixture
async def sqlite(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "s.db", choose_library(), AesGcmSealer(b"k" * 32), clock)
    await make.promise(opened)
    yield opened
    await opened.close()


FORGETTING: Mapping[str, Callable[[int, Sequence[bytes]], Action]] = {
    "all": sweeping.processes,
    **{part.name or "": partial(shedding.parts, part) for part in Part},
}
PARTS = {"retain_bodies": HOUR, "retain_history": HOUR, "retain_deliveries": HOUR}


@pytest.mark.parametrize("what", FORGETTING)
async def test_what_came_to_be_needed_since_it_was_found_is_not_forgotten(sqlite: SqliteStore, what: str) -> None:
    process = await ended(sqlite, 1, **PARTS)
    forget = FORGETTING[what](NOON + RETAIN + HOUR, [bytes(id_bytes(process.id))])
    assert await sqlite.exceptions.open(OpenException(process.id, "late_reply", NOON, "somebody has to look"))
    whole = ledger_of(sqlite, process)
    await sqlite._do(forget)
    assert ledger_of(sqlite, process) == whole
    [entry] = await sqlite.exceptions.page(ExceptionQuery())
    assert await sqlite.exceptions.close(entry.id, make.closing())
    await sqlite._do(forget)
    assert ledger_of(sqlite, process) != whole


@pytest.mark.parametrize("what", FORGETTING)
async def test_what_is_kept_for_longer_since_it_was_found_is_not_forgotten(sqlite: SqliteStore, what: str) -> None:
    process = await ended(sqlite, 1, **PARTS)
    whole, kept = ledger_of(sqlite, process), RETAIN if what == "all" else HOUR
    await sqlite._do(FORGETTING[what](NOON + kept, [bytes(id_bytes(process.id))]))
    assert ledger_of(sqlite, process) == whole
    await sqlite._do(FORGETTING[what](NOON + kept + HOUR, [bytes(id_bytes(process.id))]))
    assert ledger_of(sqlite, process) != whole


async def test_what_takes_several_steps_is_forgotten_whole(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "PROCESSES", 2)
    monkeypatch.setattr(sweeping, "PATIENCE", -1)
    processes = [await ended(sqlite, number) for number in range(5)]
    assert await sqlite.sweep(NOON + RETAIN + HOUR, 10) == 5
    assert [ledger_of(sqlite, process) for process in processes] == [None] * 5


def ledger_of(store: Store, process: Process) -> Ledger | None:
    """All that is kept of a process, but what people are asked about it."""
    with store.ledgers() as ledgers:
        ledger = ledgers.one(process.id)
    assert not isinstance(ledger, Unreadable)
    return ledger._replace(exceptions=()) if ledger is not None else None


async def test_a_look_that_steps_over_much_and_finds_little_is_not_repeated_at_once(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, passed = [], [1000.0]

    def slow(find: Callable[[Connection], list[bytes]], connection: Connection) -> tuple[list[bytes], float]:
        looks.append(find)
        return find(connection), 0.5

    monkeypatch.setattr(sweeping, "timed", slow)
    monkeypatch.setattr(sweeping, "time", SimpleNamespace(monotonic=lambda: passed[0]))
    await sqlite.sweep(NOON, 10)
    once = len(looks)
    await sqlite.sweep(NOON, 10)
    passed[0] += 49
    await sqlite.sweep(NOON, 10)
    assert len(looks) == once
    passed[0] += 1
    await sqlite.sweep(NOON, 10)
    assert len(looks) == 2 * once


async def test_what_is_forgotten_is_looked_for_beside_what_is_written(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def looked(find: Callable[[Connection], list[bytes]], connection: Connection) -> tuple[list[bytes], float]:
        threads.append(threading.current_thread())
        return find(connection), 0.0

    monkeypatch.setattr(sweeping, "timed", looked)
    await sqlite.sweep(NOON, 10)
    writer: threading.Thread = await sqlite._do(lambda _connection: threading.current_thread())
    assert threads
    assert not {writer, threading.current_thread()} & {*threads}


async def test_a_look_that_found_as_much_as_was_asked_for_is_repeated_at_once(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = [await ended(sqlite, number) for number in range(2)]

    def slow(find: Callable[[Connection], list[bytes]], connection: Connection) -> tuple[list[bytes], float]:
        return find(connection), 1000.0

    monkeypatch.setattr(sweeping, "timed", slow)
    for _ in processes:
        assert await sqlite.sweep(NOON + RETAIN + HOUR, 1) == 1
    assert [ledger_of(sqlite, process) for process in processes] == [None, None]


@pytest.fixture
def slow_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look takes a thousand seconds, after which no time passes."""

    def slow(find: Callable[[Connection], list[bytes]], connection: Connection) -> tuple[list[bytes], float]:
        return find(connection), 1000.0

    monkeypatch.setattr(sweeping, "timed", slow)
    monkeypatch.setattr(sweeping, "time", SimpleNamespace(monotonic=lambda: 1000.0))


@pytest.mark.usefixtures("slow_looks")
@pytest.mark.parametrize(("kept", "now"), [({}, NOON + RETAIN + HOUR), ({"retain_bodies": HOUR}, NOON + 2 * HOUR)])
async def test_what_was_forgotten_just_now_has_its_chunks_swept_at_once(
    sqlite: SqliteStore, kept: Mapping[str, int], now: int
) -> None:
    process = await ended(sqlite, 1, **kept)
    await sqlite.write_chunk(process.id, "reply-1", 0, b"x")
    sqlite._pace.stepped_over_much("loose", 1.0)
    assert await sqlite.sweep(now, 10) > 0
    with pytest.raises(KeyError):
        await sqlite.read_chunk(process.id, "reply-1", 0)


@pytest.mark.usefixtures("slow_looks")
async def test_chunks_that_were_more_than_was_asked_for_are_swept_by_the_next_sweep(sqlite: SqliteStore) -> None:
    process = await ended(sqlite, 1)
    for number in range(3):
        await sqlite.write_chunk(process.id, "reply-1", number, b"x")
    sqlite._pace.stepped_over_much("loose", 1.0)
    for _ in range(2):
        assert await sqlite.sweep(NOON + RETAIN + HOUR, 2) > 0
    for number in range(3):
        with pytest.raises(KeyError):
            await sqlite.read_chunk(process.id, "reply-1", number)


@pytest.mark.usefixtures("slow_looks")
async def test_chunks_of_what_is_forgotten_cost_no_look_at_all_that_have_some(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def loose(before: bytes, limit: int, connection: Connection) -> list[bytes]:
        looks.append(limit)
        return found_loose(before, limit, connection)

    found_loose = sweeping.loose
    monkeypatch.setattr(sweeping, "loose", loose)
    kept = await ended(sqlite, 9, retain_bodies=20 * HOUR)
    await sqlite.write_chunk(kept.id, "reply-1", 0, b"kept")
    for hours in range(1, 4):
        process = await ended(sqlite, hours, retain_bodies=hours * HOUR)
        await sqlite.write_chunk(process.id, "reply-1", 0, b"x")
        sqlite._pace.at_once(f"due {Part.BODIES:d}")
        assert await sqlite.sweep(NOON + hours * HOUR + HOUR, 10) == 2
        with pytest.raises(KeyError):
            await sqlite.read_chunk(process.id, "reply-1", 0)
    assert looks == [10], "at the start, and then when it is time"
    assert await sqlite.read_chunk(kept.id, "reply-1", 0) == b"kept"


@pytest.mark.usefixtures("slow_looks")
async def test_chunks_of_more_than_are_remembered_are_found_by_the_look_at_all(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "LEAVINGS", 1)
    processes = [await ended(sqlite, number, retain_bodies=HOUR) for number in range(3)]
    for process in processes:
        await sqlite.write_chunk(process.id, "reply-1", 0, b"x")
    sqlite._pace.stepped_over_much("loose", 1.0)
    await sqlite.sweep(NOON + 2 * HOUR, 10)
    for process in processes:
        with pytest.raises(KeyError):
            await sqlite.read_chunk(process.id, "reply-1", 0)


@pytest.mark.usefixtures("slow_looks")
@pytest.mark.parametrize("what", ["processes", "keys", "chunks"])
async def test_what_could_not_be_forgotten_is_tried_again_by_the_next_sweep(sqlite: SqliteStore, what: str) -> None:
    process = await ended(sqlite, 1)
    await sqlite.write_chunk(process.id, "reply-1", 0, b"x")

    def fails(_connection: Connection) -> None:
        raise ValueError

    sqlite._pace.stepped_over_much("loose", 1.0)
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(sweeping, what, lambda *_: fails)
        with pytest.raises(InternalError):
            await sqlite.sweep(NOON + RETAIN + HOUR, 10)
    await sqlite.sweep(NOON + RETAIN + HOUR, 10)
    assert ledger_of(sqlite, process) is None
    with pytest.raises(KeyError):
        await sqlite.read_chunk(process.id, "reply-1", 0)


@pytest.mark.parametrize(("waited", "worked", "seconds"), [(3.0, 0.25, 0.3), (0.5, 0.25, 0.25)])
def test_a_look_that_waits_for_the_disk_is_spared_too(
    monkeypatch: pytest.MonkeyPatch, waited: float, worked: float, seconds: float
) -> None:
    clocks = SimpleNamespace(
        monotonic=iter((10.0, 10.0 + waited)).__next__, thread_time=iter((5.0, 5.0 + worked)).__next__
    )
    monkeypatch.setattr(sweeping, "time", clocks)
    found, told = sweeping.timed(lambda _connection: [b"x"], cast(Connection, None))
    assert (found, told) == ([b"x"], pytest.approx(seconds))
