"""Both ends of the wire as raw bytes: an upstream that records and is driven by hand, and a client."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from typing import NamedTuple, Self

PATIENCE = 10.0
"""Seconds after which a test gives up waiting; nothing passes because of it."""


class Reply(NamedTuple):
    """A reply as a client reads it."""

    status: int
    head: bytes  # with the status line, without the empty line
    body: bytes  # decoded

    def field(self, name: str) -> bytes | None:
        found = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*(.*?)\r?$", self.head)
        return found.group(1) if found else None


class End:
    """One end of a TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(data)

    async def drain(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(end)

    async def head(self) -> bytes:
        return (await self.until(b"\r\n\r\n"))[:-4]

    async def to_end(self) -> bytes:
        """All until the other side closes; a reset raises ConnectionResetError."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def gone(self) -> None:
        """Wait until the other side has closed, one way or the other."""
        with contextlib.suppress(ConnectionError):
            assert await self.to_end() == b""

    async def reply(self, *, to_head: bool = False) -> Reply:
        head = await self.head()
        status = int(head.split(b" ", 2)[1])
        if to_head or status in (204, 304) or status < 200:
            return Reply(status, head, b"")
        length = re.search(rb"(?im)^content-length:[ \t]*(\d+)", head)
        if re.search(rb"(?im)^transfer-encoding:[ \t]*chunked", head):
            return Reply(status, head, await self.chunks())
        if length:
            return Reply(status, head, await self.exactly(int(length.group(1))))
        return Reply(status, head, await self.to_end())

    async def chunks(self) -> bytes:
        body = b""
        while size := int((await self.until(b"\r\n")).split(b";")[0], 16):
            body += (await self.exactly(size + 2))[:-2]
        while await self.until(b"\r\n") != b"\r\n":
            pass
        return body

    def half_close(self) -> None:
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        connected = self.writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class RawUpstream:
    """Accepts connections and leaves everything else to the test."""

    def __init__(self, tls: ssl.SSLContext | None = None, path: str | None = None) -> None:
        self.port = 0
        self.accepted = 0
        self._tls = tls
        self._path = path
        self._ends: asyncio.Queue[End] = asyncio.Queue()
        self._all: list[End] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._connected, self._path, limit=1 << 24)
        else:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls, limit=1 << 24)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in self._all:
            end.writer.transport.abort()
        assert self._server is not None
        self._server.close()

    async def accept(self) -> End:
        async with asyncio.timeout(PATIENCE):
            return await self._ends.get()

    @property
    def waiting(self) -> int:
        """Connections that the test has not accepted."""
        return self._ends.qsize()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        end = End(reader, writer)
        self._all.append(end)
        self._ends.put_nowait(end)
