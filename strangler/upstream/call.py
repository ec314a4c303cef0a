"""One recorded call on one connection."""

from __future__ import annotations

import asyncio

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Fault, FaultKind, Hindrance
from strangler.engine.failpoint import reach
from strangler.ports import Failure, Outgoing, ReplySink
from strangler.upstream.link import UpstreamLink
from strangler.wire.fields import end_to_end
from strangler.wire.reply_head import ReplyHead

HELD = 256 * 1024
"""Bytes of a reply that may wait for the sink before the upstream has to."""


class Call:
    """Sends a request and feeds the reply to a sink. Is the receiver of its link."""

    def __init__(self, link: UpstreamLink, request: Outgoing, sink: ReplySink, timeout: float) -> None:
        self._link = link
        self._request = request
        self._sink = sink
        self._timeout = timeout
        self._head: ReplyHead | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._sent = request.body.chunks <= 1  # the whole request
        self._complete = False
        self._fault: Fault | None = None
        self._news = asyncio.Event()  # anything of the above
        self._full: asyncio.Event | None = None  # told when there is room for more of the request; None: there is

    async def run(self, head: bytes, first: bytes) -> Fault | None:
        """Send ``head`` and the first chunk of the body at once, the rest after it. None: the whole reply came."""
        request = self._request
        loop = asyncio.get_running_loop()
        self._link.send(head + first, self, to_head=request.method == "HEAD", decode=True)
        deadline = loop.call_later(self._timeout, self._expire)
        rest = None if self._sent else loop.create_task(self._send_rest())
        keep = False
        try:
            reach("after-first-byte")
            fault = await self._relay()
            if fault is None:
                reach("after-reply")
                keep = self._sent
            return fault
        finally:
            deadline.cancel()
            if rest is not None:
                rest.cancel()
            if keep:
                self._link.release()
            else:
                self._link.abort()

    async def _relay(self) -> Fault | None:
        """Feed the sink until the reply is complete or there is none."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._head is not None:
                head, self._head = self._head, None
                self._sink.head(head.status, head.reason, end_to_end(head.headers))
            while self._pieces:
                data = b"".join(self._pieces)
                self._pieces.clear()
                self._held = 0
                self._link.resume_reading()
                await self._sink.write(data)
            if self._complete:
                return None
            if self._fault is not None:
                return self._fault

    async def _send_rest(self) -> None:
        request = self._request
        for index in range(1, request.body.chunks):
            if self._full is not None:
                await self._full.wait()
            try:
                data = await request.read_chunk(index)
            except (StoreUnavailable, KeyError) as error:
                self._break(f"the recorded body cannot be read: {type(error).__name__}", ours=Hindrance.STORE)
                return
            self._link.write(data)
        self._sent = True

    def _break(self, reason: str, *, timeout: bool = False, ours: Hindrance | None = None) -> None:
        if self._fault is not None:
            return
        self._fault = Fault(FaultKind.INTERRUPTED, reason, timeout=timeout, ours=ours)
        self._link.abort()
        self._news.set()

    def _expire(self) -> None:
        self._break(f"no complete reply within {self._timeout:g} s", timeout=True)

    # The link's receiver.

    def interim(self, head: ReplyHead) -> None:
        """Not for a recorded call."""

    def reply(self, head: ReplyHead, body: bytes, complete: bool) -> None:
        """The head of the reply."""
        self._head = head
        self.data(body, complete)

    def data(self, data: bytes, complete: bool) -> None:
        """More of its body."""
        if data:
            self._pieces.append(data)
            self._held += len(data)
            if self._held > HELD:
                self._link.pause_reading()
        self._complete = complete
        self._news.set()

    def ended(self) -> None:
        """There is no tunnel."""

    def lost(self, failure: Failure | None) -> None:
        """The connection broke."""
        self._break("the connection was closed" if failure is None else failure.reason)

    def pause_writing(self) -> None:
        """The upstream is slow to read."""
        self._full = self._full or asyncio.Event()

    def resume_writing(self) -> None:
        """There is room again."""
        if self._full is not None:
            full, self._full = self._full, None
            full.set()
