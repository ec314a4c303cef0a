"""The HTTP client of one receiver: its own connections, its own certificates, and nothing that was not asked for."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import aiohttp
from yarl import URL

from strangler.channels.callbacks.gate import TRAIL, GatedConnector, JudgingResolver, Trail
from strangler.channels.callbacks.heads import Head
from strangler.channels.callbacks.lookup import Lookup
from strangler.engine.tls import client_context
from strangler.policy.callback_url import CallbackUrl
from strangler.policy.receivers import Receiver
from strangler.ports.deliveries import HEAD_SIZE

KEEPALIVE = 15.0
"""Seconds that an idle connection is kept for the next callback."""

PATIENCE = 1.0
"""Seconds that the body of an answer, whose status is known already, is waited for."""

_BEFORE = 0.02  # seconds by which that wait is over before the whole attempt is


class Reply(NamedTuple):
    """What a receiver answered."""

    status: int
    headers: dict[str, str]  # lower-case names; of several lines the last
    head: bytes  # the first bytes of the body


class Target(NamedTuple):
    """A URL of a receiver."""

    url: CallbackUrl
    called: URL  # the same, in the words of aiohttp


class Client:
    """Calls one receiver.

    Args:
        receiver: whose ``tls``, ``networks`` and ``timeout`` count.

    Raises:
        OSError: a certificate cannot be read, or is none (`ssl.SSLError`).
    """

    def __init__(self, receiver: Receiver, lookup: Lookup) -> None:
        self.receiver = receiver
        connector = GatedConnector(
            JudgingResolver(lookup),
            ssl=client_context(receiver.tls),
            keepalive_timeout=KEEPALIVE,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(),
            read_bufsize=HEAD_SIZE,
        )

    async def exchange(self, method: str, target: Target, head: Head, body: bytes, trail: Trail, until: float) -> Reply:
        """One request and its answer; ``trail`` is filled on the way, ``until`` an instant of the loop.

        Whoever calls ends it then; what has come of an answer is given back before.

        A request on a connection of an earlier one that turns out dead is sent again, once per such connection: the
        receiver has most likely not seen it, and knows it by its ``webhook-id`` if it has.

        Raises:
            OSError, aiohttp.ClientError: no answer came, or none that is HTTP.
        """
        token = TRAIL.set(trail)
        try:
            while True:
                try:
                    return await self._once(method, target, head, body, until)
                except (aiohttp.ServerDisconnectedError, OSError):
                    if trail.sockets > 0 or trail.address is None:
                        raise
                    trail.address = None
        finally:
            TRAIL.reset(token)

    async def _once(self, method: str, target: Target, head: Head, body: bytes, until: float) -> Reply:
        async with self._session.request(
            method,
            target.called,
            headers=head,
            data=body or None,
            allow_redirects=False,
            server_hostname=self.receiver.tls.server_name,
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, headers, await _first_bytes(response, until))

    async def close(self) -> None:
        """Give back all connections."""
        await self._session.close()


async def _first_bytes(response: aiohttp.ClientResponse, until: float) -> bytes:
    """The first bytes of an answer's body. What comes late, or breaks, is not missed: the status has come."""
    if response.content.is_eof():
        return response.content.read_nowait(HEAD_SIZE)
    return await _awaited(response, until)


async def _awaited(response: aiohttp.ClientResponse, until: float) -> bytes:
    found = bytearray()
    try:
        async with asyncio.timeout_at(min(asyncio.get_running_loop().time() + PATIENCE, until - _BEFORE)):
            while len(found) < HEAD_SIZE and (data := await response.content.read(HEAD_SIZE - len(found))):
                found += data
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
    if not response.content.at_eof():
        response.close()  # a body without end is not read for the sake of its connection
    return bytes(found)
