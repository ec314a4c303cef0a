"""A request that a route may record, and what becomes of it, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from strangler.domain.exchange import Body, Request
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
) -> Process:
    """The process that is going to be accepted."""
    route = submission.route
    kept = route.process.kept
    return Process(
        id=process_id,
        route=route.name,
        type=route.process.type,
        promise=route.promise.digest,
        base=submission.base,
        resource=route.process.resource,
        method=submission.request.method,
        correlation_id=known_as.correlation_id,
        created_at=now,
        deadline_at=now + round(route.process.deadline * 1000),
        retain=kept.whole,
        retain_bodies=kept.bodies,
        retain_history=kept.history,
        retain_deliveries=kept.deliveries,
        promised=submission.decision.accepts_202,
        caller=caller,
        caller_name=caller_name(submission.request, route.access),
        key=key.shown if key is not None else None,
        key_scope=key.scope if key is not None else None,
        key_lookup=key.lookup if key is not None else None,
        key_life=key.life if key is not None else 0,
        body_size=body.size,
        revision=revision,
        trace=known_as.trace,
        trace_state=known_as.trace_state,
    )
