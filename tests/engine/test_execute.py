"""From acceptance to the end: what an attempt comes to, and what becomes of the process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from strangler.config.hooks import find_hook
from strangler.domain.exchange import CHUNK_SIZE, Attempt, AttemptOutcome, Fault, FaultKind
from strangler.domain.process import Effect, PublicState, State
from strangler.domain.steps import Claim, Report, Resume
from strangler.domain.transitions import apply
from strangler.policy.translate import Interpreter
from strangler.policy.wall import Condition, Content, Formula, OutcomeRule, ResponseTranslation, Wall
from strangler.ports import Commit, ExceptionQuery, Outgoing, ReplySink, Verdict
from tests.engine.world import COMPAT, NOON, Gate, Reply, World, a_request, a_route, feed

NOT_SENT = Fault(FaultKind.NOT_SENT, "connection refused")
LOST = Fault(FaultKind.INTERRUPTED, "connection reset")
ALWAYS_COMPLETED = OutcomeRule(when=Condition(), state="completed")
TIMEOUT = Fault(FaultKind.INTERRUPTED, "no whole reply within 60 s", timeout=True)


def attempts_of(world: World, process_id: str) -> Sequence[Attempt]:
    with world.store.ledgers() as ledgers:
        ledger = ledgers.one(process_id)
    assert ledger is not None
    return ledger.attempts


async def test_a_process_is_called_once_and_completes_with_the_whole_reply(world: World) -> None:
    world.upstream.script = [Reply(201, b'{"claim": 7}', [(b"Content-Type", b"application/json")])]
    process = await world.ended((await world.accepted()).id)
    assert (process.state, process.effect, process.result_status) == (State.COMPLETED, Effect.APPLIED, 201)
    assert (process.result_type, process.result_length) == ("application/json", 12)
    found = await world.store.reply(process.id)
    assert found is not None
    assert found[1].body.data == b'{"claim": 7}'
    assert len(world.upstream.sent) == 1


async def test_the_claim_is_on_disk_before_the_call_starts(world: World) -> None:
    gate = Gate()
    world.upstream.script = [gate]
    process = await world.accepted()
    await gate.reached.wait()
    assert (await world.process(process.id)).state is State.PROCESSING
    assert [(attempt.number, attempt.ended_at) for attempt in attempts_of(world, process.id)] == [(1, None)]
    gate.open.set()
    await world.ended(process.id)


@pytest.mark.parametrize(
    ("status", "state", "effect"),
    [
        (200, State.COMPLETED, Effect.APPLIED),
        (302, State.COMPLETED, Effect.APPLIED),
        (404, State.REJECTED, Effect.NONE),
        (500, State.FAILED, Effect.UNKNOWN),
    ],
)
async def test_a_status_decides_by_the_built_in_rules(world: World, status: int, state: State, effect: Effect) -> None:
    world.upstream.script = [Reply(status)]
    process = await world.ended((await world.accepted()).id)
    assert (process.state, process.effect) == (state, effect)


@pytest.mark.parametrize("status", [502, 504])
async def test_a_gateway_that_lost_a_post_leaves_it_in_doubt_and_its_reply_is_evidence(
    world: World, status: int
) -> None:
    world.upstream.script = [Reply(status, b"bad gateway")]
    accepted = await world.accepted()
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    assert process.public_state is PublicState.UNCONFIRMED
    assert process.effect is Effect.UNKNOWN
    with world.store.ledgers() as ledgers:
        ledger = ledgers.one(process.id)
    assert ledger is not None
    assert [evidence.source for evidence in ledger.evidence] == ["reply"]


async def test_what_was_not_sent_is_repeated_until_it_succeeds_once_a_202_has_left(world: World) -> None:
    world.upstream.script = [NOT_SENT, NOT_SENT, Reply()]
    accepted = await world.accepted()
    await world.tried_again(accepted.id)
    await world.tried_again(accepted.id)
    process = await world.ended(accepted.id)
    assert (process.state, process.tries, process.attempts) == (State.COMPLETED, 3, 1)
    assert len(world.upstream.sent) == 1


async def test_each_attempt_is_kept_with_its_time_and_what_it_came_to(world: World) -> None:
    first, second = Gate(NOT_SENT), Gate(Reply(201))
    world.upstream.script = [first, Reply(429), second]
    accepted = await world.accepted()
    await first.reached.wait()
    world.clock.pass_(2)
    first.open.set()
    await world.tried_again(accepted.id)
    refused_at = world.clock.now()
    await world.tried_again(accepted.id)
    again_at = world.clock.now()
    await second.reached.wait()
    assert [made.ended_at for made in attempts_of(world, accepted.id)] == [NOON + 2000, refused_at, None]
    world.clock.pass_(3)
    second.open.set()
    await world.ended(accepted.id)
    attempts = attempts_of(world, accepted.id)
    assert [(made.started_at, made.ended_at, made.outcome, made.status, made.detail) for made in attempts] == [
        (NOON, NOON + 2000, AttemptOutcome.NOT_SENT, None, "connection refused"),
        (refused_at, refused_at, AttemptOutcome.REFUSED, 429, None),
        (again_at, again_at + 3000, AttemptOutcome.COMPLETED, 201, None),
    ]


async def test_a_refusal_by_status_is_repeated_after_its_retry_after(world: World) -> None:
    world.upstream.script = [Reply(503, b"", [(b"Retry-After", b"120")]), Reply()]
    accepted = await world.accepted()
    process = await world.until(accepted.id, lambda process: process.state is State.WAITING)
    assert process.due_at == world.clock.now() + 120_000
    assert process.public_state is PublicState.PROCESSING


async def test_while_a_synchronous_client_waits_a_refusal_ends_it_without_effect(world: World) -> None:
    world.upstream.script = [Reply(503, b"busy")]
    accepted = await world.accepted(decision=COMPAT)
    process = await world.ended(accepted.id)
    assert (process.state, process.effect, process.result_status) == (State.FAILED, Effect.NONE, 503)


@pytest.mark.parametrize("fault", [LOST, TIMEOUT])
async def test_an_interrupted_post_is_never_repeated_and_waits_for_a_person(world: World, fault: Fault) -> None:
    world.upstream.script = [fault, Reply()]
    accepted = await world.accepted()
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    assert process.public_state is PublicState.UNCONFIRMED
    world.clock.pass_(3600)
    world.executor.pump_all()
    assert len(world.upstream.sent) == 1


async def test_on_in_doubt_fail_ends_it_with_an_unknown_effect() -> None:
    world = World(a_route(on_in_doubt="fail"))
    await world.lease.renew()
    world.upstream.script = [TIMEOUT]
    process = await world.ended((await world.accepted()).id)
    assert (process.state, process.effect, process.reason) == (State.FAILED, Effect.UNKNOWN, "upstream-timeout")


async def test_on_in_doubt_retry_repeats_after_the_settle_time_and_within_attempts() -> None:
    world = World(a_route(on_in_doubt="retry", attempts=2, settle=75.0))
    await world.lease.renew()
    world.upstream.script = [LOST]
    accepted = await world.accepted()
    process = await world.until(accepted.id, lambda process: process.state is State.WAITING)
    assert process.public_state is PublicState.PROCESSING
    assert process.due_at is not None
    assert process.due_at >= world.clock.now() + 75_000
    await world.tried_again(accepted.id)
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT and not process.settling)
    assert len(world.upstream.sent) == 2
    assert process.public_state is PublicState.UNCONFIRMED


@pytest.mark.parametrize("promised", ["fail", "retry"])
async def test_a_stricter_review_of_today_wins_also_over_a_call_that_is_under_way(promised: str) -> None:
    world = World(a_route(on_in_doubt=promised, attempts=2))
    await world.lease.renew()
    gate = Gate(LOST)
    world.upstream.script = [gate]
    accepted = await world.accepted()
    await gate.reached.wait()
    world.load(a_route(on_in_doubt="review", attempts=2))
    gate.open.set()
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    assert process.public_state is PublicState.UNCONFIRMED


async def test_a_stricter_review_of_today_wins_over_a_repeat_that_was_to_come() -> None:
    world = World(a_route(on_in_doubt="retry", attempts=2))
    await world.lease.renew()
    world.upstream.script = [LOST]
    accepted = await world.accepted()
    await world.until(accepted.id, lambda process: process.state is State.WAITING)
    world.load(a_route(on_in_doubt="review", attempts=2))
    await world.due(accepted.id)
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "repeat-withdrawn")
    assert len(world.upstream.sent) == 1
    (opened,) = await world.store.exceptions.page(ExceptionQuery("open", process_id=process.id))
    assert opened.kind == "in_doubt"


async def test_a_repeat_is_withdrawn_although_somebody_told_meanwhile_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(a_route(on_in_doubt="retry", attempts=2))
    await world.lease.renew()
    world.upstream.script = [LOST]
    accepted = await world.accepted()
    waiting = await world.until(accepted.id, lambda process: process.state is State.WAITING)
    world.load(a_route(on_in_doubt="review", attempts=2))
    commit, told = world.store.commit, []

    def quicker(one: Commit) -> asyncio.Future[Verdict]:
        if not told and one.change is not None and one.change.process.state is State.IN_DOUBT:
            told.append(commit(Commit(apply(waiting, Report("ASSESSING"), world.clock.now()))))
        return commit(one)

    monkeypatch.setattr(world.store, "commit", quicker)
    await world.due(accepted.id)
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    assert (process.reason, len(told)) == ("repeat-withdrawn", 1)


async def test_a_repeat_that_a_person_ordered_is_no_matter_of_the_policy() -> None:
    world = World(a_route(on_in_doubt="review"))
    await world.lease.renew()
    world.upstream.script = [LOST, LOST]
    accepted = await world.accepted()
    process = await world.until(accepted.id, lambda process: process.state is State.IN_DOUBT)
    for calls in (2, 3):
        change = apply(process, Resume(world.clock.now(), absent=not process.repeated), world.clock.now())
        await world.store.commit(Commit(change))
        await world.tried_again(accepted.id)
        process = await world.until(accepted.id, lambda process: process.state in {State.IN_DOUBT, State.COMPLETED})
        assert len(world.upstream.sent) == calls


async def test_a_read_is_repeated_and_a_post_is_not_where_the_policy_says_nothing() -> None:
    for method, calls in (("GET", 3), ("POST", 1)):
        world = World(a_route(on_in_doubt=None, attempts=None))
        await world.lease.renew()
        world.upstream.script = [LOST]
        accepted = await world.accepted(a_request(None, method=method))
        for _ in range(calls - 1):
            await world.tried_again(accepted.id)
        await world.until(accepted.id, lambda process: process.public_state is PublicState.UNCONFIRMED)
        assert len(world.upstream.sent) == calls


async def test_a_rejection_of_the_repeat_does_not_claim_that_nothing_happened() -> None:
    world = World(a_route(on_in_doubt="retry", attempts=2))
    await world.lease.renew()
    world.upstream.script = [LOST, Reply(409)]
    accepted = await world.accepted()
    await world.tried_again(accepted.id)
    process = await world.ended(accepted.id)
    assert (process.state, process.effect) == (State.REJECTED, Effect.UNKNOWN)


async def test_a_frozen_worker_does_not_send_when_it_thaws_past_its_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = world.upstream.call

    async def frozen(*given: Any, **how: Any) -> Fault | None:
        world.clock.pass_(16)
        await world.lease.renew()
        # The lease is ours again, but what was claimed under the old one may have been given to somebody else.
        assert world.lease.holds()
        return await call(*given, **how)

    monkeypatch.setattr(world.upstream, "call", frozen)
    accepted = await world.accepted()
    await world.until(accepted.id, lambda process: process.state is State.WAITING)
    assert world.upstream.sent == []


async def test_only_so_many_calls_run_at_once_and_the_rest_follow_in_order() -> None:
    world = World(a_route(concurrency=2))
    await world.lease.renew()
    gates = [Gate() for _ in range(5)]
    world.upstream.script = [*gates]
    accepted = [await world.accepted(a_request(b"%d" % number)) for number in range(5)]
    await gates[1].reached.wait()
    assert [process.state for process in accepted] == [State.PROCESSING, State.PROCESSING, *[State.RECEIVED] * 3]
    assert world.lanes.of("submit-claim").waiting == 3
    for gate in gates:
        gate.open.set()
        await gate.reached.wait()
    for process in accepted:
        assert (await world.ended(process.id)).state is State.COMPLETED
    assert [sent.body.data for sent in world.upstream.sent] == [b"0", b"1", b"2", b"3", b"4"]
    assert world.lanes.of("submit-claim").waiting == 0


async def test_more_than_a_lane_holds_in_memory_is_fetched_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.engine.lanes.STOCK", 3)
    monkeypatch.setattr("strangler.engine.execute.STOCK", 3)
    world = World(a_route(concurrency=1))
    await world.lease.renew()
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    accepted = [await world.accepted(a_request(b"%d" % number)) for number in range(12)]
    gate.open.set()
    for process in accepted:
        assert (await world.ended(process.id)).state is State.COMPLETED
    assert [sent.body.data for sent in world.upstream.sent] == [b"%d" % number for number in range(12)]


async def test_an_outcome_that_the_store_refuses_is_held_and_committed_when_it_can_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.conclude._STORE_BACKOFF", (0.0,))
    world.store.refuses = lambda commit: commit.end is not None
    accepted = await world.accepted(decision=COMPAT)
    with world.outcomes.interest(accepted.id), world.signals.watch(accepted.id) as watch:
        await world.store.refused.wait()
        assert await watch.changed(accepted.sequence, 5.0)
        held = world.outcomes.get(accepted.id)
    assert held is not None
    assert held.reply is not None
    assert held.reply.body.data == b"done"
    assert (await world.process(accepted.id)).state is State.PROCESSING
    world.store.refuses = lambda commit: False
    assert (await world.ended(accepted.id)).state is State.COMPLETED
    assert len(world.upstream.sent) == 1


async def test_a_late_reply_settles_a_process_that_is_still_in_doubt(world: World) -> None:
    gate = Gate(Reply(200, b"late"))
    world.upstream.script = [gate]
    accepted = await world.accepted()
    await gate.reached.wait()
    # Meanwhile another worker finds our lease run out.
    world.clock.pass_(16)
    await world.concluder.recover(await world.process(accepted.id), world.route.call)
    assert (await world.process(accepted.id)).public_state is PublicState.UNCONFIRMED
    gate.open.set()
    process = await world.ended(accepted.id)
    assert (process.state, process.effect, process.result_status) == (State.COMPLETED, Effect.APPLIED, 200)
    with world.store.ledgers() as ledgers:
        ledger = ledgers.one(process.id)
    assert ledger is not None
    assert [evidence.source for evidence in ledger.evidence] == ["late_reply"]
    assert [exception.kind for exception in ledger.exceptions if exception.closed_at is None] == []


async def test_a_late_reply_against_a_settled_end_is_evidence_and_an_exception_and_changes_nothing() -> None:
    world = World(a_route(on_in_doubt="fail"))
    await world.lease.renew()
    gate = Gate(Reply(200, b"late"))
    world.upstream.script = [gate]
    accepted = await world.accepted()
    await gate.reached.wait()
    world.clock.pass_(16)
    await world.concluder.recover(await world.process(accepted.id), world.route.call)
    settled = await world.process(accepted.id)
    assert settled.state is State.FAILED
    gate.open.set()
    await world.executor.drain(5.0)
    assert await world.process(accepted.id) == settled
    with world.store.ledgers() as ledgers:
        ledger = ledgers.one(accepted.id)
    assert ledger is not None
    assert [exception.kind for exception in ledger.exceptions] == ["late_reply"]
    assert [evidence.status for evidence in ledger.evidence] == [200]


async def test_after_a_crash_what_was_received_is_executed_and_what_was_sent_is_in_doubt(world: World) -> None:
    world.load(a_route(concurrency=1))
    gate = Gate()
    world.upstream.script = [gate]
    sent, waiting = await world.accepted(), await world.accepted(a_request(b"2"))
    await gate.reached.wait()
    world.upstream.script = [Reply()]
    world.clock.pass_(16)  # the lease of the first incarnation runs out
    world.restart("worker-2")
    await world.supervisor.recover()
    assert (await world.ended(waiting.id)).state is State.COMPLETED
    assert (await world.process(sent.id)).public_state is PublicState.UNCONFIRMED


async def test_a_process_whose_deadline_passes_while_it_waits_expires_without_effect(world: World) -> None:
    world.load(a_route(concurrency=1, deadline=60.0))
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    first, second = await world.accepted(), await world.accepted(a_request(b"2"))
    await gate.reached.wait()
    world.clock.pass_(61)
    await world.lease.renew()
    gate.open.set()
    process = await world.ended(second.id)
    assert (process.state, process.effect) == (State.EXPIRED, Effect.NONE)
    assert (await world.ended(first.id)).state is State.COMPLETED
    assert len(world.upstream.sent) == 1


async def test_a_deadline_that_passes_while_an_earlier_attempt_is_unresolved_leaves_it_to_a_person() -> None:
    world = World(a_route(on_in_doubt="retry", attempts=3, deadline=60.0))
    await world.lease.renew()
    world.upstream.script = [LOST]
    accepted = await world.accepted()
    waiting = await world.until(accepted.id, lambda process: process.state is State.WAITING)
    world.clock.pass_(61)
    await world.concluder.overdue(waiting)
    process = await world.process(accepted.id)
    assert (process.public_state, process.effect) == (PublicState.UNCONFIRMED, Effect.UNKNOWN)


async def test_a_call_has_no_more_time_than_its_deadline_leaves() -> None:
    world = World(a_route(timeout=60.0, deadline=10.0))
    await world.lease.renew()
    await world.ended((await world.accepted()).id)
    assert world.upstream.calls[0]["timeout"] == 10.0


@pytest.mark.parametrize(("on_in_doubt", "attempts", "fresh"), [("review", 1, True), ("retry", 3, False)])
async def test_a_call_that_may_not_be_repeated_asks_for_a_fresh_connection(
    on_in_doubt: str, attempts: int, fresh: bool
) -> None:
    world = World(a_route(on_in_doubt=on_in_doubt, attempts=attempts))
    await world.lease.renew()
    await world.ended((await world.accepted()).id)
    assert world.upstream.calls[0]["fresh"] is fresh


async def test_a_long_reply_lies_in_chunks_and_comes_back_whole(world: World) -> None:
    body = bytes(range(256)) * 3000
    reply = Reply(200, body)
    reply.pieces = 7
    world.upstream.script = [reply]
    process = await world.ended((await world.accepted()).id)
    found = await world.store.reply(process.id)
    assert found is not None
    attempt, recorded = found
    assert recorded.body.chunks == -(-len(body) // CHUNK_SIZE)
    chunks = [
        await world.store.read_chunk(process.id, f"reply-{attempt}", index) for index in range(recorded.body.chunks)
    ]
    assert b"".join(chunks) == body


async def test_a_reply_that_is_too_large_completes_by_its_status_and_streams_to_who_waits() -> None:
    world = World(a_route(max_reply=1000))
    await world.lease.renew()
    reply = Reply(200, b"x" * 5000)
    reply.pieces = 10
    gate = Gate(reply)
    world.upstream.script = [gate]
    accepted = await world.accepted(decision=COMPAT)
    with world.outcomes.interest(accepted.id):
        gate.open.set()
        process = await world.ended(accepted.id)
        settled = world.outcomes.get(accepted.id)
        assert settled is not None
        assert settled.live is not None
        assert settled.live.take()
    assert (process.state, process.result_kept) == (State.COMPLETED, False)
    assert b"".join([data async for data in settled.live]) == reply.body
    await world.executor.drain(5.0)
    with world.store.ledgers() as ledgers:
        ledger = ledgers.one(accepted.id)
    assert ledger is not None
    assert (list(ledger.exceptions), list(ledger.evidence)) == ([], [])


@pytest.mark.parametrize("declared", [5000, None])
async def test_a_reply_that_is_too_large_is_as_long_as_its_head_says_and_not_as_what_came_of_it_by_then(
    declared: int | None,
) -> None:
    world = World(a_route(max_reply=1000))
    await world.lease.renew()
    reply = Reply(200, b"x" * 5000, [(b"Content-Length", b"5000")] if declared is not None else [])
    reply.pieces = 2
    world.upstream.script = [reply]
    accepted = await world.accepted()
    assert (await world.ended(accepted.id)).result_length == declared
    await world.executor.drain(5.0)


@pytest.mark.parametrize("wall", [None, Wall(paths=("/claims",), outcome=(ALWAYS_COMPLETED,))])
async def test_a_reply_that_is_too_large_and_breaks_off_is_never_taken_for_a_whole_one(wall: Wall | None) -> None:
    async def broken(request: Outgoing, sink: ReplySink, may_send: Callable[[], bool]) -> Fault | None:
        await feed(sink, Reply(200, b"x" * 5000))
        return LOST

    route = a_route(max_reply=1000)
    if wall is not None:
        route = replace(route, promise=replace(route.promise, wall=Interpreter(wall, find_hook)))
    world = World(route)
    await world.lease.renew()
    world.upstream.script = [broken]
    accepted = await world.accepted(decision=COMPAT)
    with world.outcomes.interest(accepted.id):
        await world.ended(accepted.id)
        settled = world.outcomes.get(accepted.id)
        assert settled is not None
        assert settled.live is not None
        assert settled.live.take()
    with pytest.raises(ConnectionError):
        async for _ in settled.live:
            pass


@pytest.mark.parametrize(("refusal", "told"), [(b'{"a": 1}', b'{"b":1}'), (b"<h1>Busy</h1>", b"")])
async def test_a_refusal_that_is_told_at_once_is_translated_or_says_nothing_else(refusal: bytes, told: bytes) -> None:
    answer = ResponseTranslation(content=Content(body=Formula(text="{b: reply.body.a}")))
    route = a_route()
    wall = Wall(paths=("/claims",), responses=(answer,))
    world = World(replace(route, promise=replace(route.promise, wall=Interpreter(wall, find_hook))))
    await world.lease.renew()
    world.upstream.script = [Reply(503, refusal, [(b"Content-Type", b"application/json")])]
    accepted = await world.accepted(decision=COMPAT)
    with world.outcomes.interest(accepted.id):
        process = await world.ended(accepted.id)
        settled = world.outcomes.get(accepted.id)
    assert (process.state, process.reason, process.effect) == (State.FAILED, "upstream-refused", Effect.NONE)
    assert settled is not None
    assert settled.reply is not None
    assert (settled.reply.status, settled.reply.body.data) == (503, told)


async def test_a_reply_that_is_too_large_ends_in_peace_when_nobody_waits() -> None:
    world = World(a_route(max_reply=1000))
    await world.lease.renew()
    reply = Reply(200, b"x" * 100_000)
    reply.pieces = 100
    world.upstream.script = [reply]
    process = await world.ended((await world.accepted()).id)
    assert not process.result_kept
    assert await world.executor.drain(5.0) == 0


async def test_credentials_that_expired_while_the_call_waited_are_named_as_the_reason(world: World) -> None:
    world.load(a_route(concurrency=1))
    gate = Gate()
    world.upstream.script = [gate, Reply(401)]
    await world.accepted()
    late = await world.accepted(a_request(b"2", headers=[(b"Authorization", b"Bearer old")]))
    await gate.reached.wait()
    world.clock.pass_(30)
    await world.lease.renew()
    gate.open.set()
    process = await world.ended(late.id)
    assert (process.state, process.reason, process.effect) == (State.FAILED, "credentials-expired", Effect.NONE)


async def test_a_process_of_a_route_that_left_the_policy_waits(world: World) -> None:
    world.load(a_route(concurrency=1))
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    await world.accepted()
    waiting = await world.accepted(a_request(b"2"))
    route = world.routes.pop("submit-claim")
    gate.open.set()
    await world.executor.drain(5.0)
    assert (await world.process(waiting.id)).due_at is not None
    world.load(route)


async def test_a_claim_that_somebody_else_won_is_dropped(world: World) -> None:
    world.load(a_route(concurrency=1))
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    await world.accepted()
    contested = await world.accepted(a_request(b"2"))
    change = apply(contested, Claim("worker-9"), world.clock.now())
    await world.store.commit(Commit(change))
    await gate.reached.wait()
    gate.open.set()
    await world.executor.drain(5.0)
    after = await world.process(contested.id)
    assert (after.owner, after.state) == ("worker-9", State.PROCESSING)
    assert len(world.upstream.sent) == 1


@pytest.mark.parametrize("status", [200, 503])
async def test_a_call_leaves_no_rings_to_the_garbage_collector(status: int) -> None:
    world = World(a_route(attempts=2))
    world.upstream.script = [Reply(status)]
    await world.lease.renew()
    found = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            process = await world.accepted()
            await world.until(process.id, lambda process: process.tries == 1 and process.state is not State.PROCESSING)
            found.append(gc.collect())
    finally:
        gc.enable()
    assert found[1:] == [0, 0]


async def test_what_waits_is_not_claimed_under_a_lease_that_is_over(world: World) -> None:
    world.load(a_route(concurrency=1))
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    first = await world.accepted(a_request(), COMPAT)
    await gate.reached.wait()
    second = await world.accepted(a_request(b"2"), COMPAT)
    world.clock.pass_(20)  # the machine was paused for longer than the lease
    gate.open.set()
    await world.until(first.id, lambda process: process.state is State.COMPLETED)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (await world.process(second.id)).state is State.RECEIVED
    await world.lease.renew()
    world.executor.look(second.route)
    assert (await world.ended(second.id)).state is State.COMPLETED
    assert len(world.upstream.sent) == 2
