"""Deliveries in every store: made with their change, due in their lanes, changed by compare-and-set, swept last."""

from __future__ import annotations

import asyncio
from typing import Any

from strangler.domain.delivery import (
    FINAL_STATES,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Hold,
    Missed,
    Redrive,
    Subscription,
    Taken,
    Transition,
    Tried,
    apply,
    write_subscriptions,
)
from strangler.domain.process import Process, PublicState, Tombstone
from strangler.domain.retry import Backoff
from strangler.domain.steps import Cancel
from strangler.ports import (
    Closing,
    Commit,
    Committed,
    DeliveryQuery,
    DeliveryStep,
    DeliveryTotal,
    ExceptionQuery,
    OpenException,
    ReceiverPause,
    Stale,
)
from strangler.store import Store
from tests.store import builders as make
from tests.store.builders import NOON, RETAIN, after

TO_A = Subscription("broker-a")
TO_B = Subscription("broker-b")
NAMED = Subscription("partners", "https://hooks.partner.example/é?x=1")
EARLY = Subscription("broker-a", None, FINAL_STATES | {PublicState.PROCESSING})
BACKOFF = Backoff(initial=5.0, factor=5.0, max=3600.0, jitter="none")


async def done(store: Store, commit: Commit) -> Commit:
    assert await store.commit(commit) == Committed()
    return commit


async def ended(store: Store, *subscriptions: Subscription, at: int = NOON) -> Process:
    """A process that was cancelled at an instant, and that somebody is to be told of."""
    accepted = await done(store, make.accept(make.draft(at, subscriptions=write_subscriptions(subscriptions))))
    cancelled = await done(store, make.withdraw(after(accepted), Cancel(), at))
    return after(cancelled)


async def only(store: Store, process: Process) -> Delivery:
    (found,) = await store.deliveries.find(DeliveryQuery(process_id=process.id))
    return found


async def step(store: Store, delivery: Delivery, transition: Transition, at: int = NOON, **fields: Any) -> Delivery:
    """Take a step, and take for granted that it is taken."""
    made = apply(delivery, transition, at)
    await done(store, Commit(None, delivery=DeliveryStep(delivery, made, **fields)))
    return made


def attempt(delivery: Delivery, **fields: Any) -> DeliveryAttempt:
    made = DeliveryAttempt(*delivery[:3], delivery.tries + 1, NOON, 12, Tried.REFUSED, "192.0.2.1", 500, None, b"\xff")
    return made._replace(**fields)


def missed(limit: int = 12) -> Missed:
    return Missed("it answered 500", BACKOFF, limit, 0.0)


async def test_the_deliveries_of_a_change_are_there_with_it(store: Store) -> None:
    process = await ended(store, TO_A, NAMED)
    found = await store.deliveries.find(DeliveryQuery(process_id=process.id))
    assert [*found] == [
        Delivery(process.id, 2, 1, "partners", NAMED.url, PublicState.CANCELLED, NOON, due_at=NOON),
        Delivery(process.id, 2, 0, "broker-a", None, PublicState.CANCELLED, NOON, due_at=NOON),
    ]
    assert type(found[0].state) is DeliveryState
    assert type(found[0].told) is PublicState


async def test_a_change_that_is_stale_makes_no_delivery(store: Store) -> None:
    accepted = await done(store, make.accept(make.draft(subscriptions=write_subscriptions([TO_A]))))
    await done(store, make.withdraw(after(accepted), Cancel()))
    assert await store.commit(make.withdraw(after(accepted), Cancel())) == Stale()
    assert len(await store.deliveries.find(DeliveryQuery())) == 1


async def test_what_is_due_comes_by_lane_the_longest_due_first(store: Store) -> None:
    second = await ended(store, TO_A, at=NOON + 20)
    first = await ended(store, TO_A, NAMED, at=NOON + 10)
    await ended(store, TO_A, at=NOON + 30)
    due = await store.deliveries.due("broker-a", NOON + 25, 10)
    assert [delivery.process_id for delivery in due] == [first.id, second.id]
    assert [d.process_id for d in await store.deliveries.due("broker-a", NOON + 25, 1)] == [first.id]
    named = await store.deliveries.due("partners https://hooks.partner.example", NOON + 25, 10)
    assert [delivery.url for delivery in named] == [NAMED.url]
    assert [*await store.deliveries.due("nobody", NOON + 25, 10)] == []


async def test_the_processes_that_are_told_of_are_read_as_one(store: Store) -> None:
    told = [await ended(store, TO_A, at=NOON + number) for number in range(70)]
    assert await store.deliveries.processes({process.id for process in told}) == {one.id: one for one in told}
    forgotten = make.draft().id
    assert await store.deliveries.processes([told[3].id, forgotten]) == {told[3].id: told[3]}
    assert await store.deliveries.processes([]) == {}


async def test_the_next_instant_is_told_for_every_lane(store: Store) -> None:
    assert await store.deliveries.next_due(-1) == {}
    await ended(store, TO_A, TO_B, at=NOON + 20)
    await ended(store, TO_A, NAMED, at=NOON + 10)
    partner = "partners https://hooks.partner.example"
    assert await store.deliveries.next_due(-1) == {"broker-a": NOON + 10, "broker-b": NOON + 20, partner: NOON + 10}
    assert await store.deliveries.next_due(NOON + 10) == {"broker-a": NOON + 20, "broker-b": NOON + 20}
    assert await store.deliveries.next_due(NOON + 20) == {}


async def test_a_later_delivery_waits_for_an_earlier_one_of_its_process(store: Store) -> None:
    accepted = await done(store, make.accept(make.draft(subscriptions=write_subscriptions([EARLY, TO_B]))))
    claimed = await done(store, make.claim(after(accepted)))
    finished = after(await done(store, make.finish(after(claimed))))
    now = finished.updated_at
    (earlier,) = await store.deliveries.due("broker-a", now, 10)
    assert earlier.told is PublicState.PROCESSING
    assert len(await store.deliveries.due("broker-b", now, 10)) == 1  # that is another one's order
    waiting = await step(store, earlier, missed(), now)
    assert [*await store.deliveries.due("broker-a", now, 10)] == []
    held = await step(store, waiting, Hold("paused"), now)
    assert [*await store.deliveries.due("broker-a", now + 10**9, 10)] == []
    assert held.state is DeliveryState.HELD
    other = after(
        await done(
            store,
            make.claim(after(await done(store, make.accept(make.draft(subscriptions=write_subscriptions([EARLY])))))),
        )
    )
    (alone,) = await store.deliveries.due("broker-a", now, 10)
    assert alone.process_id == other.id


async def test_once_the_earlier_one_has_ended_the_later_one_is_due(store: Store) -> None:
    accepted = await done(store, make.accept(make.draft(subscriptions=write_subscriptions([EARLY]))))
    claimed = await done(store, make.claim(after(accepted)))
    now = after(await done(store, make.finish(after(claimed)))).updated_at
    (earlier,) = await store.deliveries.due("broker-a", now, 10)
    await step(store, earlier, missed(limit=1), now)
    (later,) = await store.deliveries.due("broker-a", now, 10)
    assert later.told is PublicState.COMPLETED


async def test_a_step_is_read_back_with_its_line_of_the_log(store: Store) -> None:
    process = await ended(store, TO_A)
    made = await only(store, process)
    first = attempt(made)
    waiting = await step(store, made, missed(), NOON + 5, attempt=first)
    second = attempt(waiting, outcome=Tried.DELIVERED, status=204, head=b"", address=None)
    taken = await step(store, waiting, Taken(), NOON + 9, attempt=second)
    assert waiting.due_at == NOON + 5 + 5000
    assert await store.deliveries.log(taken[:3]) == (taken, (first, second))
    assert await only(store, process) == taken
    assert [*await store.deliveries.due("broker-a", NOON + 10**9, 10)] == []


async def test_a_step_from_a_delivery_that_went_on_is_stale_and_writes_nothing(store: Store) -> None:
    process = await ended(store, TO_A)
    made = await only(store, process)
    await step(store, made, Taken(), attempt=attempt(made))
    again = DeliveryStep(made, apply(made, missed(limit=1), NOON), attempt(made))
    dead = OpenException(process.id, "dead_delivery", NOON, "500", made.id)
    assert await store.commit(Commit(None, delivery=again, opens=dead)) == Stale()
    found = await store.deliveries.log(made[:3])
    assert found is not None
    assert found[0].state is DeliveryState.DELIVERED
    assert len(found[1]) == 1
    assert await store.exceptions.counts() == {}


async def test_many_steps_at_once_are_all_taken(store: Store) -> None:
    processes = [await ended(store, TO_A, TO_B) for _ in range(40)]
    found = await store.deliveries.find(DeliveryQuery(limit=100))
    assert len(found) == 80
    commits = [Commit(None, delivery=DeliveryStep(one, apply(one, Taken(), NOON), attempt(one))) for one in found]
    verdicts = await asyncio.gather(*(store.commit(commit) for commit in commits))
    assert set(map(type, verdicts)) == {Committed}
    assert len(await store.deliveries.find(DeliveryQuery(states=[DeliveryState.DELIVERED], limit=100))) == 80
    assert len({delivery.process_id for delivery in found}) == len(processes)


async def test_of_a_delivery_that_does_not_exist_there_is_no_log(store: Store) -> None:
    process = await ended(store, TO_A)
    assert await store.deliveries.log((process.id, 2, 1)) is None
    assert await store.deliveries.log((make.make_id(), 1, 0)) is None
    assert await store.deliveries.log(("no id", 1, 0)) is None
    ghost = Delivery(make.make_id(), 1, 0, "broker-a", None, PublicState.FAILED, NOON, due_at=NOON)
    assert await store.commit(Commit(None, delivery=DeliveryStep(ghost, apply(ghost, Taken(), NOON)))) == Stale()


async def test_deliveries_are_found_by_what_is_asked_page_by_page(store: Store) -> None:
    one = await ended(store, TO_A, NAMED, at=NOON)
    two = await ended(store, TO_A, TO_B, at=NOON + 100)
    three = await ended(store, NAMED, at=NOON + 200)
    made = [d for d in await store.deliveries.find(DeliveryQuery(process_id=two.id)) if d.receiver == "broker-a"]
    await step(store, made[0], missed(limit=1))

    async def ids(**fields: Any) -> list[tuple[str, int]]:
        return [(d.process_id, d.position) for d in await store.deliveries.find(DeliveryQuery(**fields))]

    assert await ids() == [(three.id, 0), (two.id, 1), (two.id, 0), (one.id, 1), (one.id, 0)]
    assert await ids(receiver="broker-a") == [(two.id, 0), (one.id, 0)]
    assert await ids(url=NAMED.url) == [(three.id, 0), (one.id, 1)]
    assert await ids(url="https://other.example/") == []
    assert await ids(states=[DeliveryState.DEAD]) == [(two.id, 0)]
    assert await ids(states=[DeliveryState.PENDING], receiver="broker-a") == [(one.id, 0)]
    assert await ids(states=[DeliveryState.DEAD, DeliveryState.PENDING], receiver="broker-a") == [
        (two.id, 0),
        (one.id, 0),
    ]
    assert await ids(created_after=NOON + 100, created_before=NOON + 200) == [(two.id, 1), (two.id, 0)]
    assert await ids(process_id="no id") == []
    assert await ids(limit=2) == [(three.id, 0), (two.id, 1)]
    assert await ids(limit=2, before=(two.id, 2, 1)) == [(two.id, 0), (one.id, 1)]
    assert await ids(states=[DeliveryState.PENDING], before=(two.id, 2, 1)) == [(one.id, 1), (one.id, 0)]


async def test_what_is_open_or_given_up_is_counted_by_receiver(store: Store) -> None:
    assert [*await store.deliveries.totals()] == []
    for at in (NOON + 7, NOON + 3):
        await ended(store, TO_A, NAMED, at=at)
    other = Subscription("partners", "https://other.partner.example/")
    process = await ended(store, other, TO_B, TO_A, at=NOON + 1)
    for found in await store.deliveries.find(DeliveryQuery(process_id=process.id)):
        if found.receiver == "broker-b":
            await step(store, found, missed(limit=1))
        elif found.receiver == "broker-a":
            await step(store, found, Taken())
    held = await store.deliveries.find(DeliveryQuery(receiver="partners", created_after=NOON + 7))
    await step(store, held[0], Hold("paused"))
    assert {*await store.deliveries.totals()} == {
        DeliveryTotal("broker-a", DeliveryState.PENDING, 2, NOON + 3),
        DeliveryTotal("partners", DeliveryState.PENDING, 2, NOON + 1),
        DeliveryTotal("partners", DeliveryState.HELD, 1, None),
        DeliveryTotal("broker-b", DeliveryState.DEAD, 1, None),
    }


async def test_pauses_are_kept_until_they_are_lifted(store: Store) -> None:
    whole = ReceiverPause("broker-a", None, NOON, "ann", "they move house")
    url = ReceiverPause("partners", NAMED.url, NOON + 1, "receiver", "410")
    await store.deliveries.pause(whole)
    await store.deliveries.pause(url)
    await store.deliveries.pause(whole._replace(who="bob"))
    assert {*await store.deliveries.pauses()} == {whole, url}
    await store.deliveries.resume("partners", NAMED.url)
    await store.deliveries.resume("nobody", None)
    assert [*await store.deliveries.pauses()] == [whole]


async def test_an_answer_that_pauses_does_so_in_the_same_commit(store: Store) -> None:
    process = await ended(store, NAMED)
    made = await only(store, process)
    pause = ReceiverPause("partners", NAMED.url, NOON, "receiver", "410")
    held = await step(store, made, Hold("410", tried=True), attempt=attempt(made, status=410), pauses=pause)
    assert [*await store.deliveries.pauses()] == [pause]
    assert await only(store, process) == held


async def test_the_exception_about_a_delivery_is_closed_with_its_step_and_no_other(store: Store) -> None:
    process = await ended(store, TO_A, TO_B)
    b, a = await store.deliveries.find(DeliveryQuery(process_id=process.id))
    dead = {}
    for one in (a, b):
        opens = OpenException(process.id, "dead_delivery", NOON, "500", one.id)
        dead[one.receiver] = apply(one, missed(limit=1), NOON)
        await done(store, Commit(None, delivery=DeliveryStep(one, dead[one.receiver]), opens=opens))
    assert await store.exceptions.counts() == {"dead_delivery": 2}
    closing = Closing(NOON + 9, "ann", "redrive", "they are back")
    await step(store, dead["broker-a"], Redrive(), NOON + 9, closes=closing)
    (left,) = await store.exceptions.page(ExceptionQuery())
    assert left.subject == b.id
    (closed,) = await store.exceptions.page(ExceptionQuery("closed"))
    assert (closed.subject, closed.closed_by, closed.action) == (a.id, "ann", "redrive")
    found = await store.exceptions.one(closed.id)
    assert found is not None
    assert [(note.did, note.text) for note in found[1]] == [("closed", "they are back")]


async def test_a_process_is_kept_while_somebody_is_still_to_be_told(store: Store) -> None:
    process = await ended(store, TO_A)
    long_after = NOON + 10 * RETAIN
    assert await store.sweep(long_after, 100) == 0
    made = await only(store, process)
    taken = await step(store, made, Taken(), long_after, attempt=attempt(made))
    # It is kept as long as it was promised, from the end of its last delivery.
    assert await store.sweep(long_after + RETAIN - 1, 100) == 0
    assert await store.sweep(long_after + RETAIN, 100) > 0
    assert isinstance(await store.process(process.id), Tombstone)
    assert await store.deliveries.log(taken[:3]) is None
    assert [*await store.deliveries.find(DeliveryQuery())] == []
    with store.ledgers() as ledgers:
        assert [*ledgers.strays(lambda: NOON)] == []


async def test_who_is_still_to_be_told_of_one_process_keeps_no_other(store: Store) -> None:
    told = await ended(store, TO_A)
    made = await only(store, told)
    await step(store, made, Taken(), NOON, attempt=attempt(made))
    kept = await ended(store, TO_A)
    assert await store.sweep(NOON + RETAIN + RETAIN // 2, 100) > 0
    assert isinstance(await store.process(told.id), Tombstone)
    assert isinstance(await store.process(kept.id), Process)


async def test_what_is_held_keeps_its_process_too(store: Store) -> None:
    process = await ended(store, TO_A)
    await step(store, await only(store, process), Hold("paused"))
    assert await store.sweep(NOON + 10 * RETAIN, 100) == 0
    assert isinstance(await store.process(process.id), Process)
