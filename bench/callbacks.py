"""Callbacks to a receiver on this machine: signed, judged by address, logged; against aiohttp that does none of it.

Run as ``python -m bench.callbacks URL COUNT AT_ONCE`` it is what they are held against: a loop of aiohttp's client.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import uvloop

from bench.baselines import STATUS_DOCUMENT
from bench.fill import FINISHED, fill
from bench.machine import LOAD_CORE, ROOT, SERVER_CORE, Program, get, on_core, python
from bench.pace import steady
from bench.report import Row, Settings, compared
from bench.subject import Strangler, directory, submission, upstream

AT_ONCE = 32
RECEIVERS = """
receivers:
  hooks:
    url: "http://127.0.0.1:{port}/hook"
    networks: [127.0.0.1/32]
    secrets: [{secret}]
    concurrency: {at_once}
"""


BESIDE = """
receivers:
  healthy: {{url: "http://127.0.0.1:{healthy}/", networks: [127.0.0.1/32], secrets: [{secret}]}}
  dead: {{url: "http://127.0.0.1:{dead}/", networks: [127.0.0.1/32], secrets: [{secret}], backoff: {{initial: 1s}}}}
route_defaults:
  public_url: "https://public.example"
  callbacks: {{receivers: [healthy, dead]}}
"""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PACE = 200  # completions per second
_BUCKET = re.compile(r'strangler_delivery_seconds_bucket\{le="([^"]+)",receiver="healthy"\} (\S+)')


def callbacks(settings: Settings) -> list[Row]:
    """Deliveries that are due to one receiver, 32 at once, from the first to the last; and how late they are at 200
    completions per second while another receiver hangs."""
    return [_throughput(settings), _beside_a_dead_one(settings)]


def _throughput(settings: Settings) -> Row:
    count = 3_000 if settings.quick else 15_000
    ours: list[float] = []
    theirs: list[float] = []
    peak = 0
    with directory() as path:
        fill(path, count, FINISHED, subscriptions='[["hooks",null]]')
        for number in range(settings.rounds):
            with upstream("0") as receiver:
                rate, memory = _told(path, receiver, count, f"copy-{number}")
                ours.append(rate)
                peak = max(peak, memory)
            with upstream("0") as receiver:
                theirs.append(_posted(receiver, count))
    return compared("callbacks, signed and logged", ours, theirs, 0.4, f"{peak / 2**20:.0f} MiB")


def _beside_a_dead_one(settings: Settings) -> Row:
    count = round(PACE * max(5.0, 3 * settings.seconds))
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        legacy, healthy, dead = (stack.enter_context(upstream(hold)) for hold in ("0", "0", "never"))
        policy = BESIDE.format(healthy=healthy.port, dead=dead.port, secret=SECRET)
        strangler = stack.enter_context(Strangler(path, legacy.port, more=policy))
        with on_core(LOAD_CORE):
            steady(strangler.port, PACE, count / PACE, submission(), b"202")
        strangler.wait_for("strangler_deliveries_ended_total", count)
        text = get(f"http://127.0.0.1:{strangler.ops_port}/metrics")[1].decode()
        tried = json.loads(get(f"http://127.0.0.1:{dead.port}/-/count")[1])["received"]
    within = next(bound for bound, seen in _BUCKET.findall(text) if float(seen) >= 0.99 * count)
    return Row(
        "from a change to a healthy receiver",
        f"p99 <= {within} s",
        target="p99 <= 1 s",
        met=float(within) <= 1.0,
        notes=[f"{count:,} at {PACE}/s, while {tried} callbacks hang at another receiver"],
    )


def _told(path: Path, receiver: Program, count: int, name: str) -> tuple[float, int]:
    """Callbacks per second of a server that finds so many due, and the most memory that it took."""
    copy = path / name
    copy.mkdir()
    for file in ("store.db", "store.db.identity-key"):
        (copy / file).write_bytes((path / file).read_bytes())
    policy = RECEIVERS.format(port=receiver.port, at_once=AT_ONCE, secret=SECRET)
    with Strangler(copy, receiver.port, more=policy) as strangler:
        rate = _rate(receiver, count)
        strangler.wait_for("strangler_deliveries_ended_total", count)
        return rate, strangler.peak()


def _posted(receiver: Program, count: int) -> float:
    """Requests per second of aiohttp's client."""
    with on_core(SERVER_CORE):
        command = python("bench.callbacks", f"http://127.0.0.1:{receiver.port}/hook", str(count), str(AT_ONCE))
        subprocess.run(command, cwd=ROOT, check=True)
    return _rate(receiver, count)


def _rate(receiver: Program, count: int) -> float:
    """How many came per second, once all are there."""
    url = f"http://127.0.0.1:{receiver.port}/-/count"
    while (seen := json.loads(get(url)[1]))["received"] < count:
        time.sleep(0.1)
    return float((count - 1) / (seen["last_at"] - seen["first_at"]) * 1e9)


async def _post(url: str, count: int, at_once: int) -> None:
    left = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one_by_one() -> None:
            for _ in left:
                async with session.post(url, data=STATUS_DOCUMENT) as reply:
                    await reply.read()

        await asyncio.gather(*[one_by_one() for _ in range(at_once)])


if __name__ == "__main__":
    uvloop.run(_post(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
