"""A client's connection: bytes in, one exchange at a time, bytes out."""

from __future__ import annotations

import asyncio
import math
from typing import Literal, cast

from strangler.domain.exchange import Answer, Peer, Request
from strangler.domain.problem import Problem, code_of, correlated, located, problem
from strangler.engine.intake import correlation_id
from strangler.front.body import NO_BODY, RequestBody
from strangler.front.desk import Desk
from strangler.front.exchange import Exchange
from strangler.front.handling import Handling
from strangler.front.head_buffer import HeadBuffer
from strangler.front.passage import Again, Passage
from strangler.front.peer import peer_of
from strangler.front.pinned import Pinned
from strangler.front.promised import Promised
from strangler.front.response import refusal, respond
from strangler.front.socket_end import SocketEnd
from strangler.front.upstream_head import UpstreamFields
from strangler.policy.forwarding import has_been_here
from strangler.ports import Handle, Passthrough
from strangler.wire.body import ChunkedBody, LengthBody
from strangler.wire.malformed import Malformed
from strangler.wire.request_head import RequestHead

LINGER = 5.0
"""Seconds for which a client that takes nothing of its answer may go on sending what nobody reads any more; closing at
once would make its kernel throw the answer away (RFC 9112 section 9.6)."""

MAX_PIPELINED = 64 * 1024
"""Bytes of requests that may wait behind the one under way."""

_State = Literal["idle", "head", "busy", "tunnel", "linger", "closed"]


class ClientConnection(SocketEnd):
    """Parses requests, asks which way each goes, and lets an `Exchange` do it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.peer = Peer("", 0)
        self.trusted = False
        self.pinned = Pinned()
        self.last_fields: UpstreamFields | None = None  # how the fields of the last one that passed through went
        self._passed: RequestHead | None = None  # the head of the last one that did
        self._again: Again | None = None  # how it goes if the same comes once more
        self._state: _State = "idle"
        self._heads = HeadBuffer(desk.settings.max_head)
        self._exchange: Exchange | None = None
        self._head: RequestHead | None = None
        self._body: LengthBody | ChunkedBody | None = None  # of the request, while it is incomplete
        self.trailers = b""  # of the request under way, as they came
        self._keepalive = desk.settings.keepalive
        self._ended = False  # the client sends nothing more, and is served all the same
        self._advancing = False

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast(asyncio.Transport, transport)
        settings = self.desk.settings
        self.desk.connections.add(self)
        self.peer = peer_of(self._transport)
        self.trusted = settings.trusted.peer(self.peer)
        self.watch(settings.head_timeout)
        if len(self.desk.connections) > settings.max_clients:
            self._refuse(Malformed("overloaded", "Too many clients are connected."))
            self.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._state == "busy":
            if self._body is not None:
                data = self._feed(self._body, data)
            if data:
                self._hold(data)
        elif self._state == "tunnel":
            assert self._exchange is not None
            self._exchange.body(data, False)
        elif self._state != "linger" and self._state != "closed":
            self._heads.add(data)
            self._advance()

    def eof_received(self) -> bool:
        """The client sends nothing more. While it waits for an answer this is how it leaves (nginx and Go agree)."""
        if self._exchange is not None and self._exchange.client_ended():
            self._ended = True
            return self._transport.can_write_eof()
        self.outlast(self.desk.settings.body_idle_timeout)
        self._state = "closed"
        self._lose_exchange()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._state = "closed"
        self.desk.forget(self)
        self._lose_exchange()
        self.pinned.close()

    def pause_writing(self) -> None:
        """The client is slow to read."""
        self.congested = True
        if self._exchange is not None:
            self._exchange.client_congested()

    def resume_writing(self) -> None:
        """There is room again."""
        self.congested = False
        if self._exchange is not None:
            self._exchange.client_ready()
        elif self._heads.held:
            self.resume_reading()
            self._advance()

    # What the sweep says.

    def overdue(self) -> None:
        """The deadline has passed."""
        self.deadline = math.inf
        if self._state == "busy" or self._state == "tunnel":
            assert self._exchange is not None
            self._exchange.overdue()
        elif self._state == "head":
            self._refuse(Malformed("request-timeout", "The head of the request took too long to arrive."))
        elif self._state == "idle" and self.was_read():
            self._transport.close()
        elif not self.takes():
            self.abandon()

    def drain(self) -> None:
        """Close as soon as nothing is under way."""
        if self._state == "idle":
            self.close()

    def abandon(self) -> None:
        """Close now, whatever is under way."""
        self._state = "closed"
        self._lose_exchange()
        self._transport.abort()

    # What an exchange does.

    def watch(self, timeout: float | None) -> None:
        """Set the deadline anew, in seconds from now; None: there is none. Once it closes, the last one stays."""
        if self._state != "closed":
            self.deadline = math.inf if timeout is None else self.desk.soon + timeout

    def keeps(self, head: RequestHead) -> bool:
        """Whether the connection can stay open after the answer that begins now."""
        return head.fields.keep_alive and self._body is None and not self.desk.draining

    def answer(self, answer: Answer) -> None:
        """Answer the request under way with a whole answer, and end the exchange."""
        head = self._head
        assert head is not None
        keep = self.keeps(head)
        date = self.desk.date()
        if isinstance(answer, Problem):
            answer = self._about(answer, head)
        assert isinstance(answer.body, bytes)
        response = respond(answer, to_head=head.method == "HEAD", old=head.fields.old, keep=keep, date=date)
        self.write(response.head if response.bodiless else response.head + answer.body)
        self.end(keep=keep)

    def refuse(self, malformed: Malformed) -> None:
        """Answer the request under way as what cannot be taken for one, and close."""
        self._exchange = None
        self._refuse(malformed, self._head)

    def end(self, *, keep: bool) -> None:
        """The exchange is over; all that the client gets of it is written."""
        self._exchange = self._head = None
        if self._state == "closed":
            return
        if not keep or self._body is not None:
            self._linger()
            return
        self._state = "idle"
        self.outlast(self._keepalive)
        if not self._reading:
            self.resume_reading()
        if self._heads.held and not self._advancing:
            self._advance()

    def hand_over(self, exchange: Exchange) -> None:
        """Another exchange goes on with the request under way."""
        self._exchange = exchange

    def begin_tunnel(self, tunnel: Exchange) -> None:
        """From now on all bytes go to ``tunnel``, as they come."""
        self._state = "tunnel"
        self._exchange = tunnel
        self.resume_reading()
        held = self._heads.take_all()
        if held:
            tunnel.body(held, False)

    def pipelined(self) -> bool:
        """Whether the client sent more than the request under way."""
        return bool(self._heads.held)

    def abort(self, *, reset: bool) -> None:
        """Break off so that the client sees it. ``reset``: nothing but a reset tells it from a proper end."""
        self._exchange = None
        if self._state == "closed":
            return
        self._state = "closed"
        self._break(reset=reset)

    # Requests.

    def _advance(self) -> None:
        """Begin one request after the other, as far as they have arrived, and as the client reads the answers."""
        self._advancing = True
        while self._state == "idle" or self._state == "head":
            if self.congested:
                self._bound_pipeline()
                break
            try:
                found = self._heads.next()
            except Malformed as malformed:
                self._refuse(malformed)
                break
            if found is None:
                if self._state == "idle" and self._heads.begun:
                    self._state = "head"
                    self.watch(self.desk.settings.head_timeout)
                break
            self._begin(found)
        self._advancing = False

    def _begin(self, head: RequestHead) -> None:
        self._state = "busy"
        self._head = head
        self.deadline = math.inf
        if self._again is not None and self._again.holds(head):
            self._exchange = passage = Passage(self, head, self._again.way)
            passage.repeat(self._again.first)
            return
        content = b""
        body: LengthBody | ChunkedBody | None = None
        if head.fields.has_body:
            self._body = body = (
                ChunkedBody(decoding=True) if head.fields.chunked else LengthBody(head.fields.content_length or 0)
            )
            try:
                content = self._heads.feed(body)
            except Malformed as malformed:
                self._refuse(malformed, head)
                return
            self._note_progress(body)
        via = head.fields.via
        if via is not None and has_been_here(via):
            self._refuse(Malformed("loop-detected", "The request has been here before."), head)
            return
        self._dispatch(head, body, content)

    def _dispatch(self, head: RequestHead, body: LengthBody | ChunkedBody | None, content: bytes) -> None:
        request = self.request_of(head)
        try:
            direction = self.desk.direct(request)
        except Exception as error:
            self.desk.instrument.failed("front", error)
            direction = problem("internal-error", "The request could not be directed.")
        if isinstance(direction, Passthrough):
            if isinstance(body, ChunkedBody):
                body.decoding = False
                body.pieces.clear()
            self._exchange = passage = Passage(self, head, direction)
            passage.start(content, self._body is None)
            if head is self._passed:
                self._again = passage.again()
            self._passed = head
        elif isinstance(direction, Handle):
            self._handle(head, request, direction, body, content)
        else:
            self._note(request, direction)
            self.answer(direction)

    def request_of(self, head: RequestHead) -> Request:
        """The parsed request as everybody else sees it; its body is not there yet."""
        fields = head.fields
        return Request(
            head.method,
            head.target,
            head.lines.headers,
            self.peer,
            NO_BODY,
            has_body=fields.has_body,
            content_length=fields.content_length,
            old=fields.old,
        )

    def _handle(
        self, head: RequestHead, request: Request, handle: Handle, body: LengthBody | ChunkedBody | None, content: bytes
    ) -> None:
        if handle.begin is not None and self._body is None and not isinstance(body, ChunkedBody):
            self._exchange = promised = Promised(self, head, request, handle, content)
            if promised.begin(handle.begin):
                return
        handling = Handling(self, head, request, handle)
        self._exchange = handling
        reader: RequestBody | None = None
        if body is not None:
            expected = head.fields.expects_continue and not content
            reader = RequestBody(self, self.desk.settings.body_idle_timeout, expected=expected)
            reader.put(body.take() if isinstance(body, ChunkedBody) else content, body.complete)
        handling.start(reader)

    def _feed(self, body: LengthBody | ChunkedBody, data: bytes) -> bytes:
        """Give the exchange what belongs to the body; returns the rest."""
        exchange = self._exchange
        assert exchange is not None
        try:
            end = body.feed(data)
        except Malformed as malformed:
            self.pause_reading()
            exchange.broken(malformed)
            return b""
        self._note_progress(body)
        if isinstance(body, ChunkedBody) and body.decoding:
            content = body.take()
        else:
            content = data if end == len(data) else data[:end]
        exchange.body(content, body.complete)
        return data[end:]

    def _note_progress(self, body: LengthBody | ChunkedBody) -> None:
        if body.complete:
            self._body = None
            self.trailers = body.trailers if isinstance(body, ChunkedBody) else b""

    def _hold(self, data: bytes) -> None:
        """Keep what belongs to the next request until this one is answered."""
        self._heads.add(data)
        self._bound_pipeline()

    def _bound_pipeline(self) -> None:
        if len(self._heads) > MAX_PIPELINED:
            self.pause_reading()

    # Ends.

    def _refuse(self, malformed: Malformed, head: RequestHead | None = None) -> None:
        """Answer what cannot be taken for a request, and close."""
        if head is not None:
            known = self.request_of(head)
        else:
            known = Request("", malformed.target or b"", malformed.headers, self.peer, NO_BODY)
        answer = correlated(refusal(malformed), correlation_id(known))
        if known.target:
            answer = located(answer, known.target)
        self._note(known, answer, malformed.detail)
        assert isinstance(answer.body, bytes)
        to_head = head.method == "HEAD" if head is not None else self._heads.asks_head
        response = respond(answer, to_head=to_head, old=False, keep=False, date=self.desk.date())
        self.write(response.head if response.bodiless else response.head + answer.body)
        self._linger()

    def _note(self, request: Request, answer: Answer, detail: str = "") -> None:
        """What no exchange answers: a refusal is counted, and it has a line of the access log."""
        instrument, code = self.desk.instrument, code_of(answer)
        if code:
            instrument.refused("", code)
        if instrument.access_log != "none":
            instrument.answered(request, "", answer.status, 0.0, decision="front", code=code, detail=detail)

    def _about(self, answer: Answer, head: RequestHead) -> Answer:
        """A problem, with the path of the request that it is about, and with the client's correlation id."""
        return correlated(located(answer, head.target), correlation_id(self.request_of(head)))

    def _linger(self) -> None:
        unread = self._body is not None or bool(self._heads.held) or self._state != "busy"
        self._state = "linger"
        self.resume_reading()
        if unread and not self._ended and self._transport.can_write_eof():
            self.outlast(LINGER)
            self.write_eof()
        else:
            self.close()

    def close(self) -> None:
        """Close once all that was written has left."""
        self._state = "linger"
        self.outlast(self.desk.settings.body_idle_timeout)
        self._transport.close()

    def _lose_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.left()
