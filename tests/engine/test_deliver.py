"""Delivering: at least once, in order, lane by lane; nothing is lost, whatever a receiver does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from strangler.domain import instant
from strangler.domain.delivery import (
    FINAL_STATES,
    Delivery,
    DeliveryState,
    Subscription,
    Tried,
    write_subscriptions,
)
from strangler.domain.exchange import Body, RecordedReply
from strangler.domain.process import Effect, PublicState, State
from strangler.domain.steps import Accept, Claim, Doubt, Finish
from strangler.domain.transitions import Change, apply
from strangler.engine.delivery_lanes import NARROWED_AFTER, STOCK, reaches
from strangler.policy.model import Rate
from strangler.policy.receivers import Receiver
from strangler.ports import (
    Answered,
    Commit,
    DeliveryQuery,
    ExceptionQuery,
    Forbidden,
    Message,
    ReceiverPause,
    Reception,
    Unreached,
)
from tests.engine.receivers import NO_DESCRIPTOR, OK, REFUSED, TRACE, Gate, Telling, answer
from tests.engine.world import NOON

TO_A = Subscription("broker-a")
TO_B = Subscription("broker-b")


def named(host: str, path: str = "/hook") -> Subscription:
    return Subscription("partners", f"https://{host}.partner.example{path}")


@pytest.fixture(params=[True, False], ids=["here", "elsewhere"])
async def telling(request: pytest.FixtureRequest) -> AsyncIterator[Telling]:
    telling = Telling(here=request.param)
    telling.receiver()
    yield telling
    await telling.deliverer.drain(0.0)


@pytest.fixture
async def begun(telling: Telling) -> Telling:
    await telling.deliverer.begin()
    return telling


# ── One delivery ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_end_of_a_process_is_told_to_its_receiver(begun: Telling) -> None:
    process = await begun.process()
    await begun.settled()
    ((receiver, message),) = begun.sender.sent
    assert receiver == "broker-a"
    assert message.url == "https://broker-a.example/hook"
    assert (message.type, message.subject) == ("ClaimSubmission.completed", process.id)
    assert message.source == "https://public.example/claims"
    assert (message.attempt_at, message.occurred_at, message.correlation_id) == (NOON, NOON, "c-1")
    told = json.loads(message.body)
    assert told["type"] == "ClaimSubmission.completed"
    assert (told["data"]["id"], told["data"]["state"]) == (process.id, "completed")
    assert "idempotencyKey" not in told["data"]
    delivery = await begun.one(process)
    assert message.webhook_id == delivery.id
    assert delivery.state is DeliveryState.DELIVERED
    found = await begun.store.deliveries.log(delivery[:3])
    assert found is not None
    (line,) = found[1]
    assert (line.number, line.outcome, line.status, line.address) == (1, Tried.DELIVERED, 200, "192.0.2.1")
    assert (line.head, line.at, line.duration) == (b"thanks", NOON, 3)


async def test_the_latency_of_a_delivery_is_told(telling: Telling) -> None:
    process = await telling.process()
    telling.clock.pass_(1.5)
    await telling.deliverer.begin()
    await telling.settled()
    ((_, (delivery, line, seconds, _)),) = [told for told in telling.instrument.told if told[0] == "delivery_tried"]
    assert (delivery.process_id, line.outcome, seconds) == (process.id, Tried.DELIVERED, 1.5)


async def test_each_attempt_is_a_span_of_its_own_in_the_trace_of_its_process(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(500), OK]
    await begun.process()
    await begun.settled()
    await begun.pass_(5)
    first, second = begun.sender.to("broker-a")
    assert {first.tracestate, second.tracestate} == {"congo=1"}
    spans = [TRACE, first.traceparent or "", second.traceparent or ""]
    assert len(set(spans)) == 3
    assert {span[:36] for span in spans} == {TRACE[:36]}
    told = [values[3] for name, values in begun.instrument.told if name == "delivery_tried"]
    assert told == spans[1:]


async def test_nothing_is_sent_before_it_begins_and_all_is_sent_then(telling: Telling) -> None:
    await telling.processes(3)
    await asyncio.sleep(0)
    assert telling.sender.sent == []
    await telling.deliverer.begin()
    await telling.settled()
    assert len(telling.sender.sent) == 3


async def test_what_was_not_taken_is_sent_again_on_schedule_signed_anew_and_otherwise_the_same(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(500), REFUSED, OK]
    process = await begun.process()
    await begun.settled()
    assert (await begun.one(process)).due_at == NOON + 5_000
    await begun.pass_(4.9)
    assert len(begun.sender.sent) == 1
    await begun.pass_(0.1)
    assert (await begun.one(process)).due_at == NOON + 30_000
    await begun.pass_(25)
    first, second, third = begun.sender.to("broker-a")
    assert {message.webhook_id for message in (first, second, third)} == {first.webhook_id}
    assert {message.body for message in (first, second, third)} == {first.body}
    assert [message.attempt_at - NOON for message in (first, second, third)] == [0, 5_000, 30_000]
    delivery = await begun.one(process)
    assert delivery.state is DeliveryState.DELIVERED
    found = await begun.store.deliveries.log(delivery[:3])
    assert found is not None
    assert [(line.outcome, line.status, line.error) for line in found[1]] == [
        (Tried.REFUSED, 500, None),
        (Tried.UNREACHED, None, "the connection was refused"),
        (Tried.DELIVERED, 200, None),
    ]


async def test_the_deadline_that_is_told_is_that_of_the_change_whatever_is_paused_later(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(500), OK]
    draft = begun._draft((Subscription("broker-a", states=frozenset({PublicState.UNCONFIRMED})),))
    begun.pauses.begin(draft.route, NOON)
    begun.clock.pass_(100)
    begun.pauses.end(draft.route, NOON + 100_000)
    change = apply(None, Accept(draft), NOON).then(Claim("w"), NOON + 100_000)
    change = change.then(Doubt("timeout", settling=False), NOON + 100_000)
    await begun.store.commit(Commit(change))
    await begun.deliverer.look()
    await begun.settled()
    begun.pauses.begin(draft.route, NOON + 101_000)
    await begun.pass_(5)
    first, second = (json.loads(message.body) for message in begun.sender.to("broker-a"))
    assert first == second
    assert instant.from_text(first["data"]["deadlineAt"]) == draft.deadline_at + 100_000


@pytest.mark.parametrize("status", [100, 199, 300, 302, 400, 401, 404, 499, 500, 502])
async def test_nothing_but_2xx_is_delivered(begun: Telling, status: int) -> None:
    begun.sender.scripts["broker-a"] = [answer(status)]
    process = await begun.process()
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.PENDING


async def test_after_the_last_attempt_it_is_a_dead_letter_that_somebody_is_shown(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(500)]
    process = await begun.process()
    for seconds in (0, 5, 25, 125, 625):
        await begun.pass_(seconds)
    assert len(begun.sender.sent) == 3
    delivery = await begun.one(process)
    assert (delivery.state, delivery.attempts, delivery.reason) == (DeliveryState.DEAD, 3, "it answered 500")
    (exception,) = await begun.store.exceptions.page(ExceptionQuery())
    assert (exception.kind, exception.process_id, exception.subject) == ("dead_delivery", process.id, delivery.id)
    assert "broker-a was not told after 3 attempts" in exception.detail


async def test_a_refusal_to_connect_anywhere_forbidden_counts_and_is_in_the_log(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [Forbidden(reason="127.0.0.1 is a loopback address")]
    process = await begun.process()
    await begun.settled()
    delivery = await begun.one(process)
    assert delivery.attempts == 1
    found = await begun.store.deliveries.log(delivery[:3])
    assert found is not None
    assert [(line.outcome, line.error) for line in found[1]] == [(Tried.FORBIDDEN, "127.0.0.1 is a loopback address")]


async def test_faults_of_our_own_use_up_no_attempt_and_hold_the_lane_ever_longer(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [NO_DESCRIPTOR, NO_DESCRIPTOR, NO_DESCRIPTOR, OK]
    one = await begun.process()
    await begun.settled()
    other = await begun.process()
    await begun.settled()
    assert len(begun.sender.sent) == 1  # a second call would fail likewise
    assert (await begun.one(one)).attempts == 0
    for seconds in (1, 2, 4):
        await begun.pass_(seconds)
    await begun.pass_(60)
    for process in (one, other):
        delivery = await begun.one(process)
        assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 0)


async def test_a_receiver_that_asks_for_peace_gets_it_in_its_whole_lane(begun: Telling) -> None:
    begun.receiver("broker-a", concurrency=1)
    begun.sender.scripts["broker-a"] = [answer(429, 60_000), OK]
    await begun.processes(3)
    await begun.settled()
    await begun.pass_(59)
    assert len(begun.sender.sent) == 1
    await begun.pass_(1)
    assert len(begun.sender.sent) == 4
    assert len(await begun.all(DeliveryState.DELIVERED)) == 3


async def test_peace_is_not_given_for_longer_than_the_longest_step(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(503, 10**12), OK]
    process = await begun.process()
    await begun.settled()
    await begun.pass_(3600)
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


@pytest.mark.parametrize("redriven", [True, False])
async def test_an_operator_ends_the_peace_that_a_receiver_asked_for(begun: Telling, redriven: bool) -> None:
    begun.sender.scripts["broker-a"] = [answer(503, 3_000_000), OK]
    process = await begun.process()
    await begun.settled()
    if redriven:
        await begun.redriver.one((await begun.one(process))[:3], "ann", "they are back")
    else:
        await begun.deliverer.pause(PAUSE)
        assert await begun.deliverer.resume("broker-a", None, "ann")
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_many_that_are_put_back_leave_a_receiver_in_the_peace_that_it_asked_for(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(503, 3_000_000), OK]
    process = await begun.process()
    await begun.settled()
    assert await begun.redriver.many(DeliveryQuery("broker-a"), "ann", "all of them") == 1
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.PENDING
    assert len(begun.sender.sent) == 1
    begun.clock.pass_(3_000)
    await begun.deliverer.look()
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_the_reply_goes_along_where_the_receiver_wants_it(begun: Telling) -> None:
    begun.receiver("broker-a", payload="result")
    reply = RecordedReply(200, b"OK", ((b"Content-Type", b"text/plain"),), Body(2, b"d", b"ok"))
    await begun.process(reply=(1, reply))
    await begun.settled()
    told = json.loads(begun.sender.sent[0][1].body)
    assert "idempotencyKey" not in told["data"]
    assert told["data"]["reply"] == {"status": 200, "headers": {"content-type": "text/plain"}, "body": "ok"}


# ── Lanes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_dead_receiver_keeps_no_other_one_waiting(begun: Telling) -> None:
    begun.receiver("broker-b")
    dead = Gate(REFUSED)
    begun.sender.scripts["broker-a"] = [dead]
    await begun.processes(50, TO_A)
    await dead.reached.wait()
    told = await begun.processes(20, TO_B)
    await begun.until(lambda: len(begun.sender.to("broker-b")) == 20)
    # All of them arrived although nothing of the dead one has come to an end yet.
    assert dead.waiting == dead.most == 8
    assert {message.subject for message in begun.sender.to("broker-b")} == {process.id for process in told}
    dead.open.set()


async def test_one_dead_url_keeps_no_other_origin_of_its_receiver_waiting(begun: Telling) -> None:
    begun.partners(concurrency=2)
    dead = Gate(REFUSED)
    begun.sender.scripts["https://dead.partner.example/hook"] = [dead]
    await begun.processes(10, named("dead"))
    await dead.reached.wait()
    await begun.processes(10, named("well"))
    await begun.until(lambda: len([1 for _, message in begun.sender.sent if "well" in message.url]) == 10)
    assert dead.waiting == dead.most == 2
    dead.open.set()


async def test_no_more_are_under_way_than_the_policy_says(begun: Telling) -> None:
    begun.receiver("broker-a", concurrency=3)
    gate = Gate()
    begun.sender.scripts["broker-a"] = [gate]
    await begun.processes(300)
    await begun.until(lambda: gate.waiting == 3)
    gate.open.set()
    await begun.settled()
    assert gate.most == 3
    assert len(await begun.all(DeliveryState.DELIVERED)) == 300
    assert len({message.webhook_id for message in begun.sender.to("broker-a")}) == len(begun.sender.sent) == 300


async def test_a_receiver_is_called_no_more_often_than_its_rate(begun: Telling) -> None:
    begun.receiver("broker-a", rate=Rate(3, 60.0))
    begun.receiver("broker-b")
    await begun.processes(5, TO_A, TO_B)
    await begun.settled()
    assert (len(begun.sender.to("broker-a")), len(begun.sender.to("broker-b"))) == (3, 5)
    await begun.pass_(19.9)
    assert len(begun.sender.to("broker-a")) == 3
    await begun.pass_(0.1)
    assert len(begun.sender.to("broker-a")) == 4
    await begun.pass_(20)
    assert len(begun.sender.to("broker-a")) == 5
    assert len(await begun.all(DeliveryState.DELIVERED)) == 10


async def test_a_rate_is_remembered_while_nothing_is_due(begun: Telling) -> None:
    begun.receiver("broker-a", rate=Rate(3, 60.0))
    await begun.processes(3)
    await begun.settled()
    await begun.pass_(1)
    await begun.processes(3)
    await begun.settled()
    assert len(begun.sender.sent) == 3
    await begun.pass_(120)
    assert len(begun.sender.sent) == 6


async def test_all_lanes_together_stay_within_bounds_and_one_lane_never_takes_them_all(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.deliver._AT_ONCE", 6)
    monkeypatch.setattr("strangler.engine.deliver._OF_ONE_LANE", 3)
    begun.receiver("broker-a", concurrency=50)
    begun.receiver("broker-b", concurrency=2)
    begun.receiver("broker-c", concurrency=2)
    gates = {name: Gate() for name in ("broker-a", "broker-b", "broker-c")}
    for name, gate in gates.items():
        begun.sender.scripts[name] = [gate]
    for name in gates:
        await begun.processes(10, Subscription(name))
    await begun.until(lambda: sum(gate.waiting for gate in gates.values()) == 6)
    assert [gate.waiting for gate in gates.values()] == [3, 2, 1]
    for gate in gates.values():
        gate.open.set()
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 30


async def test_lanes_that_wait_for_others_take_turns_and_only_whose_turn_it_is_is_looked_into(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.deliver._AT_ONCE", 1)
    looked: list[str] = []

    def counted(receiver: Receiver, lane: str) -> bool:
        looked.append(lane)
        return reaches(receiver, lane)

    names = [f"broker-{letter}" for letter in "abcdefghij"]
    gate = Gate()
    begun.sender.scripts["broker-a"] = [gate, OK]
    for name in names:
        begun.receiver(name)
        await begun.processes(2, Subscription(name))
    await begun.until(lambda: len(begun.deliverer._crowded) == len(names))
    monkeypatch.setattr("strangler.engine.deliver.reaches", counted)
    gate.open.set()
    await begun.settled()
    first, *others = [receiver for receiver, _ in begun.sender.sent]
    assert (first, sorted(others[:10]), sorted(others[10:])) == (names[0], names, names[1:])
    assert len(looked) <= 3 * len(begun.sender.sent)


async def test_lanes_in_which_nothing_is_to_be_sent_are_forgotten(begun: Telling) -> None:
    begun.partners()
    for number in range(5):
        await begun.process(named(f"host-{number}"))
    await begun.settled()
    await begun.deliverer.look()
    assert begun.deliverer._lanes == {}


async def test_what_was_ready_when_its_receiver_left_the_policy_is_found_again(begun: Telling) -> None:
    receiver = begun.receiver("broker-a", concurrency=1)
    gate = Gate()
    begun.sender.scripts["broker-a"] = [gate]
    await begun.processes(5)
    await gate.reached.wait()
    del begun.receivers["broker-a"]
    gate.open.set()
    await begun.settled()
    assert len(begun.sender.sent) == 1
    begun.receivers["broker-a"] = receiver
    begun.deliverer.policy_changed()
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 5


async def test_a_receiver_that_fails_again_and_again_is_called_one_by_one_until_it_is_well(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(500)]
    await begun.processes(NARROWED_AFTER)
    await begun.settled()
    first, others = Gate(), Gate()
    begun.sender.scripts["broker-a"] = [first, others]
    await begun.processes(20)
    await first.reached.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(begun.sender.sent) == NARROWED_AFTER + 1
    first.open.set()
    await begun.until(lambda: others.waiting == 8)
    others.open.set()
    await begun.settled()
    told = [values[0] for name, values in begun.instrument.told if name == "note"]
    assert told == ["receiver_narrowed", "receiver_widened"]


async def test_a_receiver_that_says_no_is_well_all_the_same(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(404)]
    await begun.processes(30)
    await begun.settled()
    assert [name for name, _ in begun.instrument.told if name == "note"] == []


async def test_what_is_told_of_one_process_is_told_in_order(begun: Telling) -> None:
    both = Subscription("broker-a", None, FINAL_STATES | {PublicState.PROCESSING})
    begun.sender.scripts["broker-a"] = [answer(500), OK]
    draft = begun._draft((both,))
    change = apply(None, Accept(draft), NOON).then(Claim("w"), NOON)
    await begun.store.commit(Commit(change))
    begun.committed(change)
    await begun.settled()
    change = apply(change.process, Finish(State.COMPLETED, Effect.APPLIED), NOON)
    await begun.store.commit(Commit(change))
    begun.committed(change)
    await begun.settled()
    assert [message.type for message in begun.sender.to("broker-a")] == ["ClaimSubmission.processing"]
    await begun.pass_(5)
    assert [message.type for message in begun.sender.to("broker-a")] == [
        "ClaimSubmission.processing",
        "ClaimSubmission.processing",
        "ClaimSubmission.completed",
    ]
    # What is told of a change is the process as it was then.
    states = [json.loads(message.body)["data"]["state"] for message in begun.sender.to("broker-a")]
    assert states == ["processing", "processing", "completed"]


# ── The store, and the end ───────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_being_sent_when_it_was_killed_is_sent_again_with_the_same_name(begun: Telling) -> None:
    gate = Gate()
    begun.sender.scripts["broker-a"] = [gate]
    process = await begun.process()
    await gate.reached.wait()
    (first,) = begun.sender.to("broker-a")
    assert await begun.deliverer.drain(0.0) == 1
    begun.restart()
    await begun.deliverer.begin()
    await begun.settled()
    (second,) = begun.sender.to("broker-a")
    assert (second.webhook_id, second.body) == (first.webhook_id, first.body)
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_a_drain_ends_what_is_under_way_and_begins_nothing(begun: Telling) -> None:
    begun.receiver("broker-a", concurrency=1)
    gate = Gate()
    begun.sender.scripts["broker-a"] = [gate]
    first, second = await begun.processes(2)
    await gate.reached.wait()
    draining = asyncio.ensure_future(begun.deliverer.drain(5.0))
    await asyncio.sleep(0)
    gate.open.set()
    assert await draining == 0
    assert (await begun.one(first)).state is DeliveryState.DELIVERED
    assert (await begun.one(second)).state is DeliveryState.PENDING
    assert len(begun.sender.sent) == 1
    begun.deliverer.told(["broker-a"])
    assert len(begun.sender.sent) == 1


async def test_what_came_of_an_attempt_is_held_until_the_store_takes_it(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.deliver._STORE_BACKOFF", (0.0,))
    process = await begun.process()
    begun.store.refuses = lambda commit: commit.delivery is not None
    await begun.store.refused.wait()
    await begun.until(lambda: len(begun.sender.sent) == 1)
    assert (await begun.one(process)).state is DeliveryState.PENDING
    begun.store.refuses = lambda commit: False
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED
    assert len(begun.sender.sent) == 1


async def test_a_signal_that_was_lost_costs_delay_and_nothing_else(begun: Telling) -> None:
    begun.committed = lambda change: None  # type: ignore[method-assign]
    process = await begun.process()
    await begun.settled()
    assert begun.sender.sent == []
    await begun.deliverer.look()
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_what_is_committed_here_is_sent_without_a_look_into_the_store_but_for_what_has_no_room() -> None:
    telling = Telling(here=True)
    telling.receiver(concurrency=1)
    await telling.deliverer.begin()
    asked: list[str] = []
    due = telling.store.deliveries.due

    async def noted(lane: str, now: int, limit: int) -> Sequence[Delivery]:
        asked.append(lane)
        return await due(lane, now, limit)

    telling.store.deliveries.due = noted  # type: ignore[method-assign]
    gate = Gate()
    telling.sender.scripts["broker-a"] = [gate, OK]
    processes = await telling.processes(1 + STOCK)
    assert len(telling.deliverer._lanes["broker-a"]._ready) == STOCK
    gate.open.set()
    await telling.settled()
    assert asked == []
    telling.sender.scripts["broker-a"] = [gate, OK]
    gate.open.clear()
    processes += await telling.processes(1 + STOCK + 3)
    gate.open.set()
    await telling.settled()
    assert asked == ["broker-a"]
    assert [message.subject for message in telling.sender.to("broker-a")] == [process.id for process in processes]


async def test_nothing_that_is_committed_here_overtakes_what_the_store_had_before() -> None:
    telling = Telling(here=True)
    telling.receiver(concurrency=1)
    telling.here = False
    processes = await telling.processes(3)
    telling.here = True
    processes += await telling.processes(1)  # before it begins
    await telling.deliverer.begin()
    processes += await telling.processes(1)  # while the store is asked
    await telling.settled()
    assert [message.subject for message in telling.sender.to("broker-a")] == [process.id for process in processes]


async def test_what_the_store_told_of_before_its_commit_was_heard_of_is_sent_once() -> None:
    telling = Telling(here=True)
    telling.receiver(concurrency=2)
    await telling.deliverer.begin()
    gate = Gate()
    telling.sender.scripts["broker-a"] = [gate, OK]
    heard: list[Change] = []
    telling.committed = heard.append  # type: ignore[method-assign]
    (process,) = await telling.processes(1)
    await telling.deliverer.look()
    await telling.until(lambda: len(telling.sender.sent) == 1)
    telling.deliverer.raised(*heard)
    gate.open.set()
    await telling.settled()
    assert [message.subject for message in telling.sender.to("broker-a")] == [process.id]


async def test_a_defect_of_ours_takes_no_lane_with_it(begun: Telling) -> None:
    async def broken(message: Message) -> Reception:
        raise RuntimeError("a defect")

    begun.sender.scripts["broker-a"] = [broken, OK]
    begun.instrument.failed = lambda where, error: begun.instrument.told.append((where, (error,)))  # type: ignore[attr-defined]
    first = await begun.process()
    await begun.settled()
    second = await begun.process()
    await begun.settled()
    assert (await begun.one(second)).state is DeliveryState.DELIVERED
    await begun.deliverer.look()
    await begun.settled()
    assert (await begun.one(first)).state is DeliveryState.DELIVERED
    assert [where for where, _ in begun.instrument.told if where == "deliver"] == ["deliver"]


async def test_the_answer_of_a_scan_that_is_late_sends_nothing_twice(begun: Telling) -> None:
    """The store is asked while a delivery is under way, and answers when it has been settled."""
    gate, late = Gate(), asyncio.Event()
    begun.sender.scripts["broker-a"] = [gate]
    process = await begun.process()
    await gate.reached.wait()
    answered = begun.store.deliveries.due

    async def slow(lane: str, now: int, limit: int) -> object:
        found = await answered(lane, now, limit)
        await late.wait()
        return found

    begun.store.deliveries.due = slow  # type: ignore[assignment, method-assign]
    begun.deliverer.told(["broker-a"])
    await asyncio.sleep(0)
    gate.open.set()
    while (await begun.one(process)).state is DeliveryState.PENDING:
        await asyncio.sleep(0)
    late.set()
    await begun.settled()
    assert len(begun.sender.sent) == 1


# ── The policy of today ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_for_a_receiver_that_left_the_policy_waits_for_it_to_come_back(begun: Telling) -> None:
    receiver = begun.receivers.pop("broker-a")
    process = await begun.process()
    await begun.settled()
    assert begun.sender.sent == []
    assert [values[0] for name, values in begun.instrument.told if name == "note"] == ["receiver_unknown"]
    begun.receivers["broker-a"] = receiver
    begun.deliverer.policy_changed()
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_a_url_that_is_no_longer_allowed_is_not_called(begun: Telling) -> None:
    begun.partners()
    begun.receiver("partners")  # it has a URL of its own now, and callers name none
    process = await begun.process(named("a"))
    await begun.settled()
    assert begun.sender.sent == []
    assert (await begun.one(process)).state is DeliveryState.PENDING


# ── Pauses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


PAUSE = ReceiverPause("broker-a", None, NOON, "ann", "they move house")


async def test_while_a_receiver_is_paused_all_is_held_and_nothing_dropped(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(500)]
    waiting = await begun.process()
    await begun.settled()
    await begun.deliverer.pause(PAUSE)
    due = await begun.process()
    await begun.settled()
    for process in (waiting, due):
        delivery = await begun.one(process)
        assert (delivery.state, delivery.reason) == (DeliveryState.HELD, "paused: they move house")
    assert len(begun.sender.sent) == 1
    assert [*begun.deliverer.pauses] == [PAUSE]
    begun.sender.scripts["broker-a"] = [OK]
    assert await begun.deliverer.resume("broker-a", None, "ann")
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 2
    assert (await begun.one(waiting)).attempts == 1  # it goes on where it was
    assert not await begun.deliverer.resume("broker-a", None, "ann")


async def test_a_pause_outlives_a_restart(begun: Telling) -> None:
    await begun.deliverer.pause(PAUSE)
    process = await begun.process()
    begun.restart()
    await begun.deliverer.begin()
    await begun.settled()
    assert begun.sender.sent == []
    assert (await begun.one(process)).state is DeliveryState.HELD


async def test_a_resume_that_was_cut_off_is_done_to_its_end_at_the_next_start(begun: Telling) -> None:
    await begun.deliverer.pause(PAUSE)
    process = await begun.process()
    await begun.settled()
    await begun.store.deliveries.resume("broker-a", None)
    begun.restart()
    await begun.deliverer.begin()
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_what_is_on_its_way_when_its_receiver_is_paused_arrives(begun: Telling) -> None:
    gate = Gate()
    begun.sender.scripts["broker-a"] = [gate]
    process = await begun.process()
    await gate.reached.wait()
    await begun.deliverer.pause(PAUSE)
    gate.open.set()
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_410_pauses_that_url_holds_what_is_for_it_and_shows_it_to_somebody(begun: Telling) -> None:
    begun.partners(concurrency=1)
    gone = "https://a.partner.example/gone"
    begun.sender.scripts[gone] = [answer(410)]
    first, second = await begun.processes(2, named("a", "/gone"))
    other = await begun.process(named("a", "/here"))
    await begun.settled()
    assert [(await begun.one(process)).state for process in (first, second, other)] == [
        DeliveryState.HELD,
        DeliveryState.HELD,
        DeliveryState.DELIVERED,
    ]
    assert len([1 for _, message in begun.sender.sent if message.url == gone]) == 1
    (exception,) = await begun.store.exceptions.page(ExceptionQuery())
    assert (exception.kind, exception.subject) == ("receiver_gone", (await begun.one(first)).id)
    begun.sender.scripts[gone] = [OK]
    assert await begun.deliverer.resume("partners", gone, "ann")
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 3
    assert [*await begun.store.exceptions.page(ExceptionQuery())] == []


async def test_410_of_a_receiver_with_one_url_pauses_the_receiver(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(410)]
    process = await begun.process()
    await begun.settled()
    assert [(pause.receiver, pause.url) for pause in begun.deliverer.pauses] == [("broker-a", None)]
    assert (await begun.one(process)).attempts == 0


# ── Putting back ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def dead_letters(telling: Telling, number: int, *subscriptions: Subscription) -> None:
    for receiver in [*telling.receivers]:
        telling.receiver(receiver, attempts=1)
        telling.sender.scripts[receiver] = [answer(500)]
    await telling.processes(number, *subscriptions)
    await telling.settled()
    assert len(await telling.all(DeliveryState.DEAD)) == number * max(1, len(subscriptions))
    for receiver in telling.receivers:
        telling.sender.scripts[receiver] = [OK]


async def test_a_dead_letter_is_put_back_under_its_old_name_and_its_exception_is_closed(begun: Telling) -> None:
    await dead_letters(begun, 1)
    (dead,) = await begun.all()
    back = await begun.redriver.one(dead[:3], "ann", "they are back")
    assert back is not None
    assert (back.state, back.attempts) == (DeliveryState.PENDING, 0)
    await begun.settled()
    first, second = begun.sender.to("broker-a")
    assert first.webhook_id == second.webhook_id
    found = await begun.store.deliveries.log(dead[:3])
    assert found is not None
    assert found[0].state is DeliveryState.DELIVERED
    assert [line.number for line in found[1]] == [1, 2]
    assert await begun.store.exceptions.counts() == {}
    (closed,) = await begun.store.exceptions.page(ExceptionQuery("closed"))
    assert (closed.closed_by, closed.action) == ("ann", "redrive")


async def test_what_was_delivered_can_be_told_once_more(begun: Telling) -> None:
    process = await begun.process()
    await begun.settled()
    await begun.redriver.one((await begun.one(process))[:3], "ann", "they say that they never got it")
    await begun.settled()
    assert len(begun.sender.sent) == 2
    assert await begun.redriver.one(("nothing", 1, 0), "ann", "") is None


async def test_many_are_put_back_by_filter_and_no_others(begun: Telling) -> None:
    begun.receiver("broker-b")
    await dead_letters(begun, 250, TO_A, TO_B)
    begun.clock.pass_(10)
    await dead_letters_of_a(begun)
    query = DeliveryQuery("broker-a", states=[DeliveryState.DEAD], created_before=NOON + 10_000)
    assert await begun.redriver.many(query, "ann", "they are back") == 250
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 250
    left = await begun.all(DeliveryState.DEAD)
    assert len(left) == 251
    since = DeliveryQuery(states=[DeliveryState.DEAD], created_after=NOON + 10_000)
    assert await begun.redriver.many(since, "ann", "all since") == 1
    await begun.settled()
    assert len(await begun.all(DeliveryState.DEAD)) == 250


async def dead_letters_of_a(telling: Telling) -> None:
    telling.sender.scripts["broker-a"] = [answer(500)]
    await telling.process(TO_A)
    await telling.settled()
    telling.sender.scripts["broker-a"] = [OK]


async def test_what_is_being_sent_is_not_put_back_beside(begun: Telling) -> None:
    gate = Gate()
    begun.sender.scripts["broker-a"] = [gate]
    process = await begun.process()
    await gate.reached.wait()
    found = await begun.redriver.one((await begun.one(process))[:3], "ann", "again")
    assert found is not None
    gate.open.set()
    await begun.settled()
    assert len(begun.sender.sent) == 1


async def test_the_totals_are_those_of_the_store(begun: Telling) -> None:
    await dead_letters(begun, 2)
    await begun.deliverer.look()
    assert [(total.receiver, total.state, total.deliveries) for total in begun.deliverer.totals] == [
        ("broker-a", DeliveryState.DEAD, 2)
    ]


def test_receptions_that_the_tests_use_are_those_of_the_port() -> None:
    assert isinstance(OK, Answered)
    assert isinstance(REFUSED, Unreached)
    assert write_subscriptions([named("a")]) == '[["partners","https://a.partner.example/hook"]]'
