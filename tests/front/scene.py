"""A front between a raw client and a raw upstream."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Self

from strangler.domain.exchange import Answer, PassOn, Request, Upgrade
from strangler.front import Front, Settings
from strangler.policy.model import Rewrite
from strangler.policy.upstreams import Upstream
from strangler.ports import Direction, Handle, Passthrough, Validity
from strangler.upstream import Connections
from tests.front.raw import PATIENCE, End, RawUpstream

TICK = 0.02


class Told:
    """An instrument that remembers what the front tells it."""

    def __init__(self) -> None:
        self.passed: list[tuple[str, int]] = []
        self.failures: list[BaseException] = []
        self.refusals: list[tuple[str, str]] = []
        self.news = asyncio.Event()
        self.access_log = "recorded"
        self.lines: list[tuple[str, bytes, str, int, str]] = []
        self.details: list[str] = []

    def answered(self, request: Request, route: str, status: int, seconds: float, **fields: Any) -> None:
        self.lines.append((request.method, request.path, route, status, fields["code"]))
        self.details.append(fields.get("detail", ""))

    def refused(self, route: str, code: str) -> None:
        self.refusals.append((route, code))

    def passed_through(self, route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.passed.append((route, status))
        self.news.set()

    def failed(self, where: str, error: BaseException) -> None:
        self.failures.append(error)

    async def until_passed(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.passed) < count:
                self.news.clear()
                await self.news.wait()


class Waits:
    """A handler that never answers."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: Request) -> Answer:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError


async def _given(answer: Answer, request: Request) -> Answer:
    return answer


class Scene:
    """Everything goes through to the upstream, but for what a test puts into `ours`, by path."""

    def __init__(
        self,
        *,
        settings: dict[str, Any] | None = None,
        tls: ssl.SSLContext | None = None,
        bound: socket.socket | None = None,
        **upstream: Any,
    ) -> None:
        self.legacy = RawUpstream()
        self.told = Told()
        self.seen: list[Request] = []
        self.ours: dict[bytes, Direction | Callable[[Request], Awaitable[Answer | PassOn | Upgrade]]] = {}
        self.rewrite = Rewrite()
        self.add_headers: tuple[tuple[bytes, bytes], ...] = ()
        self._settings = Settings(**{"tick": TICK, **(settings or {})})
        self._tls = tls
        self._bound = bound
        if "tls_" in upstream:
            upstream["tls"] = upstream.pop("tls_")
        self._upstream = {"name": "legacy", "scheme": "http", "host": "127.0.0.1", **upstream}
        self._validity = Validity()
        self._loaded: Upstream | None = None  # the same object for all requests, as where a policy names it
        self._connections = Connections(max_head=self._settings.max_head)
        self._clients: list[End] = []
        self.front = Front(self._direct, self._connections, self.told, self._settings)  # type: ignore[arg-type]
        self.address = ("", 0)
        self._defects: list[dict[str, Any]] = []  # what no handler of an error took

    @property
    def way(self) -> Passthrough:
        if self._loaded is None:
            self._loaded = Upstream(**{"port": self.legacy.port, **self._upstream})
        return Passthrough(self._loaded, self.rewrite, "default", self.add_headers, self._validity)

    def reload(self, **upstream: Any) -> None:
        """The policy says of the upstream from now on what it said before, and this."""
        self._upstream |= upstream
        self._loaded = None
        self._validity.over = True
        self._validity = Validity()

    def _direct(self, request: Request) -> Direction:
        self.seen.append(request)
        ours = self.ours.get(request.path)
        if ours is None:
            return self.way
        if callable(ours) and not isinstance(ours, tuple):
            return Handle(ours, self.way, "ours")
        if isinstance(ours, Answer) and not isinstance(ours.body, bytes):
            return Handle(partial(_given, ours), self.way, "ours")
        return ours  # type: ignore[return-value]

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._defects.append(context))
        await self.legacy.__aenter__()
        self.address = await self.front.listen(self._bound or socket.create_server(("127.0.0.1", 0)), tls=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            client.writer.transport.abort()
        await self.front.close()
        self._connections.close()
        await self.legacy.__aexit__()
        assert self.told.failures == []
        assert self._defects == []

    async def client(self, **options: Any) -> End:
        reader, writer = await asyncio.open_connection(*self.address, limit=1 << 24, **options)
        client = End(reader, writer)
        self._clients.append(client)
        return client

    async def send(self, data: bytes) -> End:
        """A new client that has sent something."""
        client = await self.client()
        client.send(data)
        return client
