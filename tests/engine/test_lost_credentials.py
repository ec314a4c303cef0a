"""Credentials that do not open any more: nothing is sent without them, nothing goes in circles, and it is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from strangler.domain.errors import InternalError
from strangler.domain.exchange import AttemptOutcome, Body, Fault, FaultKind, RecordedRequest, Request
from strangler.domain.process import Effect, Process, PublicState, State
from strangler.domain.steps import Resume
from strangler.domain.transitions import apply
from strangler.policy.expressions import RECORDED_NAMES, Template
from strangler.policy.model import FollowPolicy, ProbePolicy
from strangler.policy.upstreams import Upstream
from strangler.ports import Commit, ExceptionQuery
from strangler.store.fsck import Report as Fsck
from strangler.store.memory import MemoryStore
from tests.engine.world import ASYNC, COMPAT, Gate, Reply, World, a_request, a_route

LOST = Fault(FaultKind.INTERRUPTED, "connection reset")


def bears() -> Request:
    """A request with credentials."""
    return a_request(headers=[(b"Authorization", b"Bearer t")])


async def begun(route: Any, *script: Any) -> World:
    world = World(route)
    await world.supervisor.recover()
    world.upstream.script = [*script]
    return world


def lose(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the seals of this store do not open."""

    async def closed(store: MemoryStore, process_id: str) -> RecordedRequest | None:
        found = await request(store, process_id)
        return found._replace(credentials=None) if found is not None and found.credentials else found

    request = MemoryStore.request
    monkeypatch.setattr(MemoryStore, "request", closed)


async def exceptions(world: World, process: Process) -> list[str]:
    return [one.kind for one in await world.store.exceptions.page(ExceptionQuery("open", process_id=process.id))]


def sound(world: World) -> None:
    assert list(Fsck(world.store)) == []


@pytest.mark.parametrize(("decision", "opened"), [(ASYNC, ["expired"]), (COMPAT, [])])
async def test_what_was_never_sent_fails_and_is_an_exception_where_it_was_promised(
    decision: Any, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    world = await begun(a_route(concurrency=1), gate, Reply())
    await world.accepted()
    waiting = await world.accepted(bears(), decision)
    await gate.reached.wait()
    lose(world, monkeypatch)
    gate.open.set()
    process = await world.ended(waiting.id)
    assert (process.state, process.reason, process.effect) == (State.FAILED, "credentials-lost", Effect.NONE)
    assert len(world.upstream.sent) == 1
    assert await exceptions(world, process) == opened
    with world.store.ledgers() as ledgers:
        ledger = ledgers.one(process.id)
    assert ledger is not None
    (attempt,) = ledger.attempts
    assert (attempt.outcome, attempt.detail) == (
        AttemptOutcome.NOT_SENT,
        "its credentials do not open under today's identity key",
    )
    sound(world)


async def test_what_may_have_been_sent_is_left_to_a_person_and_not_even_repeated_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await begun(a_route(on_in_doubt="retry", attempts=3), LOST)
    accepted = await world.accepted(bears())
    await world.until(accepted.id, lambda process: process.state is State.WAITING)
    lose(world, monkeypatch)
    await world.due(accepted.id)
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "credentials-lost")
    assert await exceptions(world, process) == ["in_doubt"]
    change = apply(process, Resume(world.clock.now(), absent=True), world.clock.now())
    await world.store.commit(Commit(change))
    await world.due(accepted.id)
    process = await world.ended(accepted.id)
    assert (process.state, process.reason, process.effect) == (State.FAILED, "credentials-lost", Effect.NONE)
    assert len(world.upstream.sent) == 1
    sound(world)


async def test_where_they_are_not_sent_anyway_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    world = await begun(a_route(concurrency=1, credentials="drop"), gate, Reply())
    await world.accepted()
    waiting = await world.accepted(bears())
    await gate.reached.wait()
    lose(world, monkeypatch)
    gate.open.set()
    assert (await world.ended(waiting.id)).state is State.COMPLETED
    assert len(world.upstream.sent) == 2


async def test_what_the_upstream_took_is_not_asked_about_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await begun(a_route(follow=FollowPolicy()), Reply(202, b"", [(b"Location", b"/jobs/17")]), Reply())
    accepted = await world.accepted(bears())
    process = await world.until(accepted.id, lambda process: process.state is State.FOLLOWING)
    lose(world, monkeypatch)
    assert process.due_at is not None
    world.clock.instant = process.due_at
    world.executor.wake(process.route, 0)
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    assert (process.reason, process.settling) == ("credentials-lost", False)
    assert len(world.upstream.sent) == 1
    sound(world)


@pytest.mark.parametrize("asked", [False, True])
async def test_what_is_in_doubt_is_asked_about_where_the_question_does_not_bear_them(
    asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = ProbePolicy(
        template=Template("/claims/{process.id}", RECORDED_NAMES), applied=None, absent=None, attempts=1
    )
    if asked:
        probe = replace(probe, upstream=Upstream(name="register", scheme="http", host="127.0.0.1", port=8082))
    world = await begun(a_route(on_in_doubt="probe", probe=probe), LOST, Reply())
    accepted = await world.accepted(bears())
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    lose(world, monkeypatch)
    assert process.due_at is not None
    world.clock.instant = process.due_at
    world.executor.wake(process.route, 0)
    process = await world.until(accepted.id, lambda process: not process.settling)
    assert process.reason == ("probe-inconclusive" if asked else "credentials-lost")
    assert len(world.upstream.sent) == 1 + asked
    assert await exceptions(world, process) == ["in_doubt"]
    sound(world)


def test_a_request_whose_credentials_do_not_open_has_no_headers_to_send() -> None:
    request = RecordedRequest("POST", b"/claims", (), None, Body(0, b"", b""))
    with pytest.raises(InternalError, match="without its credentials"):
        request.all_headers()
