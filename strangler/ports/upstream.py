"""The legacy system, as execution and passthrough need it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

from strangler.domain.exchange import (
    Body,
    Fault,
    Headers,
)
from strangler.policy.upstreams import Upstream
from strangler.wire.reply_head import ReplyHead


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
        the first byte is `interrupted`, cancellation included (it is re-raised). What is of our own, as a recorded
        body that cannot be read, is told as such (`Fault.ours`).
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
