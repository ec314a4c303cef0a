"""An upstream that costs little: it answers at once, after a while, or never, and counts.

Run as ``python -m bench.upstream PORT HOLD``; HOLD is seconds, or ``never``. ``GET /-/count`` gives what it counted.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_BODY = b'{"claim":"C-17","result":"APPROVED","amount":1250.0,"currency":"EUR","handledBy":"assessment"}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Count:
    """What came and went."""

    def __init__(self) -> None:
        self.received = 0
        self.answered = 0
        self.first_at: int | None = None  # nanoseconds of CLOCK_MONOTONIC
        self.last_at: int | None = None


class Connection(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, count: Count, hold: float | None) -> None:
        self.count = count
        self.hold = hold
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        found = _LENGTH.search(data, 0, end) if end >= 0 else None
        if end < 0 or len(data) < end + 4 + (int(found.group(1)) if found else 0):
            self.buffer = data
            return
        self.buffer = b""
        if data.startswith(b"GET /-/count "):
            text = json.dumps(vars(self.count)).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            return
        self.count.received += 1
        self.count.last_at = time.monotonic_ns()
        if self.count.first_at is None:
            self.count.first_at = self.count.last_at
        if self.hold == 0:
            self._answer()
        elif self.hold is not None:
            asyncio.get_running_loop().call_later(self.hold, self._answer)

    def _answer(self) -> None:
        self.count.answered += 1
        if not self.transport.is_closing():
            self.transport.write(REPLY)


async def _main(port: int, hold: float | None) -> None:
    count = Count()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(count, hold), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), None if sys.argv[2] == "never" else float(sys.argv[2])))
