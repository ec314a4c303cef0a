"""One exchange that goes through untouched: spliced between a client's connection and a link to the upstream."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from strangler.domain.problem import problem
from strangler.front.client_head import client_head, interim_head, switches_to, upgrade_head
from strangler.front.response import CONTINUE
from strangler.front.tunnel import Tunnel
from strangler.front.upstream_head import UpstreamFields, upstream_fields
from strangler.policy.forwarding import upstream_target
from strangler.ports import Failure, Link, Passthrough, Trouble, Validity, Wait
from strangler.wire.body import chunk, last_chunk
from strangler.wire.fields import MAX_REMEMBERED
from strangler.wire.malformed import Malformed
from strangler.wire.reply_head import CHUNKED, UNTIL_CLOSE, ReplyHead
from strangler.wire.request_head import RequestHead

if TYPE_CHECKING:
    from strangler.front.connection import ClientConnection

CONTINUE_AFTER = 1.0
"""Seconds after which a client that waits for "100 Continue" gets it from us: not every upstream knows of it (Go waits
as long)."""

CLIENT_LEFT = 499
"""What is counted where the client left first (nginx's number)."""

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})

_PROBLEMS = {
    Trouble.UNREACHABLE: ("upstream-unreachable", "No connection to the upstream could be opened."),
    Trouble.TIMEOUT: ("upstream-timeout", "No connection to the upstream could be opened in time."),
    Trouble.OVERLOADED: ("overloaded", "No connection to the upstream became free in time."),
    Trouble.BROKEN: ("upstream-failed", "The upstream closed the connection without a whole reply."),
    Trouble.GARBAGE: ("upstream-failed", "What the upstream replied is not well formed."),
}


class Again(NamedTuple):
    """How a request without a body goes through, for the next one of the connection that has the same head."""

    head: RequestHead
    way: Passthrough
    first: bytes  # what goes upstream
    validity: Validity

    def holds(self, head: RequestHead) -> bool:
        """Whether ``head`` is the same, and the table says the same."""
        return head is self.head and not self.validity.over


class Passage:
    """An `Exchange` towards the client, a `Borrower` and a `Receiver` towards the upstream."""

    # What few exchanges come to ask for.
    _wait: Wait | None = None
    _encode = False  # the connection delivers decoded content, to be framed in chunks anew
    _by_close = False  # the client learns the end of the reply from the end of the connection
    _continued = False  # we sent the "100 Continue"
    _trouble = ""  # what went wrong, for the log
    _code = ""  # the name of the problem that the client was answered with

    def __init__(
        self, connection: ClientConnection, head: RequestHead, way: Passthrough, *, started: float | None = None
    ) -> None:
        self._connection = connection
        self._head = head
        self._way = way
        self._started = monotonic() if started is None else started
        self._link: Link | None = None
        self._first = b""  # the head, and what came along of the body
        self._asked: frozenset[bytes] = frozenset()  # upgrades
        self._sent = False  # the whole request is handed to the link
        self._repeated = False
        self._keep = False
        self._negotiates = head.fields.negotiates
        self._status = 0  # what the client got; 0 until a reply has begun
        self._continue: asyncio.TimerHandle | None = None

    def start(self, body: bytes, complete: bool, *, expect: bool = True) -> None:
        """Begin, with what has arrived of the body, framed as it came."""
        head, fields, upstream = self._head, self._connection.last_fields, self._way.upstream
        if not expect or fields is None or fields.fields is not head.fields or fields.upstream is not upstream:
            fields = self._upstream_fields(expect=expect)
        self._asked = fields.upgrade
        target = upstream_target(head.target, self._way.rewrite, upstream)
        self._first = b"%b %b HTTP/1.1%b%b" % (head.method.encode("ascii"), target, fields.of(head.lines), body)
        self._sent = complete
        if head.fields.expects_continue and expect and not body and not complete:
            self._continue = asyncio.get_running_loop().call_later(CONTINUE_AFTER, self._invite)
        self._borrow(fresh=False)

    def repeat(self, first: bytes) -> None:
        """Begin as an earlier one did; see `Again`."""
        self._first = first
        self._sent = True
        self._borrow(fresh=False)

    def again(self) -> Again | None:
        """How to `repeat` it. None: there is more to it than its head, or the next one may go another way."""
        validity = self._way.validity
        if self._head.fields.has_body or self._asked or not self._first or validity is None:
            return None
        return Again(self._head, self._way, self._first, validity)

    def start_decoded(self, content: bytes, complete: bool, *, expect: bool) -> None:
        """Begin after a handler has read of the body; from here on the connection delivers content."""
        self._encode = self._head.fields.chunked
        self.start(self._framed(content, complete), complete, expect=expect)

    # What the connection tells.

    def body(self, data: bytes, complete: bool) -> None:
        """More of the body."""
        self._sent = complete
        data = self._framed(data, complete)
        link = self._link
        assert link is not None, "nothing is read from the client before there is a link"
        if self._continue is not None:
            self._stop_inviting()
        link.write(data)
        if not complete and link.congested:
            self._connection.pause_reading()
        self._watch()

    def broken(self, malformed: Malformed) -> None:
        """The framing of the body is broken: the upstream must not take the request for whole."""
        if self._status:
            self._break_off()
        else:
            self._fail(malformed.code, malformed.detail)

    def left(self) -> None:
        """The client is gone."""
        self._drop_link()
        self._status = CLIENT_LEFT
        self._count()

    def overdue(self) -> None:
        """Nothing moved for too long."""
        if self._status:
            if self._connection.congested and self._connection.takes():
                return
            self._trouble = "nothing moved for too long"
            self._break_off()
            return
        late_client = not self._sent and self._link is not None and not self._link.congested
        if late_client:
            self._fail("request-timeout", "The body of the request took too long to arrive.")
        else:
            self._fail("upstream-timeout", "The upstream did not reply in time.")

    def client_congested(self) -> None:
        """The client is slow to read: the upstream waits."""
        if self._link is not None:
            self._link.pause_reading()

    def client_ready(self) -> None:
        """There is room again."""
        if self._link is not None:
            self._link.resume_reading()
            self._watch()

    def client_ended(self) -> bool:
        """The client sends nothing more: taken for leaving."""
        return False

    # What the pool tells.

    def lent(self, link: Link) -> None:
        """Off it goes."""
        self._wait = None
        self._link = link
        first, head = self._first, self._head
        if head.fields.has_body or self._repeated:
            self._first = b""  # it goes out once
        link.send(first, self, to_head=head.method == "HEAD", decode=head.fields.old, upgrade=bool(self._asked))
        if not self._sent and not link.congested:
            self._connection.resume_reading()
        self._watch()

    def unavailable(self, failure: Failure) -> None:
        """There is no link."""
        self._wait = None
        self._trouble = failure.reason
        self._fail(*_PROBLEMS[failure.trouble])

    # What the link tells.

    def interim(self, head: ReplyHead) -> None:
        """A 1xx reply. HTTP/1.0 knows none, and a "100 Continue" that we gave already is not given again."""
        if head.status == 100:
            self._stop_inviting()
        if not self._head.fields.old and not (head.status == 100 and self._continued):
            self._connection.write(interim_head(head))

    def reply(self, head: ReplyHead, body: bytes, complete: bool) -> None:
        """The head of the reply."""
        if self._continue is not None:
            self._stop_inviting()
        if head.status == 101:
            self._switch(head, body)
            return
        request, connection = self._head, self._connection
        self._status = head.status
        if head.negotiates:
            self._negotiates = True
        # A reply that is whole when its head is there is delimited, unless by chunks that the client does not know.
        delimited = (complete and not head.chunked) or self._delimited(head)
        self._keep = keep = delimited and connection.keeps(request) and not (self._asked and connection.pipelined())
        out = client_head(head, old=request.fields.old, keep=keep, add=self._way.add_headers)
        connection.write(out + body if body else out)
        if complete:
            self._finish()
        else:
            self._watch()

    def data(self, data: bytes, complete: bool) -> None:
        """More of its body."""
        if data:
            self._connection.write(data)
        if complete:
            self._finish()
        else:
            self._watch()

    def lost(self, failure: Failure | None) -> None:
        """The link broke."""
        link, self._link = self._link, None
        assert failure is not None, "only a tunnel ends in order"
        self._trouble = failure.reason
        if self._status:
            self._break_off()
        elif failure.silent and link is not None and self._may_repeat(link):
            self._repeated, self._trouble = True, ""
            self._borrow(fresh=True)
        else:
            self._fail(*_PROBLEMS[failure.trouble])

    def ended(self) -> None:
        """Only tunnels are half closed."""

    def pause_writing(self) -> None:
        """The upstream is slow to read: the client waits."""
        if not self._sent:
            self._connection.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        if not self._sent:
            self._connection.resume_reading()
            self._watch()

    # Inside.

    def _upstream_fields(self, *, expect: bool) -> UpstreamFields:
        connection, head, upstream = self._connection, self._head, self._way.upstream
        fields = upstream_fields(head.fields, upstream, connection.peer, trusted=connection.trusted, expect=expect)
        if expect and len(head.lines.block) <= MAX_REMEMBERED:
            connection.last_fields = fields
        return fields

    def _borrow(self, *, fresh: bool) -> None:
        upstream, connection = self._way.upstream, self._connection
        pinned = None if fresh or not connection.pinned else connection.pinned.take(upstream)
        if pinned is not None:
            self._negotiates = True
            self.lent(pinned)
            return
        if not self._sent:
            connection.pause_reading()
        self._wait = connection.desk.links.borrow(upstream, self, fresh=fresh)

    def _may_repeat(self, link: Link) -> bool:
        """Whether the request may go out again if this link turns out to be dead: an idle connection that the upstream
        closed while the request was on its way (RFC 9112 section 9.3.1)."""
        if not link.reused or self._repeated or self._asked:
            return False
        return self._head.method in _REPEATABLE and not self._head.fields.has_body

    def _framed(self, content: bytes, complete: bool) -> bytes:
        if not self._encode:
            return content
        data = chunk(content) if content else b""
        return data + last_chunk(self._connection.trailers) if complete else data

    def _delimited(self, reply: ReplyHead) -> bool:
        """Whether the client knows the end of the reply from its framing, and not from the end of the connection."""
        framing = reply.framing(to_head=self._head.method == "HEAD")
        self._by_close = framing == UNTIL_CLOSE or (framing == CHUNKED and self._head.fields.old)
        return not self._by_close

    def _watch(self) -> None:
        desk, upstream = self._connection.desk, self._way.upstream
        if self._status:
            timeout = upstream.idle_timeout
            if self._connection.congested:
                self._connection.outlast(timeout)
                return
        elif self._sent:
            timeout = upstream.first_byte_timeout
        elif self._link is not None and self._link.congested:
            timeout = upstream.idle_timeout
        else:
            timeout = desk.settings.body_idle_timeout
        self._connection.deadline = desk.soon + timeout

    def _switch(self, head: ReplyHead, rest: bytes) -> None:
        link, self._link = self._link, None
        assert link is not None
        if not switches_to(head, self._asked):
            link.abort()
            self._fail(*_PROBLEMS[Trouble.GARBAGE])
            return
        self._status = 101
        tunnel = Tunnel(self._connection, link, self._way.upstream.tunnel_timeout, self._count)
        link.divert(tunnel)
        self._connection.write(upgrade_head(head) + rest)
        self._connection.begin_tunnel(tunnel)
        if self._connection.congested:  # by what came along with the 101; it is told once
            tunnel.client_congested()

    def _finish(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            if not self._sent:
                link.abort()  # it owes the upstream bytes that nobody is going to send
            elif self._negotiates:
                self._connection.pinned.keep(self._way.upstream, link)
            else:
                link.release()
        self._count()
        self._connection.end(keep=self._keep)

    def _fail(self, code: str, detail: str) -> None:
        self._drop_link()
        self._trouble = self._trouble or detail
        answer = problem(code, detail, retry_after=1 if code == "overloaded" else None)
        self._status, self._code = answer.status, code
        self._count()
        self._connection.answer(answer)

    def _break_off(self) -> None:
        """The reply has begun and cannot be finished: let the client see it."""
        self._drop_link()
        self._count()
        self._connection.abort(reset=self._by_close)

    def _drop_link(self) -> None:
        self._stop_inviting()
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        link, self._link = self._link, None
        if link is not None:
            link.abort()

    def _invite(self) -> None:
        self._continued = True
        self._connection.write(CONTINUE)

    def _stop_inviting(self) -> None:
        if self._continue is not None:
            self._continue.cancel()
            self._continue = None

    def _count(self) -> None:
        desk = self._connection.desk
        instrument, seconds = desk.instrument, monotonic() - self._started
        instrument.passed_through(self._way.route, self._status, seconds)
        if instrument.access_log == "all":
            instrument.answered(
                self._connection.request_of(self._head),
                self._way.route,
                self._status,
                seconds,
                decision="passthrough",
                code=self._code,
                detail=self._trouble,
            )
