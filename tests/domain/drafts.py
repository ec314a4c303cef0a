"""A process as it is drafted when its request is accepted."""

from __future__ import annotations

from typing import Any

from strangler.domain.process import Process

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
