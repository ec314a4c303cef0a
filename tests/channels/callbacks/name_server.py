"""A little DNS server (RFC 1035) that says what a script has it say, and a little client that asks it over UDP."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

A, CNAME, AAAA = 1, 5, 28
NO_ERROR, SERVER_FAILURE, NO_NAME = 0, 2, 3

Answer = Sequence[str] | int | None
"""Addresses and, as ``=name``, an alias; or a response code; or None: silence."""


class NameServer(asyncio.DatagramProtocol):
    """Answers every question by ``script(name, how many times it was asked for this type before)``."""

    def __init__(self, script: Callable[[str, int], Answer]) -> None:
        self._script = script
        self._counts: dict[tuple[str, int], int] = {}
        self.asked: list[tuple[str, int]] = []
        self.address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can answer."""
        self._transport = transport
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """A question."""
        name, end = read_name(data, 12)
        (kind,) = struct.unpack_from("!H", data, end)
        count = self._counts.get((name, kind), 0)
        self._counts[name, kind] = count + 1
        self.asked.append((name, kind))
        answer = self._script(name, count)
        if answer is None:
            return
        code = answer if isinstance(answer, int) else NO_ERROR
        records = [] if isinstance(answer, int) else list(self._records(name, kind, answer))
        head = data[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(records), 0, 0)
        self._transport.sendto(head + data[12 : end + 4] + b"".join(records), peer)  # type: ignore[attr-defined]

    def _records(self, name: str, kind: int, answer: Sequence[str]) -> Sequence[bytes]:
        found = []
        for text in answer:
            if text.startswith("="):
                found.append(_record(name, CNAME, written(text[1:])))
                beyond = self._script(text[1:], 0)
                if not isinstance(beyond, int) and beyond is not None:
                    found += self._records(text[1:], kind, beyond)
                continue
            packed = ip_address(text).packed
            if len(packed) == (4 if kind == A else 16):
                found.append(_record(name, kind, packed))
        return found


def _record(name: str, kind: int, data: bytes) -> bytes:
    return written(name) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data  # to live for 0 seconds


def written(name: str) -> bytes:
    """A name in a message."""
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """A name out of a message, and where what follows it begins."""
    labels = []
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += data[at] + 1
    return ".".join(labels).lower(), at + 1


@asynccontextmanager
async def name_server(
    script: Callable[[str, int], Answer], at: tuple[str, int] = ("127.0.0.1", 0)
) -> AsyncIterator[NameServer]:
    """A server that answers."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(script), local_addr=at)
    try:
        yield server
    finally:
        transport.close()


class Asking(asyncio.DatagramProtocol):
    """One question."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """The answer."""
        if not self.answer.done():
            self.answer.set_result(data)


class DnsLookup:
    """Asks one name server (`Lookup`), with nothing remembered."""

    def __init__(self, server: NameServer) -> None:
        self._server = server

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """See `Lookup`."""
        found = [address for kind in (A, AAAA) for address in await self._ask(host, kind)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return found

    async def _ask(self, host: str, kind: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        transport, asking = await loop.create_datagram_endpoint(Asking, remote_addr=self._server.address)
        head = secrets.token_bytes(2) + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0)
        transport.sendto(head + written(host) + struct.pack("!HH", kind, 1))
        try:
            data = await asking.answer
        finally:
            transport.close()
        _, code, _, count = struct.unpack_from("!HHHH", data)
        if code & 15 == SERVER_FAILURE:
            raise socket.gaierror(socket.EAI_AGAIN, "server failure")
        at = read_name(data, 12)[1] + 4
        found = []
        for _ in range(count):
            _, at = read_name(data, at)
            of, _, _, length = struct.unpack_from("!HHIH", data, at)
            if of == kind:
                found.append(str(ip_address(data[at + 10 : at + 10 + length])))
            at += 10 + length
        return found
