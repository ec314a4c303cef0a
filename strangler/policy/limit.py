"""How many requests a client may send: the generic cell rate algorithm, with one instant of state per client.

A client that was quiet has its whole quota at once; after that it comes back evenly over the window.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from strangler.policy.model import Rate


class Reading(NamedTuple):
    """What a client has left, in the terms of the RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10)."""

    allowed: bool
    quota: int
    window: int  # seconds
    remaining: int
    reset: int  # seconds until the whole quota is there again
    retry_after: int  # seconds until one more request is allowed; 0: it is now


class Taken(NamedTuple):
    """The state after a request, and what it tells."""

    full_at: float  # milliseconds: when the whole quota is there again
    reading: Reading


def take(rate: Rate, full_at: float | None, now: int) -> Taken:
    """Take one request from a client's quota, if there is one left; ``full_at`` None: nothing is known of it."""
    window = rate.seconds * 1000
    step = window / rate.requests
    # A clock that was set back must not lock anybody out: nothing is further off than a window.
    before = float(now) if full_at is None else min(max(float(now), full_at), now + window)
    after = before + step
    # The sum of steps may be off by rounding; half a microsecond is nobody's request.
    allowed = after - now <= window + 0.0005
    full = after if allowed else before
    remaining = max(0, math.floor((window - (full - now)) / step + 1e-6))
    wait = 0.0 if remaining else full + step - window - now
    return Taken(
        full,
        Reading(
            allowed,
            rate.requests,
            max(1, round(rate.seconds)),
            remaining,
            math.ceil(max(0.0, full - now) / 1000),
            math.ceil(max(0.0, wait) / 1000),
        ),
    )
