"""Deliveries: one public change of a process, told to one subscription, until it is taken or given up.

They have a little table of their own. A delivery is made by the change that it tells (`raised`), in the same commit;
what becomes of it later stands in `TABLE`, and `apply` alone changes one. Instants are milliseconds since the Unix
epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from strangler.domain.errors import IllegalTransition
from strangler.domain.process import FINAL, Process, PublicState, is_id
from strangler.domain.retry import Backoff, delay

FINAL_STATES = frozenset(PublicState(state.value) for state in FINAL)
"""What a receiver is told of unless the policy says otherwise."""


class DeliveryState(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"  # the next attempt is due at an instant
    HELD = "held"  # its receiver, or its URL, is paused: nothing is sent, and nothing dropped
    DELIVERED = "delivered"  # the receiver took it
    DEAD = "dead"  # a dead letter: given up, until somebody puts it back


OPEN = frozenset({DeliveryState.PENDING, DeliveryState.HELD})


class Subscription(NamedTuple):
    """A standing wish of a process to have somebody told, as it was promised with it."""

    receiver: str  # its name in the policy
    url: str | None = None  # that the caller named; None: the receiver's own
    states: frozenset[PublicState] = FINAL_STATES  # that it is told of


def write_subscriptions(subscriptions: Iterable[Subscription]) -> str | None:
    """Subscriptions as a process carries them: JSON, ``[[receiver, URL or null]]``, and a third member, the states,
    where they are not the final ones. None: there are none."""
    written: list[list[object]] = []
    for receiver, url, states in subscriptions:
        written.append([receiver, url] if states == FINAL_STATES else [receiver, url, sorted(states)])
    return json.dumps(written, ensure_ascii=False, separators=(",", ":")) if written else None


@lru_cache(maxsize=1024)
def read_subscriptions(text: str) -> tuple[Subscription, ...]:
    """The subscriptions that were written.

    Raises:
        ValueError: the text is not what `write_subscriptions` makes.
    """
    try:
        return tuple(
            Subscription(receiver, url, frozenset(map(PublicState, states[0])) if states else FINAL_STATES)
            for receiver, url, *states in json.loads(text)
        )
    except TypeError as error:
        raise ValueError(str(error)) from None


class Delivery(NamedTuple):
    """One delivery as it stands. Its process, the version it tells, and the place of its subscription name it."""

    process_id: str
    version: int  # of the process
    position: int  # of its subscription in those of the process
    receiver: str
    url: str | None  # that the caller named; None: the receiver's own
    told: PublicState  # that the process had reached
    created_at: int
    state: DeliveryState = DeliveryState.PENDING
    sequence: int = 1  # counts changes; the compare-and-set token
    due_at: int | None = None  # pending: when the next attempt is due
    attempts: int = 0  # that the receiver failed, since it was made or put back
    tries: int = 0  # all attempts in the log
    ended_at: int | None = None
    reason: str | None = None  # why it is held, dead, or not delivered yet

    @property
    def id(self) -> str:
        """Its name towards the receiver, the same over all attempts (Standard Webhooks: ``webhook-id``)."""
        return f"{self.process_id}-{self.version}-{self.position}"

    @property
    def lane(self) -> str:
        """The lane that it is sent in."""
        return lane_of(self.receiver, self.url)

    @property
    def open(self) -> bool:
        """Whether it is going to be sent some time."""
        return self.state in OPEN


def lane_of(receiver: str, url: str | None) -> str:
    """One lane per receiver; of one whose callers name the URL, one per origin, so that a dead one slows no other."""
    return receiver if url is None else f"{receiver} {origin_of(url)}"


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL that was checked."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}"


def receiver_of_lane(lane: str) -> str:
    """The receiver that a lane leads to."""
    return lane.partition(" ")[0]


def parse_delivery_id(text: str) -> tuple[str, int, int] | None:
    """Process id, version and position of a delivery's name; None: it is none."""
    process_id, _, rest = text.rpartition("-")
    process_id, _, version = process_id.rpartition("-")
    if not is_id(process_id) or not all(
        part.isascii() and part.isdigit() and len(part) < 10 for part in (version, rest)
    ):
        return None
    return process_id, int(version), int(rest)


def raised(before: PublicState | None, process: Process, at: int) -> tuple[Delivery, ...]:
    """The deliveries that a change to ``process`` makes at the instant ``at``: it reached a state that they tell."""
    if process.subscriptions is None or (state := process.public_state) is before:
        return ()
    return tuple(
        Delivery(process.id, process.version, position, subscription.receiver, subscription.url, state, at, due_at=at)
        for position, subscription in enumerate(read_subscriptions(process.subscriptions))
        if state in subscription.states
    )


def alone(delivery: Delivery, process: Process) -> bool:
    """Whether it waits for no earlier one: its subscription is told of ends alone, and a process ends once."""
    return read_subscriptions(process.subscriptions or "[]")[delivery.position].states == FINAL_STATES


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver took it."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The receiver did not take it. It is tried again on schedule; after ``limit`` attempts it is given up."""

    reason: str
    backoff: Backoff
    limit: int
    chance: float  # drawn from [0, 1), for the jitter
    retry_after: int | None = None  # milliseconds that the receiver asks for


@dataclass(frozen=True, slots=True)
class Spared:
    """It could not be sent, and the receiver had no part in it: no attempt is used up."""

    reason: str
    due_at: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Its receiver, or its URL, is paused. ``tried``: by the answer to an attempt."""

    reason: str
    tried: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """It is no longer paused."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """Somebody puts it back: its schedule begins anew."""


Transition = Taken | Missed | Spared | Hold | Release | Redrive

TABLE: Mapping[DeliveryState, Mapping[type, frozenset[DeliveryState]]] = {
    DeliveryState.PENDING: {
        Taken: frozenset({DeliveryState.DELIVERED}),
        Missed: frozenset({DeliveryState.PENDING, DeliveryState.DEAD}),
        Spared: frozenset({DeliveryState.PENDING}),
        Hold: frozenset({DeliveryState.HELD}),
        Redrive: frozenset({DeliveryState.PENDING}),
    },
    DeliveryState.HELD: {Release: frozenset({DeliveryState.PENDING})},
    DeliveryState.DELIVERED: {Redrive: frozenset({DeliveryState.PENDING})},
    DeliveryState.DEAD: {Redrive: frozenset({DeliveryState.PENDING})},
}


def apply(delivery: Delivery, transition: Transition, now: int) -> Delivery:
    """What becomes of ``delivery`` by ``transition`` at the instant ``now``.

    Raises:
        IllegalTransition: the table does not know it.
    """
    targets = TABLE[delivery.state].get(type(transition))
    if targets is None:
        raise IllegalTransition(f"{type(transition).__name__} of a delivery that is {delivery.state}")
    after = _after(delivery, transition, now)._replace(sequence=delivery.sequence + 1)
    if after.state not in targets:
        raise IllegalTransition(f"{type(transition).__name__} of a delivery from {delivery.state} to {after.state}")
    return after


def _after(delivery: Delivery, transition: Transition, now: int) -> Delivery:
    match transition:
        case Taken():
            return delivery._replace(
                state=DeliveryState.DELIVERED, due_at=None, tries=delivery.tries + 1, ended_at=now, reason=None
            )
        case Missed():
            return _missed(delivery, transition, now)
        case Spared(reason, due_at):
            return delivery._replace(due_at=due_at, tries=delivery.tries + 1, reason=reason)
        case Hold(reason, tried):
            return delivery._replace(state=DeliveryState.HELD, due_at=None, tries=delivery.tries + tried, reason=reason)
        case Release():
            return delivery._replace(state=DeliveryState.PENDING, due_at=now, reason=None)
        case Redrive():
            return delivery._replace(state=DeliveryState.PENDING, due_at=now, attempts=0, ended_at=None, reason=None)


def _missed(delivery: Delivery, missed: Missed, now: int) -> Delivery:
    tried = delivery._replace(attempts=delivery.attempts + 1, tries=delivery.tries + 1, reason=missed.reason)
    if tried.attempts >= missed.limit:
        return tried._replace(state=DeliveryState.DEAD, due_at=None, ended_at=now)
    # What a receiver asks for is heeded up to the longest step of the schedule: none may put us off for a year.
    asked = min(missed.retry_after / 1000, missed.backoff.max) if missed.retry_after is not None else None
    wait = delay(missed.backoff, tried.attempts, missed.chance, asked)
    return tried._replace(due_at=now + round(wait * 1000))


class Tried(StrEnum):
    """What an attempt came to."""

    DELIVERED = "delivered"  # 2xx
    REFUSED = "refused"  # another status
    UNREACHED = "unreached"  # no answer
    FORBIDDEN = "forbidden"  # the URL or its address may not be called: nothing was sent
    OURS = "ours"  # a fault of our own: it does not count


class DeliveryAttempt(NamedTuple):
    """One line of the delivery log."""

    process_id: str
    version: int
    position: int
    number: int  # 1, 2, … over all that a delivery went through
    at: int  # when it began
    duration: int  # milliseconds
    outcome: Tried
    address: str | None = None  # that was connected to, or tried last
    status: int | None = None  # of the answer
    error: str | None = None  # why there was no answer, for people
    head: bytes = b""  # the first bytes of the answer's body
