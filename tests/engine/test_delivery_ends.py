"""What came of an attempt is committed, however long the store takes; what somebody else has settled stays so."""

from __future__ import annotations

import pytest

from strangler.domain.delivery import DeliveryState, Release, Taken, apply
from strangler.domain.process import Process
from strangler.engine.delivery_pauses import held
from strangler.ports import Commit, Committed, DeliveryStep, Reception
from tests.engine.alarms import alarms_of
from tests.engine.receivers import OK, PAUSE, Gate, Telling, answer
from tests.engine.world import NOON


def notes_of(telling: Telling) -> list[tuple[object, ...]]:
    """What was noted."""
    return [values for name, values in telling.instrument.told if name == "note"]


async def test_a_store_that_cannot_take_an_end_is_asked_ever_more_seldom_and_that_is_said_once(
    begun: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms = alarms_of(monkeypatch)
    begun.store.refuses = lambda commit: commit.delivery is not None
    process = await begun.process()
    for number in range(1, 8):
        await begun.until(lambda number=number: len(alarms) == number)
        begun.store.refuses = lambda commit, number=number: commit.delivery is not None and number < 7  # type: ignore[misc]
        alarms[-1].ring()
    await begun.settled()
    assert [alarm.seconds for alarm in alarms] == [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0]
    assert notes_of(begun) == [("delivery_held_back", "error", "the disk is full")]
    assert (await begun.one(process)).state is DeliveryState.DELIVERED


async def being_sent(begun: Telling, reception: Reception) -> tuple[Gate, Process]:
    """A process whose delivery is under way, until the gate is opened."""
    gate = Gate(reception)
    begun.sender.scripts["broker-a"] = [gate]
    process = await begun.process()
    await gate.reached.wait()
    return gate, process


TAKEN_OR_NOT = pytest.mark.parametrize("reception", [OK, answer(500)], ids=["taken", "not taken"])


@TAKEN_OR_NOT
async def test_what_somebody_else_has_settled_while_it_was_sent_stays_as_it_is(
    begun: Telling, reception: Reception
) -> None:
    gate, process = await being_sent(begun, reception)
    delivery = await begun.one(process)
    step = DeliveryStep(delivery, apply(delivery, Taken(), NOON))
    assert await begun.store.commit(Commit(None, delivery=step)) == Committed()
    gate.open.set()
    await begun.settled()
    assert await begun.one(process) == step.after
    assert notes_of(begun) == [("delivery_settled_twice", "warning", delivery.id)]


@TAKEN_OR_NOT
@pytest.mark.parametrize("put_back", [False, True])
async def test_what_came_of_an_attempt_is_kept_although_it_was_held_and_perhaps_put_back_meanwhile(
    begun: Telling, reception: Reception, put_back: bool
) -> None:
    gate, process = await being_sent(begun, reception)
    await begun.store.commit(held(await begun.one(process), PAUSE, NOON))
    if put_back:
        back = await begun.one(process)
        await begun.store.commit(Commit(None, delivery=DeliveryStep(back, apply(back, Release(), NOON))))
    gate.open.set()
    await begun.settled()
    delivery = await begun.one(process)
    found = await begun.store.deliveries.log(delivery[:3])
    assert found is not None
    assert [line.status for line in found[1]] == [200 if reception is OK else 500]
    assert delivery.state is (DeliveryState.DELIVERED if reception is OK else DeliveryState.PENDING)
    assert len(begun.sender.sent) == 1
