"""A defect of ours, or a promise that is not known, ends one thing and not what stands beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from strangler.config.hooks import find_hook
from strangler.domain.exchange import Fault, FaultKind
from strangler.domain.process import Effect, Process, State
from strangler.engine.submission import Accepted
from strangler.policy.model import FollowPolicy
from strangler.policy.translate import Interpreter
from strangler.policy.wall import Content, Formula, RequestTranslation, Wall
from strangler.ports import Commit, Verdict
from tests.engine.test_look import TAKEN
from tests.engine.test_probe import probe
from tests.engine.world import Gate, Reply, World, a_request, a_route


def told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where defects were told of from now on."""
    told: list[str] = []
    monkeypatch.setattr(world.instrument, "failed", lambda place, error: told.append(place), raising=False)
    return told


async def in_line(concurrency: int = 1) -> tuple[World, Gate, Process]:
    """On a route that translates, a process that waits for the slot of another one, which holds it by the gate."""
    asks_for_amount = RequestTranslation(content=Content(format="json", body=Formula(text="{betrag: body.amount}")))
    wall = Interpreter(Wall(paths=("/claims",), request=asks_for_amount), find_hook)
    route = a_route(concurrency=concurrency)
    world = World(replace(route, promise=replace(route.promise, wall=wall)))
    await world.lease.renew()
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    await world.accepted()
    await gate.reached.wait()
    return world, gate, await world.accepted(a_request(b'{"amount": 2}'))


def waits(process: Process) -> bool:
    return process.state is State.WAITING


async def test_what_is_kept_of_a_sent_request_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, gate, waiting = await in_line()
    told = told_of(world, monkeypatch)
    commit = world.store.commit

    def broken(given: Commit) -> asyncio.Future[Verdict]:
        if given.change is None and given.evidence is not None:
            raise ZeroDivisionError
        return commit(given)

    monkeypatch.setattr(world.store, "commit", broken)
    gate.open.set()
    assert (await world.ended(waiting.id)).state is State.COMPLETED
    assert told == ["sent"]


async def test_what_goes_back_at_a_drain_goes_back_though_a_defect_strikes_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, errors = told_of(world, monkeypatch), [ZeroDivisionError()]
    conclude = world.concluder.conclude

    async def broken_once(*values: Any, **named: Any) -> Process | None:
        if errors:
            raise errors.pop()
        return await conclude(*values, **named)

    monkeypatch.setattr(world.concluder, "conclude", broken_once)
    world.store.slow = lambda commit: commit.request is not None
    submitted = asyncio.create_task(world.submit())
    await world.store.begun.wait()
    drain = asyncio.create_task(world.executor.drain(5.0))
    await asyncio.sleep(0)
    world.store.flushed.set()
    acceptance = await submitted
    assert isinstance(acceptance, Accepted)
    assert await drain == 0
    assert (await world.process(acceptance.process.id)).state is State.WAITING
    assert told == ["execute"]


async def test_an_orphan_that_cannot_be_looked_after_keeps_neither_the_others_nor_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(a_route(concurrency=2))
    await world.lease.renew()
    gates = [Gate(), Gate()]
    world.upstream.script = [*gates]
    poisoned, other = await world.accepted(), await world.accepted(a_request(b"2"))
    for gate in gates:
        await gate.reached.wait()
    world.clock.pass_(16)
    world.restart("worker-2")
    told, recover = told_of(world, monkeypatch), world.concluder.recover

    async def broken(process: Process, call: Any) -> Process | None:
        if process.id == poisoned.id:
            raise ZeroDivisionError
        return await recover(process, call)

    monkeypatch.setattr(world.concluder, "recover", broken)
    await world.supervisor.recover()
    assert (await world.process(other.id)).state is State.IN_DOUBT
    assert set(told) == {"supervise"}


async def test_an_overdue_process_that_cannot_be_ended_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(a_route(concurrency=1, deadline=10.0))
    await world.lease.renew()
    gate = Gate()
    world.upstream.script = [gate]
    await world.accepted()
    await gate.reached.wait()
    poisoned, other = await world.accepted(a_request(b"2")), await world.accepted(a_request(b"3"))
    world.clock.pass_(11)
    told, overdue = told_of(world, monkeypatch), world.concluder.overdue

    async def broken(process: Process) -> None:
        if process.id == poisoned.id:
            raise ZeroDivisionError
        await overdue(process)

    monkeypatch.setattr(world.concluder, "overdue", broken)
    await world.supervisor.look()
    assert (await world.process(other.id)).state is State.EXPIRED
    assert told == ["supervise"]


# ── A promise that is not known ──────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_promised_under_unknown_terms_is_not_sent_until_they_are_known() -> None:
    world, gate, waiting = await in_line()
    terms = dict(world.promises)
    world.promises.clear()  # as after a start at which its text could not be read, or before a reload is here
    gate.open.set()
    await world.until(waiting.id, waits)
    assert len(world.upstream.sent) == 1
    assert world.ledger(waiting.id).attempts[-1].detail == "what was promised for it is not known here"
    world.promises |= terms
    await world.due(waiting.id)
    assert (await world.ended(waiting.id)).state is State.COMPLETED
    assert world.upstream.sent[-1].body.data == b'{"betrag":2}'


async def test_what_the_upstream_took_is_not_asked_about_while_nobody_knows_what_an_answer_means() -> None:
    world = World(a_route(follow=FollowPolicy(every=1.0)))
    await world.lease.renew()
    world.upstream.script = [TAKEN, Reply()]
    accepted = await world.accepted()
    taken = await world.until(accepted.id, lambda process: process.state is State.FOLLOWING)
    terms = dict(world.promises)
    world.promises.clear()
    looked = await look(world, taken, lambda process: process.sequence > taken.sequence)
    assert (looked.state, len(world.upstream.sent)) == (State.FOLLOWING, 1)
    world.promises |= terms
    assert (await look(world, looked, lambda process: process.final)).state is State.COMPLETED


async def in_doubt(on_in_doubt: str, state: State, **call: Any) -> tuple[World, Process]:
    """A process of which nobody knows what its call did, and that a repeat, or a question, is going to settle."""
    world = World(a_route(on_in_doubt=on_in_doubt, **call))
    await world.lease.renew()
    world.upstream.script = [Fault(FaultKind.INTERRUPTED, "connection reset"), Reply()]
    accepted = await world.accepted()
    return world, await world.until(accepted.id, lambda process: process.state is state and process.due_at is not None)


async def test_a_repeat_that_was_promised_under_unknown_terms_waits_until_they_are_known() -> None:
    world, waiting = await in_doubt("retry", State.WAITING, attempts=2)
    terms = dict(world.promises)
    world.promises.clear()
    await world.due(waiting.id)
    waiting = await world.until(waiting.id, lambda process: process.tries == 2 and process.state is State.WAITING)
    assert (len(world.upstream.sent), waiting.attempts) == (1, 1)
    world.promises |= terms
    await world.due(waiting.id)
    assert (await world.ended(waiting.id)).state is State.COMPLETED


async def test_a_repeat_under_unknown_terms_is_given_up_where_today_a_person_is_asked() -> None:
    world, waiting = await in_doubt("retry", State.WAITING, attempts=2)
    world.promises.clear()
    world.routes[waiting.route] = replace(world.route, call=replace(world.route.call, on_in_doubt="review"))
    await world.due(waiting.id)
    process = await world.until(waiting.id, lambda process: process.state is State.IN_DOUBT)
    assert process.reason == "repeat-withdrawn"


async def test_a_question_that_was_promised_under_unknown_terms_is_asked_when_they_are_known() -> None:
    world, doubtful = await in_doubt("probe", State.IN_DOUBT, probe=probe())
    terms = dict(world.promises)
    world.promises.clear()
    later = await look(world, doubtful, lambda process: process.sequence > doubtful.sequence)
    assert (later.state, later.settling, len(world.upstream.sent)) == (State.IN_DOUBT, True, 1)
    world.promises |= terms
    assert (await look(world, later, lambda process: process.final)).effect is Effect.APPLIED


async def test_what_is_never_known_how_to_be_asked_about_is_left_to_a_person_in_the_end() -> None:
    world, process = await in_doubt("probe", State.IN_DOUBT, probe=probe())
    world.promises.clear()
    for _ in range(world.route.call.probe.attempts if world.route.call.probe is not None else 0):
        before = process.sequence
        process = await look(world, process, lambda found, before=before: found.sequence > before)  # type: ignore[misc]
    assert (process.settling, process.reason, len(world.upstream.sent)) == (False, "promise-unknown", 1)


async def look(world: World, process: Process, reached: Callable[[Process], bool]) -> Process:
    """Let the time come at which the upstream is asked."""
    assert process.due_at is not None
    world.clock.instant = process.due_at
    world.executor.wake(process.route, 0)
    return await world.until(process.id, reached)


# ── An attempt whose worker is lost ──────────────────────────────────────────────────────────────────────────────────


async def test_an_attempt_whose_worker_was_lost_began_when_it_began() -> None:
    world = World(a_route(attempts=3))
    await world.lease.renew()
    gate = Gate()
    world.upstream.script = [Fault(FaultKind.NOT_SENT, "connection refused"), gate]
    accepted = await world.accepted()
    waiting = await world.until(accepted.id, waits)
    world.clock.pass_(300)
    await world.lease.renew()
    world.executor.wake(waiting.route, 0)
    await gate.reached.wait()

    def starts() -> list[int]:
        return [attempt.started_at for attempt in world.ledger(accepted.id).attempts]

    before = starts()
    world.clock.pass_(16)
    world.restart("worker-2")
    await world.supervisor.recover()
    assert starts() == before
    assert before[1] > waiting.updated_at
