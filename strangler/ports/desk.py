"""What operators ask of the store: processes found by what people know of them, and the log of what was commanded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from strangler.domain.exchange import Attempt
from strangler.domain.process import Process, PublicState, State
from strangler.ports.exceptions import ExceptionEntry
from strangler.ports.store import Evidence


class Search(NamedTuple):
    """Which processes, newest first; what is None is not asked. Instants are milliseconds since the Unix epoch."""

    created_after: int | None = None  # this instant, or later
    created_before: int | None = None  # earlier than this instant
    states: Sequence[tuple[State, bool | None]] = ()  # of the machine, with `settling` where it matters; none: all
    status: str | None = None  # the domain's word, as stored, or as `status_means`
    status_means: Sequence[tuple[str, PublicState]] = ()  # (promise, state) that bear it where no word is stored
    route: str | None = None
    caller_name: str | None = None
    reference: tuple[str | None, str] | None = None  # name (None: any) and text of a business reference
    correlation_id: str | None = None
    key: str | None = None  # the client's idempotency key
    parent_id: str | None = None  # of what was made by trying this one again
    text: str | None = None  # is in the reason; ASCII letters without case
    before_id: str | None = None  # the cursor: where the page before ended
    limit: int = 50


class Found(NamedTuple):
    """A page."""

    processes: Sequence[Process]
    looked: int  # how many were looked at for it
    before_id: str | None  # where to go on; None: all were looked at


class Carried(NamedTuple):
    """What belongs to a process beside its request, reply and history."""

    attempts: Sequence[Attempt]
    evidence: Sequence[Evidence]
    exceptions: Sequence[ExceptionEntry]
    sealed: bool  # the credentials of its request are still there
    retain_until_at: int | None


class Desk(Protocol):
    """Reading for operators. Every method may raise `StoreUnavailable`."""

    async def search(self, search: Search) -> Found:
        """A page of a search. It looks at a bounded part of the store and says how far it came."""
        ...

    async def carried(self, process_id: str) -> Carried | None:
        """What belongs to a process; None: there is none."""
        ...

    async def forgotten_tries(self, process_id: str) -> Sequence[str]:
        """The ids of forgotten processes that were made by trying this one again, of which something is left."""
        ...


class Command(NamedTuple):
    """What somebody is about to do."""

    at: int
    who: str  # the name of a token, or what is known of who stood at this machine
    what: str  # the name of an endpoint: "cancelProcess"
    subject: str  # the path of the request
    why: str | None
    process_id: str | None = None  # that it is about
    given: str | None = None  # what else it was given: a JSON object


class Recorded(NamedTuple):
    """A command, and what it came to; without an outcome the server ended before it could say."""

    number: int
    command: Command
    ended_at: int | None = None
    outcome: str | None = None  # "done", or the name of the problem that refused it
    detail: str | None = None


class AuditQuery(NamedTuple):
    """Which commands, the latest first."""

    before: int | None = None  # the cursor: the last number of the page before
    who: str | None = None
    what: str | None = None
    process_id: str | None = None
    limit: int = 50


class Audit(Protocol):
    """The log of what was commanded: only ever added to. Every method may raise `StoreUnavailable`."""

    async def begin_command(self, command: Command) -> int:
        """Record that somebody is about to do something; on disk when this returns. The number is its own."""
        ...

    async def end_command(self, number: int, at: int, outcome: str, detail: str | None) -> None:
        """Record what it came to; what was recorded first stays."""
        ...

    async def commands(self, query: AuditQuery) -> Sequence[Recorded]:
        """Up to ``query.limit`` commands."""
        ...
