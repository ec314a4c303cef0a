"""What a reply, or the lack of one, means: the built-in rules."""

from __future__ import annotations

from dataclasses import replace

from strangler.domain.exchange import Fault, FaultKind, Headers, Hindrance, joined_field
from strangler.domain.outcome import Completed, Failed, InDoubt, Outcome, Pending, Rejected, Retry
from strangler.domain.process import Effect
from strangler.domain.retry import parse_retry_after
from strangler.policy.follow import takes_time
from strangler.policy.model import READS, CallPolicy

UNREACHABLE = "upstream-unreachable"
TIMEOUT = "upstream-timeout"
REFUSED = "upstream-refused"
CREDENTIALS_EXPIRED = "credentials-expired"
CREDENTIALS_LOST = "credentials-lost"
"""What was stored of the client's does not open, and nothing is sent without it."""

UPSTREAM_ERROR = "upstream-error"
CONNECTION_LOST = "connection-lost"
GATEWAY_LOST_IT = "gateway-lost-it"
WORKER_LOST = "worker-lost"

_GATEWAY_STATUSES = frozenset({502, 504})
_CREDENTIAL_STATUSES = frozenset({401, 407})


def interpret_fault(fault: Fault, call: CallPolicy) -> Outcome:
    """What it means that no whole reply came."""
    own = fault.ours
    if fault.kind is FaultKind.INTERRUPTED:
        if own is not None:
            return InDoubt(WORKER_LOST if own is Hindrance.DRAINING else own.value)
        return InDoubt(TIMEOUT if fault.timeout else CONNECTION_LOST)
    if own is not None:
        # `retry_on` speaks of the upstream. It was never asked, so the call is still to be made.
        return Retry(own.value)
    reason = TIMEOUT if fault.timeout else UNREACHABLE
    return Retry(reason) if call.retry_on_not_sent else Failed(reason, Effect.NONE)


def rule_of(status: int) -> str:
    """The name of the built-in rule for a status, as it is kept with an attempt."""
    return f"built-in: {status}"


def interpret_reply(
    method: str, status: int, headers: Headers, call: CallPolicy, now: int, *, deferred_credentials: bool
) -> Outcome:
    """What a whole reply means.

    ``deferred_credentials``: the client's credentials were sent with a call that did not start at once, so that a 401
    or 407 speaks of their age and not of the client's right.
    """
    if status in call.retry_on_status:
        return Retry(REFUSED, parse_retry_after(joined_field(headers, b"retry-after"), now))
    if status in _CREDENTIAL_STATUSES and deferred_credentials:
        return Failed(CREDENTIALS_EXPIRED, Effect.NONE)
    if call.follow is not None and takes_time(call.follow, status, headers):
        return Pending(after=parse_retry_after(joined_field(headers, b"retry-after"), now))
    if status < 400:
        return Completed()
    if status < 500:
        return Rejected()
    if status in _GATEWAY_STATUSES and method not in READS:
        # A gateway lost it, not the system: what stands behind the gateway may have done it all the same.
        return InDoubt(GATEWAY_LOST_IT)
    return Failed(UPSTREAM_ERROR, Effect.UNKNOWN)


def interpret_end(method: str, status: int, headers: Headers, call: CallPolicy) -> Outcome:
    """What the last answer about what the upstream took means: nothing is "not yet" or refused any more.

    Args:
        method: of the request that it took.
    """
    if status == 404 and method not in READS:
        # What is not found is what was asked for: it says nothing of what was taken.
        return Rejected(effect=Effect.UNKNOWN)
    return interpret_reply(
        "GET",
        status,
        headers,
        replace(call, follow=None, retry_on_status=frozenset()),
        0,
        deferred_credentials=False,
    )
