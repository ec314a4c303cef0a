"""A request that may see the process that it is for."""

from __future__ import annotations

from typing import NamedTuple

from strangler.domain.exchange import Request
from strangler.domain.process import Process
from strangler.policy.model import Promise


class Read(NamedTuple):
    """See above."""

    request: Request
    process: Process
    promise: Promise
    ticketed: bool = False  # by a ticket: it may read, and nothing else
