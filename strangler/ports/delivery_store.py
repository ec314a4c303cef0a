"""Where deliveries are kept: what is due for whom, what became of it, and who is paused.

Deliveries are made by the commit of the change that they tell, and changed by `Commit.delivery`: nothing else writes
one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState
from strangler.domain.process import Process
from strangler.ports.exceptions import Closing

DeliveryKey = tuple[str, int, int]
"""Process id, version and position: what names a delivery."""


class ReceiverPause(NamedTuple):
    """Nothing is sent to a receiver, or to one URL of it, until somebody says so."""

    receiver: str
    url: str | None  # that callers named; None: the whole receiver
    at: int
    who: str
    why: str


class DeliveryStep(NamedTuple):
    """What became of a delivery. Stale where it is no longer ``before``, by its sequence."""

    before: Delivery
    after: Delivery
    attempt: DeliveryAttempt | None = None
    pauses: ReceiverPause | None = None  # the answer says that the receiver is gone
    closes: Closing | None = None  # the open exceptions about this delivery


class DeliveryQuery(NamedTuple):
    """Which deliveries, those of the newest processes first; what is None, or empty, is not asked."""

    receiver: str | None = None
    url: str | None = None
    states: Sequence[DeliveryState] = ()
    process_id: str | None = None
    created_after: int | None = None  # this instant, or later
    created_before: int | None = None  # earlier than this instant
    before: DeliveryKey | None = None  # the cursor: the last one of the page before
    limit: int = 50


class DeliveryTotal(NamedTuple):
    """How many deliveries of a receiver are in a state. Those that were delivered are not counted."""

    receiver: str
    state: DeliveryState
    deliveries: int
    oldest_due_at: int | None  # of those that are pending


class Deliveries(Protocol):
    """Every method may raise `StoreUnavailable`."""

    async def due(self, lane: str, now: int, limit: int) -> Sequence[Delivery]:
        """What may be sent in a lane, the longest due first: pending, due, and nothing earlier of the same process and
        subscription is open."""
        ...

    async def processes(self, process_ids: Collection[str]) -> Mapping[str, Process]:
        """By id, those of these processes that there are, as they stand: what is going to be told of them is read as
        one."""
        ...

    async def next_due(self, after: int) -> Mapping[str, int]:
        """By lane, the earliest instant later than ``after`` at which a pending delivery falls due."""
        ...

    async def find(self, query: DeliveryQuery) -> Sequence[Delivery]:
        """Up to ``query.limit`` deliveries."""
        ...

    async def log(self, key: DeliveryKey) -> tuple[Delivery, Sequence[DeliveryAttempt]] | None:
        """A delivery and all attempts at it, the first one first; None: there is none."""
        ...

    async def totals(self) -> Sequence[DeliveryTotal]:
        """All that is pending, held or dead, counted."""
        ...

    async def pauses(self) -> Sequence[ReceiverPause]:
        """Who is paused."""
        ...

    async def pause(self, pause: ReceiverPause) -> None:
        """Remember that somebody is paused; a pause that there is already stays as it is."""
        ...

    async def resume(self, receiver: str, url: str | None) -> None:
        """Forget a pause."""
        ...
