"""One connection to an upstream: requests go out as bytes, replies come in parsed and framed."""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol, cast

from strangler.ports import Failure, Receiver, Trouble
from strangler.wire.body import ChunkedBody, LengthBody
from strangler.wire.fields import MAX_REMEMBERED
from strangler.wire.malformed import Malformed
from strangler.wire.reply_head import CHUNKED, UNTIL_CLOSE, ReplyHead, find_reply_head


class Home(Protocol):
    """Where a link belongs."""

    def returned(self, link: UpstreamLink) -> None:
        """It is idle and may be lent again."""
        ...

    def detached(self, link: UpstreamLink) -> None:
        """It has become a tunnel and no longer counts as a connection."""
        ...

    def gone(self, link: UpstreamLink) -> None:
        """It is closed."""
        ...


_Phase = Literal["idle", "head", "body", "until-close", "answered", "tunnel"]
"""``answered``: the reply is complete, the request may not be."""


class UpstreamLink(asyncio.Protocol):
    """See `strangler.ports.Link`."""

    _transport: asyncio.Transport  # from `connection_made` on; it is lent after that

    def __init__(self, home: Home, max_head: int) -> None:
        self.reused = False
        self.congested = False
        self.idle_since = 0.0
        self.counted = False  # among the connections of its home
        self._home = home
        self._max_head = max_head
        self._receiver: Receiver | None = None
        self._phase: _Phase = "idle"
        self._body: LengthBody | ChunkedBody | None = None
        self._last: tuple[bytes, ReplyHead] | None = None  # the last head, as it came and read
        self._begin = b""  # of a head whose end has not come yet
        self._silent = True
        self._keep = False  # it can be used again after this exchange
        self._to_head = self._decode = self._upgrade = self._paused = self._half_closed = False

    @property
    def reusable(self) -> bool:
        """Whether it can serve another exchange."""
        return self._keep and self._phase == "answered" and not self.congested and not self._transport.is_closing()

    @property
    def closing(self) -> bool:
        """Whether it can carry no more bytes: a write that failed closes it before its end is told."""
        return self._transport.is_closing()

    # What the borrower does.

    def send(self, data: bytes, receiver: Receiver, *, to_head: bool, decode: bool, upgrade: bool = False) -> None:
        """Begin an exchange."""
        self._receiver = receiver
        self._phase = "head"
        self._silent = True
        self._keep = False
        self._to_head, self._decode, self._upgrade = to_head, decode, upgrade
        transport = self._transport
        if not transport.is_closing():
            transport.write(data)

    def write(self, data: bytes) -> None:
        """Send more. Once the connection is closing the receiver is about to hear that it is lost."""
        if not self.closing:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Say that nothing more comes. TLS knows no half of a close: there it is the whole."""
        if self.closing:
            return
        if self._half_closed or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()

    def pause_reading(self) -> None:
        """Let the upstream wait."""
        if not self._paused and not self.closing:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if self._paused and not self.closing:
            self._paused = False
            self._transport.resume_reading()

    def divert(self, receiver: Receiver) -> None:
        """Another one receives from now on."""
        if self._receiver is not None:
            self._receiver = receiver

    def release(self) -> None:
        """Give it back."""
        self._receiver = None
        if self._paused:
            self.resume_reading()
        if not self.reusable:
            self.abort()
            return
        self._phase = "idle"
        self._home.returned(self)

    def abort(self) -> None:
        """Close it at once."""
        self._receiver = None
        if not self.closing:
            self._transport.abort()

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of the upstream."""
        receiver = self._receiver
        if receiver is None:
            # What nobody asked for would be taken for the answer to the next request.
            self.abort()
        elif self._phase == "head":
            self._silent = False
            self._take_head(receiver, self._begin + data if self._begin else data)
        elif self._phase == "body":
            self._take_body(receiver, data)
        elif self._phase == "answered":
            self._keep = False
        else:
            receiver.data(data, False)

    def eof_received(self) -> bool:
        """The upstream sends nothing more."""
        receiver = self._receiver
        if receiver is None or self._phase == "answered":
            self._keep = False
            return False
        if self._phase == "tunnel":
            self._half_closed = True
            receiver.ended()
            return not self.closing and self._transport.can_write_eof()
        if self._phase == "until-close":
            self._phase = "answered"
            receiver.data(b"", True)
        else:
            self._fail(Trouble.BROKEN, "the upstream closed the connection before its reply was complete")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed, by whomever."""
        receiver, self._receiver = self._receiver, None
        self._home.gone(self)
        if receiver is None or self._phase == "answered":
            return
        if self._phase == "tunnel" and error is None:
            receiver.lost(None)
        else:
            receiver.lost(Failure(Trouble.BROKEN, "the connection to the upstream broke", self._silent))

    def pause_writing(self) -> None:
        """The upstream is slow to read."""
        self.congested = True
        if self._receiver is not None:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        """There is room again."""
        self.congested = False
        if self._receiver is not None:
            self._receiver.resume_writing()

    # The reply.

    def _take_head(self, receiver: Receiver, data: bytes) -> None:
        while True:
            try:
                found = self._found(data)
            except Malformed as malformed:
                self._fail(Trouble.GARBAGE, f"the reply is not well formed: {malformed.detail}")
                return
            if (len(data) if found is None else found[1]) > self._max_head:
                self._fail(Trouble.GARBAGE, "the head of the reply is too large")
                return
            if found is None:
                self._begin = data
                return
            head, start = found
            if head.status >= 200 or head.status == 101:
                break
            receiver.interim(head)
            if self._receiver is None:
                return
            data = data[start:]
            if not data:
                self._begin = b""
                return
        self._begin = b""
        self._begin_body(receiver, head, data[start:] if len(data) > start else b"")

    def _found(self, data: bytes) -> tuple[ReplyHead, int] | None:
        """See `find_reply_head`. The same bytes as last time, to the end of a head, are the same head."""
        if self._last is not None and data.startswith(self._last[0]):
            return self._last[1], len(self._last[0])
        found = find_reply_head(data)
        if found is not None and found[1] <= MAX_REMEMBERED:
            self._last = data[: found[1]], found[0]
        return found

    def _begin_body(self, receiver: Receiver, head: ReplyHead, rest: bytes) -> None:
        if head.status == 101:
            self._begin_tunnel(receiver, head, rest)
            return
        framing = head.framing(to_head=self._to_head)
        if framing == UNTIL_CLOSE:
            self._phase = "until-close"
            receiver.reply(head, rest, False)
            return
        self._keep = head.persistent
        self.reused = True  # also where it is not given back, but kept by its borrower
        if framing == CHUNKED:
            body: LengthBody | ChunkedBody = ChunkedBody(decoding=self._decode)
        elif framing == len(rest):  # most replies come in one piece
            self._phase = "answered"
            receiver.reply(head, rest, True)
            return
        else:
            body = LengthBody(framing)
        self._phase = "body"
        self._body = body
        content = self._content(body, rest)
        if content is not None:
            receiver.reply(head, content, body.complete)

    def _take_body(self, receiver: Receiver, data: bytes) -> None:
        body = self._body
        assert body is not None
        content = self._content(body, data)
        if content is not None:
            receiver.data(content, body.complete)

    def _content(self, body: LengthBody | ChunkedBody, data: bytes) -> bytes | None:
        """What of ``data`` is body; None: its framing is broken, and the receiver knows."""
        try:
            end = body.feed(data)
        except Malformed as malformed:
            self._fail(Trouble.GARBAGE, f"the body of the reply is not well formed: {malformed.detail}")
            return None
        if body.complete:
            self._phase = "answered"
            self._body = None
            if end < len(data):
                self._keep = False  # more than the reply: it answers nothing
        if isinstance(body, ChunkedBody) and body.decoding:
            return body.take()
        return data if end == len(data) else data[:end]

    def _begin_tunnel(self, receiver: Receiver, head: ReplyHead, rest: bytes) -> None:
        if not self._upgrade:
            self._fail(Trouble.GARBAGE, "the upstream switched protocols without being asked")
            return
        self._phase = "tunnel"
        self._home.detached(self)
        receiver.reply(head, rest, False)

    def _fail(self, trouble: Trouble, reason: str) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.lost(Failure(trouble, reason, self._silent))
