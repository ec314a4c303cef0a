"""What one exchange costs in our own code alone: no sockets and no kernel, but the way of a request as it is served.

``python -m bench.dataplane`` prints, for one exchange, microseconds of processor time, and how many functions in Python
were called and instructions run: these two do not depend on what else the machine does. ``--profile`` says where the
time goes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple, cast

from bench.subject import POLICY
from strangler.config.load import load_policy
from strangler.domain.exchange import Answer
from strangler.front.connection import ClientConnection
from strangler.front.desk import Desk
from strangler.front.settings import Settings
from strangler.gateway.cors import Cors
from strangler.gateway.switch import Switch
from strangler.operations.logs import Logs
from strangler.operations.telemetry import Telemetry
from strangler.policy.match import compile_table
from strangler.policy.upstreams import Upstream
from strangler.ports import Borrower, Direct, Wait
from strangler.upstream.link import UpstreamLink
from strangler.upstream.pool import Pool

ROUNDS = 7
EXCHANGES = 3000
COUNTED = 64
"""Exchanges of which calls and instructions are counted."""

REQUEST = (
    b"GET /claims/4711?expand=positions HTTP/1.1\r\nHost: api.example.org\r\nUser-Agent: claims-desk/3.2\r\n"
    b"Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nX-Api-Key: 0123456789\r\nCookie: a=b; c=d\r\n"
    b"Connection: keep-alive\r\nX-Number: %d\r\n\r\n"
)
REPLY = (
    b"HTTP/1.1 200 OK\r\nServer: legacy\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\nConnection: keep-alive\r\nX-Number: %d\r\n\r\n" + b"x" * 100
)


class Transport:
    """Takes everything and does nothing."""

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else None


class OneUpstream:
    """A pool with one link, which is connected."""

    def __init__(self, upstream: Upstream) -> None:
        self.pool = Pool(upstream, 65536)
        self.link = UpstreamLink(self.pool, 65536)
        self.link.connection_made(cast(asyncio.Transport, Transport()))
        self.pool.returned(self.link)

    def borrow(self, upstream: Upstream, borrower: Borrower, *, fresh: bool = False) -> Wait | None:
        return self.pool.borrow(borrower, fresh=fresh)


def telemetry() -> Telemetry:
    """Counts, and says nothing."""
    return Telemetry(Logs(lambda data: None), version="", started_at=0, access_log="none")


def passing() -> tuple[Direct, Upstream]:
    """What `bench.passthrough` asks: a table with a route that records beside the default that serves the request."""
    with TemporaryDirectory() as folder:
        policy = Path(folder) / "routes.yaml"
        policy.write_text(POLICY.format(upstream=80, mode="async", concurrency=32))
        table = load_policy([policy], {}).table
    unused = cast(Any, None)
    switch = Switch(unused, unused, Cors(), cast(Any, NoTokens()), telemetry())
    switch.load(table, compile_table(table), ())
    return switch.direct, table.upstreams["legacy"]


class NoTokens:
    """An `Admission` that has nothing to say."""

    def load(self, table: object) -> None: ...


def exchanges(direct: Direct, upstream: Upstream, *, alike: bool) -> Callable[[int], None]:
    """A loop over exchanges. ``alike``: every request has the same fields, and so has every reply."""
    links = OneUpstream(upstream)
    connection = ClientConnection(Desk(direct, links, telemetry(), Settings()))
    connection.connection_made(cast(asyncio.Transport, Transport()))
    requests, replies = ([head % (0 if alike else number) for number in range(16)] for head in (REQUEST, REPLY))
    link = links.link

    def run(count: int) -> None:
        for number in range(count):
            connection.data_received(requests[number & 15])
            if not link.reusable:
                link.data_received(replies[number & 15])

    return run


class Cost(NamedTuple):
    """Of one exchange."""

    seconds: float
    calls: float  # of functions written in Python
    instructions: float


def cost(run: Callable[[int], None]) -> Cost:
    """The processor time, the best of some rounds; then the counts."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        run(EXCHANGES)
        best = min(best, time.process_time() - begin)
    return Cost(best / EXCHANGES, *counts(run))


def counts(run: Callable[[int], None]) -> tuple[float, float]:
    """Calls and instructions for one exchange."""
    calls = instructions = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal calls, instructions
        if event == "call":
            calls += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            instructions += 1
        return trace

    sys.settrace(trace)
    try:
        run(COUNTED)
    finally:
        sys.settrace(None)
    return calls / COUNTED, instructions / COUNTED


async def main() -> None:
    """Measure, or profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="where the time of a passthrough goes")
    arguments = parser.parse_args()
    direct, upstream = passing()
    if arguments.profile:
        profile = cProfile.Profile()
        profile.runcall(exchanges(direct, upstream, alike=True), 20_000)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    answer = Answer(200, [(b"Content-Type", b"application/json")], b"x" * 100)
    for name, way in (("passthrough", direct), ("a plain answer", lambda request: answer)):
        for alike, fields in ((True, "the same fields"), (False, "other fields each")):
            found = cost(exchanges(way, upstream, alike=alike))
            print(
                f"{found.seconds * 1e6:6.1f} us {found.calls:6.1f} calls {found.instructions:7.0f} instructions"
                f"  {name}, {fields}"
            )


if __name__ == "__main__":
    asyncio.run(main())
