"""Which clients get a route's other mode: a sticky share of them, without a list of them anywhere.

Each client falls on a fixed point between 0 and 1, and a rollout takes all that lie below its percentage. So a client
stays where it is, raising the percentage only ever adds clients, and with an equal seed several routes have the same
clients.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from strangler.policy import wildcard
from strangler.policy.model import Rollout

Verdict = Literal["no value", "excluded", "included", "within", "beyond"]


def judge(rollout: Rollout, value: str | None) -> Verdict:
    """Whether the client whose value of ``rollout.by`` this is gets the mode: "included" and "within" do.

    None or an empty text is no value: such a client cannot be kept where it is, and stays with the route's own mode.
    """
    if not value:
        return "no value"
    if any(wildcard.fits(pattern, value) for pattern in rollout.exclude):
        return "excluded"
    if any(wildcard.fits(pattern, value) for pattern in rollout.include):
        return "included"
    return "within" if point(rollout.seed, value) * 100 < rollout.percent else "beyond"


def point(seed: str, value: str) -> float:
    """The fixed point of a client in [0, 1), evenly spread over clients."""
    digest = hashlib.sha256(f"{seed}\0{value}".encode("utf-8", "surrogateescape")).digest()
    # 53 bits are what a float holds exactly; more would round up to 1.0 once in a while.
    return (int.from_bytes(digest[:8]) >> 11) / (1 << 53)
