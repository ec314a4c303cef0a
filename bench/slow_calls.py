"""Ten thousand slow calls at once."""

from __future__ import annotations

import json
import resource
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

from bench.accepts import checked
from bench.machine import Program, get, load
from bench.report import MIB, Row, Settings
from bench.subject import Strangler, directory, reading, submission, upstream

HOLD = 30  # seconds that the upstream takes


def slow(settings: Settings) -> list[Row]:
    """Slow calls in flight at once, each on an upstream connection of its own, while status documents are read."""
    calls = 2_000 if settings.quick else 10_000
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        legacy = stack.enter_context(upstream(str(HOLD)))
        strangler = Strangler(path, legacy.port, concurrency=calls)
        stack.enter_context(strangler)
        checked(load(strangler.port, [reading("/-/count")], connections=1, most=50), "200")
        before = strangler.resident()
        began = time.monotonic()
        accepted = checked(
            load(strangler.port, [submission()], connections=32, warm_up=0, seconds=60, most=calls, sample=1000), "202"
        )
        _until(legacy, "received", calls, 60)
        all_sent = time.monotonic() - began
        each = (strangler.resident() - before) / calls
        requests = [reading(urlsplit(json.loads(body)["links"]["status"]).path) for body in accepted.bodies]
        seen = checked(load(strangler.port, requests, connections=16, seconds=settings.seconds), "200")
        running = strangler.metric("strangler_calls_running")
        _until(legacy, "answered", calls, HOLD + 30)
        strangler.wait_for("strangler_ended_total", calls, within=30)
        done = strangler.metric("strangler_ended_total")
        peak = strangler.peak()
    return [
        Row(
            f"{calls:,} calls, completed of accepted",
            f"{done:,.0f} of {accepted.replies:,}",
            target="all",
            met=done == calls == accepted.replies,
            memory=f"{peak / MIB:.0f} MiB",
            notes=[f"all were in flight {all_sent:.1f} s after the first; {running:,.0f} while statuses were read"],
        ),
        Row("memory of each", f"{each / 1024:.1f} KiB", target="<= 32 KiB", met=each <= 32 * 1024),
        Row(
            "status while they are in flight",
            f"p99 {seen.p99:.1f} ms, p50 {seen.p50:.1f} ms",
            target="p99 <= 50 ms",
            met=seen.p99 <= 50,
            notes=[f"16 connections, {seen.rate:,.0f}/s"],
        ),
    ]


def _until(legacy: Program, what: str, count: int, within: float) -> None:
    deadline = time.monotonic() + within
    while json.loads(get(f"http://127.0.0.1:{legacy.port}/-/count")[1])[what] < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not {count} {what} within {within:g} s")
        time.sleep(0.1)
