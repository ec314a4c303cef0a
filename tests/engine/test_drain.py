"""A drain: what is under way ends or goes back, and what is cut off is told as what it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from strangler.config.hooks import find_hook
from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Fault, FaultKind, Hindrance
from strangler.domain.process import Effect, PublicState, State
from strangler.engine.submission import Acceptance, Accepted
from strangler.policy.decide import Decision
from strangler.policy.model import CircuitPolicy
from strangler.policy.translate import Interpreter
from strangler.policy.wall import Condition, Content, Formula, OutcomeRule, RequestTranslation, Wall
from strangler.ports import Commit, Outgoing, ReplySink
from tests.engine.world import ASYNC, COMPAT, Gate, Reply, World, a_request, a_route


async def test_a_drain_lets_calls_end_and_gives_back_what_was_not_sent(world: World) -> None:
    world.load(a_route(concurrency=1))
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    running, waiting = await world.accepted(), await world.accepted(a_request(b"2"))
    await gate.reached.wait()
    drain = asyncio.create_task(world.executor.drain(5.0))
    await asyncio.sleep(0)
    gate.open.set()
    assert await drain == 0
    assert (await world.process(running.id)).state is State.COMPLETED
    assert (await world.process(waiting.id)).state is State.RECEIVED


async def test_what_is_still_in_flight_when_the_drain_is_over_is_in_doubt(world: World) -> None:
    gate = Gate()
    world.upstream.script = [gate]
    running = await world.accepted()
    await gate.reached.wait()
    assert await world.executor.drain(0.0) == 1
    assert (await world.process(running.id)).public_state is PublicState.UNCONFIRMED


async def test_a_slot_that_is_free_during_a_drain_goes_to_who_can_use_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Gate(), Gate()
    world.upstream.script = [first, second]
    done, held = await world.accepted(), await world.accepted(a_request(b"2"))
    await second.reached.wait()
    spared: list[str] = []
    monkeypatch.setattr(world.executor._slots, "spare", spared.append)
    drain = asyncio.create_task(world.executor.drain(5.0))
    await asyncio.sleep(0)
    first.open.set()
    await world.ended(done.id)
    while len(world.executor._tasks) > 1:
        await asyncio.sleep(0)
    assert spared == [held.route]
    second.open.set()
    assert await drain == 0


async def test_a_drain_waits_for_the_call_of_what_is_being_accepted(world: World) -> None:
    gate = Gate()
    world.upstream.script = [gate]
    world.store.slow = lambda commit: commit.request is not None
    submitted = asyncio.create_task(world.submit(decision=COMPAT))
    while not world.lanes.of("submit-claim").running:
        await asyncio.sleep(0)
    drain = asyncio.create_task(world.executor.drain(5.0))
    await asyncio.sleep(0)
    assert not drain.done()
    world.store.flushed.set()
    acceptance = await submitted
    assert isinstance(acceptance, Accepted)
    await gate.reached.wait()
    gate.open.set()
    assert await drain == 0
    assert (await world.process(acceptance.process.id)).state is State.COMPLETED


async def test_what_is_still_being_translated_at_the_end_of_a_drain_goes_back_as_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asks_for_amount = RequestTranslation(content=Content(format="json", body=Formula(text="{betrag: body.amount}")))
    wall = Interpreter(Wall(paths=("/claims",), request=asks_for_amount), find_hook)
    route = a_route(attempts=3)
    world = World(replace(route, promise=replace(route.promise, wall=wall)))
    await world.lease.renew()
    world.upstream.script = [Fault(FaultKind.NOT_SENT, "connection refused")]
    accepted = await world.accepted()
    begun, never = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> None:
        begun.set()
        await never.wait()

    await world.due(accepted.id)
    monkeypatch.setattr("strangler.engine.attempt.prepared", slow)
    await begun.wait()
    assert await world.executor.drain(0.0) == 0
    process = await world.process(accepted.id)
    assert (process.state, process.unresolved) == (State.WAITING, False)
    assert [attempt.detail for attempt in world.ledger(process.id).attempts] == ["connection refused", "drained"]


async def test_what_was_sent_is_not_taken_for_unsent_when_a_drain_cuts_it_off_while_its_reply_is_looked_into(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    route = a_route(attempts=3)
    completed = OutcomeRule(when=Condition(), state="completed")
    wall = Interpreter(Wall(paths=("/claims",), outcome=(completed,)), find_hook)
    world = World(replace(route, promise=replace(route.promise, wall=wall)))
    await world.lease.renew()
    begun, never = asyncio.Event(), asyncio.Event()

    async def slow(*_: object, **__: object) -> None:
        begun.set()
        await never.wait()

    monkeypatch.setattr("strangler.engine.attempt.understood", slow)
    monkeypatch.setattr("strangler.engine.execute._AFTER_CANCEL", 0.05)
    accepted = await world.accepted()
    await begun.wait()
    assert await world.executor.drain(0.0) == 1
    assert (await world.process(accepted.id)).state is State.PROCESSING  # who starts next finds it in doubt


# ── What of ours keeps a call from its first byte ────────────────────────────────────────────────────────────────────


def translating(concurrency: int = 1) -> World:
    """A route that translates its requests, and whose policy repeats nothing because an upstream was not reached."""
    asks_for_amount = RequestTranslation(content=Content(format="json", body=Formula(text="{betrag: body.amount}")))
    wall = Interpreter(Wall(paths=("/claims",), request=asks_for_amount), find_hook)
    route = a_route(attempts=3, concurrency=concurrency)
    call = replace(route.call, retry_on_not_sent=False)
    return World(replace(route, call=call, promise=replace(route.promise, wall=wall)))


async def second_in_line(world: World, decision: Decision) -> tuple[asyncio.Task[Acceptance], Gate]:
    """A request that waits for the slot of another one, until the gate opens."""
    await world.lease.renew()
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    await world.accepted()
    await gate.reached.wait()
    second = asyncio.create_task(world.submit(a_request(b'{"amount": 2}'), decision))
    while not world.lanes.of(world.route.name).waiting:
        await asyncio.sleep(0)
    return second, gate


def drained(world: World, patch: pytest.MonkeyPatch) -> asyncio.Event:
    begun, never = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> None:
        begun.set()
        await never.wait()

    patch.setattr("strangler.engine.attempt.prepared", slow)
    return begun


def lease_lost(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.lease, "may_send", lambda term: False)


def unread(world: World, patch: pytest.MonkeyPatch) -> None:
    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("the disk fails")

    patch.setattr("strangler.engine.attempt.prepared", unavailable)


def defect(world: World, patch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    patch.setattr("strangler.engine.attempt.prepared", broken)
    patch.setattr(world.instrument, "failed", lambda place, error: None, raising=False)


HINDERED = [
    (drained, "draining"),
    (lease_lost, "lease-lost"),
    (unread, "store-unavailable"),
    (defect, "internal-error"),
]
Hinders = Callable[[World, pytest.MonkeyPatch], asyncio.Event | None]


@pytest.mark.parametrize(("hinders", "reason"), HINDERED)
async def test_what_we_could_not_send_is_still_to_be_sent_whatever_the_policy_repeats(
    monkeypatch: pytest.MonkeyPatch, hinders: Hinders, reason: str
) -> None:
    world = translating()
    second, gate = await second_in_line(world, ASYNC)
    acceptance = await second
    assert isinstance(acceptance, Accepted)
    begun = hinders(world, monkeypatch)
    gate.open.set()
    if begun is not None:
        await begun.wait()
        assert await world.executor.drain(0.0) == 0
    process = await world.until(acceptance.process.id, lambda process: process.state is State.WAITING)
    assert not process.unresolved
    assert json.loads(world.ledger(process.id).events[-1].content)["note"] == reason
    await world.executor.drain(0.0)


@pytest.mark.parametrize(("hinders", "reason"), HINDERED)
async def test_who_waits_for_what_we_could_not_send_is_told_at_once_and_why(
    monkeypatch: pytest.MonkeyPatch, hinders: Hinders, reason: str
) -> None:
    world = translating()
    second, gate = await second_in_line(world, COMPAT)
    acceptance = await second
    assert isinstance(acceptance, Accepted)
    begun = hinders(world, monkeypatch)
    gate.open.set()
    if begun is not None:
        await begun.wait()
        assert await world.executor.drain(0.0) == 0
    process = await world.ended(acceptance.process.id)
    assert (process.state, process.effect, process.reason) == (State.FAILED, Effect.NONE, reason)
    await world.executor.drain(0.0)


@pytest.mark.parametrize("kind", FaultKind)
async def test_what_was_ours_says_nothing_of_the_upstream(kind: FaultKind) -> None:
    route = a_route()
    world = World(replace(route, call=replace(route.call, circuit=CircuitPolicy(failures=1, within=60.0, open=30.0))))
    await world.lease.renew()
    world.upstream.script = [Fault(kind, "the recorded body cannot be read", ours=Hindrance.STORE)]
    accepted = await world.accepted()
    await world.until(accepted.id, lambda process: process.state in (State.WAITING, State.IN_DOUBT))
    assert world.gates.state(route.name).circuit == "closed"


# ── What is on its way to the disk when the drain is over ────────────────────────────────────────────────────────────


def ends(commit: Commit) -> bool:
    return commit.attempt is not None and commit.attempt.ended_at is not None


def claims(commit: Commit) -> bool:
    return commit.attempt is not None and commit.attempt.ended_at is None and commit.request is None


async def over(world: World) -> asyncio.Task[int]:
    """A drain that has cut off what was left, and waits for its commits."""
    drain = asyncio.create_task(world.executor.drain(0.0))
    while not world.executor._drained:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not drain.done()
    return drain


@pytest.mark.parametrize("sent", [True, False])
async def test_an_outcome_that_is_on_its_way_to_the_disk_when_the_drain_is_over_is_told_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    if not sent:
        lease_lost(world, monkeypatch)
    world.store.slow = ends
    accepted = await world.accepted(decision=COMPAT)
    with world.signals.watch(accepted.id) as watch, world.outcomes.interest(accepted.id):
        await world.store.begun.wait()
        drain = await over(world)
        world.store.flushed.set()
        assert await drain == 0, "nothing is in doubt"
        assert await watch.changed(accepted.sequence, 0.0)
        settled = world.outcomes.get(accepted.id)
        assert settled is not None
        assert settled.process.state is (State.COMPLETED if sent else State.FAILED)


async def test_a_whole_reply_that_is_there_when_the_drain_is_over_is_recorded(world: World) -> None:
    world = translating()
    second, gate = await second_in_line(world, ASYNC)
    acceptance = await second
    assert isinstance(acceptance, Accepted)
    world.store.slow = lambda commit: commit.evidence is not None and not ends(commit)
    gate.open.set()
    await world.store.begun.wait()
    while len(world.upstream.sent) < 2:
        await asyncio.sleep(0)
    drain = await over(world)
    world.store.flushed.set()
    assert await drain == 0, "nothing is in doubt"
    assert (await world.process(acceptance.process.id)).state is State.COMPLETED


async def test_a_claim_that_is_on_its_way_to_the_disk_when_the_drain_is_over_goes_back(world: World) -> None:
    world.load(a_route(concurrency=1))
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    await world.accepted()
    await gate.reached.wait()
    waiting = await world.accepted(a_request(b"2"))
    world.store.slow = claims
    gate.open.set()
    await world.store.begun.wait()
    drain = await over(world)
    world.store.flushed.set()
    assert await drain == 0, "it was not sent"
    process = await world.process(waiting.id)
    assert (process.state, process.unresolved) == (State.WAITING, False)
    assert len(world.upstream.sent) == 1


@pytest.mark.parametrize("decision", [ASYNC, COMPAT])
async def test_an_acceptance_that_is_on_its_way_to_the_disk_when_the_drain_is_over_is_not_sent(
    world: World, decision: Decision
) -> None:
    world.store.slow = lambda commit: commit.request is not None
    accepting = asyncio.create_task(world.submit(a_request(), decision))
    await world.store.begun.wait()
    drain = asyncio.create_task(world.executor.drain(0.0))
    await asyncio.sleep(0.01)
    world.store.flushed.set()
    assert await drain == 0
    accepted = await accepting
    assert isinstance(accepted, Accepted)
    process = await world.process(accepted.process.id)
    assert process.state is (State.WAITING if decision is ASYNC else State.FAILED)
    assert world.upstream.sent == []


async def test_a_process_that_ended_is_in_no_doubt_though_its_reply_is_still_handed_on(world: World) -> None:
    handing_on = asyncio.Event()

    async def reply(request: Outgoing, sink: ReplySink, may_send: Callable[[], bool]) -> None:
        assert may_send()
        sink.head(200, b"", [])
        await sink.write(b"x" * 2_000_000)
        handing_on.set()
        await asyncio.Event().wait()

    world.upstream.script = [reply]
    route = a_route()
    world.load(replace(route, call=replace(route.call, max_reply=1000)))
    process = await world.accepted()
    await handing_on.wait()
    assert await world.executor.drain(0.0) == 0
    assert (await world.process(process.id)).state is State.COMPLETED
