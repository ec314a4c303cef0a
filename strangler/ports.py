"""What the engine and the front need of the world, as small protocols; the rooms outside implement them.

Written from the consumer's need. A port says nothing of SQLite, sockets or one machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from strangler.domain.exchange import (
    Answer,
    Attempt,
    Body,
    Fault,
    Header,
    Headers,
    PassOn,
    RecordedReply,
    RecordedRequest,
    Request,
    Upgrade,
)
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process, PublicState, State, Tombstone
from strangler.domain.transitions import Change, Event
from strangler.policy.model import Rewrite, Upstream
from strangler.wire.reply_head import ReplyHead

# ── The store ────────────────────────────────────────────────────────────────────────────────────────────────────────


class End(NamedTuple):
    """What goes with a final transition; with it the credentials of the request are deleted."""

    key_expires_at: int | None  # None: it has no key
    retain_until_at: int


class Evidence(NamedTuple):
    """Something that says what an attempt did, and came by another way than its own outcome."""

    process_id: str
    attempt: int
    # A whole reply that settles nothing, or whose translation is the result; one under a stale fence; a translated
    # request, with its method and target as the first two fields.
    source: Literal["reply", "late_reply", "sent"]
    at: int
    status: int | None
    headers: Headers
    body: bytes  # its first `CHUNK_SIZE` bytes


class OpenException(NamedTuple):
    """Something that a person has to look at; at most one is open of a kind and process."""

    process_id: str
    kind: Literal["in_doubt", "late_reply"]
    at: int
    detail: str


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
    closes: bool = False  # the open exceptions of the process


@dataclass(frozen=True, slots=True)
class Committed:
    """It is on disk."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The process is no longer the one that the change started from; nothing was written."""


class KeyTaken(NamedTuple):
    """Another request holds the key; nothing was written."""

    record: KeyRecord


Verdict = Committed | Stale | KeyTaken


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
        """Write all of it in one transaction. Compare-and-set on sequence and fence of ``change.before``."""
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


class Bodies(Protocol):
    """Chunks of bodies longer than one chunk. They count once a commit names them; what none names is swept."""

    def write_chunk(self, process_id: str, part: str, index: int, data: bytes) -> Awaitable[None]:
        """Store one chunk of `CHUNK_SIZE` bytes, the last one shorter. ``part`` is "request" or "reply-N"."""
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

    async def renew(self, lease: Lease) -> None:
        """Record a lease; it is on disk when this returns."""
        ...

    async def resign(self, owner: str) -> None:
        """Forget a worker's lease."""
        ...

    async def due(self, route: str, now: int, limit: int) -> Sequence[Process]:
        """Processes of a route that may be claimed, or are to be looked after, the longest due first.

        At most ``limit`` of each kind.
        """
        ...

    async def next_due(self, after: int) -> Mapping[str, int]:
        """By route, the earliest instant later than ``after`` at which a process falls due."""
        ...

    async def overdue(self, now: int, limit: int) -> Sequence[Process]:
        """Processes that wait for a claim, or are followed, and for which it is too late: `Process.over_at` has passed.

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


class Archive(Protocol):
    """Small texts that outlive a restart: promises by digest, latency sketches by route, the last good policy."""

    async def save(self, kind: Literal["promise", "latency", "policy"], name: str, text: str) -> None:
        """Keep a text under a name; an older one is replaced."""
        ...

    async def load(self, kind: Literal["promise", "latency", "policy"]) -> Mapping[str, str]:
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

    def spare(self, route: str, number: int) -> None:
        """So many are not used right now."""
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


# ── The upstream ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Outgoing(NamedTuple):
    """A request to the legacy system, ready to be written; the client adds framing and nothing else."""

    method: str
    target: bytes
    headers: Headers  # with Host; without hop-by-hop fields and Content-Length
    body: Body
    read_chunk: Callable[[int], Awaitable[bytes]]  # for a body in chunks


class ReplySink(Protocol):
    """Where a reply goes as it arrives."""

    def head(self, status: int, reason: bytes, headers: Headers) -> None:
        """The head is complete; hop-by-hop fields are taken out. Called once, for the final reply only."""
        ...

    async def write(self, data: bytes) -> None:
        """The next bytes of the body, decoded from their framing. Reading goes on when this returns."""
        ...


class UpstreamCaller(Protocol):
    """The client for recorded calls."""

    async def call(
        self,
        upstream: Upstream,
        request: Outgoing,
        sink: ReplySink,
        *,
        timeout: float,  # seconds, first byte out to last byte in
        may_send: Callable[[], bool],  # asked immediately before the first byte; no means not_sent
        fresh: bool,  # never on a connection that has been idle for 200 ms or more
    ) -> Fault | None:
        """Send a request, once, and feed the reply to the sink. None: the whole reply came.

        A connection that cannot be opened, and a ``may_send`` that says no, is `not_sent`; whatever goes wrong after
        the first byte is `interrupted`, cancellation included (it is re-raised).
        """
        ...


class Trouble(StrEnum):
    """Why the upstream gave no reply, or not all of it."""

    UNREACHABLE = "unreachable"  # no connection, or no TLS: nothing was sent
    TIMEOUT = "timeout"  # no connection in time: nothing was sent
    OVERLOADED = "overloaded"  # no connection was free in time: nothing was sent
    BROKEN = "broken"  # the connection ended before the reply did
    GARBAGE = "garbage"  # what came is no HTTP/1.1 reply


class Failure(NamedTuple):
    """What went wrong on the way to the upstream."""

    trouble: Trouble
    reason: str  # for people and logs: "the connection was refused"
    silent: bool = True  # no byte of the reply had come


class Link(Protocol):
    """One connection to an upstream, lent for one exchange at a time."""

    reused: bool  # it has served an exchange before, or has been idle: the upstream may just be closing it
    congested: bool  # the last write did not fit; the receiver hears of it when there is room

    @property
    def reusable(self) -> bool:
        """It can serve another exchange."""
        ...

    def send(self, data: bytes, receiver: Receiver, *, to_head: bool, decode: bool, upgrade: bool = False) -> None:
        """Begin an exchange with the first bytes of a request. ``to_head``: its method is HEAD. ``decode``: the
        receiver wants the body without its chunked framing. ``upgrade``: a 101 is welcome."""
        ...

    def write(self, data: bytes) -> None:
        """More bytes of the request, or of the tunnel."""
        ...

    def write_eof(self) -> None:
        """Nothing more comes, in a tunnel."""
        ...

    def pause_reading(self) -> None:
        """Deliver nothing for now."""
        ...

    def resume_reading(self) -> None:
        """Deliver again."""
        ...

    def divert(self, receiver: Receiver) -> None:
        """Another one receives from now on."""
        ...

    def release(self) -> None:
        """The exchange is over, in both directions: the link is kept for the next one if it can be."""
        ...

    def abort(self) -> None:
        """Close it at once; the receiver hears nothing more."""
        ...


class Receiver(Protocol):
    """Who uses a link: told what comes from the upstream."""

    def interim(self, head: ReplyHead) -> None:
        """A 1xx reply other than 101."""
        ...

    def reply(self, head: ReplyHead, body: bytes, complete: bool) -> None:
        """The head of the final reply with as much of its body as came along. Status 101: a tunnel begins."""
        ...

    def data(self, data: bytes, complete: bool) -> None:
        """More of the body, or of the tunnel."""
        ...

    def ended(self) -> None:
        """The upstream says nothing more, in a tunnel."""
        ...

    def lost(self, failure: Failure | None) -> None:
        """The link broke; None: a tunnel ended in order."""
        ...

    def pause_writing(self) -> None:
        """The upstream is slow to read."""
        ...

    def resume_writing(self) -> None:
        """There is room again."""
        ...


class Borrower(Protocol):
    """Who waits for a link."""

    def lent(self, link: Link) -> None:
        """Here it is."""
        ...

    def unavailable(self, failure: Failure) -> None:
        """There is none."""
        ...


class Wait(Protocol):
    """A place in the queue for a link."""

    def cancel(self) -> None:
        """No longer wanted; the borrower hears nothing more."""
        ...


class Links(Protocol):
    """The connections for passthrough, by upstream."""

    def borrow(self, upstream: Upstream, borrower: Borrower, *, fresh: bool = False) -> Wait | None:
        """Ask for a link. Where one is idle (and ``fresh`` does not ask for a new one), or the queue is full, the
        borrower hears of it before this returns, which is then None; else it has a place in the queue."""
        ...


# ── The front ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Passthrough(NamedTuple):
    """It goes through untouched."""

    upstream: Upstream
    rewrite: Rewrite
    route: str  # its name in metrics; "default" for the default
    add_headers: tuple[Header, ...] = ()  # to the reply, named by the policy (`deprecation`)


class Handle(NamedTuple):
    """It is ours, or is going to be recorded.

    The handler runs in a task of its own. It is cancelled when the client leaves, at whatever it awaits then: what must
    go on, goes on in a task of the handler's making. A read of the body that is under way raises `ClientGone` instead.
    """

    respond: Callable[[Request], Awaitable[Answer | PassOn | Upgrade]]
    passthrough: Passthrough | None = None  # where it goes if the handler says `PassOn`
    route: str = ""  # its name in metrics; empty for process resources


Direction = Passthrough | Handle | Answer

Direct = Callable[[Request], Direction]
"""Which way a request goes; asked once, when its head is parsed. Never blocks."""


# ── Time, chance and names ───────────────────────────────────────────────────────────────────────────────────────────


class Clock(Protocol):
    """Time."""

    boot_id: str

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...

    def boottime(self) -> int:
        """Nanoseconds of CLOCK_BOOTTIME: goes on while the machine sleeps, and no one sets it."""
        ...


class Ids(Protocol):
    """Names and chance."""

    def process_id(self, now: int) -> str:
        """A UUIDv7 with 74 fresh random bits."""
        ...

    def correlation_id(self) -> str:
        """A new correlation id."""
        ...

    def chance(self) -> float:
        """A number from [0, 1)."""
        ...
