"""Both ends of many streams, as OS processes of their own.

``python -m bench.followers hold PORT``: an upstream that holds every call until ``GET /-/release/SECONDS``, then
answers all of them, evenly within that time.

``python -m bench.followers follow PORT``: a client that follows the paths given as JSON on its standard input, each on
a connection of its own. Prints ``open``, then one JSON document when all have heard the end.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import uvloop

from bench.upstream import Connection, Count

PATIENCE = 60.0  # seconds for all to hear the end
_RELEASE = re.compile(rb"GET /-/release/([0-9.]+) ")
_END = re.compile(rb'event: final\n.*?"finishedAt":"([^"]+)"', re.DOTALL)


@dataclass
class Heard:
    """What the followers heard."""

    opened: int = 0
    ended: int = 0
    events: int = 0
    p50: float = 0.0  # milliseconds from the instant of the end, as its document has it, to the follower
    p99: float = 0.0
    slowest: float = 0.0
    spread: float = 0.0  # seconds from the first end to the last


class Holding(Connection):
    """A call that waits for the release."""

    held: list[Holding]

    def __init__(self, count: Count, held: list[Holding]) -> None:
        super().__init__(count, None)
        self.held = held

    def data_received(self, data: bytes) -> None:
        found = _RELEASE.match(data)
        if found is None:
            received = self.count.received
            super().data_received(data)
            if self.count.received > received:
                self.held.append(self)
            return
        loop, seconds = asyncio.get_running_loop(), float(found[1])
        for index, call in enumerate(self.held):
            loop.call_later(seconds * index / len(self.held), call._answer)
        self.held.clear()
        self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


class Follower(asyncio.Protocol):
    """One stream."""

    def __init__(self, path: str, tally: Tally) -> None:
        self.path = path
        self.tally = tally
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        transport.write(f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if not self.buffer:
            self.tally.began()
        self.buffer += data
        found = _END.search(self.buffer)
        if found is not None and self.buffer.endswith(b"0\r\n\r\n"):
            self.tally.ended(self.buffer.count(b"\ndata: "), datetime.fromisoformat(found[1].decode()).timestamp(), now)
            self.buffer = b"-"


class Tally:
    """Counts over all followers."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.heard = Heard()
        self.all_open = asyncio.Event()
        self.all_ended = asyncio.Event()
        self._delays: list[float] = []
        self._ends: list[float] = []

    def began(self) -> None:
        """A stream has shown its first bytes."""
        self.heard.opened += 1
        if self.heard.opened == self.count:
            self.all_open.set()

    def ended(self, events: int, finished_at: float, heard_at: float) -> None:
        """A stream has told the end."""
        self.heard.ended += 1
        self.heard.events += events
        self._delays.append((heard_at - finished_at) * 1000)
        self._ends.append(finished_at)
        if self.heard.ended == self.count:
            self.all_ended.set()

    def result(self) -> Heard:
        """All that was heard."""
        delays = sorted(self._delays) or [0.0]
        self.heard.p50 = delays[len(delays) // 2]
        self.heard.p99 = delays[min(len(delays) - 1, len(delays) * 99 // 100)]
        self.heard.slowest = delays[-1]
        self.heard.spread = max(self._ends, default=0.0) - min(self._ends, default=0.0)
        return self.heard


async def follow(port: int, paths: list[str]) -> None:
    """Follow all of them to the end."""
    loop, tally = asyncio.get_running_loop(), Tally(len(paths))
    for path in paths:
        await loop.create_connection(lambda path=path: Follower(path, tally), "127.0.0.1", port)  # type: ignore[misc]
    async with asyncio.timeout(PATIENCE):
        await tally.all_open.wait()
    print("open", flush=True)
    try:
        async with asyncio.timeout(PATIENCE):
            await tally.all_ended.wait()
    except TimeoutError:
        pass
    print(json.dumps(asdict(tally.result())), flush=True)


async def hold(port: int) -> None:
    """Be the upstream."""
    count, held = Count(), list[Holding]()
    server = await asyncio.get_running_loop().create_server(
        lambda: Holding(count, held), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        uvloop.run(hold(int(sys.argv[2])))
    else:
        uvloop.run(follow(int(sys.argv[2]), json.loads(sys.stdin.readline())))
