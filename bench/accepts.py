"""Durable acceptances, and processes from acceptance to their end, against aiohttp that stores nothing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from bench.load import Seen
from bench.machine import Program
from bench.report import Pair, Row, Settings, compared, mebibytes, median
from bench.subject import Strangler, side_by_side, submission

ACCEPTED, ENDED = "strangler_accepted_total", "strangler_ended_total"
AT_LEAST = {64: 0.4, 256: 0.5}


def checked(seen: Seen, *statuses: str) -> Seen:
    """What was seen, if every reply was as it should be.

    Raises:
        RuntimeError: it was not.
    """
    if seen.errors or set(seen.statuses) - set(statuses):
        raise RuntimeError(f"not a fair run: {seen}")
    return seen


def accepts(settings: Settings) -> list[Row]:
    """Durable acceptances per second while the route's calls are held: 202 only after the fsync."""
    rows = []
    plain, usual = submission(), submission(b'Idempotency-Key: "{n}"', b"X-Api-Key: bench")
    for connections, target in AT_LEAST.items():
        rows.append(_accepts(settings, f"{connections} connections", [plain], connections, target))
    keyed = [usual.replace(b"{n}", b"%08d" % n) for n in range(60_000 if settings.quick else 200_000)]
    rows.append(_accepts(settings, "64 connections, each with identity and key", keyed, 64, None))
    return rows


def _accepts(settings: Settings, what: str, requests: list[bytes], connections: int, target: float | None) -> Row:
    pair = Pair()
    with side_by_side("never") as (strangler, aiohttp):
        for turn in range(settings.rounds):
            # A key may be used once, so each round has keys of its own.
            share = len(requests) // settings.rounds
            mine = requests[turn * share : (turn + 1) * share] if share else requests
            seen = checked(_load(strangler, mine, connections, settings), "202")
            pair.add(seen, checked(_load(aiohttp, mine, connections, settings), "202"))
        stored = strangler.metric(ACCEPTED)
        memory = mebibytes(strangler.peak(), aiohttp.peak())
        batch = strangler.metric("strangler_group_commit_changes_sum") / max(
            1.0, strangler.metric("strangler_group_commit_changes_count")
        )
    note = f"{stored:,.0f} stored in all, {batch:.0f} to an fsync; p50 {seen.p50:.1f} ms, p99 {seen.p99:.1f} ms"
    return compared(what, pair.ours, pair.theirs, target, memory, pair.cpu(), note)


def _load(program: Program, requests: list[bytes], connections: int, settings: Settings) -> Seen:
    most = len(requests) if len(requests) > 1 else 0
    return program.load(requests, connections=connections, seconds=settings.seconds, most=most)


def complete(settings: Settings) -> list[Row]:
    """From acceptance to completion: accept, claim, call, outcome, each durable; and how both share the core."""
    ours, theirs, costs = [], [], []
    shares = []
    with side_by_side("0", concurrency=128) as (strangler, aiohttp), ThreadPoolExecutor(1) as beside:
        for _ in range(settings.rounds):
            before, ran = strangler.metrics(ACCEPTED, ENDED), strangler.cpu()
            looked = beside.submit(_look, strangler, settings.seconds * 0.9)
            seen = checked(strangler.load([submission()], warm_up=0.0, seconds=settings.seconds), "202")
            accepted, ended = (now - then for now, then in zip(looked.result(), before, strict=True))
            shares.append(ended / accepted)
            strangler.wait_for(ENDED, before[1] + seen.replies)
            ours.append(seen.replies / (time.monotonic_ns() - seen.started_at) * 1e9)
            costs.append((strangler.cpu() - ran) / seen.replies * 1e6)
            theirs.append(checked(aiohttp.load([submission()], warm_up=0.0, seconds=settings.seconds), "202").rate)
        memory = mebibytes(strangler.peak(), aiohttp.peak())
    share = median(shares)
    return [
        compared(
            "accept to completed, 64 connections", ours, theirs, 0.15, memory, f"CPU of one: {median(costs):.0f} us"
        ),
        Row(
            "completed of accepted while accepting flat out",
            f"{share:.2f} ({min(shares):.2f}-{max(shares):.2f})",
            target=">= 0.33 in every round",
            met=min(shares) >= 1 / 3,
        ),
    ]


def _look(strangler: Strangler, seconds: float) -> list[float]:
    """What is accepted and what has ended, shortly before the load is over."""
    time.sleep(seconds)
    return strangler.metrics(ACCEPTED, ENDED)
