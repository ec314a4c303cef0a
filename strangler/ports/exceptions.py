"""The exception queue as the store keeps it: nothing leaves it silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from strangler.domain.exceptions import ExceptionKind


class OpenException(NamedTuple):
    """Something that a person has to look at; at most one is open of a process, kind and subject."""

    process_id: str | None  # None: it is about the whole store
    kind: ExceptionKind
    at: int
    detail: str
    subject: str = ""  # what of the process, where there may be several: a delivery, the digest of a finding


class Closing(NamedTuple):
    """Who closed an exception, by what, and why."""

    at: int
    who: str
    action: str  # an `Action`; "settled" (its process was, without a person) or "mended" (it is as it should be again)
    why: str


class Note(NamedTuple):
    """What was done about an exception, or said of it. Only ever added to."""

    at: int
    who: str
    did: Literal["claimed", "released", "noted", "closed"]
    text: str


class ExceptionEntry(NamedTuple):
    """One exception as it stands."""

    id: int  # never given to another
    process_id: str | None
    kind: ExceptionKind
    subject: str
    route: str  # of its process; empty where there is none
    opened_at: int
    due_at: int  # until when somebody should have looked
    detail: str
    owner: str | None = None  # who looks after it
    closed_at: int | None = None  # None: it is open
    closed_by: str | None = None
    action: str | None = None  # what closed it


class ExceptionQuery(NamedTuple):
    """Which exceptions: open ones, the longest due first, or others, the newest first."""

    state: Literal["open", "closed", "all"] = "open"
    kinds: Sequence[ExceptionKind] = ()  # empty: all
    owner: str | None = None  # empty: nobody's
    route: str | None = None
    process_id: str | None = None
    subject: str | None = None
    after: tuple[int, int] | None = None  # the cursor: due instant and id of the last one of the page before
    limit: int = 50


class Exceptions(Protocol):
    """The queue. Every method may raise `StoreUnavailable`. Doing the same thing twice is doing it once."""

    async def open(self, exception: OpenException) -> bool:
        """Open an exception, also of a process that does not exist; False: the same is open already."""
        ...

    async def page(self, query: ExceptionQuery) -> Sequence[ExceptionEntry]:
        """Up to ``query.limit`` exceptions."""
        ...

    async def one(self, exception_id: int) -> tuple[ExceptionEntry, Sequence[Note]] | None:
        """One exception with its notes in order; None: there is none, or it went with its process."""
        ...

    async def claim(self, exception_id: int, at: int, who: str) -> bool:
        """Make an open exception somebody's; False: it is not open, or somebody else's."""
        ...

    async def release(self, exception_id: int, at: int, who: str, why: str) -> bool:
        """Make an open exception nobody's; False: it is not open."""
        ...

    async def note(self, exception_id: int, at: int, who: str, text: str) -> bool:
        """Say something of an exception, open or closed; False: there is none."""
        ...

    async def close(self, exception_id: int, closing: Closing) -> bool:
        """Close an open exception; from now on the retention of its process counts anew. False: it is not open."""
        ...

    async def counts(self) -> Mapping[ExceptionKind, int]:
        """How many are open, by kind."""
        ...
