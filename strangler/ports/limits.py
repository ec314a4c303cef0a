"""Counting the requests of clients."""

from __future__ import annotations

from typing import Protocol

from strangler.policy.limit import Reading
from strangler.policy.model import Rate


class Limiter(Protocol):
    """Counts over all workers."""

    async def take(self, client: str, rate: Rate) -> Reading | None:
        """Take one request from the quota of a client; None: nobody can count right now."""
        ...
