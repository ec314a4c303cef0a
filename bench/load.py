"""A load generator: keep-alive connections, each with one request under way, on raw sockets.

Run as ``python -m bench.load`` with a plan as JSON on the standard input; prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """What to send, and how long."""

    host: str
    port: int
    requests: list[str]  # whole requests, base64; sent in turn
    connections: int = 64
    warm_up: float = 0.5  # seconds that do not count
    seconds: float = 3.0  # seconds that count
    most: int = 0  # stop after so many replies; 0: by time alone
    sample: int = 0  # bodies of so many replies are given back
    rate: float = 0.0  # requests per second, of all connections together; 0: as many as there can be


@dataclass
class Seen:
    """What came back."""

    counted: int = 0  # replies within the time that counts
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)  # all replies
    errors: int = 0  # connections that broke, replies that are none
    p50: float = 0.0  # milliseconds
    p99: float = 0.0
    slowest: float = 0.0
    started_at: int = 0  # nanoseconds of CLOCK_MONOTONIC
    ended_at: int = 0
    bodies: list[str] = field(default_factory=list)
    cpu: float = 0.0  # microseconds that the server's threads ran for one reply, user and system

    @property
    def rate(self) -> float:
        """Replies per second."""
        return self.counted / self.seconds if self.seconds else 0.0

    @property
    def replies(self) -> int:
        """All replies, warm-up included."""
        return sum(self.statuses.values())


class Tally:
    """Counts over all connections."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.requests: Iterator[bytes] = cycle([base64.b64decode(text) for text in plan.requests])
        self.statuses: Counter[bytes] = Counter()
        self.latencies: list[int] = []
        self.errors = 0
        self.to_send = plan.most or sys.maxsize
        self.open = 0
        self.done = asyncio.Event()
        self.stopping = False
        self.bodies: list[bytes] = []
        self._due = 0.0

    def wait(self) -> float:
        """Seconds until the next request is due."""
        if not self.plan.rate:
            return 0.0
        now = time.monotonic()
        self._due = max(self._due + 1 / self.plan.rate, now)
        return self._due - now


class Connection(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.buffer = b""
        self.sent_at = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.tally.open += 1
        self._send_when_due()

    def _send_when_due(self) -> None:
        wait = self.tally.wait()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._send)
        else:
            self._send()

    def _send(self) -> None:
        tally = self.tally
        if tally.stopping or tally.to_send <= 0:
            self.transport.close()
            return
        tally.to_send -= 1
        self.sent_at = time.monotonic_ns()
        self.transport.write(next(tally.requests))

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.buffer = data
            return
        found = _LENGTH.search(data, 0, end)
        size = end + 4 + (int(found.group(1)) if found else 0)
        if found is None and _CHUNKED.search(data, 0, end):
            self.tally.errors += 1
            self.transport.abort()
            return
        if len(data) < size:
            self.buffer = data
            return
        tally = self.tally
        tally.statuses[data[9:12]] += 1
        tally.latencies.append(time.monotonic_ns() - self.sent_at)
        if len(tally.bodies) < tally.plan.sample:
            tally.bodies.append(data[end + 4 : size])
        self.buffer = b""
        self.sent_at = 0
        self._send_when_due()

    def connection_lost(self, error: Exception | None) -> None:
        tally = self.tally
        if self.sent_at and not tally.stopping:
            tally.errors += 1
        tally.open -= 1
        if tally.open == 0:
            tally.done.set()


async def _run(plan: Plan) -> Seen:
    loop = asyncio.get_running_loop()
    tally = Tally(plan)
    started_at = time.monotonic_ns()
    for _ in range(plan.connections):
        await loop.create_connection(lambda: Connection(tally), plan.host, plan.port)
    counted, counting_from = 0, started_at
    try:
        async with asyncio.timeout(plan.warm_up):
            await tally.done.wait()
    except TimeoutError:
        counted, counting_from = len(tally.latencies), time.monotonic_ns()
    try:
        async with asyncio.timeout(plan.seconds):
            await tally.done.wait()
    except TimeoutError:
        pass
    ended_at = time.monotonic_ns()
    latencies = sorted(tally.latencies[counted:])
    tally.stopping = True
    return Seen(
        counted=len(latencies),
        seconds=(ended_at - counting_from) / 1e9,
        statuses={status.decode("latin-1"): count for status, count in tally.statuses.items()},
        errors=tally.errors,
        p50=_quantile(latencies, 0.5),
        p99=_quantile(latencies, 0.99),
        slowest=_quantile(latencies, 1.0),
        started_at=started_at,
        ended_at=ended_at,
        bodies=[body.decode() for body in tally.bodies],
    )


def _quantile(ordered: list[int], fraction: float) -> float:
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] / 1e6


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_run(Plan(**json.load(sys.stdin)))))))
