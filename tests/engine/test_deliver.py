"""Delivering: at least once, and nothing is lost, whatever a receiver or the store does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from strangler.domain import instant
from strangler.domain.delivery import DeliveryState, Subscription, Tried, write_subscriptions
from strangler.domain.exchange import Body, RecordedReply
from strangler.domain.process import PublicState
from strangler.domain.steps import Accept, Claim, Doubt
from strangler.domain.transitions import apply
from strangler.ports import Answered, Commit, DeliveryQuery, ExceptionQuery, Forbidden, Unreached
from tests.engine.receivers import FIVE_SECONDS, NO_DESCRIPTOR, OK, PAUSE, REFUSED, TRACE, Telling, answer, named
from tests.engine.world import NOON


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


async def test_what_was_not_taken_is_sent_again_when_it_is_due_without_a_look_at_all_lanes(begun: Telling) -> None:
    begun.receiver("broker-a", backoff=replace(FIVE_SECONDS, initial=0.001))
    begun.sender.scripts["broker-a"] = [answer(500), OK]
    await begun.process()
    await begun.settled()
    begun.clock.pass_(0.001)
    await begun.until(lambda: len(begun.sender.sent) == 2)


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


async def test_peace_that_was_asked_for_lasts_although_nothing_is_left_to_be_sent(begun: Telling) -> None:
    begun.receiver(attempts=1)
    begun.sender.scripts["broker-a"] = [answer(503, 60_000), OK]
    await begun.process()
    await begun.settled()
    assert len(await begun.all(DeliveryState.DEAD)) == 1
    await begun.pass_(5)
    process = await begun.process()
    await begun.settled()
    assert len(begun.sender.sent) == 1
    await begun.pass_(55)
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_what_is_waited_for_begins_anew_once_a_receiver_answered(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [*[NO_DESCRIPTOR] * 8, OK, NO_DESCRIPTOR, OK]
    await begun.process()
    await begun.settled()
    waits = []
    while until := begun.deliverer.rests().get("broker-a"):
        waits.append((until - begun.clock.now()) / 1000)
        await begun.pass_(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    await begun.process()
    await begun.settled()
    assert begun.deliverer.rests() == {"broker-a": begun.clock.now() + 1000}
    await begun.pass_(1)
    assert len(await begun.all(DeliveryState.DELIVERED)) == 2


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
        assert await begun.deliverer.resume("broker-a", None, "ann", "it is back")
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


def test_receptions_that_the_tests_use_are_those_of_the_port() -> None:
    assert isinstance(OK, Answered)
    assert isinstance(REFUSED, Unreached)
    assert write_subscriptions([named("a")]) == '[["partners","https://a.partner.example/hook"]]'
