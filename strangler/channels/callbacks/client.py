"""The HTTP client of one receiver: its own connections, its own certificates, and nothing that was not asked for."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from yarl import URL

from strangler.channels.callbacks.gate import GatedConnector, JudgingResolver, Trail
from strangler.channels.callbacks.link import Link, Reply
from strangler.channels.callbacks.lookup import Lookup
from strangler.engine.tls import client_context
from strangler.policy.callback_url import CallbackUrl
from strangler.policy.receivers import Receiver

KEEPALIVE = 15.0
"""Seconds that an idle connection is kept for the next callback."""


class Target(NamedTuple):
    """A URL of a receiver."""

    url: CallbackUrl
    called: URL  # the same, in the words of aiohttp
    origin: str  # whose connections are used


class Client:
    """Calls one receiver.

    Args:
        receiver: whose ``tls``, ``networks`` and ``timeout`` count.

    Raises:
        OSError: a certificate cannot be read, or is none (`ssl.SSLError`).
    """

    def __init__(self, receiver: Receiver, lookup: Lookup) -> None:
        self.receiver = receiver
        self._connector = GatedConnector(JudgingResolver(lookup), ssl=client_context(receiver.tls))
        self._idle: dict[str, list[Link]] = {}  # by origin, the one that was used last at the end
        self._sweep: asyncio.TimerHandle | None = None

    async def exchange(self, target: Target, request: bytes, trail: Trail, until: float) -> Reply:
        """One request and its answer; ``trail`` is filled on the way, ``until`` an instant of the loop.

        A request on a connection of an earlier one that turns out dead is sent again, once per such connection: the
        receiver has most likely not seen it, and knows it by its ``webhook-id`` if it has.

        Raises:
            TimeoutError: no answer came until then.
            OSError, aiohttp.ClientError: no answer came.
            Malformed: what came is none.
        """
        while (link := self._kept(target.origin)) is not None:
            trail.address = link.address
            try:
                return await self._over(link, target, request, until)
            except TimeoutError:
                raise
            except OSError:
                trail.address = None
        async with asyncio.timeout_at(until):
            connection = await self._connector.dial(target.called, self.receiver.tls.server_name, trail)
        return await self._over(Link(connection, trail.address), target, request, until)

    async def _over(self, link: Link, target: Target, request: bytes, until: float) -> Reply:
        try:
            return await link.exchange(request, until)
        finally:
            if link.reusable:
                self._keep(target.origin, link)
            else:
                link.close()

    def _kept(self, origin: str) -> Link | None:
        """The connection that was used last, if there is any that can be used."""
        links = self._idle.get(origin)
        while links:
            link = links.pop()
            if link.reusable and link.idle_since > asyncio.get_running_loop().time() - KEEPALIVE:
                return link
            link.close()
        return None

    def _keep(self, origin: str, link: Link) -> None:
        loop = asyncio.get_running_loop()
        link.idle_since = loop.time()
        self._idle.setdefault(origin, []).append(link)
        if self._sweep is None:
            self._sweep = loop.call_later(KEEPALIVE, self._expire)

    def _expire(self) -> None:
        """Close what has been idle for long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEEPALIVE
        for links in self._idle.values():
            while links and links[0].idle_since <= oldest:
                links.pop(0).close()
        self._idle = {origin: links for origin, links in self._idle.items() if links}
        since = min((links[0].idle_since for links in self._idle.values()), default=None)
        self._sweep = None if since is None else loop.call_at(since + KEEPALIVE, self._expire)

    async def close(self) -> None:
        """Give back all connections."""
        if self._sweep is not None:
            self._sweep.cancel()
        await self._connector.close()
        for links in self._idle.values():
            for link in links:
                link.close()
        self._idle.clear()
