"""Where processes are kept, and what keeps them going."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from strangler.domain.events import Event
from strangler.domain.exchange import (
    Attempt,
    Headers,
    RecordedReply,
    RecordedRequest,
)
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process, PublicState, State, Tombstone
from strangler.domain.transitions import Change
from strangler.ports.delivery_store import DeliveryStep
from strangler.ports.exceptions import Closing, OpenException


class End(NamedTuple):
    """What goes with a final transition; with it the credentials of the request are deleted."""

    key_expires_at: int | None  # None: it has no key
    retain_until_at: int


class Evidence(NamedTuple):
    """Something that says what an attempt did, and came by another way than its own outcome."""

    process_id: str
    attempt: int
    # A whole reply that settles nothing, or whose translation is the result; one under a stale fence; a translated
    # request, with its method and target as the first two fields; a question what an attempt did, likewise, with the
    # answer (no status: there was none); what a person found out, JSON: who, why, evidence.
    source: Literal["reply", "late_reply", "sent", "probe", "operator"]
    at: int
    status: int | None
    headers: Headers
    body: bytes  # its first `CHUNK_SIZE` bytes


class QueueLimit(NamedTuple):
    """How much of one route may wait to be sent."""

    processes: int
    bytes: int  # of their request bodies


class Commit(NamedTuple):
    """All that becomes durable together, or not at all."""

    change: Change | None  # None: evidence and exceptions only
    request: RecordedRequest | None = None  # with the acceptance
    key: KeyRecord | None = None  # with the acceptance: claimed, if nobody holds it
    attempt: Attempt | None = None  # begun, or ended: the row of its number is written over
    reply: tuple[int, RecordedReply] | None = None  # (attempt number, reply)
    end: End | None = None
    evidence: Evidence | None = None
    opens: OpenException | None = None
    closes: Closing | None = None  # the exceptions of `SETTLED_WITH_PROCESS` that are open
    delivery: DeliveryStep | None = None  # what became of one of its deliveries; new ones are in the change
    within: QueueLimit | None = None  # with the acceptance of what is going to wait


@dataclass(frozen=True, slots=True)
class Committed:
    """It is on disk."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The process is no longer the one that the change started from; nothing was written."""


class KeyTaken(NamedTuple):
    """Another request holds the key; nothing was written."""

    record: KeyRecord


@dataclass(frozen=True, slots=True)
class Full:
    """No more of its route may wait; nothing was written. A key that it would have claimed was not looked at."""


Verdict = Committed | Stale | KeyTaken | Full


class ListQuery(NamedTuple):
    """Which of a caller's processes, newest first."""

    resource: str
    caller: str
    state: PublicState | None = None
    status: str | None = None  # the domain's word, as stored, or as `status_means`
    status_means: Sequence[tuple[str, PublicState]] = ()  # (promise, state) that bear it where no word is stored
    correlation_id: str | None = None
    key: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    before_id: str | None = None  # the cursor: the last id of the page before
    limit: int = 50


class PublicChange(NamedTuple):
    """That a process reached a version."""

    process_id: str
    version: int
    mark: str  # where to go on after it


class Changes(NamedTuple):
    """A part of what changed, in the order of the commits."""

    found: Sequence[PublicChange]
    mark: str  # where to go on; behind all that was looked at, found or not
    more: bool  # there is more to look at


class ProcessStore(Protocol):
    """Where processes are kept. It never decides.

    Every method may raise `StoreUnavailable`. A process of which a commit was answered is there after kill -9.
    """

    def commit(self, commit: Commit) -> Awaitable[Verdict]:
        """Write all of it in one transaction. Compare-and-set on sequence and fence of ``change.before``.

        A store that several workers write into holds to ``within``. Where there is one, who asks has counted.
        """
        ...

    async def process(self, process_id: str) -> Process | Tombstone | None:
        """One process, or what is left of it."""
        ...

    async def key(self, scope: str, key: str) -> KeyRecord | None:
        """Who holds a key; lapsed ones may still be returned."""
        ...

    async def request(self, process_id: str) -> RecordedRequest | None:
        """The recorded request; its credentials are gone once the process is final."""
        ...

    async def reply(self, process_id: str) -> tuple[int, RecordedReply] | None:
        """The attempt number and the reply that was recorded with the end."""
        ...

    async def events(self, process_id: str) -> Sequence[Event]:
        """The history in order."""
        ...

    async def page(self, query: ListQuery) -> Sequence[Process]:
        """Up to ``query.limit`` processes, newest first."""
        ...

    async def changes(self, resource: str, callers: Collection[str], after: str | None) -> Changes | None:
        """Public changes of these callers' processes that were committed after a mark.

        ``after`` None: none, only the mark of this moment. The answer is None where a mark says nothing any more: what
        it names is forgotten, or too much has happened since.
        """
        ...


LONGEST_UPLOAD = 6 * 3600.0
"""Seconds that a request's body may take to arrive. What no commit has named after four times as long is swept."""


class Bodies(Protocol):
    """Chunks of bodies longer than one chunk. They count once a commit names them; what none names is swept."""

    def write_chunk(self, process_id: str, part: str, index: int, data: bytes) -> Awaitable[None]:
        """Store one chunk of `CHUNK_SIZE` bytes, the last one shorter. ``part`` is "request" or "reply-N",
        N the number of the reply (`domain.replies`)."""
        ...

    async def read_chunk(self, process_id: str, part: str, index: int) -> bytes:
        """One chunk.

        Raises:
            KeyError: there is none.
        """
        ...

    async def discard_chunks(self, process_id: str, part: str) -> None:
        """Forget all chunks of a part that no commit names."""
        ...


class Lease(NamedTuple):
    """A worker's right to send, until an instant of CLOCK_BOOTTIME of one boot of one machine."""

    owner: str  # UUID of this incarnation of the worker
    boot_id: str
    until: int  # nanoseconds of CLOCK_BOOTTIME


class Backlog(NamedTuple):
    """What of a route waits to be sent."""

    processes: int
    body_bytes: int


class InFlight(NamedTuple):
    """How many processes of a route are in a state that is not final."""

    route: str
    state: State
    settling: bool  # matters for those in doubt only
    processes: int


class Upkeep(Protocol):
    """What the supervision of processes needs of the store."""

    async def renew(self, lease: Lease) -> int | None:
        """Record a lease; it is on disk when this returns: since an instant of CLOCK_BOOTTIME, None: since just now.

        Who asks over a connection may read the answer long after it was given.
        """
        ...

    async def resign(self, owner: str) -> None:
        """Forget a worker's lease."""
        ...

    async def due(self, route: str, now: int, limit: int) -> Sequence[Process]:
        """Processes of a route that may be claimed, or are to be looked after, the longest due first: `Process.is_due`.

        At most ``limit`` of each kind.
        """
        ...

    async def next_due(self, after: int) -> Mapping[str, int]:
        """By route, the earliest instant later than ``after`` at which a process falls due."""
        ...

    async def overdue(self, now: int, limit: int) -> Sequence[Process]:
        """Processes that wait for a claim, or are followed, and for which it is too late: `Process.over_at` has passed,
        later by the time that calls of their route were paused since they were accepted. None while they are.

        At most ``limit`` of each kind.
        """
        ...

    async def orphans(self, boot_id: str, boottime: int, limit: int) -> Sequence[Process]:
        """Processes under way whose owner holds no valid lease."""
        ...

    async def backlog(self) -> Mapping[str, Backlog]:
        """What waits, by route."""
        ...

    async def census(self) -> Sequence[InFlight]:
        """All processes that are not final, counted."""
        ...

    async def sweep(self, now: int, limit: int) -> int:
        """Forget what is past its retention (it becomes a tombstone), lapsed keys and tombstones, chunks that no
        commit names; at most ``limit`` of each. Returns how many rows went."""
        ...


ArchiveKind = Literal["promise", "latency", "policy", "identity"]
"""What small texts are about."""


class Archive(Protocol):
    """Small texts that outlive a restart: promises by digest, latency sketches by route, the last good policy, what the
    identity key is known by."""

    async def save(self, kind: ArchiveKind, name: str, text: str) -> None:
        """Keep a text under a name; an older one is replaced."""
        ...

    async def load(self, kind: ArchiveKind) -> Mapping[str, str]:
        """All texts of a kind by name."""
        ...


class StoreHealth(Protocol):
    """Whether new work may be recorded."""

    def refusal(self) -> str | None:
        """Why not (the disk is full or failing, its reserve is reached), for people; None: it may."""
        ...


class Slots(Protocol):
    """How many recorded calls of a route may be under way in this worker; over all workers there are never more than
    ``call.concurrency``. Whoever lends them calls `Executor.look` when there are more than before."""

    def held(self, route: str, concurrency: int) -> int:
        """How many there are here now."""
        ...

    def want(self, route: str, concurrency: int, number: int) -> None:
        """So many more could be used, if there are any."""
        ...

    def spare(self, route: str) -> None:
        """There is nothing to call for right now: not all of them are used."""
        ...

    async def begin_look(self, process_id: str) -> bool:
        """Whether no other worker asks about a process right now; if so, `end_look` has to follow.

        Raises:
            StoreUnavailable: nobody can say.
        """
        ...

    def end_look(self, process_id: str) -> None:
        """It was asked about."""
        ...
