"""What the upstream took and decides later: it is asked until it has decided, and its last answer is the outcome."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from strangler.config.hooks import find_hook
from strangler.domain.exchange import CHUNK_SIZE, Fault, FaultKind, Header
from strangler.domain.process import Effect, Process, PublicState, State
from strangler.domain.replies import attempt_of
from strangler.domain.steps import Follow, Report, Transition
from strangler.domain.transitions import apply
from strangler.engine.lanes import AllSlots
from strangler.engine.look import Looker
from strangler.engine.recorder import reply_part
from strangler.policy import conditions
from strangler.policy.expressions import Template
from strangler.policy.follow import TEMPLATE_NAMES
from strangler.policy.model import FollowPolicy
from strangler.policy.translate import Interpreter
from strangler.policy.wall import Condition, Formula, OutcomeRule, Wall
from strangler.ports import Commit
from strangler.store.fsck import Report as Fsck
from tests.engine.world import COMPAT, NOON, Reply, World, a_request, a_route

LOCATION: Header = (b"Location", b"/jobs/17")
JSON: Header = (b"Content-Type", b"application/json")
TAKEN = Reply(202, b"taken", [LOCATION])
LOST = Fault(FaultKind.INTERRUPTED, "connection reset")


def world(follow: FollowPolicy | None = None, **call: Any) -> World:
    return World(a_route(follow=follow or FollowPolicy(), **call))


def monitor(status: str, **members: Any) -> Reply:
    return Reply(200, json.dumps({"id": "17", "status": status, **members}).encode(), [JSON])


async def following(on: World, *script: Any, decision: Any = None) -> Process:
    """A process that the upstream took; ``script`` is what it answers from then on."""
    await on.supervisor.recover()
    on.upstream.script = [script[0], *(script[1:] or (Reply(),))]
    process = await (on.accepted() if decision is None else on.accepted(decision=decision))
    return await on.until(process.id, lambda found: found.state is not State.RECEIVED and found.owner is None)


async def looked(on: World, process: Process) -> Process:
    """Let the time of the next look come, and wait for what it leads to."""
    assert process.due_at is not None
    on.clock.instant = process.due_at
    on.executor.wake(process.route, 0)
    return await on.until(process.id, lambda found: found.sequence > process.sequence)


def sound(on: World) -> None:
    assert list(Fsck(on.store)) == []


async def test_a_202_with_a_location_is_followed_to_the_result() -> None:
    on = world()
    process = await following(on, TAKEN, Reply(202, b"", [(b"Retry-After", b"7")]), Reply(200, b"the result", [JSON]))
    assert (process.state, process.public_state) == (State.FOLLOWING, PublicState.PROCESSING)
    assert (process.follow_target, process.due_at) == ("/jobs/17", NOON + 30_000)
    process = await looked(on, process)
    assert (process.state, process.due_at) == (State.FOLLOWING, NOON + 37_000)
    process = await looked(on, process)
    assert (process.state, process.effect, process.result_status) == (State.COMPLETED, Effect.APPLIED, 200)
    reply = await on.store.reply(process.id)
    assert reply is not None
    assert reply[1].body.data == b"the result"
    assert [(sent.method, sent.target) for sent in on.upstream.sent] == [
        ("POST", b"/claims"),
        ("GET", b"/jobs/17"),
        ("GET", b"/jobs/17"),
    ]
    sound(on)


async def test_without_a_word_of_follow_a_202_is_what_it_always_was() -> None:
    on = World()
    process = await following(on, TAKEN)
    assert (process.state, process.result_status) == (State.COMPLETED, 202)


async def test_a_look_asks_as_the_client_did_but_has_no_body_no_key_and_no_wishes() -> None:
    on = world(FollowPolicy(set_headers=(("X-Asked-By", "strangler"),)))
    await on.supervisor.recover()
    on.upstream.script = [TAKEN, Reply()]
    request = a_request(
        headers=[
            (b"Authorization", b"Bearer t"),
            (b"Idempotency-Key", b"k-1"),
            (b"Prefer", b"x"),
            (b"If-Match", b'"1"'),
        ]
    )
    process = await on.until((await on.accepted(request)).id, lambda found: found.state is State.FOLLOWING)
    await looked(on, process)
    question = on.upstream.sent[1]
    fields = {name.lower(): value for name, value in question.headers}
    assert (question.body.size, fields[b"authorization"], fields[b"x-asked-by"]) == (0, b"Bearer t", b"strangler")
    assert not {b"content-type", b"idempotency-key", b"prefer", b"if-match"} & fields.keys()


async def test_a_process_is_followed_on_by_the_next_worker_as_if_nothing_had_happened() -> None:
    on = world()
    process = await following(on, TAKEN, Reply(200, b"at last"))
    on.restart("worker-2")
    on.clock.pass_(31)
    await on.supervisor.recover()
    process = await on.until(process.id, lambda found: found.final)
    assert (process.state, process.tries) == (State.COMPLETED, 1)
    assert [sent.method for sent in on.upstream.sent] == ["POST", "GET"]
    sound(on)


@pytest.mark.parametrize(
    ("meanwhile", "asked"),
    [
        (Follow(NOON + 60_000, "/jobs/17", NOON + 90_000, "202"), 0),  # another worker has looked
        (Report("ASSESSING"), 1),
    ],
)
async def test_what_is_told_since_it_was_found_due_keeps_nobody_from_asking_but_another_look_does(
    meanwhile: Transition, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = world()
    process = await following(on, TAKEN, Reply(200, b"decided"))
    change = apply(process, meanwhile, NOON + 30_000)
    begun = asyncio.Event()

    async def begin_behind_another(slots: AllSlots, process_id: str) -> bool:
        await on.store.commit(Commit(change))
        begun.set()
        return True

    monkeypatch.setattr(AllSlots, "begin_look", begin_behind_another)
    on.clock.instant = process.due_at or 0
    on.executor.wake(process.route, 0)
    await asyncio.wait_for(begun.wait(), 5.0)
    await on.executor.drain(5.0)
    assert len(on.upstream.sent) - 1 == asked
    assert (await on.process(process.id)).final == bool(asked)


async def test_a_look_that_is_not_allowed_now_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever allows it takes this worker for lost, and then nobody else wakes it."""
    on = world()
    monkeypatch.setattr("strangler.engine.execute._STORE_PAUSE", 1)
    process = await following(on, TAKEN, Reply(200, b"the result", [JSON]))
    asked: list[str] = []

    async def allowed_later(_: AllSlots, process_id: str) -> bool:
        asked.append(process_id)
        return len(asked) > 2

    monkeypatch.setattr(AllSlots, "begin_look", allowed_later)
    assert (await looked(on, process)).state is State.COMPLETED
    assert asked == [process.id] * 3


@pytest.mark.parametrize("answer", [LOST, Reply(503, b""), Reply(500, b""), Reply(429, b"", [(b"Retry-After", b"60")])])
async def test_a_look_that_could_not_be_answered_is_repeated(answer: Any) -> None:
    on = world()
    process = await looked(on, await following(on, TAKEN, answer, Reply(200, b"ok")))
    assert process.state is State.FOLLOWING
    assert (await looked(on, process)).state is State.COMPLETED


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_when_the_upstream_tells_no_more_a_person_has_to_find_out(status: int) -> None:
    on = world()
    process = await looked(on, await following(on, TAKEN, Reply(status, b"gone")))
    assert (process.public_state, process.reason, process.effect) == (
        PublicState.UNCONFIRMED,
        "follow-refused",
        Effect.UNKNOWN,
    )
    sound(on)


async def test_a_rejection_at_the_end_is_the_end() -> None:
    on = world()
    process = await looked(on, await following(on, TAKEN, Reply(422, b"declined")))
    assert (process.state, process.effect, process.result_status) == (State.REJECTED, Effect.NONE, 422)


async def test_a_303_is_asked_for_the_result_within_the_same_look() -> None:
    on = world()
    see_other = Reply(303, b"", [(b"Location", b"results/17")])
    process = await looked(on, await following(on, TAKEN, see_other, Reply(404, b"no such policy")))
    assert (process.state, process.result_status) == (State.REJECTED, 404)
    assert process.effect is Effect.UNKNOWN, "it was taken, and may have been done"
    assert on.upstream.sent[-1].target == b"/jobs/results/17"


async def test_places_that_send_on_to_one_another_are_given_up() -> None:
    on = world()
    there, back = Reply(307, b"", [(b"Location", b"/jobs/18")]), Reply(307, b"", [LOCATION])
    process = await looked(on, await following(on, TAKEN, there, back, there, back, there, back))
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "follow-nowhere")


@pytest.mark.parametrize(
    "place",
    [b"http://169.254.169.254/latest", b"//elsewhere.example/x", b"ftp://claims.example/x", b"/a\xe9", b"http://[/"],
)
async def test_only_the_upstream_itself_is_asked(place: bytes) -> None:
    on = world()
    process = await following(on, Reply(202, b"", [(b"Location", place)]))
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "follow-nowhere")
    assert len(on.upstream.sent) == 1
    sound(on)


@pytest.mark.parametrize("name", [b"127.0.0.1:8081", b"claims.example", b"public.example", b"PUBLIC.example"])
async def test_an_absolute_location_may_call_the_upstream_by_any_of_its_names(name: bytes) -> None:
    on = world()
    process = await following(on, Reply(202, b"", [(b"Location", b"https://%b/jobs/17?x=1" % name)]))
    assert process.follow_target == "/jobs/17?x=1"


async def test_a_202_that_names_no_place_leaves_nobody_to_ask() -> None:
    on = world(on_in_doubt="fail")
    process = await following(on, Reply(202, b""))
    assert (process.state, process.effect, process.reason) == (State.FAILED, Effect.UNKNOWN, "follow-nowhere")
    assert (process.has_result, await on.store.reply(process.id)) == (False, None)


async def test_an_answer_that_tells_nothing_any_more_is_no_result_where_that_ends_it() -> None:
    on = world(on_in_doubt="fail")
    process = await looked(on, await following(on, TAKEN, Reply(403, b"who are you?")))
    assert (process.state, process.effect, process.reason) == (State.FAILED, Effect.UNKNOWN, "follow-refused")
    assert (process.has_result, await on.store.reply(process.id)) == (False, None)


async def test_what_takes_too_long_is_in_doubt() -> None:
    on = world(FollowPolicy(duration=40.0))
    process = await looked(on, await following(on, TAKEN, Reply(202, b"")))
    assert process.due_at == NOON + 40_000
    process = await looked(on, process)
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "follow-over")
    sound(on)


async def test_what_takes_too_long_is_in_doubt_also_when_its_route_is_gone() -> None:
    on = world(FollowPolicy(duration=40.0))
    process = await following(on, TAKEN)
    on.routes.clear()
    on.clock.pass_(41)
    await on.supervisor.look()
    assert (await on.process(process.id)).reason == "follow-over"


async def test_the_deadline_does_not_end_what_the_upstream_took() -> None:
    on = World(a_route(follow=FollowPolicy(every=90.0), deadline=60.0))
    process = await following(on, TAKEN, Reply(200, b"ok"))
    on.clock.pass_(61)
    await on.supervisor.look()
    assert (await on.process(process.id)).state is State.FOLLOWING
    assert (await looked(on, process)).state is State.COMPLETED


async def test_what_is_followed_takes_no_place_in_the_queue() -> None:
    on = world()
    await following(on, TAKEN)
    assert (on.lanes.of("submit-claim").waiting, await on.store.backlog()) == (0, {})


async def test_the_longer_it_takes_the_rarer_it_is_asked_so_that_the_history_stays_short() -> None:
    on = world(FollowPolicy(every=30.0))
    process = await following(on, TAKEN, Reply(202, b"", [(b"Retry-After", b"1")]))
    on.clock.pass_(86_400)
    process = await looked(on, process._replace(due_at=on.clock.instant))
    assert process.due_at == on.clock.instant + 864_000


async def test_a_monitor_is_asked_until_its_status_is_final_and_says_where_the_result_lies() -> None:
    on = world(FollowPolicy(header="operation-location"))
    taken = Reply(201, b"{}", [(b"Operation-Location", b"/operations/17")])
    there = monitor("Succeeded", resourceLocation="https://claims.example/claims/17")
    resource = Reply(200, b'{"status": "Running about"}', [JSON])
    process = await following(on, taken, monitor("Running"), there, resource)
    assert process.follow_target == "/operations/17"
    process = await looked(on, await looked(on, process))
    assert (process.state, process.result_status) == (State.COMPLETED, 200)
    assert on.upstream.sent[-1].target == b"/claims/17"
    reply = await on.store.reply(process.id)
    assert reply is not None
    assert reply[1].body.data == resource.body


@pytest.mark.parametrize(("word", "reason"), [("Failed", "LegacyTimeout"), ("Canceled", "operation-failed")])
async def test_a_monitor_that_says_failed_is_a_failure(word: str, reason: str) -> None:
    on = world(FollowPolicy(header="azure-asyncoperation"))
    error = {"error": {"code": reason}} if word == "Failed" else {}
    process = await following(
        on, Reply(202, b"", [(b"Azure-AsyncOperation", b"/operations/17")]), monitor(word, **error)
    )
    process = await looked(on, process)
    assert (process.state, process.effect, process.reason) == (State.FAILED, Effect.UNKNOWN, reason)


async def test_half_of_a_surrogate_pair_in_a_monitor_is_no_defect() -> None:
    on = world(FollowPolicy(header="operation-location"))
    taken = Reply(202, b"", [(b"Operation-Location", b"/operations/17")])
    failed = await looked(on, await following(on, taken, monitor("Failed", error={"code": "No\ud800"})))
    assert (failed.state, failed.reason) == (State.FAILED, "No\N{REPLACEMENT CHARACTER}")
    on = world(FollowPolicy(header="operation-location"))
    nowhere = await looked(on, await following(on, taken, monitor("Succeeded", resourceLocation="/claims/\udfff")))
    assert (nowhere.state, nowhere.result_status) == (State.COMPLETED, 200)  # the answer itself is the result


async def test_a_template_makes_the_place_of_what_the_reply_says() -> None:
    url = Template("/jobs/{reply.body.job}?process={process.id}", TEMPLATE_NAMES)
    on = world(FollowPolicy(header=None, template=url))
    process = await following(on, Reply(202, b'{"job": "a/b 1"}', [JSON]), Reply(200, b"ok"))
    assert process.follow_target == f"/jobs/a%2Fb%201?process={process.id}"


async def test_a_template_that_finds_nothing_in_the_reply_leaves_nobody_to_ask() -> None:
    on = world(FollowPolicy(header=None, template=Template("/jobs/{reply.body.job}", TEMPLATE_NAMES)))
    assert (await following(on, Reply(202, b"no JSON"))).reason == "follow-nowhere"


async def test_progress_that_is_told_in_the_middle_of_a_look_does_not_lose_its_answer() -> None:
    on = world()
    process = await following(on, TAKEN, Reply(200, b"ok"))

    async def told_meanwhile(request: Any, sink: Any, may_send: Any) -> None:
        change = apply(await on.process(process.id), Report("ASSESSING", "with the assessor"), on.clock.now())
        await on.store.commit(Commit(change))
        sink.head(200, b"", [])

    on.upstream.script = [told_meanwhile]
    on.clock.instant = process.due_at or 0
    on.executor.wake(process.route, 0)
    ended = await on.until(process.id, lambda found: found.final)
    assert (ended.state, ended.status, ended.version) == (State.COMPLETED, None, process.version + 2)
    sound(on)


@pytest.mark.parametrize("status", [200, 503])
async def test_a_look_that_ends_behind_another_one_changes_nothing_of_its_answer(status: int) -> None:
    """Nothing keeps two workers from looking at once: one was frozen, or the store process began anew."""
    on = world()
    process = await following(on, TAKEN)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Any, sink: Any, may_send: Any) -> None:
        sink.head(status, b"", [])
        await sink.write(b"1" * (CHUNK_SIZE + 1))
        begun.set()
        await go_on.wait()
        await sink.write(b"1" * CHUNK_SIZE)

    on.upstream.script = [slow, Reply(200, b"2" * (2 * CHUNK_SIZE + 1))]
    on.clock.instant = process.due_at or 0
    lookers = [Looker(on.means, on.concluder, {}) for _ in range(2)]
    first = asyncio.create_task(lookers[0].look(on.route, process))
    await begun.wait()
    ended = await lookers[1].look(on.route, process)
    assert ended is not None
    assert ended.final
    go_on.set()
    assert await first is None
    found = await on.store.reply(process.id)
    assert found is not None
    number, reply = found
    chunks = [await on.store.read_chunk(process.id, reply_part(number), index) for index in range(reply.body.chunks)]
    assert b"".join(chunks) == b"2" * (2 * CHUNK_SIZE + 1)
    assert attempt_of(number) == process.tries
    sound(on)


async def test_progress_that_is_told_in_the_middle_of_the_call_does_not_lose_its_reply() -> None:
    on = World()
    await on.supervisor.recover()

    async def told_meanwhile(request: Any, sink: Any, may_send: Any) -> None:
        (held,) = await on.store.orphans("another boot", 0, 9)
        change = apply(held, Report("ASSESSING"), on.clock.now())
        await on.store.commit(Commit(change))
        sink.head(200, b"", [])

    on.upstream.script = [told_meanwhile]
    process = await on.accepted()
    ended = await on.until(process.id, lambda found: found.final)
    assert (ended.state, ended.status) == (State.COMPLETED, None)
    sound(on)


async def test_progress_that_is_told_while_it_waits_does_not_keep_it_waiting() -> None:
    on = World(a_route(concurrency=1))
    await on.supervisor.recover()
    hold = Reply(200, b"first")
    release: list[Any] = []

    async def held(request: Any, sink: Any, may_send: Any) -> None:

        gate = asyncio.Event()
        release.append(gate)
        await gate.wait()
        sink.head(200, b"", [])

    on.upstream.script = [held, hold]
    first = await on.accepted()
    second = await on.accepted()
    change = apply(await on.process(second.id), Report("WAITING_FOR_NIGHT"), on.clock.now())
    await on.store.commit(Commit(change))
    while not release:
        await on.until(first.id, lambda found: found.state is State.PROCESSING)

        await asyncio.sleep(0)
    release[0].set()
    assert (await on.until(second.id, lambda found: found.final)).state is State.COMPLETED


async def test_a_client_that_waits_keeps_its_answer_although_the_system_behind_became_asynchronous() -> None:
    on = world()
    process = await following(on, TAKEN, Reply(200, b"the answer of old"), decision=COMPAT)
    with on.outcomes.interest(process.id):
        await looked(on, process)
        settled = on.outcomes.get(process.id)
    assert settled is not None
    assert settled.reply is not None
    assert settled.reply.body.data == b"the answer of old"


def done(**condition: Any) -> FollowPolicy:
    """Followed until a condition holds."""
    return FollowPolicy(done=conditions.Test(Condition(**condition), find_hook))


BODY = Formula(text="state != 'PENDING'")


def says(state: str, status: int = 200) -> Reply:
    return Reply(status, json.dumps({"state": state}).encode(), [JSON])


async def test_with_a_condition_it_alone_says_when_it_has_decided() -> None:
    on = world(done(statuses=((200, 299),), body=BODY))
    script = [Reply(404, b"not there yet"), Reply(503, b"<down>"), says("PENDING"), says("APPROVED", 202)]
    process = await following(on, TAKEN, *script)
    for _ in range(3):
        process = await looked(on, process)
        assert process.state is State.FOLLOWING
    process = await looked(on, process)
    assert (process.state, process.result_status) == (State.COMPLETED, 202)


async def test_with_a_condition_too_the_upstream_may_tell_no_more() -> None:
    on = world(done(body=BODY))
    assert (await looked(on, await following(on, TAKEN, says("PENDING", 410)))).reason == "follow-refused"


async def test_a_condition_that_cannot_be_evaluated_leaves_it_in_doubt() -> None:
    on = world(done(body=Formula(text="abs(state) > `1`")))
    process = await looked(on, await following(on, TAKEN, says("PENDING")))
    assert (process.public_state, process.reason) == (PublicState.UNCONFIRMED, "follow-condition-failed")
    sound(on)


async def test_the_page_of_a_system_that_is_down_is_not_what_a_condition_was_written_for() -> None:
    on = world(done(body=BODY))
    page = Reply(503, b"<html>", [(b"Content-Type", b"text/html")])
    assert (await looked(on, await following(on, TAKEN, page))).state is State.FOLLOWING
    on = world(done(statuses=((503, 503),)))
    assert (await looked(on, await following(on, TAKEN, page))).state is State.FAILED


RULES = (
    OutcomeRule(when=Condition(body=Formula(text="state == 'PENDING'")), state="pending", status="ASSESSING"),
    OutcomeRule(when=Condition(body=Formula(text="state == 'NO'")), state="rejected", status="DECLINED"),
)


def with_rules(**call: Any) -> World:
    """A route whose outcome rules say what is pending."""
    route = a_route(follow=FollowPolicy(header=None, template=Template("/jobs/{process.id}", TEMPLATE_NAMES)), **call)
    wall = Interpreter(Wall(paths=("/claims",), outcome=RULES), find_hook)
    promise = replace(route.promise, wall=wall)
    return World(replace(route, promise=promise))


async def test_a_body_that_says_pending_is_followed_by_the_rules_that_said_so() -> None:
    on = with_rules()
    process = await following(on, says("PENDING"), says("PENDING"), says("NO"))
    assert (process.state, process.public_state, process.status) == (
        State.FOLLOWING,
        PublicState.PROCESSING,
        "ASSESSING",
    )
    assert process.follow_target == f"/jobs/{process.id}"
    again = await looked(on, process)
    assert (again.state, again.version) == (State.FOLLOWING, process.version)
    ended = await looked(on, again)
    assert (ended.state, ended.status, ended.effect) == (State.REJECTED, "DECLINED", Effect.NONE)
    last = (await on.store.events(process.id))[-1]
    assert json.loads(last.content)["note"] == "outcome[1]"  # the rule that decided
    sound(on)


async def test_what_an_earlier_worker_was_told_to_follow_ends_by_the_promised_rules() -> None:
    on = with_rules()
    process = await following(on, says("PENDING"), says("YES"))
    on.load(replace(on.route, promise=a_route(follow=FollowPolicy()).promise))
    on.restart("worker-2")
    await on.supervisor.recover()
    assert (await looked(on, process)).state is State.COMPLETED
