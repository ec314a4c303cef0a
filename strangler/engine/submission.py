"""A request that a route may record, and what becomes of it, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from strangler.domain.exchange import Body, Request
from strangler.domain.idempotency import Judgement, KeyRecord, judge
from strangler.domain.process import Process
from strangler.engine.authorize import Barred
from strangler.engine.content import Violation
from strangler.engine.identity import caller_name
from strangler.engine.intake import KnownAs
from strangler.engine.keys import Key
from strangler.policy.decide import Decision
from strangler.policy.limit import Reading
from strangler.policy.model import Route


class Submission(NamedTuple):
    """A request that a route may record."""

    request: Request
    route: Route
    parameters: Mapping[str, str]  # of the path
    decision: Decision
    base: str  # public base URL for what is answered


class Accepted(NamedTuple):
    """It is recorded, on disk."""

    process: Process
    limit: Reading | None = None  # what its client has left, where that is limited


class Joined(NamedTuple):
    """It is the same request again as one that is recorded."""

    process_id: str


class Refused(NamedTuple):
    """It is not recorded. ``name`` is that of the problem."""

    name: str
    detail: str
    retry_after: int | None = None
    violations: Sequence[Violation] = ()
    limit: Reading | None = None  # what its client has left, where it sent too much


class Pass(NamedTuple):
    """It goes through untouched; ``read`` of its body was read."""

    read: Sequence[bytes] = ()


Acceptance = Accepted | Joined | Refused | Barred | Pass


def draft_of(
    submission: Submission,
    caller: str | None,
    body: Body,
    key: Key | None,
    process_id: str,
    known_as: KnownAs,
    now: int,
    revision: str | None,
    subscriptions: str | None,
    *,
    had_credentials: bool,
) -> Process:
    """The process that is going to be accepted."""
    route = submission.route
    policy, kept = route.process, route.process.kept
    scope, lookup, shown, _, life = key if key is not None else _NO_KEY
    # By place, in the order of the fields: by name it takes twice as long, and it is done for every acceptance.
    return Process(
        process_id,
        route.name,
        policy.type,
        route.promise.digest,
        submission.base,
        policy.resource,
        submission.request.method,
        known_as.correlation_id,
        now,
        now + round(policy.deadline * 1000),
        kept.whole,
        submission.decision.accepts_202,
        caller,
        caller_name(submission.request, route.access),
        shown,
        scope,
        lookup,
        life,
        body.size,
        None,  # parent_id
        revision,
        known_as.trace,
        known_as.trace_state,
        subscriptions,
        kept.bodies,
        kept.history,
        kept.deliveries,
        had_credentials,
    )


def verdict_on(record: KeyRecord, key: Key, now: int) -> Joined | Refused | None:
    """What becomes of a request under a key that is on record; None: its key is free again."""
    match judge(record, key.fingerprint, now):
        case Judgement.FRESH:
            return None
        case Judgement.REPLAY:
            return Joined(record.process_id)
        case Judgement.MISMATCH:
            return Refused("idempotency-key-reused", "the key was used for another request; take a new one")


_NO_KEY = (None, None, None, None, 0)
