"""A client that keeps a ledger of every promise that it was given."""

from __future__ import annotations

import asyncio
import io
import json
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

FINAL = frozenset({"completed", "rejected", "failed", "expired", "cancelled"})
SETTLED = FINAL | {"unconfirmed"}


@dataclass(frozen=True)
class Reply:
    """One whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The name of the problem that the answer tells of, if it is one of strangler's own."""
        if self.status < 400 or self.headers.get("Strangler-Source") != "proxy":
            return None
        assert self.headers["Content-Type"] == "application/problem+json"
        document = self.json()
        assert document["status"] == self.status
        assert document["type"] == f"urn:strangler:problem:{document['code']}"
        assert document["title"]
        assert document["detail"]
        return str(document["code"])


@dataclass
class Client:
    """A caller of the public listener; one session, redirects are not followed."""

    base: str
    caller: str | None = None  # sent as X-Api-Key
    promises: dict[str, str] = field(default_factory=dict)  # marker → process id, of every 202
    _session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Reply:
        """Send one request, once. ``body`` is bytes, or what goes as JSON; ``path`` may be a URL.

        Raises:
            aiohttp.ClientError, TimeoutError: no whole answer came.
        """
        assert self._session is not None
        sent = dict(headers or {})
        if self.caller is not None:
            sent.setdefault("X-Api-Key", self.caller)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        # aiohttp warns of large bodies as bytes: they could block the event loop, and here they may.
        data = io.BytesIO(body) if body is not None else None
        url = URL(path if path.startswith("http") else self.base + path, encoded=True)
        async with self._session.request(
            method,
            url,
            data=data,
            headers=sent,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout),
            skip_auto_headers=["Content-Type"],
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def raw(self, data: bytes) -> Reply:
        """Send bytes as they are, over a connection of their own.

        Raises:
            asyncio.IncompleteReadError, TimeoutError: no whole answer came.
        """
        url = URL(self.base)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            writer.write(data)
            async with asyncio.timeout(20):
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
                headers = CIMultiDict(
                    (name, value.strip()) for name, _, value in (line.partition(":") for line in lines)
                )
                body = await reader.readexactly(int(headers["Content-Length"]))
        finally:
            writer.close()
        return Reply(int(first.split(" ")[1]), CIMultiDictProxy(headers), body)

    async def submit(
        self,
        path: str,
        marker: str,
        *,
        method: str = "POST",
        script: str = "",
        key: str | None = None,
        headers: dict[str, str] | None = None,
        body: Any = None,
        timeout: float = 30.0,
    ) -> Reply:
        """Send a request that is known by a marker on its whole way; a 202 goes into the ledger."""
        sent = {"X-Correlation-ID": marker, **(headers or {})}
        if script:
            sent["X-Legacy"] = script
        if key is not None:
            sent["Idempotency-Key"] = key
        if method == "POST" and body is None:
            body = {"marker": marker}
        reply = await self.request(method, path, body=body, headers=sent, timeout=timeout)
        if reply.status == 202 and "Strangler-Process" not in reply.headers:
            identity = str(reply.json()["id"])
            assert self.promises.setdefault(marker, identity) == identity, "one marker became two processes"
        return reply

    async def status(self, identity: str, resource: str = "/processes") -> dict[str, Any]:
        """The status document of a process."""
        reply = await self.request("GET", f"{resource}/{identity}/status")
        assert reply.status == 200, f"status of {identity}: {reply.status} {reply.body[:500]!r}"
        document: dict[str, Any] = reply.json()
        return document

    async def settled(self, identity: str, within: float = 30.0, resource: str = "/processes") -> dict[str, Any]:
        """The status document once the process is final, or only a person can settle it; by long polls."""
        deadline = time.monotonic() + within
        headers: dict[str, str] = {}
        document: dict[str, Any] = {}
        while (left := deadline - time.monotonic()) > 0:
            reply = await self.request("GET", f"{resource}/{identity}/status", headers=headers)
            if reply.status == 200:
                document = reply.json()
                if document["state"] in SETTLED:
                    return document
                # Without a version a poll would be held until the process is final, and unconfirmed is not.
                headers["If-None-Match"] = reply.headers["ETag"]
            else:
                assert reply.status == 304, f"status of {identity}: {reply.status} {reply.body[:500]!r}"
            headers["Prefer"] = f"wait={max(1, min(10, int(left)))}"
        raise AssertionError(f"not settled within {within:g} s: {document}")

    async def all_processes(self, resource: str = "/processes") -> list[dict[str, Any]]:
        """Every process of this caller, newest first, over all pages."""
        found: list[dict[str, Any]] = []
        path: str | None = f"{resource}?limit=200"
        while path is not None:
            reply = await self.request("GET", path)
            assert reply.status == 200, f"list: {reply.status} {reply.body[:500]!r}"
            found += _members(reply.json())
            path = _next(reply.headers.get("Link"))
        return found


def _members(document: Any) -> list[dict[str, Any]]:
    if isinstance(document, list):
        return document
    (members,) = [value for value in document.values() if isinstance(value, list)]
    return list(members)


def _next(link: str | None) -> str | None:
    for part in (link or "").split(","):
        target, _, parameters = part.partition(";")
        if 'rel="next"' in parameters:
            return target.strip().strip("<>")
    return None
