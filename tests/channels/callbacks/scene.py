"""Receivers on real sockets, and what is told to them."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from typing import Any

from strangler.policy.callback_url import AllowedOrigin, Scheme
from strangler.policy.receivers import Receiver, SigningKey
from strangler.ports import Message

SECRET = bytes(range(24))
SHOWN = "whsec_" + base64.b64encode(SECRET).decode()
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Seen:
    """A request as it came."""

    def __init__(self, head: bytes, body: bytes, local: str) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.fields = [tuple(line.split(": ", 1)) for line in lines[1:] if line]
        self.headers = {name.lower(): value for name, value in self.fields}
        self.body = body
        self.local = local  # the address that it came to


class RawReceiver:
    """Answers each request with the next of its answers, the last one for ever.

    An answer is bytes; None holds the connection in silence; ``b""`` closes it without an answer.
    """

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self.answers = list(answers)
        self.requests: list[Seen] = []
        self.connections = 0
        self.port = 0
        self.came = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.tasks: list[asyncio.Task[None] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.writers.append(writer)
        self.tasks.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen = Seen(head[:-4], b"", writer.get_extra_info("sockname")[0])
                seen.body = await reader.readexactly(int(seen.headers.get("content-length", "0")))
                self.requests.append(seen)
                self.came.set()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    await reader.read()
                    return
                writer.write(answer)
                await writer.drain()
                if not answer or b"connection: close" in answer.lower():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def listening(
    *answers: bytes | None, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawReceiver]:
    """A receiver that listens."""
    receiver = RawReceiver(answers or (OK,))
    server = await asyncio.start_server(receiver.serve, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        # Turns of the loop, by which a connection that was just accepted is one of the server's: CPython loses one that
        # is taken in after the server was closed.
        for _ in range(5):
            await asyncio.sleep(0)
        server.close()
        for writer in receiver.writers:
            writer.transport.abort()
        for writer in receiver.writers:
            with suppress(OSError):
                await writer.wait_closed()
        await asyncio.gather(*filter(None, receiver.tasks), return_exceptions=True)


class Named:
    """Addresses of names, from a table; counts how often it was asked."""

    def __init__(self, names: Mapping[str, Sequence[str] | OSError]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """See `Lookup`."""
        self.asked.append(host)
        found = self.names.get(host, socket.gaierror(socket.EAI_NONAME, "no such name"))
        if isinstance(found, OSError):
            raise found
        return found


def anywhere(port: int = 443, scheme: Scheme = "https") -> tuple[AllowedOrigin, ...]:
    """Any host at all, on one port."""
    return (AllowedOrigin(scheme, "*", port),)


def a_receiver(url: str | None = None, **changes: Any) -> Receiver:
    """A receiver on loopback."""
    usual: dict[str, Any] = {
        "name": "broker",
        "url": url,
        "secrets": (SigningKey(SECRET),),
        "networks": LOOPBACK,
        "timeout": 10.0,
    }
    return Receiver(**{**usual, **changes})


MESSAGE = Message(
    webhook_id="msg_0195",
    url="",
    body=b'{"type":"ClaimSubmission.completed","timestamp":"2026-11-21T10:00:00.000Z","data":{"id":"0195"}}',
    attempt_at=1_795_255_200_123,
    type="ClaimSubmission.completed",
    source="https://public.example/base/claim-submissions",
    subject="0195",
    occurred_at=1_795_255_200_000,
    correlation_id="c-1",
)


def a_message(url: str, **changes: Any) -> Message:
    """A message to a URL."""
    return MESSAGE._replace(url=url, **changes)
