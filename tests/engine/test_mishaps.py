"""What goes wrong on our side while a process is under way: a store that cannot just now, a defect, a late moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, Fault, FaultKind
from strangler.domain.process import Effect, Process, PublicState, State
from strangler.engine.lease import LeaseKeeper
from strangler.ports import Commit, Outgoing, ReplySink
from tests.engine.world import COMPAT, FakeClock, FlakyStore, Gate, Reply, Silent, World, a_request, a_route, feed

LONG = b"x" * 3 * CHUNK_SIZE


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.engine.recorder.STORE_RETRY", 0.0)
    monkeypatch.setattr("strangler.engine.execute._AFTER_DEFECT", 0)


@pytest.fixture
async def world() -> World:
    made = World()
    await made.lease.renew()
    return made


def failing_once(world: World, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """One method of the store fails at its first call."""
    asked: Callable[..., Awaitable[Any]] = getattr(world.store, name)
    errors = [error]

    async def ask(*values: Any) -> Any:
        if errors:
            raise errors.pop()
        return await asked(*values)

    monkeypatch.setattr(world.store, name, ask)


def defects(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where defects were told of from now on."""
    told: list[str] = []
    monkeypatch.setattr(world.instrument, "failed", lambda place, error: told.append(place), raising=False)
    return told


def in_doubt(process: Process) -> bool:
    return process.state is State.IN_DOUBT


# ── A store that cannot just now ─────────────────────────────────────────────────────────────────────────────────────


async def test_evidence_of_a_long_reply_waits_for_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.upstream.script = [Reply(502, LONG)]
    failing_once(world, monkeypatch, "read_chunk", StoreUnavailable("restarting"))
    accepted = await world.accepted()
    await world.until(accepted.id, in_doubt)
    assert [evidence.body for evidence in world.ledger(accepted.id).evidence] == [LONG[:CHUNK_SIZE]]


async def test_a_reply_that_becomes_too_large_waits_until_the_store_has_forgotten_its_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(a_route(max_reply=2 * CHUNK_SIZE))
    await world.lease.renew()
    reply = Reply(200, LONG)
    reply.pieces = 6
    world.upstream.script = [reply]
    failing_once(world, monkeypatch, "discard_chunks", StoreUnavailable("restarting"))
    accepted = await world.accepted()
    assert (await world.ended(accepted.id)).state is State.COMPLETED
    assert await world.executor.drain(5.0) == 0
    assert world.store.kept_of() == set()


async def test_a_long_reply_that_the_store_does_not_take_goes_to_who_waits_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = world.store.write_chunk
    taken = [True]  # the first chunk, and no other

    def refuse(process_id: str, part: str, index: int, data: bytes) -> asyncio.Future[None]:
        if taken:
            taken.pop()
            return write(process_id, part, index, data)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(StoreUnavailable("the disk is full"))
        return future

    reply = Reply(200, LONG + b"end")
    reply.pieces = 4
    gate = Gate(reply)
    world.upstream.script = [gate]
    accepted = await world.accepted(decision=COMPAT)
    monkeypatch.setattr(world.store, "write_chunk", refuse)
    await gate.reached.wait()
    with world.signals.watch(accepted.id) as watch, world.outcomes.interest(accepted.id):
        gate.open.set()
        assert await watch.changed(accepted.sequence, 5.0)
        settled = world.outcomes.get(accepted.id)
        assert settled is not None
        assert settled.reply is not None
        assert (settled.process.state, settled.reply.body.data) == (State.COMPLETED, LONG + b"end")
    assert (await world.process(accepted.id)).state is State.PROCESSING
    monkeypatch.setattr(world.store, "write_chunk", write)
    assert (await world.ended(accepted.id)).result_length == len(LONG) + 3


# ── A defect ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_after_a_defect_nothing_stays_under_way_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = defects(world, monkeypatch)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("strangler.engine.attempt.interpret_reply", broken)
    accepted = await world.accepted()
    process = await world.until(accepted.id, in_doubt)
    assert (process.public_state, process.effect) == (PublicState.UNCONFIRMED, Effect.UNKNOWN)
    assert told == ["execute"]
    assert [attempt.detail for attempt in world.ledger(process.id).attempts] == [
        "a defect of Strangler: ZeroDivisionError"
    ]


async def test_after_a_defect_who_reads_a_reply_that_is_too_large_to_keep_is_broken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(request: Outgoing, sink: ReplySink, may_send: Callable[[], bool]) -> Fault | None:
        await feed(sink, Reply(200, b"x" * 5000))
        raise ZeroDivisionError

    world = World(a_route(max_reply=1000))
    await world.lease.renew()
    world.upstream.script = [broken]
    told = defects(world, monkeypatch)
    accepted = await world.accepted(decision=COMPAT)
    with world.outcomes.interest(accepted.id):
        process = await world.ended(accepted.id)
        settled = world.outcomes.get(accepted.id)
        assert settled is not None
        assert settled.live is not None
        assert settled.live.take()
    with pytest.raises(ConnectionError):
        async for _ in settled.live:
            pass
    assert await world.executor.drain(5.0) == 0
    assert told == ["execute"]
    assert await world.process(accepted.id) == process


async def test_after_a_defect_with_a_reply_that_becomes_too_large_nothing_stays_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(a_route(max_reply=1000))
    await world.lease.renew()
    world.upstream.script = [Reply(200, b"x" * 5000)]
    told = defects(world, monkeypatch)
    conclude, errors = world.concluder.conclude, [ZeroDivisionError()]

    async def broken_once(*values: Any, **named: Any) -> Process | None:
        if errors:
            raise errors.pop()
        return await conclude(*values, **named)

    monkeypatch.setattr(world.concluder, "conclude", broken_once)
    accepted = await world.accepted()
    await world.until(accepted.id, in_doubt)
    assert told == ["execute"]


async def test_after_a_defect_in_a_look_for_what_is_due_there_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.lease.renew()
    told = defects(world, monkeypatch)
    failing_once(world, monkeypatch, "due", ZeroDivisionError())
    world.executor.look("submit-claim")
    while not told:
        await asyncio.sleep(0)
    assert "submit-claim" in world.executor._wakes
    assert told == ["stock"]


async def test_after_a_defect_before_the_first_byte_it_is_sent_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = defects(world, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("strangler.engine.attempt.outgoing", lambda *_: 1 / 0)
        accepted = await world.accepted()
        await world.due(accepted.id)
    assert (await world.ended(accepted.id)).state is State.COMPLETED
    assert (told, len(world.upstream.sent)) == (["execute"], 1)


async def test_after_a_defect_behind_the_commit_it_is_sent_again_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upstream.script = [Fault(FaultKind.NOT_SENT, "connection refused")]
    told = defects(world, monkeypatch)
    conclude, errors = world.concluder.conclude, [ZeroDivisionError()]

    async def broken_once(*values: Any, **named: Any) -> Process | None:
        after = await conclude(*values, **named)
        if errors:
            raise errors.pop()
        return after

    monkeypatch.setattr(world.concluder, "conclude", broken_once)
    accepted = await world.accepted()
    await world.until(accepted.id, lambda process: process.state is State.WAITING)
    while world.lanes.of("submit-claim").running:
        await asyncio.sleep(0)
    assert "submit-claim" in world.executor._wakes
    assert told == ["execute"]


@pytest.mark.parametrize("place", ["observe", "changed", "announce"])
async def test_a_defect_of_who_is_told_of_a_commit_keeps_nothing_from_going_on(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    told = defects(world, monkeypatch)
    whose = {"observe": world.lanes, "changed": world.instrument, "announce": world.signals}[place]
    monkeypatch.setattr(whose, place, lambda *_: 1 / 0, raising=False)
    accepted = await world.accepted()
    while not (await world.process(accepted.id)).final:
        await asyncio.sleep(0)
    assert set(told) == {"notify"}
    assert await world.executor.drain(5.0) == 0


async def test_after_a_defect_in_a_claim_it_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(a_route(concurrency=1))
    await world.lease.renew()
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    await world.accepted()
    second = await world.accepted(a_request(b"2"))
    await gate.reached.wait()
    told = defects(world, monkeypatch)
    failing_once(world, monkeypatch, "request", ZeroDivisionError())
    gate.open.set()
    assert (await world.ended(second.id)).state is State.COMPLETED
    assert told == ["claim"]


async def test_a_defect_in_one_renewal_of_the_lease_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leases(FlakyStore):
        renewed = asyncio.Event()
        broken = True

        async def renew(self, *_: object) -> None:
            if self.broken:
                self.broken = False
                raise ZeroDivisionError
            self.renewed.set()

    store, instrument, told = Leases(), Silent(), list[str]()
    monkeypatch.setattr(instrument, "failed", lambda place, error: told.append(place), raising=False)
    keeping = asyncio.create_task(LeaseKeeper("w", 0.003, store, FakeClock(), instrument).keep())
    await store.renewed.wait()
    keeping.cancel()
    assert told == ["lease"]


# ── A late moment ────────────────────────────────────────────────────────────────────────────────────────────────────


async def lost_meanwhile(world: World, gate: Gate) -> Process:
    """A process that another worker took for lost while its call was under way."""
    world.upstream.script = [gate]
    accepted = await world.accepted()
    await gate.reached.wait()
    world.clock.pass_(16)
    await world.concluder.recover(await world.process(accepted.id), world.route.call)
    assert (await world.process(accepted.id)).public_state is PublicState.UNCONFIRMED
    return accepted


def large() -> Gate:
    """A reply that is larger than it may be, in more pieces than somebody who waits is given at once."""
    reply = Reply(200, b"x" * 5000, [(b"Content-Length", b"5000")])
    reply.pieces = 100
    return Gate(reply)


async def test_a_late_reply_that_is_too_large_to_keep_settles_too() -> None:
    world = World(a_route(max_reply=1000))
    await world.lease.renew()
    gate = large()
    lost = await lost_meanwhile(world, gate)
    gate.open.set()
    process = await world.ended(lost.id)
    assert (process.state, process.effect, process.result_kept) == (State.COMPLETED, Effect.APPLIED, False)
    assert (process.result_status, process.result_length) == (200, 5000)
    assert [evidence.source for evidence in world.ledger(process.id).evidence] == ["late_reply"]


async def test_a_late_reply_that_is_too_large_to_keep_goes_to_nobody_and_holds_nothing_up() -> None:
    world = World(a_route(max_reply=1000))
    await world.lease.renew()
    gate = large()
    lost = await lost_meanwhile(world, gate)
    with world.outcomes.interest(lost.id):
        gate.open.set()
        assert await world.executor.drain(5.0) == 0


async def test_a_call_whose_deadline_passes_before_its_first_byte_is_not_sent() -> None:
    world = World(a_route(deadline=10.0))
    await world.lease.renew()

    def slowly(commit: Commit) -> bool:
        if commit.request is not None:
            world.clock.pass_(11)
        return False

    world.store.refuses = slowly
    accepted = await world.accepted()
    await world.due(accepted.id)
    process = await world.ended(accepted.id)
    assert (process.state, process.effect) == (State.EXPIRED, Effect.NONE)
    assert world.upstream.sent == []
