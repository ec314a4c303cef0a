"""One connection to a receiver: a request goes out as bytes, and of its answer comes back what anybody looks at."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aiohttp.connector import Connection

from strangler.ports.deliveries import HEAD_SIZE
from strangler.wire.body import ChunkedBody, LengthBody
from strangler.wire.malformed import Malformed, bad
from strangler.wire.reply_head import CHUNKED, ReplyHead, find_reply_head

PATIENCE = 1.0
"""Seconds that the body of an answer, whose status is known already, is waited for."""

MAX_HEAD = 16 * 1024
"""Bytes of the head of an answer, with all interim ones before it."""


class Reply(NamedTuple):
    """What a receiver answered."""

    head: ReplyHead
    first: bytes  # of the body, at most `HEAD_SIZE`

    def field(self, name: bytes) -> bytes | None:
        """The value of a header field, of several lines the last; ``name`` is in lower case. None: there is none."""
        if b"\r\n%b:" % name not in self.head.block.lower():
            return None
        return next(value for known, value in reversed(self.head.headers) if known.lower() == name)


class Link:
    """One exchange at a time, over a connection that the gate has made and nobody else uses. What comes is fed to the
    link, as to a parser of aiohttp's; an answer is parsed as those of upstreams are."""

    def __init__(self, connection: Connection, address: str | None) -> None:
        self.address = address  # that it is connected to
        self.idle_since = 0.0  # an instant of the loop
        self._connection = connection
        self._fed = False
        self._answered: asyncio.Future[None] | None = None  # while an exchange is under way
        self._until = 0.0
        self._forget()

    @property
    def reusable(self) -> bool:
        """Whether the whole of the last answer came, and nothing else, and another exchange may follow."""
        return self._keep and not self._connection.closed

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    async def exchange(self, request: bytes, until: float) -> Reply:
        """Send a request and wait for its answer, until an instant of the loop.

        Once the head of an answer has come, what comes late of its body, or breaks, is not missed.

        Raises:
            TimeoutError: no head of an answer came until then.
            OSError: the connection was closed, or broke, before there was an answer.
            Malformed: what came is none.
        """
        transport, protocol = self._connection.transport, self._connection.protocol
        if transport is None or protocol is None or transport.is_closing():
            raise ConnectionResetError
        self._forget()
        self._until = until
        loop = asyncio.get_running_loop()
        self._answered = loop.create_future()
        self._timer = loop.call_at(until, self._expire)
        transport.write(request)
        if not self._fed:
            self._fed = True
            protocol.set_parser(self, None)
        try:
            await self._answered
        finally:
            self._answered = None
            self._timer.cancel()
        if self._head is None:
            error = protocol.exception()
            raise error if isinstance(error, OSError) else ConnectionResetError
        return Reply(self._head, self._first[:HEAD_SIZE])

    def _forget(self) -> None:
        self._begin = b""  # of a head whose end has not come yet
        self._interim = 0  # bytes of the heads before that of the answer itself
        self._head: ReplyHead | None = None
        self._body: LengthBody | ChunkedBody | None = None  # None: it ends with the connection
        self._first = b""  # of the body, as it comes
        self._keep = False
        self._patient = False  # only the body is still waited for, and not for long

    # What the connection says.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes of the receiver."""
        if self._answered is None:
            # What nobody asked for would be taken for the answer to the next request.
            self.close()
        elif self._answered.done():
            self._keep = False
        else:
            try:
                if self._head is None:
                    self._take_head(self._begin + data if self._begin else data)
                else:
                    self._take_body(self._head, data)
            except Malformed as malformed:
                if self._head is None:
                    self._answered.set_exception(malformed)
                else:
                    self._finish()
        return False, b""

    def feed_eof(self) -> None:
        """The connection is closed, by whomever."""
        self._finish()

    def _expire(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(TimeoutError())

    def _finish(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def _take_head(self, data: bytes) -> None:
        while True:
            found = find_reply_head(data)
            if self._interim + (len(data) if found is None else found[1]) > MAX_HEAD:
                raise bad("The head of the answer is too large.")
            if found is None:
                self._begin = data
                return
            head, start = found
            data = data[start:]
            if head.status == 101:
                raise bad("It switches protocols without being asked.")
            if head.status >= 200:
                break
            self._interim += start
        framing = head.framing(to_head=False)
        if framing >= 0:
            self._body = LengthBody(framing)
        elif framing == CHUNKED:
            self._body = ChunkedBody(decoding=True)
        self._head = head
        self._take_body(head, data)

    def _take_body(self, head: ReplyHead, data: bytes) -> None:
        body = self._body
        complete = False
        if body is None:
            self._first += data
        else:
            end = body.feed(data)
            self._first += body.take() if isinstance(body, ChunkedBody) else data[:end]
            complete = body.complete
            self._keep = complete and end == len(data) and head.persistent
        if complete or len(self._first) >= HEAD_SIZE:
            self._finish()
        elif not self._patient:
            self._patient = True
            loop = asyncio.get_running_loop()
            self._timer.cancel()
            self._timer = loop.call_at(min(loop.time() + PATIENCE, self._until), self._finish)
