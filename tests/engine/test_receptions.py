"""What each way that an attempt to tell a receiver can end makes of its delivery."""

from __future__ import annotations

import pytest

from strangler.domain.delivery import Delivery, DeliveryState, Tried
from strangler.domain.process import PublicState
from strangler.domain.retry import Backoff
from strangler.engine.receptions import Attempt, alive, commit_of, peace, step_of
from strangler.policy.receivers import Receiver
from strangler.ports import Answered, Forbidden, Ours, Reception, Unreached

NOON = 1_800_000_000_000
RECEIVER = Receiver(name="broker-a", attempts=2, backoff=Backoff(initial=5.0, factor=5.0, max=3600.0, jitter="none"))
DELIVERY = Delivery(
    "01a3185c-5000-7000-8000-000000000001", 3, 0, "broker-a", None, PublicState.COMPLETED, NOON, due_at=NOON
)
MINUTE, YEAR = 60_000, 365 * 86_400_000


def answered(status: int, retry_after: int | None = None) -> Answered:
    return Answered(status, retry_after, b"head", "192.0.2.1", 30)


def attempt(reception: Reception) -> Attempt:
    return Attempt(RECEIVER, NOON, reception, 0.5, spare=700)


@pytest.mark.parametrize(
    ("reception", "state", "due_in", "counted", "outcome", "well", "rest"),
    [
        (answered(200), DeliveryState.DELIVERED, None, 0, Tried.DELIVERED, True, None),
        (answered(299), DeliveryState.DELIVERED, None, 0, Tried.DELIVERED, True, None),
        (answered(300), DeliveryState.PENDING, 5000, 1, Tried.REFUSED, True, None),
        (answered(404, MINUTE), DeliveryState.PENDING, 5000, 1, Tried.REFUSED, True, None),
        (answered(410), DeliveryState.HELD, None, 0, Tried.REFUSED, True, None),
        (answered(428), DeliveryState.PENDING, 5000, 1, Tried.REFUSED, True, None),
        (answered(429), DeliveryState.PENDING, 5000, 1, Tried.REFUSED, False, None),
        (answered(429, MINUTE), DeliveryState.PENDING, MINUTE, 1, Tried.REFUSED, False, MINUTE),
        (answered(499), DeliveryState.PENDING, 5000, 1, Tried.REFUSED, True, None),
        (answered(500, MINUTE), DeliveryState.PENDING, 5000, 1, Tried.REFUSED, False, None),
        (answered(503, YEAR), DeliveryState.PENDING, 60 * MINUTE, 1, Tried.REFUSED, False, 60 * MINUTE),
        (Unreached("refused", "192.0.2.1", 30), DeliveryState.PENDING, 5000, 1, Tried.UNREACHED, False, None),
        (Forbidden("10.0.0.1 is private"), DeliveryState.PENDING, 5000, 1, Tried.FORBIDDEN, False, None),
        (Ours("no file descriptor", 30), DeliveryState.PENDING, 700, 0, Tried.OURS, None, None),
    ],
)
def test_what_an_attempt_makes_of_a_delivery(
    reception: Reception,
    state: DeliveryState,
    due_in: int | None,
    counted: int,
    outcome: Tried,
    well: bool | None,
    rest: int | None,
) -> None:
    now = NOON + 30
    step = step_of(DELIVERY, attempt(reception), now)
    assert (step.after.state, step.after.attempts, step.after.tries) == (state, counted, 1)
    assert step.after.due_at == (None if due_in is None else now + due_in)
    assert step.attempt is not None
    assert (step.attempt.number, step.attempt.at, step.attempt.duration) == (1, NOON, 30)
    assert step.attempt.outcome is outcome
    assert (step.pauses is not None) == (state is DeliveryState.HELD)
    assert alive(reception) is well
    assert peace(attempt(reception)) == rest


@pytest.mark.parametrize(
    ("attempts", "reception", "opened"),
    [
        (0, answered(200), None),
        (0, answered(500), None),
        (1, answered(200), None),
        (1, answered(500), "dead_delivery"),
        (1, Unreached("refused", None, 30), "dead_delivery"),
        (1, Ours("no file descriptor", 30), None),
        (0, answered(410), "receiver_gone"),
        (1, answered(410), "receiver_gone"),
    ],
)
def test_a_person_sees_who_was_not_told_and_who_is_gone(
    attempts: int, reception: Reception, opened: str | None
) -> None:
    commit = commit_of(step_of(DELIVERY._replace(attempts=attempts), attempt(reception), NOON), NOON)
    assert (commit.opens.kind if commit.opens is not None else None) == opened
    assert commit.opens is None or commit.opens.subject == DELIVERY.id
