"""Delivering lane by lane: how many calls at once, how often, in which order."""

from __future__ import annotations

import asyncio
import json

import pytest

from strangler.domain.delivery import FINAL_STATES, DeliveryState, Subscription
from strangler.domain.process import Effect, PublicState, State
from strangler.domain.steps import Accept, Claim, Finish
from strangler.domain.transitions import apply
from strangler.engine.delivery_lanes import NARROWED_AFTER, reaches
from strangler.policy.model import Rate
from strangler.policy.receivers import Receiver
from strangler.ports import Commit
from tests.engine.alarms import alarms_of
from tests.engine.receivers import OK, REFUSED, TO_A, TO_B, Gate, Telling, answer, named
from tests.engine.world import NOON


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


async def test_a_lane_that_waits_for_its_rate_is_looked_into_as_soon_as_that_has_room(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms = alarms_of(monkeypatch)
    begun.receiver("broker-a", rate=Rate(3, 60.0))
    await begun.processes(5)
    await begun.settled()
    for sent in (4, 5):
        assert alarms[-1].seconds == 20.0
        begun.clock.pass_(20)
        alarms[-1].ring()
        await begun.settled()
        assert len(begun.sender.sent) == sent
    await begun.pass_(60)
    assert begun.deliverer._lanes == {}, "its rate is whole again: there is nothing to remember"


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


async def test_only_lanes_that_have_something_to_send_wait_for_others(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.deliver._AT_ONCE", 1)
    gate = Gate()
    begun.sender.scripts["broker-a"] = [gate]
    await begun.process()
    await gate.reached.wait()
    begun.deliverer.told(["broker-a"])
    await begun.until(lambda: not begun.deliverer._lanes["broker-a"].stocking)
    assert not begun.deliverer._crowded, "the lane may be forgotten before its turn comes, and made anew"
    gate.open.set()
    await begun.settled()


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


async def test_a_receiver_that_fails_less_often_between_two_answers_is_called_as_widely_as_before(
    begun: Telling,
) -> None:
    failures = [answer(500)] * (NARROWED_AFTER - 1)
    begun.sender.scripts["broker-a"] = [*failures, OK, *failures, OK]
    await begun.processes(2 * NARROWED_AFTER)
    await begun.settled()
    assert len(begun.sender.sent) == 2 * NARROWED_AFTER
    assert [name for name, _ in begun.instrument.told if name == "note"] == []


async def test_a_receiver_that_says_no_is_well_all_the_same(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [answer(404)]
    await begun.processes(30)
    await begun.settled()
    assert [name for name, _ in begun.instrument.told if name == "note"] == []


async def test_a_receiver_that_says_no_again_is_called_as_widely_as_before(
    begun: Telling,
) -> None:
    begun.receiver(concurrency=3)
    gate = Gate(answer(404))
    begun.sender.scripts["broker-a"] = [*[answer(500)] * NARROWED_AFTER, answer(404), gate]
    await begun.processes(NARROWED_AFTER + 10)
    await begun.until(lambda: gate.waiting == 3)
    gate.open.set()
    await begun.settled()
    assert gate.most == 3


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


# ── The policy of today ───────────────────────────────────────────────────────────────────────────────────────────────


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
