"""Delivering over a store that is slow, refuses, or is left in the middle: nothing is lost, and little told again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import pairwise

import pytest

from strangler.domain.delivery import FINAL_STATES, Delivery, DeliveryState, Subscription
from strangler.domain.errors import InternalError, StoreUnavailable
from strangler.domain.process import Effect, Process, PublicState, State, Tombstone
from strangler.domain.steps import Accept, Claim, Finish
from strangler.domain.transitions import Change, apply
from strangler.engine.delivery_lanes import STOCK
from strangler.ports import Commit, Message, Reception, Verdict
from tests.engine.alarms import alarms_of
from tests.engine.receivers import OK, PAUSE, TO_A, TO_B, Gate, Telling, answer
from tests.engine.world import NOON


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
    monkeypatch.setattr("strangler.engine.delivery_ends._STORE_BACKOFF", (0.0,))
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


async def test_of_what_is_committed_here_the_process_is_not_read_again() -> None:
    telling = Telling(here=True)
    telling.receiver()
    await telling.deliverer.begin()
    read = reads_of(telling)
    telling.sender.scripts["broker-a"] = [answer(500), OK]
    ended = await telling.process()
    await telling.settled()
    assert read == []
    await telling.pass_(5)
    assert read == [{ended.id}]
    first, second = telling.sender.to("broker-a")
    assert first.body == second.body


def defects_of(telling: Telling) -> list[str]:
    """Where defects are told of from now on."""
    defects: list[str] = []
    telling.instrument.failed = lambda where, error: defects.append(where)  # type: ignore[attr-defined]
    return defects


def reads_of(telling: Telling) -> list[object]:
    """What is read of processes from now on: an id each, or those that are read as one."""
    read: list[object] = []
    process, processes = telling.store.process, telling.store.deliveries.processes

    async def one(process_id: str) -> Process | Tombstone | None:
        read.append(process_id)
        return await process(process_id)

    async def several(process_ids: Collection[str]) -> Mapping[str, Process]:
        read.append({*process_ids})
        return await processes(process_ids)

    telling.store.process = one  # type: ignore[method-assign]
    telling.store.deliveries.processes = several  # type: ignore[method-assign]
    return read


async def test_the_processes_of_what_is_found_due_are_read_as_one(telling: Telling) -> None:
    processes = await telling.processes(5)
    read = reads_of(telling)
    await telling.deliverer.begin()
    await telling.settled()
    assert read == [{process.id for process in processes}]
    assert [message.subject for message in telling.sender.to("broker-a")] == [process.id for process in processes]


async def test_a_process_that_went_on_is_told_as_it_was_although_it_is_read_with_others(telling: Telling) -> None:
    early = Subscription("broker-a", None, FINAL_STATES | {PublicState.PROCESSING})
    change = apply(None, Accept(telling._draft((early,))), NOON).then(Claim("w"), NOON)
    await telling.store.commit(Commit(change))
    await telling.store.commit(Commit(apply(change.process, Finish(State.COMPLETED, Effect.APPLIED), NOON)))
    await telling.deliverer.begin()
    await telling.settled()
    states = [json.loads(message.body)["data"]["state"] for message in telling.sender.to("broker-a")]
    assert states == ["processing", "completed"]


async def test_processes_that_cannot_be_read_as_one_are_read_by_themselves(telling: Telling) -> None:
    async def broken(process_ids: Collection[str]) -> Mapping[str, Process]:
        raise ValueError("one of them is no process")

    telling.store.deliveries.processes = broken  # type: ignore[method-assign]
    defects = defects_of(telling)
    await telling.processes(3)
    await telling.deliverer.begin()
    await telling.settled()
    assert len(await telling.all(DeliveryState.DELIVERED)) == 3
    assert defects == ["deliver"]


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


async def test_nothing_that_is_committed_here_overtakes_what_the_store_has_and_nobody_had_room_to_ask_for() -> None:
    telling = Telling(here=True)
    telling.receiver(concurrency=1)
    await telling.deliverer.begin()
    gate = Gate()
    telling.sender.scripts["broker-a"] = [gate, OK]
    processes = await telling.processes(1)
    await gate.reached.wait()
    telling.here = False
    processes += await telling.processes(1)
    telling.here = True
    processes += await telling.processes(1)
    gate.open.set()
    await telling.settled()
    assert [message.subject for message in telling.sender.to("broker-a")] == [process.id for process in processes]


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_what_the_store_told_of_before_its_commit_was_heard_of_is_sent_once(concurrency: int) -> None:
    telling = Telling(here=True)
    telling.receiver(concurrency=concurrency)
    await telling.deliverer.begin()
    gate = Gate()
    telling.sender.scripts["broker-a"] = [gate, OK]
    heard: list[Change] = []
    telling.committed = heard.append  # type: ignore[method-assign]
    processes = await telling.processes(2)
    await telling.deliverer.look()
    await telling.until(lambda: len(telling.sender.sent) == concurrency)
    for change in heard:
        telling.deliverer.raised(change)
    gate.open.set()
    await telling.settled()
    assert [message.subject for message in telling.sender.to("broker-a")] == [process.id for process in processes]


def broken_by(error: Exception) -> Callable[[Message], Awaitable[Reception]]:
    """A call that comes to nothing, by no fault of its receiver."""

    async def broken(message: Message) -> Reception:
        raise error

    return broken


async def test_a_defect_of_ours_takes_no_lane_with_it(begun: Telling) -> None:
    begun.sender.scripts["broker-a"] = [broken_by(RuntimeError("a defect")), OK]
    defects = defects_of(begun)
    first = await begun.process()
    await begun.settled()
    second = await begun.process()
    await begun.settled()
    assert (await begun.one(second)).state is DeliveryState.DELIVERED
    await begun.deliverer.look()
    await begun.settled()
    assert (await begun.one(first)).state is DeliveryState.DELIVERED
    assert defects == ["deliver"]


async def test_what_a_fault_of_the_store_kept_from_being_sent_is_sent_a_second_later_without_a_look(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms = alarms_of(monkeypatch)
    begun.sender.scripts["broker-a"] = [broken_by(StoreUnavailable("the disk is full")), OK]
    process = await begun.process()
    await begun.settled()
    (alarm,) = alarms
    assert alarm.seconds == 1.0
    begun.clock.pass_(alarm.seconds)
    alarm.ring()
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_what_a_defect_of_ours_kept_from_being_sent_is_left_to_the_next_look(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms, defects = alarms_of(monkeypatch), defects_of(begun)
    begun.sender.scripts["broker-a"] = [broken_by(RuntimeError("a defect")), OK]
    process = await begun.process()
    await begun.settled()
    assert (alarms, defects) == ([], ["deliver"])
    await begun.pass_(0)
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def gaps(begun: Telling, looks: int) -> list[int]:
    """So many looks, 5 s apart: how many lie between two calls."""
    called_at = [0] * len(begun.sender.sent)
    for look in range(1, looks + 1):
        await begun.pass_(5)
        called_at += [look] * (len(begun.sender.sent) - len(called_at))
    return [later - earlier for earlier, later in pairwise(called_at)]


async def test_what_a_defect_breaks_each_time_is_sent_less_and_less_often_and_others_go_on(begun: Telling) -> None:
    begun.receiver(concurrency=1)
    begun.sender.scripts["broker-a"] = [broken_by(RuntimeError("a defect"))] * 40
    defects = defects_of(begun)
    process = await begun.process()
    await begun.settled()
    assert await gaps(begun, 300) == [1, 1, 2, 4, 8, 16, 32, 64, 120]
    begun.sender.scripts["broker-a"] = [OK]
    others = await begun.processes(3)
    await begun.pass_(5)
    assert [(await begun.one(one)).state for one in others] == [DeliveryState.DELIVERED] * 3
    assert (await begun.one(process)).state is DeliveryState.PENDING
    assert defects == ["deliver"] * 10
    await begun.redriver.one((await begun.one(process))[:3], "ann", "it is mended")
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_where_a_defect_breaks_more_than_can_be_remembered_the_lane_rests(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.delivery_lanes.STOCK", 4)
    begun.receiver(concurrency=1)
    begun.sender.scripts["broker-a"] = [broken_by(RuntimeError("a defect"))] * 1000
    defects_of(begun)
    await begun.processes(8)
    await begun.settled()
    for _ in range(100):
        await begun.pass_(5)
    assert len(begun.sender.sent) < 100
    assert begun.deliverer._lanes["broker-a"].wanted <= 2 * 4, "what is asked of the store is bounded, too"
    begun.sender.scripts["broker-a"] = [OK]
    for _ in range(200):
        await begun.pass_(5)
    assert {one.state for one in await begun.all()} == {DeliveryState.DELIVERED}


async def test_an_end_that_cannot_be_stored_is_not_told_every_few_seconds(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    defects_of(begun)
    await begun.process()

    def broken(step: Commit) -> asyncio.Future[Verdict]:
        raise InternalError("it cannot be stored")

    monkeypatch.setattr(begun.store, "commit", broken)
    await begun.settled()
    assert await gaps(begun, 40) == [1, 1, 2, 4, 8, 16]


async def test_the_answer_of_a_scan_that_is_late_sends_nothing_twice(begun: Telling) -> None:
    """The store is asked while a delivery is under way, and answers when it has been settled."""
    await under_way_while_the_store_is_asked(begun, OK)
    assert len(begun.sender.sent) == 1


async def test_what_was_not_taken_while_the_store_was_asked_is_sent_again_when_that_is_due(begun: Telling) -> None:
    process = await under_way_while_the_store_is_asked(begun, answer(500))
    assert len(begun.sender.sent) == 1
    await begun.pass_(5)
    assert len(begun.sender.sent) == 2
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def under_way_while_the_store_is_asked(begun: Telling, reception: Reception) -> Process:
    """A process of which the receiver was told, and answered so, before the store said that it was to be told."""
    gate, late = Gate(reception), asyncio.Event()
    begun.sender.scripts["broker-a"] = [gate, OK]
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
    while not (await begun.one(process)).tries:
        await asyncio.sleep(0)
    late.set()
    await begun.settled()
    return process


async def test_a_look_whose_answer_is_late_sends_nothing_twice(begun: Telling) -> None:
    """The store says what is due before a delivery is committed, and is heard while that is under way."""
    gate, late = Gate(), asyncio.Event()
    begun.sender.scripts["broker-a"] = [gate]
    answered = begun.store.deliveries.next_due

    async def slow(after: int) -> Mapping[str, int]:
        begun.store.deliveries.next_due = answered  # type: ignore[method-assign]
        found = await answered(after)
        await late.wait()
        return found

    begun.store.deliveries.next_due = slow  # type: ignore[method-assign]
    looking = asyncio.ensure_future(begun.deliverer.look())
    await idle()
    process = await begun.process()
    await gate.reached.wait()
    late.set()
    await looking
    begun.deliverer.told(["broker-a"])
    await idle()
    gate.open.set()
    await begun.settled()
    assert [message.subject for message in begun.sender.to("broker-a")] == [process.id]


# ── A slow disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


def ends(commit: Commit) -> bool:
    """Whether a commit is what came of an attempt."""
    return commit.delivery is not None


async def idle() -> None:
    """Let the loop turn so often that whatever could begin has begun."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_call_does_not_wait_for_the_end_of_the_one_before_it_to_be_on_disk(begun: Telling) -> None:
    begun.receiver(concurrency=1)
    begun.store.slow = ends
    first, second = await begun.processes(2)
    await begun.until(lambda: len(begun.sender.sent) == 2)
    assert len(await begun.all(DeliveryState.PENDING)) == 2
    begun.store.flushed.set()
    await begun.settled()
    assert [message.subject for message in begun.sender.to("broker-a")] == [first.id, second.id]
    assert len(await begun.all(DeliveryState.DELIVERED)) == 2


async def test_what_is_taken_while_ends_are_on_their_way_to_the_disk_is_committed_as_one_behind_them(
    begun: Telling,
) -> None:
    begun.receiver(concurrency=3)
    asked: list[Commit] = []
    begun.store.slow = lambda commit: ends(commit) and not asked.append(commit)
    await begun.processes(6)
    await begun.until(lambda: len(begun.sender.sent) == 6)
    await idle()
    first = len(asked)
    assert 1 <= first < 6
    begun.store.flushed.set()
    await begun.until(lambda: len(asked) > first)
    assert len(asked) == 6
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 6


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_end_that_cannot_be_stored_harms_no_other_one(
    begun: Telling, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    begun.receiver(concurrency=3)
    defects = defects_of(begun)
    processes = await begun.processes(3)
    commit = begun.store.commit

    def broken(step: Commit) -> asyncio.Future[Verdict]:
        if step.delivery is None or step.delivery.before.process_id != processes[1].id:
            return commit(step)
        if at_once:
            raise InternalError("it cannot be stored")
        failed: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        failed.set_exception(InternalError("it cannot be stored"))
        return failed

    monkeypatch.setattr(begun.store, "commit", broken)
    await begun.until(lambda: len(begun.sender.sent) == 3)
    await begun.settled()
    assert [one.process_id for one in await begun.all(DeliveryState.PENDING)] == [processes[1].id]
    assert len(await begun.all(DeliveryState.DELIVERED)) == 2
    assert defects == ["deliver"]
    monkeypatch.undo()
    await begun.pass_(30)
    assert len(await begun.all(DeliveryState.DELIVERED)) == 3


async def test_a_defect_in_telling_of_an_end_keeps_no_other_one_in_hand(begun: Telling) -> None:
    begun.receiver(concurrency=1)
    defects = defects_of(begun)

    def broken(*values: object) -> None:
        if not defects:
            raise RuntimeError("a defect")

    begun.instrument.delivery_tried = broken  # type: ignore[attr-defined]
    await begun.processes(6)
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 6
    assert defects == ["deliver"]


async def test_no_more_than_twice_the_calls_at_once_are_in_hand(begun: Telling) -> None:
    begun.receiver(concurrency=3)
    begun.store.slow = ends
    await begun.processes(20)
    await begun.until(lambda: len(begun.sender.sent) == 6)
    await idle()
    assert len(begun.sender.sent) == 6
    begun.store.flushed.set()
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 20
    assert len({message.webhook_id for message in begun.sender.to("broker-a")}) == len(begun.sender.sent) == 20


async def test_all_lanes_together_have_no_more_than_twice_their_calls_in_hand(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.deliver._AT_ONCE", 3)
    begun.receiver("broker-b")
    begun.store.slow = ends
    await begun.processes(10, TO_A, TO_B)
    await begun.until(lambda: len(begun.sender.sent) == 6)
    await idle()
    assert len(begun.sender.sent) == 6
    begun.store.flushed.set()
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 20


async def test_a_call_that_was_not_taken_keeps_its_place_until_that_is_on_disk(begun: Telling) -> None:
    begun.receiver(concurrency=3)
    begun.sender.scripts["broker-a"] = [answer(500)]
    begun.store.slow = ends
    await begun.processes(20)
    await begun.until(lambda: len(begun.sender.sent) == 3)
    await idle()
    assert len(begun.sender.sent) == 3
    begun.store.flushed.set()
    await begun.settled()
    assert len(begun.sender.sent) == 20


async def test_what_is_told_next_of_a_process_waits_until_what_was_told_before_is_on_disk(begun: Telling) -> None:
    both = Subscription("broker-a", None, FINAL_STATES | {PublicState.PROCESSING})
    begun.store.slow = ends
    change = apply(None, Accept(begun._draft((both,))), NOON).then(Claim("w"), NOON)
    await begun.store.commit(Commit(change))
    begun.committed(change)
    change = apply(change.process, Finish(State.COMPLETED, Effect.APPLIED), NOON)
    await begun.store.commit(Commit(change))
    begun.committed(change)
    await begun.until(lambda: begun.sender.sent)
    await begun.deliverer.look()
    await idle()
    assert [message.type for message in begun.sender.to("broker-a")] == ["ClaimSubmission.processing"]
    begun.store.flushed.set()
    await begun.settled()
    assert [message.type for message in begun.sender.to("broker-a")] == [
        "ClaimSubmission.processing",
        "ClaimSubmission.completed",
    ]


async def test_what_was_taken_when_it_was_killed_is_told_again_and_nothing_is_lost(begun: Telling) -> None:
    begun.receiver(concurrency=2)
    begun.store.slow = ends
    processes = await begun.processes(10)
    await begun.until(lambda: len(begun.sender.sent) == 4)
    before = {message.webhook_id: message.body for message in begun.sender.to("broker-a")}
    assert await begun.deliverer.drain(0.0) == 4
    begun.store.flushed.set()
    assert len(await begun.all(DeliveryState.PENDING)) == 10
    begun.restart()
    await begun.deliverer.begin()
    await begun.settled()
    after = {message.webhook_id: message.body for message in begun.sender.to("broker-a")}
    assert before.items() <= after.items()
    assert len(after) == len(begun.sender.sent) == len(processes)
    assert len(await begun.all(DeliveryState.DELIVERED)) == 10


async def test_a_store_that_refuses_ends_holds_back_what_is_sent_and_gets_them_all(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.delivery_ends._STORE_BACKOFF", (0.0,))
    begun.receiver(concurrency=2)
    begun.store.refuses = ends
    processes = await begun.processes(10)
    await begun.until(lambda: len(begun.sender.sent) == 4)
    await idle()
    assert len(begun.sender.sent) == 4
    assert len(await begun.all(DeliveryState.PENDING)) == 10
    begun.store.refuses = lambda commit: False
    await begun.settled()
    assert [message.subject for message in begun.sender.to("broker-a")] == [process.id for process in processes]
    for delivery in await begun.all(DeliveryState.DELIVERED):
        found = await begun.store.deliveries.log(delivery[:3])
        assert found is not None
        assert [line.number for line in found[1]] == [1]


async def test_a_drain_waits_for_the_ends_of_what_was_taken(begun: Telling) -> None:
    begun.store.slow = ends
    process = await begun.process()
    await begun.until(lambda: begun.sender.sent)
    await idle()
    draining = asyncio.ensure_future(begun.deliverer.drain(5.0))
    await idle()
    assert not draining.done()
    begun.store.flushed.set()
    assert await draining == 0
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_a_drain_waits_for_the_end_of_what_is_taken_while_it_drains(begun: Telling) -> None:
    begun.store.slow = ends
    begun.sender.scripts["broker-a"] = [gate := Gate()]
    process = await begun.process()
    await gate.reached.wait()
    draining = asyncio.ensure_future(begun.deliverer.drain(5.0))
    await idle()
    gate.open.set()
    await idle()
    assert not draining.done()
    begun.store.flushed.set()
    assert await draining == 0
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_what_was_taken_is_neither_held_nor_put_back_before_that_is_on_disk(begun: Telling) -> None:
    begun.store.slow = ends
    process = await begun.process()
    await begun.until(lambda: begun.sender.sent)
    await idle()
    await begun.redriver.one((await begun.one(process))[:3], "ann", "again")
    await begun.deliverer.pause(PAUSE)
    begun.store.flushed.set()
    await begun.settled()
    assert (await begun.one(process)).state is DeliveryState.DELIVERED
    assert len(begun.sender.sent) == 1


async def test_more_than_is_asked_of_the_store_at_a_time_may_be_in_hand(begun: Telling) -> None:
    begun.receiver(concurrency=STOCK)
    begun.store.slow = ends
    await begun.processes(STOCK + 20)
    await begun.until(lambda: len(begun.sender.sent) == STOCK + 20)
    begun.here = False
    last = await begun.process()
    await begun.until(lambda: len(begun.sender.sent) == STOCK + 21)
    assert begun.sender.to("broker-a")[-1].subject == last.id
    begun.store.flushed.set()
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == STOCK + 21
