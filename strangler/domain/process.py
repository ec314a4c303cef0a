"""The process: the durable resource that a slow call becomes.

Instants are integers, milliseconds since the Unix epoch, UTC; their names end in ``_at``. A process is a plain
immutable value. What may become of it stands in `transitions`, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
"""The id of a process: a UUID in canonical form."""

SET_BACK = 1000
"""Milliseconds that what was accepted lies ahead of a clock that was set back, not merely read a little earlier."""


class State(StrEnum):
    """The machine's word for where a process is."""

    RECEIVED = "received"  # recorded, not yet sent
    PROCESSING = "processing"  # an attempt is under way, under a lease with a fencing token
    WAITING = "waiting"  # the next attempt is due at an instant
    FOLLOWING = "following"  # the upstream took it and answered "not yet"
    IN_DOUBT = "in_doubt"  # bytes may have left, no whole reply came
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


FINAL = frozenset({State.COMPLETED, State.REJECTED, State.FAILED, State.EXPIRED, State.CANCELLED})


class PublicState(StrEnum):
    """The closed set of states that a client can see."""

    RECEIVED = "received"
    PROCESSING = "processing"
    UNCONFIRMED = "unconfirmed"  # sent, nobody knows what it did, and only a person can settle it
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Effect(StrEnum):
    """What the call did to the legacy system: the answer to "can I try again?"."""

    NONE = "none"  # nothing was sent, or the upstream refused: safe to try again
    APPLIED = "applied"
    UNKNOWN = "unknown"


class Process(NamedTuple):
    """One process as it stands: the projection of its history.

    A named tuple rather than a dataclass because one is made on every acceptance and every transition, and
    ``_replace`` on forty fields costs a fifth of `dataclasses.replace`.
    """

    # What acceptance settles, and but for `promised` once and for all.
    id: str  # UUIDv7, canonical text
    route: str
    type: str  # the domain's name of the process
    promise: str  # digest of the promise under which it was accepted
    base: str  # public base URL, no trailing slash
    resource: str  # path of the collection, R
    method: str
    correlation_id: str
    created_at: int
    deadline_at: int
    retain: int  # milliseconds a final process is kept
    promised: bool  # a client gets (or got) a 202, and so may rely on the work being done; never taken back
    caller: str | None = None  # keyed hash of the caller's identity, hex
    caller_name: str | None = None  # a plain label for people; decides nothing
    key: str | None = None  # the idempotency key as the client gave it; a derived one is never shown
    key_scope: str | None = None  # where the key is unique
    key_lookup: str | None = None  # the key, given or derived, as it is looked up within its scope
    key_life: int = 0  # milliseconds that the key outlives the end of the process
    body_size: int = 0  # bytes of the recorded request body
    parent_id: str | None = None
    revision: str | None = None  # of the policy under which it was accepted
    trace: str | None = None  # the W3C traceparent of our span of its acceptance
    trace_state: str | None = None  # the tracestate that came with it
    subscriptions: str | None = None  # who is to be called back, JSON: [[receiver, URL that the caller named or null]]
    retain_bodies: int | None = None  # milliseconds its request and reply are kept; None: as long as itself
    retain_history: int | None = None
    retain_deliveries: int | None = None
    had_credentials: bool | None = None  # its client gave some, which go with its end; None: it was not kept

    # What transitions change.
    state: State = State.RECEIVED
    version: int = 0  # counts public changes
    sequence: int = 0  # counts events; the compare-and-set token
    head: bytes = b""  # SHA-256 of the last event: the head of the hash chain
    updated_at: int = 0  # the last public change
    due_at: int | None = None  # when it may be claimed, or is looked after next; None: neither
    finished_at: int | None = None
    owner: str | None = None  # the worker that holds it under its lease
    fence: int = 0  # counts claims: the fencing token
    tries: int = 0  # attempts begun
    attempts: int = 0  # of these, the ones that may have had an effect
    unresolved: bool = False  # an earlier attempt is unresolved: nobody knows what it did
    settling: bool = False  # in doubt, and going to be settled without a person
    status: str | None = None  # the domain's word, where an outcome rule gave one
    reason: str | None = None
    effect: Effect | None = None
    result_status: int | None = None  # HTTP status of the recorded reply
    result_type: str | None = None  # its Content-Type
    result_length: int | None = None  # bytes of its body; None: no reply, or nobody knows yet how long it gets
    result_kept: bool = False  # the reply's body is stored (a reply over `max_reply` is not)
    follow_target: str | None = None  # where the upstream is asked what became of it, as a request target
    follow_until_at: int | None = None  # until when it is asked; its clock stood still as that of `deadline_at` did
    business_references: str | None = None  # what operators search it by, JSON: {name: text}
    probes: int = 0  # how often the upstream was asked what the attempt in doubt did, and did not tell
    repeated: bool = False  # it was told to have done nothing, and sent again: never a second time on such a word

    @property
    def final(self) -> bool:
        """Whether the process has ended; it never changes again."""
        return self.state in FINAL

    @property
    def public_state(self) -> PublicState:
        """The state as a client sees it."""
        return _PUBLIC[self.state, self.settling]

    def is_due(self, now: int) -> bool:
        """Whether it may be claimed, or is looked after, at an instant.

        What was never sent is due since it was accepted. Where that lies ahead, the clock has been set back.
        """
        if self.due_at is None or self.due_at <= now:
            return self.due_at is not None
        return self.state is State.RECEIVED and self.due_at > now + SET_BACK

    @property
    def queued(self) -> bool:
        """Whether it waits to be sent."""
        return self.due_at is not None and self.state not in _ASKED_ABOUT

    @property
    def asked_about(self) -> bool:
        """Whether the upstream is asked what became of it, once it is due, rather than called for it."""
        return self.state in _ASKED_ABOUT

    @property
    def over_at(self) -> int:
        """When it ends, if it still waits, or is followed, then."""
        if self.state is State.FOLLOWING and self.follow_until_at is not None:
            return self.follow_until_at
        return _NEVER if self.state is State.IN_DOUBT else self.deadline_at

    @property
    def cancellable(self) -> bool:
        """Whether nothing has been sent that is not known to have done nothing."""
        return self.state is State.RECEIVED or (self.state is State.WAITING and not self.unresolved)

    @property
    def has_result(self) -> bool:
        """Whether a whole reply of the upstream was recorded."""
        return self.result_status is not None


_ASKED_ABOUT = frozenset({State.FOLLOWING, State.IN_DOUBT})
_NEVER = 2**63 - 1

_SHOWN = {
    State.RECEIVED: PublicState.RECEIVED,
    State.PROCESSING: PublicState.PROCESSING,
    State.WAITING: PublicState.PROCESSING,
    State.FOLLOWING: PublicState.PROCESSING,
    State.COMPLETED: PublicState.COMPLETED,
    State.REJECTED: PublicState.REJECTED,
    State.FAILED: PublicState.FAILED,
    State.EXPIRED: PublicState.EXPIRED,
    State.CANCELLED: PublicState.CANCELLED,
}
_PUBLIC = {
    **{(state, settling): shown for state, shown in _SHOWN.items() for settling in (False, True)},
    (State.IN_DOUBT, False): PublicState.UNCONFIRMED,
    (State.IN_DOUBT, True): PublicState.PROCESSING,
}
MACHINE_STATES: Mapping[PublicState, tuple[tuple[State, bool | None], ...]] = {
    public: (
        *((state, None) for state, shown in _SHOWN.items() if shown is public),
        *((state, settling) for (state, settling), shown in _PUBLIC.items() if shown is public and state not in _SHOWN),
    )
    for public in PublicState
}
"""By public state, the states that are shown as it, each with what ``settling`` has to be (None: either)."""


def public_state(state: State, settling: bool) -> PublicState:
    """The state of a process as a client sees it. ``settling``: it is in doubt, and no person is needed."""
    return _PUBLIC[state, settling]


def is_id(text: str) -> bool:
    """Whether a text can be the id of a process."""
    return ID.fullmatch(text) is not None


ACCEPTED_FIELDS = Process._fields[: Process._fields.index("state")]


class Tombstone(NamedTuple):
    """What is left of a process after its retention: enough to answer 410 to who might have read it, and to find what
    else bears its request."""

    id: str
    resource: str
    caller: str | None
    promise: str
    until_at: int
    parent_id: str | None = None  # an earlier release did not keep it
