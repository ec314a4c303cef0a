"""The stores: where processes are kept. In memory, or in one SQLite file."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from strangler.ports import (
    Archive,
    Audit,
    Bodies,
    Deliveries,
    Desk,
    Examiner,
    Exceptions,
    ProcessStore,
    Shedding,
    Standing,
    StoreHealth,
    Upkeep,
)
from strangler.store.ledger import Ledgers


class WorkerStore(ProcessStore, Bodies, Upkeep, Archive, StoreHealth, Protocol):
    """What the rooms of a request need of a store, whoever owns it."""


class Store(WorkerStore, Audit, Desk, Shedding, Standing, Protocol):
    """All that one store does."""

    @property
    def location(self) -> str:
        """Where it is, for people: an absolute path, or "memory:"."""
        ...

    @property
    def software(self) -> str:
        """What it is made of, for people: "SQLite 3.53.4"."""
        ...

    @property
    def exceptions(self) -> Exceptions:
        """The exception queue."""
        ...

    @property
    def deliveries(self) -> Deliveries:
        """What is told to whom."""
        ...

    def examiner(self) -> Examiner:
        """Somebody to look through all of it, once."""
        ...

    def wal_size(self) -> int:
        """Bytes of the write-ahead log."""
        ...

    def ledgers(self) -> AbstractContextManager[Ledgers]:
        """A read-only view over all of it, on a connection of its own."""
        ...

    async def close(self) -> None:
        """Record what waits, then close; commits after this raise `StoreUnavailable`. Twice is once."""
        ...
