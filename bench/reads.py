"""Status reads, against aiohttp that answers from memory, and with few and many processes in the store."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from urllib.parse import urlsplit

from bench.accepts import checked
from bench.fill import FINISHED, fill
from bench.load import Seen
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
    many = 100_000 if settings.quick else 1_000_000
    first = 2_000 if settings.quick else 10_000  # ids of one round
    return [
        _stored(settings, 1_000, many, "polled again and again", 0.85),
        _stored(settings, first * (settings.rounds + 1), many, "each read for the first time", None, each=first),
    ]


def _stored(settings: Settings, few: int, many: int, how: str, at_least: float | None, each: int = 0) -> Row:
    """As many ids on both sides as ``few``: all of them in every round or, with ``each``, so many new ones."""
    pair = Pair()
    with ExitStack() as stack:
        legacy = stack.enter_context(upstream("0"))
        servers, requests = {}, {}
        for count in (few, many):
            path = stack.enter_context(directory())
            ids = fill(path, count, FINISHED, sample=few)
            random.shuffle(ids)
            requests[count] = [reading(f"/processes/{identity}/status") for identity in ids]
            servers[count] = stack.enter_context(Strangler(path, legacy.port))

        def seen(count: int, turn: int) -> Seen:
            if not each:
                return checked(servers[count].load(requests[count], seconds=settings.seconds), "200")
            mine = requests[count][turn * each : (turn + 1) * each]
            return checked(servers[count].load(mine, warm_up=0.0, seconds=60, most=each), "200")

        for turn in range(settings.rounds + 1):
            with_few, with_many = seen(few, turn), seen(many, turn)
            if turn:  # in the first one, pages come into the memory of the server
                pair.add(with_many, with_few)
        memory = mebibytes(servers[many].peak(), servers[few].peak())
    return compared(
        f"{many:,} stored, held against {few:,}; {how}", pair.ours, pair.theirs, at_least, memory, pair.cpu()
    )
