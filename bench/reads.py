"""Status reads, against aiohttp that answers from memory, and with few and many processes in the store."""

from __future__ import annotations

import json
from contextlib import ExitStack
from urllib.parse import urlsplit

from bench.accepts import checked
from bench.fill import FINISHED, fill
from bench.report import Pair, Row, Settings, compared, mebibytes
from bench.subject import Strangler, directory, reading, side_by_side, submission, upstream


def reads(settings: Settings) -> list[Row]:
    """Status documents per second, 64 connections; aiohttp answers a document of the same size from memory."""
    pair = Pair()
    with side_by_side("0") as (strangler, aiohttp):
        accepted = strangler.load([submission()], warm_up=0.0, seconds=10, most=1000, sample=1000)
        requests = [reading(f"{urlsplit(json.loads(body)['links']['status']).path}") for body in accepted.bodies]
        for _ in range(settings.rounds):
            ours = checked(strangler.load(requests, seconds=settings.seconds), "200")
            pair.add(ours, checked(aiohttp.load(requests, seconds=settings.seconds), "200"))
        memory = mebibytes(strangler.peak(), aiohttp.peak())
    return [compared("GET R/{id}/status", pair.ours, pair.theirs, 0.5, memory, pair.cpu())]


def stored(settings: Settings) -> list[Row]:
    """Status reads with few and with many processes in the store: ids at random, 64 connections."""
    few, many = 1_000, 100_000 if settings.quick else 1_000_000
    pair = Pair()
    with ExitStack() as stack:
        legacy = stack.enter_context(upstream("0"))
        servers, requests = {}, {}
        for count in (few, many):
            path = stack.enter_context(directory())
            ids = fill(path, count, FINISHED, sample=few)  # as many different ones on both sides
            requests[count] = [reading(f"/processes/{identity}/status") for identity in ids]
            servers[count] = stack.enter_context(Strangler(path, legacy.port))
        for _ in range(settings.rounds):
            with_few = checked(servers[few].load(requests[few], seconds=settings.seconds), "200")
            pair.add(checked(servers[many].load(requests[many], seconds=settings.seconds), "200"), with_few)
        memory = mebibytes(servers[many].peak(), servers[few].peak())
    what = f"{many:,} stored, held against {few:,}"
    return [compared(what, pair.ours, pair.theirs, 0.85, memory, pair.cpu())]
