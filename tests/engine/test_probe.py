"""A call whose outcome nobody knows: the upstream is asked what it did, and nothing is ever guessed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from strangler.config.hooks import find_hook
from strangler.domain.errors import IllegalTransition
from strangler.domain.exchange import Fault, FaultKind
from strangler.domain.process import Effect, Process, PublicState, State
from strangler.domain.steps import Doubt, Probed, Report, Resume
from strangler.domain.transitions import apply
from strangler.policy import conditions
from strangler.policy.expressions import RECORDED_NAMES, Template
from strangler.policy.model import ProbePolicy, ProbeResult
from strangler.policy.rendering import Rendering
from strangler.policy.upstreams import Upstream
from strangler.policy.wall import Condition, Content, Formula
from strangler.ports import Commit
from strangler.store.fsck import Report as Fsck
from tests.engine.world import NOON, Reply, World, a_request, a_route

LOST = Fault(FaultKind.INTERRUPTED, "connection reset")
DOWN = Fault(FaultKind.NOT_SENT, "connection refused")
JSON = (b"Content-Type", b"application/json")
FOUND = Reply(200, b'{"id": "17", "amount": 12}', [JSON])
MISSING = Reply(404, b"no such claim")
PAGE = Reply(500, b"<html>", [(b"Content-Type", b"text/html")])


def when(**condition: Any) -> conditions.Test:
    return conditions.Test(Condition(**condition), find_hook)


def body(text: str) -> conditions.Test:
    return when(body=Formula(text=text))


def probe(**keys: Any) -> ProbePolicy:
    given = {
        "template": Template("/claims/{process.id}", RECORDED_NAMES),
        "applied": when(statuses=((200, 200),)),
        "absent": when(statuses=((404, 404),)),
        **keys,
    }
    return ProbePolicy(**given)


def world(asks: ProbePolicy | None = None, **call: Any) -> World:
    return World(a_route(**{"on_in_doubt": "probe", "probe": asks or probe(), **call}))


async def lost(on: World, *answers: Any) -> Process:
    """A process of which nobody knows what its call did; ``answers`` is what comes from then on."""
    await on.supervisor.recover()
    on.upstream.script = [LOST, *(answers or (Reply(),))]
    process = await on.accepted()
    return await on.until(process.id, lambda found: found.tries == 1 and found.owner is None)


async def asked(on: World, process: Process) -> Process:
    """Let the time of the next question come, and wait for what it leads to."""
    assert process.due_at is not None
    on.clock.instant = process.due_at
    on.executor.wake(process.route, 0)
    return await on.until(process.id, lambda found: found.sequence > process.sequence)


async def at_rest(on: World, process: Process) -> Process:
    return await on.until(process.id, lambda found: found.owner is None and found.state is not State.WAITING)


def sound(on: World) -> None:
    assert list(Fsck(on.store)) == []


def sent(on: World) -> list[tuple[str, bytes]]:
    return [(request.method, request.target.partition(b"?")[0].rpartition(b"/")[0]) for request in on.upstream.sent]


async def test_nobody_asks_before_the_legacy_side_has_settled_and_clients_see_it_processing() -> None:
    on = world()
    process = await lost(on)
    assert (process.state, process.public_state, process.effect) == (State.IN_DOUBT, PublicState.PROCESSING, None)
    assert process.due_at == NOON + 75_000
    on.clock.pass_(74)
    on.executor.wake(process.route, 0)
    await on.supervisor.look()
    assert len(on.upstream.sent) == 1
    sound(on)


async def test_a_question_that_is_due_is_left_to_who_asks_it() -> None:
    on = world()
    process = await lost(on)
    on.clock.pass_(75)
    await on.lease.renew()
    await on.supervisor.look()
    assert await on.process(process.id) == process


async def test_applied_settles_it() -> None:
    on = world()
    process = await asked(on, await lost(on, FOUND))
    assert (process.state, process.effect, process.result_status) == (State.COMPLETED, Effect.APPLIED, None)
    assert await on.store.reply(process.id) is None
    assert sent(on) == [("POST", b""), ("GET", b"/claims")]
    assert process.tries == 1
    sound(on)


async def test_the_client_gets_what_the_policy_makes_of_the_answer() -> None:
    made = Content(body=Formula(text="{claim: reply.body.id, amount: body.amount, by: method}"))
    on = world(probe(result=ProbeResult(status=201, body=Rendering(made, find_hook))))
    process = await asked(on, await lost(on, FOUND))
    reply = await on.store.reply(process.id)
    assert reply is not None
    assert (process.result_status, reply[1].status, dict(reply[1].headers)) == (201, 201, dict([JSON]))
    assert json.loads(reply[1].body.data or b"") == {"claim": "17", "amount": 12, "by": "POST"}
    sound(on)


async def test_a_result_may_have_no_body() -> None:
    on = world(probe(result=ProbeResult(status=204)))
    process = await asked(on, await lost(on, FOUND))
    assert (process.state, process.result_status, process.result_length) == (State.COMPLETED, 204, 0)
    sound(on)


async def test_absent_lets_it_be_repeated_once_whatever_attempts_says() -> None:
    on = world(attempts=1)
    process = await asked(on, await lost(on, MISSING, Reply(200, b"at last")))
    process = await on.ended(process.id)
    assert (process.state, process.tries, process.attempts, process.repeated) == (State.COMPLETED, 2, 1, True)
    assert sent(on) == [("POST", b""), ("GET", b"/claims"), ("POST", b"")]
    sound(on)


async def test_what_was_absent_did_nothing_so_its_rejected_repeat_has_no_effect() -> None:
    on = world()
    await asked(on, process := await lost(on, MISSING, Reply(422, b"declined")))
    process = await on.ended(process.id)
    assert (process.state, process.effect) == (State.REJECTED, Effect.NONE)


async def test_absent_for_a_second_time_is_left_to_a_person() -> None:
    on = world()
    process = await lost(on, MISSING, LOST, MISSING)
    await asked(on, process)
    again = await on.until(process.id, lambda found: found.tries == 2 and found.owner is None)
    assert (again.state, again.settling, again.probes) == (State.IN_DOUBT, True, 0)
    process = await asked(on, again)
    assert (process.public_state, process.reason, process.effect) == (
        PublicState.UNCONFIRMED,
        "probe-absent-again",
        Effect.UNKNOWN,
    )
    assert [method for method, _ in sent(on)] == ["POST", "GET", "POST", "GET"]
    sound(on)


async def test_a_repeat_that_is_lost_too_is_asked_about_and_may_have_been_applied() -> None:
    on = world()
    await asked(on, process := await lost(on, MISSING, LOST, FOUND))
    again = await on.until(process.id, lambda found: found.tries == 2 and found.owner is None)
    assert (await asked(on, again)).state is State.COMPLETED
    sound(on)


async def test_without_absent_nothing_is_ever_repeated() -> None:
    on = world(probe(absent=None, attempts=1))
    process = await asked(on, await lost(on, MISSING))
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "probe-inconclusive")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(PAGE, "probe-inconclusive"), (LOST, "probe-unanswered"), (DOWN, "probe-unanswered")],
)
async def test_what_tells_nothing_is_asked_again_until_it_is_left_to_a_person(answer: Any, reason: str) -> None:
    on = world(probe(attempts=3))
    process = await lost(on, answer)
    for number in (1, 2):
        version = process.version
        process = await asked(on, process)
        assert (process.state, process.probes, process.version) == (State.IN_DOUBT, number, version)
        assert process.due_at == on.clock.instant + 30_000
    process = await asked(on, process)
    assert (process.public_state, process.reason, process.due_at) == (PublicState.UNCONFIRMED, reason, None)
    (ledger,) = on.store.all()
    assert [exception.kind for exception in ledger.exceptions] == ["in_doubt"]
    assert [method for method, _ in sent(on)].count("POST") == 1
    sound(on)


async def test_who_asks_to_be_left_alone_is_left_alone_but_not_for_ever() -> None:
    on = world()
    process = await lost(
        on, Reply(503, b"", [(b"Retry-After", b"120")]), Reply(503, b"", [(b"Retry-After", b"9999999")])
    )
    process = await asked(on, process)
    assert process.due_at == on.clock.instant + 120_000
    process = await asked(on, process)
    assert process.due_at == on.clock.instant + 3_600_000


async def test_a_condition_that_cannot_be_evaluated_is_no_answer() -> None:
    on = world(probe(applied=body("abs(state) > `1`"), attempts=2))
    process = await asked(on, await lost(on, Reply(200, b'{"state": "x"}', [JSON])))
    assert (process.state, process.probes) == (State.IN_DOUBT, 1)
    assert (await asked(on, process)).reason == "probe-condition-failed"
    sound(on)


async def test_an_absent_that_cannot_be_evaluated_makes_an_applied_no_answer_too() -> None:
    on = world(probe(absent=body("abs(state) > `1`"), attempts=1))
    process = await asked(on, await lost(on, Reply(200, b'{"state": "x"}', [JSON])))
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "probe-condition-failed")


async def test_an_answer_that_says_both_says_nothing() -> None:
    on = world(probe(absent=when(statuses=((200, 299),)), attempts=1))
    process = await asked(on, await lost(on, FOUND))
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "probe-contradicts-itself")


async def test_the_page_of_an_error_is_not_what_a_condition_without_a_status_was_written_for() -> None:
    on = world(probe(absent=body("!found")))
    denied = Reply(403, b'{"error": "not yours"}', [JSON])
    process = await asked(on, await lost(on, denied, Reply(200, b'{"count": 0}', [JSON]), Reply(200, b"done")))
    assert (process.state, process.probes) == (State.IN_DOUBT, 1)
    assert len(on.upstream.sent) == 2


async def test_an_answer_too_large_to_look_into_is_no_answer() -> None:
    on = world(probe(applied=body("found"), attempts=1))
    process = await asked(on, await lost(on, Reply(200, b'{"found": "%b"}' % (b"x" * 300_000), [JSON])))
    assert process.reason == "probe-condition-failed"
    sound(on)


async def test_a_result_that_cannot_be_made_leaves_it_in_doubt() -> None:
    made = Rendering(Content(body=Formula(text="abs(reply.body.id)")), find_hook)
    on = world(probe(result=ProbeResult(body=made), attempts=1))
    process = await asked(on, await lost(on, FOUND))
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "probe-result-failed")


async def test_a_request_that_the_question_cannot_be_made_of_is_left_to_a_person_unasked() -> None:
    on = world(probe(template=Template("/claims/{body.number}", RECORDED_NAMES), attempts=1))
    process = await asked(on, await lost(on, FOUND))
    assert process.reason == "probe-question-failed"
    assert len(on.upstream.sent) == 1


async def test_the_question_is_made_of_the_request_and_its_process() -> None:
    path = "/claims/{path.claim}/{body.amount}?by={process.correlationId}&q={query.q}&m={method}"
    on = world(probe(template=Template(path, RECORDED_NAMES), method="HEAD"))
    on.load(replace(on.route, match=replace(on.route.match, paths=("/claims/{claim}",))))
    await on.supervisor.recover()
    on.upstream.script = [LOST, FOUND]
    request = a_request(target=b"/claims/a%2F1?q=x", headers=[(b"X-Correlation-ID", b"c-1"), (b"Prefer", b"x")])
    process = await on.accepted(request)
    process = await on.until(process.id, lambda found: found.state is State.IN_DOUBT)
    await asked(on, process)
    question = on.upstream.sent[1]
    assert (question.method, question.target) == ("HEAD", b"/claims/a%2F1/12?by=c-1&q=x&m=POST")
    assert question.body.size == 0


async def test_the_upstream_is_asked_as_the_client_did_without_body_key_and_wishes() -> None:
    on = world(probe(set_headers=(("X-Asked-By", "strangler"),), timeout=3.0))
    await on.supervisor.recover()
    on.upstream.script = [LOST, FOUND]
    process = await on.accepted(a_request(headers=[(b"Authorization", b"Bearer t"), (b"Idempotency-Key", b"k-1")]))
    await asked(on, await on.until(process.id, lambda found: found.state is State.IN_DOUBT))
    fields = {name.lower(): value for name, value in on.upstream.sent[1].headers}
    assert (fields[b"authorization"], fields[b"x-asked-by"]) == (b"Bearer t", b"strangler")
    assert (fields[b"accept-encoding"], on.upstream.calls[1]["timeout"]) == (b"identity", 3.0)
    assert not {b"content-type", b"idempotency-key"} & fields.keys()


async def test_another_upstream_gets_nothing_of_the_client() -> None:
    ledger = Upstream(name="ledger", scheme="http", host="ledger.example", port=80, base_path="/v2")
    on = world(probe(upstream=ledger, set_headers=(("Authorization", "Bearer service"),)))
    await on.supervisor.recover()
    on.upstream.script = [LOST, FOUND]
    process = await on.accepted(a_request(headers=[(b"Authorization", b"Bearer t"), (b"X-Own", b"1")]))
    await asked(on, await on.until(process.id, lambda found: found.state is State.IN_DOUBT))
    question = on.upstream.sent[1]
    fields = {name.lower(): value for name, value in question.headers}
    assert on.upstream.calls[1]["upstream"] == "ledger"
    assert question.target.startswith(b"/v2/claims/")
    assert (fields[b"host"], fields[b"authorization"]) == (b"ledger.example", b"Bearer service")
    assert b"x-own" not in fields


async def test_each_question_and_its_answer_is_kept() -> None:
    on = world()
    process = await asked(on, await lost(on, DOWN, PAGE, FOUND))
    process = await asked(on, process)
    await asked(on, process)
    (ledger,) = on.store.all()
    kept = [(one.source, one.attempt, one.status, one.body) for one in ledger.evidence]
    assert kept == [
        ("probe", 1, None, b""),
        ("probe", 1, 500, b"<html>"),
        ("probe", 1, 200, b'{"id": "17", "amount": 12}'),
    ]
    assert ledger.evidence[0].headers[:2] == [(b":method", b"GET"), (b":target", b"/claims/" + process.id.encode())]
    notes = [json.loads(event.content).get("note") for event in ledger.events]
    assert notes[-3:-1] == ["probe-unanswered", "probe-inconclusive"]


async def test_what_waits_for_a_question_takes_no_place_in_the_queue_and_has_no_deadline() -> None:
    on = World(a_route(on_in_doubt="probe", probe=probe(), deadline=60.0))
    process = await lost(on, FOUND)
    assert (on.lanes.of("submit-claim").waiting, await on.store.backlog()) == (0, {})
    on.clock.pass_(61)
    await on.supervisor.look()
    assert (await on.process(process.id)).state is State.IN_DOUBT
    assert (await asked(on, process)).state is State.COMPLETED


async def test_the_deadline_ends_what_did_nothing_and_waits_for_its_repeat() -> None:
    on = World(a_route(on_in_doubt="probe", probe=probe(), deadline=60.0))
    process = await lost(on, MISSING)
    await asked(on, process)
    ended = await on.ended(process.id)
    assert (ended.state, ended.effect) == (State.EXPIRED, Effect.NONE)
    assert len(on.upstream.sent) == 2
    sound(on)


async def test_the_next_worker_asks_on() -> None:
    on = world()
    process = await asked(on, await lost(on, PAGE, FOUND))
    on.restart("worker-2")
    on.clock.pass_(31)
    await on.supervisor.recover()
    process = await on.ended(process.id)
    assert (process.state, process.probes, process.tries) == (State.COMPLETED, 1, 1)
    sound(on)


async def test_what_a_dead_worker_had_under_way_is_asked_about() -> None:
    on = world()
    await on.supervisor.recover()
    began, never = asyncio.Event(), asyncio.Event()

    async def hangs(request: Any, sink: Any, may_send: Any) -> None:
        began.set()
        await never.wait()

    on.upstream.script = [hangs, FOUND]
    process = await on.accepted()
    await began.wait()
    on.restart("worker-2")
    on.clock.pass_(16)
    await on.supervisor.recover()
    process = await on.process(process.id)
    assert (process.state, process.due_at) == (State.IN_DOUBT, on.clock.instant + 75_000)
    assert (await asked(on, process)).state is State.COMPLETED
    never.set()


async def test_a_stricter_review_of_today_wins_also_while_it_waits_to_be_asked() -> None:
    on = world()
    process = await lost(on, FOUND)
    on.load(replace(on.route, call=replace(on.route.call, on_in_doubt="review")))
    process = await asked(on, process)
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "probe-not-asked")
    assert len(on.upstream.sent) == 1
    on = world()
    on.load(replace(on.route, call=replace(on.route.call, on_in_doubt="review")))
    assert (await lost(on)).public_state is PublicState.UNCONFIRMED
    sound(on)


async def test_what_was_promised_is_asked_although_today_it_would_be_repeated() -> None:
    on = world(attempts=3)
    on.load(replace(on.route, call=replace(on.route.call, on_in_doubt="retry")))
    assert (await asked(on, await lost(on, FOUND))).state is State.COMPLETED


async def test_without_a_question_of_today_a_person_has_to_find_out() -> None:
    on = world()
    on.load(replace(on.route, call=replace(on.route.call, probe=None)))
    process = await lost(on)
    assert process.public_state is PublicState.UNCONFIRMED
    on = world()
    process = await lost(on, FOUND)
    on.load(replace(on.route, call=replace(on.route.call, probe=None)))
    assert (await asked(on, process)).reason == "probe-not-asked"


async def test_what_is_to_be_asked_is_left_to_a_person_when_its_route_is_gone() -> None:
    on = world()
    process = await lost(on, FOUND)
    on.routes.clear()
    on.clock.pass_(76)
    await on.supervisor.look()
    process = await on.process(process.id)
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "probe-not-asked")
    sound(on)


async def test_a_gateway_that_lost_it_is_a_doubt_like_any_other() -> None:
    on = world()
    await on.supervisor.recover()
    on.upstream.script = [Reply(504, b""), FOUND]
    process = await on.until((await on.accepted()).id, lambda found: found.state is State.IN_DOUBT)
    assert (await asked(on, process)).state is State.COMPLETED


async def test_progress_that_is_told_while_the_upstream_is_asked_does_not_lose_the_answer() -> None:
    on = world()
    process = await lost(on)

    async def told_meanwhile(request: Any, sink: Any, may_send: Any) -> None:
        change = apply(await on.process(process.id), Report("ASSESSING"), on.clock.now())
        await on.store.commit(Commit(change))
        sink.head(200, b"", [])

    on.upstream.script = [told_meanwhile]
    on.clock.instant = process.due_at or 0
    on.executor.wake(process.route, 0)
    assert (await on.ended(process.id)).state is State.COMPLETED
    sound(on)


async def test_a_person_who_settles_it_while_the_upstream_is_asked_has_the_last_word() -> None:
    on = world()
    process = await lost(on)
    looked = asyncio.Event()

    async def meanwhile(request: Any, sink: Any, may_send: Any) -> None:
        change = apply(await on.process(process.id), Doubt("somebody looks", settling=False), on.clock.now())
        await on.store.commit(Commit(change))
        looked.set()
        sink.head(404, b"", [])

    on.upstream.script = [meanwhile]
    on.clock.instant = process.due_at or 0
    on.executor.wake(process.route, 0)
    await looked.wait()
    await on.executor.drain(1.0)
    assert (await on.process(process.id)).reason == "somebody looks"
    assert [method for method, _ in sent(on)] == ["POST", "GET"]


async def late(on: World, before: Any) -> tuple[Process, Any]:
    """A process whose first call is still under way although its worker was given up, and what lets it be answered."""
    await on.supervisor.recover()
    began, answer = asyncio.Event(), asyncio.Event()

    async def answers_late(request: Any, sink: Any, may_send: Any) -> None:
        began.set()
        await answer.wait()
        sink.head(200, b"", [])

    on.upstream.script = [answers_late, *before]
    process = await on.accepted()
    await began.wait()
    on.restart("worker-2")
    on.clock.pass_(16)
    await on.supervisor.recover()
    return await on.process(process.id), answer


async def test_a_late_reply_settles_what_waits_to_be_asked() -> None:
    on = world()
    process, answer = await late(on, [PAGE])
    answer.set()
    found = process
    while not found.final:
        await asyncio.sleep(0)
        found = await on.process(process.id)
    assert (found.state, found.effect) == (State.COMPLETED, Effect.APPLIED)
    sound(on)


async def test_a_late_reply_settles_also_what_was_said_to_be_absent_and_has_not_been_repeated_yet() -> None:
    on = world()
    process, answer = await late(on, [MISSING])
    on.routes.clear()  # so that nothing is claimed
    change = apply(process, Resume(on.clock.now(), absent=True), on.clock.now())
    await on.store.commit(Commit(change))
    answer.set()
    found = change.process
    while not found.final:
        await asyncio.sleep(0)
        found = await on.process(process.id)
    assert (found.state, found.effect, found.tries) == (State.COMPLETED, Effect.APPLIED, 1)
    assert len(on.upstream.sent) == 1
    sound(on)


async def test_the_table_lets_it_be_repeated_on_the_word_of_the_upstream_only_once() -> None:
    on = world()
    process = await lost(on)
    assert apply(process, Resume(NOON, absent=True), NOON).process.cancellable
    with pytest.raises(IllegalTransition):
        apply(process._replace(repeated=True), Resume(NOON, absent=True), NOON)
    with pytest.raises(IllegalTransition):
        apply(process._replace(settling=False), Probed(NOON, "x"), NOON)
    with pytest.raises(IllegalTransition):
        apply(process, Doubt("x", settling=False, due_at=NOON), NOON)
