"""The connection to who owns the store: cut, made again, and what was asked meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.domain.errors import InternalError, StoreUnavailable
from strangler.domain.process import Process
from strangler.ports import Committed, KeyTaken, Lease, Stale, Verdict
from strangler.store.remote.frames import Frames, frame
from strangler.store.remote.host import Guest, Host
from strangler.store.remote.store import RemoteStore
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.rows import Written
from strangler.store.sqlite.store import SqliteStore
from tests.harness.waiting import eventually
from tests.store import builders as make
from tests.store.builders import FakeClock, after

ONE = make.make_id()


class Forgetful(Host):
    """Writes what it is asked to, and may cut the connection instead of answering."""

    forgets = False

    def committed(self, guest: Guest, told: Any) -> None:
        if self.forgets:
            assert guest._transport is not None
            guest._transport.abort()


class Owner:
    """Who owns the store, on a socket that stays."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.path = folder / "strangler.db"
        self.clock = clock
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "socket"))
        self.listener.listen()
        self.listener.setblocking(False)

    async def begin(self) -> None:
        self.store = SqliteStore(self.path, choose_library(), AesGcmSealer(b"k" * 32), self.clock)
        self.host = Forgetful(self.store)
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self.host.guest, sock=self.listener.dup())

    def cut(self) -> None:
        """Break all connections."""
        for guest in list(self.host.guests):
            assert guest._transport is not None
            guest._transport.abort()

    async def end(self) -> None:
        self.server.close()
        for guest in list(self.host.guests):
            guest.close()
        await self.store.close()


@pytest.fixture
async def owner(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Owner]:
    made = Owner(tmp_path, clock)
    await made.begin()
    yield made
    await made.end()
    made.listener.close()


@pytest.fixture
async def down() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def remote(owner: Owner, tmp_path: Path, down: asyncio.Event) -> AsyncIterator[RemoteStore]:
    sealer = AesGcmSealer(b"k" * 32)
    library, path = choose_library(), str(tmp_path / "socket")
    store = RemoteStore(owner.path, library, sealer, path, on_down=down.set)
    await store.save("promise", "d", "connected")
    yield store
    await store.close()


async def test_a_commit_whose_answer_was_lost_is_committed_once(owner: Owner, remote: RemoteStore) -> None:
    owner.host.forgets = True
    commit = make.accept(make.keyed())
    asked = remote.commit(commit)

    async def written() -> bool:
        return isinstance(await remote.process(after(commit).id), Process)

    await eventually(written)
    owner.host.forgets = False
    assert await asked == Committed()
    assert len(await remote.events(after(commit).id)) == 1


@pytest.mark.parametrize("error", [StoreUnavailable("the disk fails"), ZeroDivisionError()])
async def test_while_nobody_can_look_whether_it_was_written_nobody_is_told_that_it_was_not(
    owner: Owner, remote: RemoteStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    looked, read = 0, remote._reads.process

    def unreadable(process_id: str) -> Any:
        nonlocal looked
        looked += 1
        if looked < 3 or not isinstance(error, StoreUnavailable):
            raise error
        return read(process_id)

    owner.host.forgets = True
    commit = make.accept(make.keyed())
    asked = remote.commit(commit)

    async def written() -> bool:
        return isinstance(await owner.store.process(after(commit).id), Process)

    monkeypatch.setattr(remote._reads, "process", unreadable)
    await eventually(written)
    owner.host.forgets = False
    if isinstance(error, StoreUnavailable):
        assert await asked == Committed()
    else:
        with pytest.raises(ZeroDivisionError):
            await asked
        assert await remote.commit(make.accept()) == Committed(), "the connection lives on"
    assert not remote.link._questions


async def test_a_commit_that_lost_its_race_during_the_cut_is_stale_after_it(
    owner: Owner, remote: RemoteStore, down: asyncio.Event
) -> None:
    accepted = make.accept(make.keyed())
    assert await remote.commit(accepted) == Committed()
    submit = owner.store.submit

    def cut(_item: Written) -> asyncio.Future[Verdict]:
        owner.cut()
        return asyncio.get_running_loop().create_future()  # nothing is written

    owner.store.submit = cut
    asked = [remote.commit(make.claim(after(accepted))), remote.commit(make.accept(make.keyed()))]
    await down.wait()
    owner.store.submit = submit
    assert await owner.store.commit(make.claim(after(accepted), owner="another")) == Committed()
    assert await asyncio.gather(*asked) == [Stale(), KeyTaken(make.key_of(after(accepted)))]


async def test_what_was_asked_before_the_cut_is_done_in_its_order_after_it(
    owner: Owner, remote: RemoteStore, down: asyncio.Event
) -> None:
    write_chunk = owner.host.calls["write_chunk"]

    async def cut(*_values: Any) -> None:
        owner.cut()  # nothing is written

    owner.host.calls["write_chunk"] = cut
    asked = [remote.write_chunk(ONE, "request", 0, data) for data in (b"first", b"second")]
    await down.wait()
    owner.host.calls["write_chunk"] = write_chunk
    await asyncio.gather(*asked)
    assert await owner.store.read_chunk(ONE, "request", 0) == b"second"


async def test_while_nobody_owns_the_store_what_is_asked_is_refused_and_reading_goes_on(
    owner: Owner, remote: RemoteStore, down: asyncio.Event
) -> None:
    accepted = make.accept()
    await remote.commit(accepted)
    assert remote.refusal() is None
    await owner.end()
    await down.wait()
    assert remote.refusal() is not None
    with pytest.raises(StoreUnavailable):
        await remote.commit(make.accept())
    assert await remote.process(after(accepted).id) == after(accepted)
    await owner.begin()
    await _connected(remote)
    assert remote.refusal() is None
    assert await remote.commit(make.accept()) == Committed()


async def test_why_the_owner_refuses_new_work_is_said_here(remote: RemoteStore) -> None:
    remote.refuses("the disk is full")
    assert remote.refusal() == "the disk is full"
    remote.refuses(None)
    assert remote.refusal() is None


async def test_what_cannot_be_stored_is_told_as_such_and_harms_nobody(remote: RemoteStore) -> None:
    broken = make.accept(make.draft(body_size=2**63))
    sound = make.accept()
    results = await asyncio.gather(remote.commit(broken), remote.commit(sound), return_exceptions=True)
    assert isinstance(results[0], InternalError | ValueError | OverflowError)
    assert results[1] == Committed()


async def test_a_closing_that_nobody_answers_ends_with_a_refusal(owner: Owner, remote: RemoteStore) -> None:
    owner.host.calls = {"save": _never}
    asked = asyncio.ensure_future(remote.save("promise", "d", "x"))
    await asyncio.sleep(0)
    await remote.link.close(patience=0.01)
    with pytest.raises(StoreUnavailable):
        await asked


async def test_a_worker_asks_for_nothing_that_may_not_be_done_twice(owner: Owner, remote: RemoteStore) -> None:
    assert set(owner.host.calls) == {"write_chunk", "discard_chunks", "renew", "resign", "sweep", "save"}
    lease = Lease("a", owner.clock.boot_id, 7)
    for _ in range(2):
        await remote.write_chunk(ONE, "request", 0, b"x")
        await remote.renew(lease)
        await remote.save("latency", "a", "text")
    assert await remote.load("latency") == {"a": "text"}
    for _ in range(2):
        await remote.resign("a")
        await remote.sweep(owner.clock.instant, 10)


def test_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    messages = [("done", 1, None), ("commit", 2, (b"\x00" * 70_000, bytearray(b"x"), {"a": [1.5, "é", True]}))]
    data = frame(messages) + frame([("news",)])
    for size in (1, 3, 4, 5, 4096, len(data)):
        frames = Frames()
        found = [one for at in range(0, len(data), size) for one in frames.feed(data[at : at + size])]
        assert found == [("done", 1, None), ("commit", 2, (b"\x00" * 70_000, b"x", {"a": [1.5, "é", True]})), ("news",)]


async def _never(*values: Any) -> None:
    await asyncio.Event().wait()


async def _connected(remote: RemoteStore) -> None:
    await eventually(lambda: remote.link.up, 5.0)
