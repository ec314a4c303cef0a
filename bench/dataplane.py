"""What one exchange costs in the front alone: no sockets, no kernel, only our own code.

``python -m bench.dataplane`` prints microseconds of processor time; ``--profile`` says where they go.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from collections.abc import Callable
from typing import Any, cast

from strangler.domain.exchange import Answer, Request
from strangler.engine.instrument import Instrument
from strangler.front.connection import ClientConnection
from strangler.front.desk import Desk
from strangler.front.settings import Settings
from strangler.policy.model import Rewrite
from strangler.policy.upstreams import Upstream
from strangler.ports import Borrower, Direction, Passthrough, Wait
from strangler.upstream.link import UpstreamLink

ROUNDS = 7
EXCHANGES = 3000

REQUEST = (
    b"GET /claims/4711?expand=positions HTTP/1.1\r\nHost: api.example.org\r\nUser-Agent: claims-desk/3.2\r\n"
    b"Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nX-Api-Key: 0123456789\r\nCookie: a=b; c=d\r\n"
    b"Connection: keep-alive\r\nX-Number: %d\r\n\r\n"
)
REPLY = (
    b"HTTP/1.1 200 OK\r\nServer: legacy\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\nConnection: keep-alive\r\n\r\n" + b"x" * 100
)


class Transport:
    """Takes everything and does nothing."""

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else None


class Untold:
    """An instrument that nobody reads."""

    def passed_through(self, route: str, status: int, seconds: float) -> None: ...

    def failed(self, where: str, error: BaseException) -> None:
        raise error


class OneLink:
    """Links of which there is one, always free."""

    def __init__(self) -> None:
        self.link = UpstreamLink(self, 65536)
        self.link.connection_made(cast(asyncio.Transport, Transport()))

    def borrow(self, upstream: Upstream, borrower: Borrower, *, fresh: bool = False) -> Wait | None:
        borrower.lent(self.link)
        return None

    def returned(self, link: UpstreamLink) -> None: ...

    def detached(self, link: UpstreamLink) -> None: ...

    def gone(self, link: UpstreamLink) -> None: ...


def exchanges(direction: Direction, *, alike: bool) -> Callable[[int], None]:
    """A loop over exchanges that all go one way. ``alike``: every request has the same fields."""
    links = OneLink()

    def direct(request: Request) -> Direction:
        return direction

    desk = Desk(direct, links, cast(Instrument, cast(Any, Untold())), Settings())
    connection = ClientConnection(desk)
    connection.connection_made(cast(asyncio.Transport, Transport()))
    requests = [REQUEST % (0 if alike else number) for number in range(16)]
    answered = isinstance(direction, Answer)

    def run(count: int) -> None:
        for number in range(count):
            connection.data_received(requests[number & 15])
            if not answered:
                links.link.data_received(REPLY)

    return run


def cost(run: Callable[[int], None]) -> float:
    """Microseconds of processor time for one exchange, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        run(EXCHANGES)
        best = min(best, time.process_time() - begin)
    return best / EXCHANGES * 1e6


async def main() -> None:
    """Measure, or profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="where the time of a passthrough goes")
    arguments = parser.parse_args()
    upstream = Upstream(name="legacy", scheme="http", host="127.0.0.1", port=80)
    way = Passthrough(upstream, Rewrite(), "default")
    if arguments.profile:
        profile = cProfile.Profile()
        run = exchanges(way, alike=True)
        profile.runcall(run, 20_000)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        return
    answer = Answer(200, [(b"Content-Type", b"application/json")], b"x" * 100)
    for name, run in (
        ("passthrough, requests with the same fields", exchanges(way, alike=True)),
        ("passthrough, requests with other fields each", exchanges(way, alike=False)),
        ("a plain answer, requests with the same fields", exchanges(answer, alike=True)),
        ("a plain answer, requests with other fields each", exchanges(answer, alike=False)),
    ):
        print(f"{cost(run):6.1f} us  {name}")


if __name__ == "__main__":
    asyncio.run(main())
