"""Receivers that are paused and resumed, and deliveries that are put back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from strangler.domain.delivery import Delivery, DeliveryState, Subscription
from strangler.engine import delivery_pauses
from strangler.ports import DeliveryQuery, ExceptionQuery
from tests.engine.receivers import OK, PAUSE, TO_A, TO_B, Gate, Telling, answer, named
from tests.engine.world import NOON

# ── Pauses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    assert await begun.deliverer.resume("broker-a", None, "ann", "it is back")
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 2
    assert (await begun.one(waiting)).attempts == 1  # it goes on where it was
    assert not await begun.deliverer.resume("broker-a", None, "ann", "it is back")


async def test_what_is_sent_before_it_is_put_back_is_on_record_and_not_sent_twice(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun.receiver(concurrency=1)
    begun.sender.scripts["broker-a"] = [gate := Gate(), OK]
    first, second = await begun.processes(2)
    await gate.reached.wait()
    await begun.deliverer.pause(PAUSE)
    assert (await begun.one(second)).state is DeliveryState.HELD
    find, slow = begun.store.deliveries.find, asyncio.Event()

    async def found(query: DeliveryQuery) -> Sequence[Delivery]:
        if DeliveryState.HELD in query.states:
            await slow.wait()
        return await find(query)

    monkeypatch.setattr(begun.store.deliveries, "find", found)
    resumed = asyncio.ensure_future(begun.deliverer.resume("broker-a", None, "ann", "it is back"))
    await begun.until(lambda: not begun.deliverer.pauses)
    gate.open.set()
    await begun.until(lambda: len(begun.sender.sent) == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    slow.set()
    await resumed
    await begun.settled()
    for process in (first, second):
        delivery = await begun.one(process)
        assert (delivery.state, delivery.tries) == (DeliveryState.DELIVERED, 1)
    assert len(begun.sender.sent) == 2


async def test_a_pause_outlives_a_restart(begun: Telling) -> None:
    await begun.deliverer.pause(PAUSE)
    process = await begun.process()
    begun.restart()
    await begun.deliverer.begin()
    await begun.settled()
    assert begun.sender.sent == []
    assert (await begun.one(process)).state is DeliveryState.HELD


async def test_a_resume_outlives_a_restart(begun: Telling) -> None:
    await begun.deliverer.pause(PAUSE)
    await begun.deliverer.resume("broker-a", None, "ann", "it is back")
    begun.restart()
    await begun.deliverer.begin()
    process = await begun.process()
    await begun.settled()
    assert [*begun.deliverer.pauses] == []
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def test_a_pause_that_was_cut_off_is_done_to_its_end_at_the_next_start(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_pauses, "_PAGE", 2)
    told = await begun.process()
    await begun.settled()
    begun.sender.scripts["broker-a"] = [answer(500)]
    waiting = await begun.processes(5)
    await begun.settled()
    await begun.store.deliveries.pause(PAUSE)
    begun.restart()
    await begun.deliverer.begin()
    await begun.settled()
    assert [(await begun.one(process)).state for process in waiting] == [DeliveryState.HELD] * 5
    assert (await begun.one(told)).state is DeliveryState.DELIVERED


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
    assert await begun.deliverer.resume("partners", gone, "ann", "they moved back")
    await begun.settled()
    assert len(await begun.all(DeliveryState.DELIVERED)) == 3
    assert [*await begun.store.exceptions.page(ExceptionQuery())] == []
    told = await begun.store.exceptions.one(exception.id)
    assert told is not None
    notes = told[1]
    assert [(note.who, note.text) for note in notes] == [("ann", "they moved back")]


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
