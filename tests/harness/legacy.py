"""A legacy system: an OS process that writes down every request, with fsync, before it does what the request asks.

Run as ``python -m tests.harness.legacy PORT LEDGER``. The header ``X-Legacy`` of a request scripts what becomes of it:
``delay=0.2 status=503 do=close`` with ``do`` one of

    close   closes the connection without a reply
    reset   resets it
    half    sends the head and half of the body of its reply, then closes
    hold    answers when ``POST /-/release`` comes, or never
    take    answers 202 and decides later: the ``Location`` answers 202 until ``POST /-/release`` has come

``GET /-/known/MARKER`` asks whether a request with that marker came whole: 200, or 404.

A request is known by its ``X-Correlation-ID``: the marker in the ledger. Each line of the ledger is a JSON document
with ``event`` ("received": whole; "partial": the connection ended before the request did), ``marker``, ``method`` and
``path``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.harness.child import Child
from tests.harness.waiting import eventually, free_port


class Ledger:
    """An append-only file; a line is on disk when `append` returns."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def append(self, **line: Any) -> None:
        """Write one line and wait for the disk."""
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        os.fdatasync(self._descriptor)


class LegacySystem:
    """The program that runs in the process of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.released = asyncio.Event()
        self.decided = False
        self.known: set[str] = set()  # markers

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side is done with it."""
        try:
            while await self._exchange(reader, writer):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.ledger.append(event="partial", head=error.partial.decode("latin-1"))
            return False
        request_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = request_line.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        known = {"marker": headers.get("x-correlation-id", ""), "method": method, "path": path}
        try:
            body = await _body(reader, headers)
        except asyncio.IncompleteReadError:
            self.ledger.append(event="partial", **known)
            return False
        if path == "/-/release":
            self.decided = True
            self.released.set()
            self.released = asyncio.Event()
            return await self._reply(writer, 200, b"{}")
        if path.startswith("/-/known/"):
            self.ledger.append(event="asked", **known)
            return await self._reply(writer, 200 if path.rpartition("/")[2] in self.known else 404, b"{}")
        self.known.add(known["marker"])
        self.ledger.append(event="received", key=headers.get("idempotency-key", ""), **known)
        script = dict(word.split("=", 1) for word in headers.get("x-legacy", "").split())
        return await self._perform(writer, script, {**known, "length": len(body)})

    async def _perform(self, writer: asyncio.StreamWriter, script: dict[str, str], told: dict[str, Any]) -> bool:
        if "delay" in script:
            await asyncio.sleep(float(script["delay"]))
        status = int(script.get("status", "200"))
        body = json.dumps(told).encode()
        match script.get("do"):
            case "close":
                return False
            case "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return False
            case "half":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])
                await writer.drain()
                return False
            case "hold":
                await self.released.wait()
            case "take" if told["method"] != "GET" or not self.decided:
                return await self._reply(
                    writer, 202, b"{}", b"Location: /taken/1\r\n" if told["method"] != "GET" else b""
                )
        return await self._reply(writer, status, body)

    async def _reply(self, writer: asyncio.StreamWriter, status: int, body: bytes, more: bytes = b"") -> bool:
        writer.write(
            b"HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\n"
            b"X-Legacy-Answer: yes\r\n%bContent-Length: %d\r\n\r\n%b" % (status, more, len(body), body)
        )
        await writer.drain()
        return True


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


class Legacy(Child):
    """Drives the legacy system of a test and reads its ledger."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__("legacy", directory / "legacy.log")
        self.ledger = directory / "ledger.jsonl"
        self.port = free_port()

    @property
    def url(self) -> str:
        """Base of its listener."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, or start it again, and wait until it listens."""
        self.spawn(["-m", "tests.harness.legacy", str(self.port), str(self.ledger)])
        await eventually(self._listens, what="the legacy system listens")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def release(self) -> None:
        """Let it answer all that it holds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"POST /-/release HTTP/1.1\r\nHost: legacy\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines of the ledger."""
        if not self.ledger.exists():
            return []
        return [json.loads(line) for line in self.ledger.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def received(self, marker: str | None = None) -> int:
        """How many requests (with a marker) came whole."""
        return sum(line["event"] == "received" and marker in (None, line["marker"]) for line in self.lines())

    def asked(self, marker: str) -> int:
        """How often it was asked whether a request with a marker came."""
        return sum(line["event"] == "asked" and line["marker"] == marker for line in self.lines())

    def calls(self) -> Counter[str]:
        """How often each marker came."""
        return Counter(line["marker"] for line in self.lines() if line["event"] == "received")


async def _main(port: int, ledger: Path) -> None:
    system = LegacySystem(Ledger(ledger))
    server = await asyncio.start_server(system.converse, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
