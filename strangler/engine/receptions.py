"""What follows from one attempt to tell a receiver: decided, and nothing done."""

from __future__ import annotations

from typing import NamedTuple, assert_never

from strangler.domain.delivery import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Hold,
    Missed,
    Spared,
    Taken,
    Transition,
    Tried,
    apply,
)
from strangler.policy.receivers import Receiver
from strangler.ports import (
    Answered,
    Commit,
    DeliveryStep,
    Forbidden,
    OpenException,
    Ours,
    ReceiverPause,
    Reception,
    Unreached,
)

GONE = 410
_ASKS_FOR_PEACE = frozenset({429, 503})


class Attempt(NamedTuple):
    """One attempt that was made."""

    receiver: Receiver
    began_at: int
    reception: Reception
    chance: float  # drawn from [0, 1), for the jitter where it is tried again
    spare: int  # milliseconds to wait where the fault was our own
    trace: str | None = None  # the traceparent that was sent


def step_of(delivery: Delivery, attempt: Attempt, now: int) -> DeliveryStep:
    """What an attempt makes of a delivery, with its line of the log."""
    reception = attempt.reception
    after = apply(delivery, _transition(attempt, now), now)
    pauses = None
    if isinstance(reception, Answered) and reception.status == GONE:
        pauses = ReceiverPause(delivery.receiver, delivery.url, now, "receiver", "it answered 410 Gone")
    return DeliveryStep(delivery, after, _line(after, attempt, now), pauses)


def commit_of(step: DeliveryStep, now: int) -> Commit:
    """A step, to be committed as one with what a person has to see of it."""
    after, opens = step.after, None
    if step.pauses is not None:
        opens = OpenException(after.process_id, "receiver_gone", now, _who(after) + " answered 410", after.id)
    elif after.state is DeliveryState.DEAD:
        detail = f"{_who(after)} was not told after {after.attempts} attempts; the last one: {after.reason}"
        opens = OpenException(after.process_id, "dead_delivery", now, detail, after.id)
    return Commit(None, opens=opens, delivery=step)


def peace(attempt: Attempt) -> int | None:
    """Milliseconds for which the receiver wants no calls at all; None: it says nothing of that."""
    reception = attempt.reception
    if not isinstance(reception, Answered) or reception.status not in _ASKS_FOR_PEACE or reception.retry_after is None:
        return None
    return min(reception.retry_after, round(attempt.receiver.backoff.max * 1000))


def taken(reception: Reception) -> bool:
    """Whether the receiver took it."""
    return isinstance(reception, Answered) and 200 <= reception.status < 300


def alive(reception: Reception) -> bool | None:
    """Whether an attempt says that the receiver is well; None: it says nothing of it."""
    match reception:
        case Answered(status=status):
            return status < 500 and status != 429
        case Unreached() | Forbidden():
            return False
        case Ours():
            return None
        case _:
            assert_never(reception)


def _transition(attempt: Attempt, now: int) -> Transition:
    if taken(attempt.reception):
        return Taken()
    match attempt.reception:
        case Answered(status=status) if status == GONE:
            return Hold("the receiver answered 410 Gone", tried=True)
        case Answered(status=status):
            return _missed(attempt, f"it answered {status}")
        case Unreached(reason=reason) | Forbidden(reason=reason):
            return _missed(attempt, reason)
        case Ours(reason=reason):
            return Spared(reason, now + attempt.spare)
        case _:
            assert_never(attempt.reception)


def _missed(attempt: Attempt, reason: str) -> Missed:
    receiver = attempt.receiver
    return Missed(reason, receiver.backoff, receiver.attempts, attempt.chance, peace(attempt))


def _line(after: Delivery, attempt: Attempt, now: int) -> DeliveryAttempt:
    """The line of the log."""
    place = (after.process_id, after.version, after.position, after.tries, attempt.began_at)
    match attempt.reception:
        case Answered(status=status, head=head, address=address, duration=duration):
            outcome = Tried.DELIVERED if taken(attempt.reception) else Tried.REFUSED
            return DeliveryAttempt(*place, duration, outcome, address, status, None, head)
        case Unreached(reason=reason, address=address, duration=duration):
            return DeliveryAttempt(*place, duration, Tried.UNREACHED, address, None, reason)
        case Forbidden(reason=reason):
            return DeliveryAttempt(*place, max(0, now - attempt.began_at), Tried.FORBIDDEN, None, None, reason)
        case Ours(reason=reason, duration=duration):
            return DeliveryAttempt(*place, duration, Tried.OURS, None, None, reason)
        case _:
            assert_never(attempt.reception)


def _who(delivery: Delivery) -> str:
    return delivery.receiver if delivery.url is None else f"{delivery.url} ({delivery.receiver})"
