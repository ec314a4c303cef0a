"""How soon work goes on after a start."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

from bench.fill import UNFINISHED, fill
from bench.machine import get
from bench.report import MIB, Row, Settings, median
from bench.subject import Strangler, directory, upstream


def start_up(settings: Settings) -> list[Row]:
    """From the start of the OS process to the first call upstream, with unfinished processes in the store."""
    count = 10_000 if settings.quick else 100_000
    taken, ready = [], []
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        fill(path, count, UNFINISHED)
        for _ in range(3):
            with upstream("never") as legacy, Strangler(path, legacy.port) as strangler:
                ready.append((time.monotonic_ns() - strangler.started_at) / 1e9)
                first_at = _first_call(f"http://127.0.0.1:{legacy.port}/-/count")
                taken.append((first_at - strangler.started_at) / 1e9)
                peak = strangler.peak()
    return [
        Row(
            f"first call with {count:,} unfinished",
            f"{median(taken):.2f} s ({min(taken):.2f}-{max(taken):.2f})",
            target="<= 2 s",
            met=median(taken) <= 2,
            memory=f"{peak / MIB:.0f} MiB",
            notes=[f"ready after {median(ready):.2f} s"],
        )
    ]


def _first_call(url: str) -> int:
    deadline = time.monotonic() + 30
    while (first_at := json.loads(get(url)[1])["first_at"]) is None:
        if time.monotonic() > deadline:
            raise RuntimeError("no call within 30 s of the start")
        time.sleep(0.02)
    return int(first_at)
