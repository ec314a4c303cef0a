"""What a client is told of its process where there is no reply of the legacy system: yet, or ever."""

from __future__ import annotations

from collections.abc import Mapping

from strangler.domain.exchange import Answer, Hindrance
from strangler.domain.problem import problem
from strangler.domain.process import Process
from strangler.engine.document import process_url
from strangler.policy.interpret import UNREACHABLE

NOT_SENT: Mapping[str, tuple[str, str, int | None]] = {
    UNREACHABLE: ("upstream-unreachable", "the legacy system could not be reached", None),
    Hindrance.DRAINING: ("draining", "this server is going away", 1),
    Hindrance.STORE: ("store-unavailable", "what was recorded cannot be read now", 5),
    Hindrance.LEASE: ("store-unavailable", "this server lost its right to send", 5),
    Hindrance.DEADLINE: ("expired", "its deadline passed", None),
    Hindrance.PROMISE: ("internal-error", "what was promised for it is not known here", None),
    Hindrance.DEFECT: ("internal-error", "something went wrong in the proxy", None),
}
"""By the reason of a process that was not sent: what the client that waits is told. Name, why, seconds to wait."""


def not_sent(process: Process) -> Answer:
    """It ended, and nothing was sent: why, by its reason."""
    name, why, retry_after = NOT_SENT[process.reason or ""]
    return problem(
        name,
        f"{why}; nothing was sent",
        retry_after=retry_after,
        correlation_id=process.correlation_id,
        process=process_url(process),
        effect=process.effect,
    )


def unknown(process: Process) -> Answer:
    """Nobody knows what its call did."""
    return problem(
        "outcome-unknown",
        "the call was sent, and nobody knows what it did; before somebody has looked, repeat it with its "
        "Idempotency-Key or not at all: with another, or with none, it may be done twice",
        correlation_id=process.correlation_id,
        process=process_url(process),
        effect="unknown",
    )


def wait_over(process: Process) -> Answer:
    """Its client waited for as long as the policy says."""
    return problem(
        "wait-over",
        "the call is still under way; its outcome will be at the URL of the process",
        correlation_id=process.correlation_id,
        process=process_url(process),
        effect="unknown",
    )


def not_promised(process: Process) -> Answer:
    """It is on record and under way for who waits for it; no 202 is given that the store cannot hold to."""
    return problem(
        "store-unavailable",
        "the call is under way for who sent it first; that it will be done cannot be recorded now",
        retry_after=5,
        correlation_id=process.correlation_id,
        process=process_url(process),
        effect="unknown",
    )
