"""Status reads, against aiohttp that answers from memory, and with few and many processes in the store."""

from __future__ import annotations

import json
from contextlib import ExitStack
from urllib.parse import urlsplit

from bench.accepts import checked
from bench.fill import FINISHED, fill
from bench.machine import load
from bench.report import Row, Settings, compared, mebibytes
from bench.subject import Strangler, directory, reading, side_by_side, submission, upstream


def reads(settings: Settings) -> list[Row]:
    """Status documents per second, 64 connections; aiohttp answers a document of the same size from memory."""
    ours, theirs = [], []
    with side_by_side("0") as (strangler, aiohttp):
        accepted = load(strangler.port, [submission()], warm_up=0.0, seconds=10, most=1000, sample=1000)
        requests = [reading(f"{urlsplit(json.loads(body)['links']['status']).path}") for body in accepted.bodies]
        for _ in range(settings.rounds):
            ours.append(checked(load(strangler.port, requests, seconds=settings.seconds), "200").rate)
            theirs.append(checked(load(aiohttp.port, requests, seconds=settings.seconds), "200").rate)
        memory = mebibytes(strangler.peak(), aiohttp.peak())
    return [compared("GET R/{id}/status", ours, theirs, 0.5, memory)]


def stored(settings: Settings) -> list[Row]:
    """Status reads with few and with many processes in the store: ids at random, 64 connections."""
    few, many = 1_000, 100_000 if settings.quick else 1_000_000
    rates: dict[int, list[float]] = {few: [], many: []}
    with ExitStack() as stack:
        legacy = stack.enter_context(upstream("0"))
        servers, requests = {}, {}
        for count in rates:
            path = stack.enter_context(directory())
            ids = fill(path, count, FINISHED, sample=20_000)
            requests[count] = [reading(f"/processes/{identity}/status") for identity in ids]
            servers[count] = stack.enter_context(Strangler(path, legacy.port))
        for _ in range(settings.rounds):
            for count, server in servers.items():
                rates[count].append(checked(load(server.port, requests[count], seconds=settings.seconds), "200").rate)
        memory = mebibytes(servers[many].peak(), servers[few].peak())
    what = f"{many:,} stored, held against {few:,}"
    return [compared(what, rates[many], rates[few], 0.85, memory)]
