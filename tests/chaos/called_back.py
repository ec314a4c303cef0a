"""Receivers on ports of their own, each with a way of its own, and what came to them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

_TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_ANSWERS = {
    "takes": _TAKEN,
    "fails": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nsick",
    "gone": b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
    "twice": _TAKEN + _TAKEN,  # the second one is an answer to nothing
}
WAYS = (*_ANSWERS, "hangs", "resets", "flaps")
"""What a receiver does; one that flaps fails every second time."""


class Receivers:
    """One listener for each way."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.told: Counter[str] = Counter()  # by the name of the delivery, how often it came, whatever was answered
        self.taken: set[str] = set()  # answered with 2xx
        self.order: list[tuple[str, str]] = []  # (way, name) as they came
        self._flaps = 0
        self._verify = Webhook(SECRET)
        self._connected: set[asyncio.StreamWriter] = set()

    async def listen(self, stack: AsyncExitStack) -> None:
        """Begin to listen on all of them."""
        for way in WAYS:
            server = await asyncio.start_server(self._serving(way), "127.0.0.1", 0)
            self.ports[way] = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
        stack.push_async_callback(self._let_go)

    def url(self, way: str) -> str:
        """Where a receiver of that way is called."""
        return f"http://127.0.0.1:{self.ports[way]}/hook"

    async def _let_go(self) -> None:
        while self._connected:
            for writer in self._connected:
                writer.transport.abort()
            await asyncio.sleep(0)

    def _serving(self, way: str):  # type: ignore[no-untyped-def]
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connected.add(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(way, reader, writer):
                    pass
            writer.close()
            self._connected.discard(writer)

        return serve

    async def _exchange(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}
        body = await reader.readexactly(int(fields["content-length"]))
        self._came(way, fields, body)
        if way == "hangs":
            await reader.read()
            return False
        if way == "resets":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        answer = way
        if way == "flaps":
            self._flaps += 1
            answer = "takes" if self._flaps % 2 == 0 else "fails"
        if answer in ("takes", "twice"):
            self.taken.add(fields["webhook-id"])
        writer.write(_ANSWERS[answer])
        await writer.drain()
        return True

    def _came(self, way: str, fields: Mapping[str, str], body: bytes) -> None:
        self._verify.verify(body, dict(fields))
        assert fields["ce-id"] == fields["webhook-id"]
        self.told[fields["webhook-id"]] += 1
        self.order.append((way, fields["webhook-id"]))


def policy(upstream: str, receivers: Receivers, *, timeout: str = "1s", attempts: int = 2) -> str:
    """`POST /claims` whose callers name a receiver of any way, and one that has a URL of its own."""
    allow = ", ".join(f'"http://127.0.0.1:{port}"' for port in receivers.ports.values())
    return f"""
upstreams:
  legacy: {{url: "{upstream}", timeout: 30s}}
receivers:
  partners:
    allow: [{allow}]
    networks: ["127.0.0.0/8"]
    secrets: ["{SECRET}"]
    timeout: {timeout}
    attempts: {attempts}
    backoff: {{initial: 50ms, factor: 2, max: 200ms}}
  ledger:
    url: "{receivers.url("takes")}/ledger"
    networks: ["127.0.0.0/8"]
    secrets: ["{SECRET}"]
    backoff: {{initial: 50ms, factor: 2, max: 200ms}}
routes:
  - name: submit-claim
    match: {{path: /claims, methods: [POST]}}
    upstream: legacy
    mode: async
    call: {{on_in_doubt: fail}}
    callbacks: {{receivers: [partners, ledger], header: X-Callback-Url}}
"""
