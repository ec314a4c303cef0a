"""A process as it is drafted when its request is accepted, and what becomes of it by some transitions."""

from __future__ import annotations

from typing import Any

from strangler.domain.events import Event
from strangler.domain.process import Effect, Process, State
from strangler.domain.steps import Accept, Claim, Finish, Result, Transition
from strangler.domain.transitions import apply

NOON = 1_800_000_000_000


def a_draft(**fields: Any) -> Process:
    """A draft of a second's life that was promised to a client; ``fields`` are set over it."""
    draft = Process(
        id="01a3185c-5000-7000-8000-000000000001",
        route="submit-claim",
        type="ClaimSubmission",
        promise="p",
        base="https://public.example",
        resource="/processes",
        method="POST",
        correlation_id="c-1",
        created_at=NOON,
        deadline_at=NOON + 1000,
        retain=1000,
        promised=True,
    )
    return draft._replace(**fields)


ACCEPT, CLAIM = Accept(a_draft()), Claim("worker-1")
DONE = Finish(State.COMPLETED, Effect.APPLIED, result=Result(200, "text/plain", 4, kept=True))


def walk(*transitions: Transition) -> tuple[Process, list[Event]]:
    """The process after some transitions, one each millisecond, and its history."""
    process, events = None, []
    for step, transition in enumerate(transitions):
        change = apply(process, transition, NOON + step)
        process, events = change.process, [*events, *change.events]
    assert process is not None
    return process, events
