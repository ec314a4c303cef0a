"""Whoever borrows links for passthrough, and the upstream to which they lead."""

from __future__ import annotations

import asyncio

from strangler.policy.upstreams import Upstream
from strangler.ports import Failure, Link
from strangler.upstream import Connections
from strangler.wire.reply_head import ReplyHead
from tests.front.raw import PATIENCE, End, RawUpstream

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Waiter:
    """Borrows links, and receives what comes on them."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.failure: Failure | None = None
        self.status = 0
        self.news = asyncio.Event()

    def lent(self, link: Link) -> None:
        assert self.link is None
        self.link = link
        self.news.set()

    def unavailable(self, failure: Failure) -> None:
        self.failure = failure
        self.news.set()

    async def heard(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.news.wait()
        self.news.clear()

    def reply(self, head: ReplyHead, body: bytes, complete: bool) -> None:
        assert complete
        self.status = head.status
        self.news.set()

    def data(self, data: bytes, complete: bool) -> None:
        raise AssertionError

    def interim(self, head: ReplyHead) -> None:
        raise AssertionError

    def ended(self) -> None:
        raise AssertionError

    def lost(self, failure: Failure | None) -> None:
        self.failure = failure
        self.news.set()

    def pause_writing(self) -> None:
        raise AssertionError

    def resume_writing(self) -> None:
        raise AssertionError


class World:
    """Connections to a raw upstream."""

    def __init__(self, legacy: RawUpstream) -> None:
        self.legacy = legacy
        self.connections = Connections(max_head=64 * 1024)
        self.upstream = Upstream(
            name="legacy", scheme="http", host="127.0.0.1", port=legacy.port, max_connections=1, keepalive=30.0
        )

    async def lent(self, **options: bool) -> Waiter:
        waiter = Waiter()
        self.connections.borrow(self.upstream, waiter, **options)
        await waiter.heard()
        assert waiter.failure is None
        return waiter

    async def exchange(self, waiter: Waiter, upstream: End) -> None:
        assert waiter.link is not None
        waiter.link.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", waiter, to_head=False, decode=False)
        await upstream.head()
        upstream.send(OK)
        await waiter.heard()
        assert waiter.status == 204

    async def returned(self, waiter: Waiter) -> End:
        """A link is used and given back; the other end of it."""
        end = await self.legacy.accept()
        await self.exchange(waiter, end)
        assert waiter.link is not None
        waiter.link.release()
        return end
