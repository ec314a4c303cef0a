"""Making room: bodies of processes that have ended go before their time."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Shed(NamedTuple):
    """What went, or would go."""

    processes: int
    body_bytes: int  # of their requests and replies, and of evidence of what was sent and answered
    after: str | None  # the last process that was looked at; None: there are no more


class Shedding(Protocol):
    """Forgets bodies on command. What they led to stays known: state, history, deliveries.

    Both go by the age of processes, the oldest first, from behind ``after`` (None: from the first) until ``enough``
    bytes are found, or they have worked for a while. What somebody is going to look at, or is yet to be told of, stays.
    """

    async def sheddable(self, after: str | None, enough: int) -> Shed:
        """What `shed` would do."""
        ...

    async def shed(self, after: str | None, enough: int) -> Shed:
        """Forget them, and give the room back to the file system.

        Raises:
            StoreUnavailable: the store cannot be written; some may have gone.
        """
        ...
