"""How often clients ask, and how late they learn of the end: Retry-After obeyed, against fixed intervals."""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
from datetime import datetime
from typing import NamedTuple

import aiohttp
from aiohttp import web

from bench.report import Row, Settings
from bench.subject import Strangler, directory
from tests.harness.waiting import free_port

MEDIAN, P99 = 4.0, 30.0  # seconds that the upstream takes
_SIGMA = math.log(P99 / MEDIAN) / 2.326
_LATE = {4.0: 0.15, 3.0: 0.25}  # polls on average, and how late at the median may go with them


class Followed(NamedTuple):
    """What following one process came to."""

    polls: int
    lateness: float  # share of what it took by which its client learnt of the end later


def polling(settings: Settings) -> list[Row]:
    """A route whose latency is lognormal (median 4 s, p99 30 s): polls for a process, and lateness at the median."""
    processes = 150 if settings.quick else 600
    return asyncio.run(_measured(processes))


async def _measured(processes: int) -> list[Row]:
    chance = random.Random(17)
    runner, port = await _legacy(chance)
    with directory() as path:
        strangler = await asyncio.to_thread(Strangler(path, port, concurrency=100_000).__enter__)
        try:
            url = f"http://127.0.0.1:{strangler.port}/claims"
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                await _followed(session, url, processes, None)  # the route gets known
                ways = {"Retry-After obeyed": None, "every second": 1.0, "every 10 seconds": 10.0}
                found = await asyncio.gather(*(_followed(session, url, processes, way) for way in ways.values()))
        finally:
            await asyncio.to_thread(strangler.__exit__, None, None, None)
            await runner.cleanup()
    return [_row(name, followed) for name, followed in zip(ways, found, strict=True)]


def _row(name: str, followed: list[Followed]) -> Row:
    polls = statistics.mean(each.polls for each in followed)
    late = statistics.median(each.lateness for each in followed)
    row = Row(name, f"{polls:.1f} polls on average, {late:.0%} late at the median")
    if name == "Retry-After obeyed":
        row.target = " or ".join(f"<= {most:g} polls and {share:.0%}" for most, share in _LATE.items())
        row.met = any(polls <= most and late <= share for most, share in _LATE.items())
    return row


async def _legacy(chance: random.Random) -> tuple[web.AppRunner, int]:
    """A legacy system that takes as long as it takes."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(chance.lognormvariate(math.log(MEDIAN), _SIGMA))
        return web.json_response({})

    application = web.Application()
    application.router.add_post("/claims", take)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    return runner, port


async def _followed(session: aiohttp.ClientSession, url: str, processes: int, interval: float | None) -> list[Followed]:
    return await asyncio.gather(*(_follow(session, url, interval) for _ in range(processes)))


async def _follow(session: aiohttp.ClientSession, url: str, interval: float | None) -> Followed:
    """Submit one claim, and ask for it until it has ended: at intervals, or as the server says (None)."""
    async with session.post(url, json={"policy": "P-1"}) as accepted:
        assert accepted.status == 202, await accepted.text()
        status = json.loads(await accepted.read())["links"]["status"]
        wait = float(accepted.headers["Retry-After"])
    began = asyncio.get_running_loop().time()
    polls = 0
    while True:
        await asyncio.sleep(interval or wait)
        polls += 1
        async with session.get(status) as answer:
            document = json.loads(await answer.read())
            learnt = asyncio.get_running_loop().time() - began
            if document["state"] == "completed":
                took = _seconds(document["finishedAt"]) - _seconds(document["createdAt"])
                return Followed(polls, max(0.0, learnt - took) / took)
            wait = float(answer.headers["Retry-After"])


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
