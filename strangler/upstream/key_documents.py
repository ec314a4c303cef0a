"""Sets of keys, from the URLs and files where issuers publish them."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from strangler.domain.exchange import Body, Headers
from strangler.policy.upstreams import Upstream
from strangler.ports import MAX_KEYS, KeysUnavailable, Outgoing, UpstreamCaller

TIMEOUT = 5.0
"""Seconds for all of it."""

_NOTHING = Body(0, hashlib.sha256(b"").digest(), b"")


class PublishedKeys:
    """See `strangler.ports.KeyDocuments`. Redirects are not followed: where keys come from is the policy's to say."""

    def __init__(self, caller: UpstreamCaller) -> None:
        self._caller = caller

    async def fetch(self, location: str) -> bytes:
        """See `strangler.ports.KeyDocuments`."""
        if location.startswith("/"):
            return await asyncio.to_thread(_read, location)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._get(location)
        except TimeoutError:
            raise KeysUnavailable(f"no answer within {TIMEOUT:g} s") from None

    async def _get(self, url: str) -> bytes:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        server = Upstream(
            name=f"keys {url}",
            scheme="https" if secure else "http",
            host=parts.hostname or "",
            port=parts.port or (443 if secure else 80),
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = (
            (b"Host", server.authority.encode()),
            (b"Accept", b"application/jwk-set+json, application/json"),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", b"strangler"),
        )
        question = Outgoing("GET", target.encode(), headers, _NOTHING, _no_chunk)
        answer = _Document()
        fault = await self._caller.call(server, question, answer, timeout=TIMEOUT, may_send=lambda: True, fresh=True)
        if fault is not None:
            raise KeysUnavailable(fault.reason)
        if answer.status != 200:
            raise KeysUnavailable(f"the answer was {answer.status}")
        return bytes(answer.data)


class _Document:
    """A `ReplySink` that holds a small body."""

    def __init__(self) -> None:
        self.status = 0
        self.data = bytearray()

    def head(self, status: int, reason: bytes, headers: Headers) -> None:
        """Take the head."""
        self.status = status

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.data += data
        if len(self.data) > MAX_KEYS:
            raise KeysUnavailable(f"the answer is longer than {MAX_KEYS} bytes")


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_KEYS + 1)
    except OSError as error:
        raise KeysUnavailable(f"it cannot be read: {error.strerror or type(error).__name__}") from None
    if len(data) > MAX_KEYS:
        raise KeysUnavailable(f"it is longer than {MAX_KEYS} bytes")
    return data


async def _no_chunk(_: int) -> bytes:
    return b""
