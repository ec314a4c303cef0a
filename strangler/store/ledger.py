"""All that a store holds of one process, as plain values: what `fsck` checks, and tests look into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from strangler.domain.delivery import Delivery, DeliveryAttempt
from strangler.domain.events import Event, OutboxRow
from strangler.domain.exchange import Attempt, RecordedReply, RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process
from strangler.ports import Evidence, ExceptionEntry
from strangler.store.retention import NOTHING, Part


class Ledger(NamedTuple):
    """One process and everything that belongs to it."""

    process: Process
    retain_until_at: int | None
    events: Sequence[Event]
    outbox: Sequence[OutboxRow]
    request: RecordedRequest | None  # without credentials
    sealed: bool  # its credentials are still there
    reply: tuple[int, RecordedReply] | None
    attempts: Sequence[Attempt]
    evidence: Sequence[Evidence]
    exceptions: Sequence[ExceptionEntry]
    key: KeyRecord | None  # what is recorded under the scope and key of the process, whosever it is
    deliveries: Sequence[Delivery] = ()
    delivery_log: Sequence[DeliveryAttempt] = ()  # all attempts at them
    gone: Part = NOTHING  # what of it was forgotten before itself
    promised: bool = True  # the text of its promise is on the disk, as its digest says, or there is no disk


Now = Callable[[], int]
"""The instant, in milliseconds since the epoch."""


class Unreadable(NamedTuple):
    """A process whose rows are not what a row can be."""

    process_id: str
    why: str


class Ledgers(Protocol):
    """A read-only view over a whole store, which may be in use; it is read in steps and holds no long snapshot."""

    def damage(self) -> Iterator[str]:
        """What is wrong with the files themselves."""
        ...

    def all(self) -> Iterator[Ledger | Unreadable]:
        """Every process, in the order of their ids."""
        ...

    def one(self, process_id: str) -> Ledger | None:
        """One process; None where there is none.

        Raises:
            ValueError: its rows are not what a row can be.
        """
        ...

    def chunk(self, process_id: str, part: str, index: int) -> bytes | None:
        """One chunk of a body; None where there is none."""
        ...

    def strays(self, now: Now) -> Iterator[tuple[str, str]]:
        """Rows whose process does not exist, as (table, process id); chunks, and keys that have lapsed by ``now``, are
        swept some time and not among them."""
        ...
