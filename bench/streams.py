"""Thousands of followers, each of a process of its own, all of which end within one second."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

from bench.accepts import checked
from bench.followers import Heard
from bench.machine import LOAD_CORE, ROOT, Program, get, load, on_core, python
from bench.report import MIB, Row, Settings
from bench.subject import Strangler, directory, submission
from tests.harness.waiting import free_port

WITHIN = 1.0  # seconds in which all of them end


def streams(settings: Settings) -> list[Row]:
    """Followers of event streams, one process each, on one worker; all processes end within one second."""
    count = 1_000 if settings.quick else 5_000
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        port = free_port()
        legacy = stack.enter_context(Program("upstream", python("bench.followers", "hold", str(port)), port, LOAD_CORE))
        strangler = stack.enter_context(Strangler(path, legacy.port, concurrency=count))
        accepted = checked(
            load(strangler.port, [submission()], connections=32, warm_up=0, seconds=60, most=count, sample=count), "202"
        )
        paths = [f"{urlsplit(json.loads(body)['links']['events']).path}" for body in accepted.bodies]
        while json.loads(get(f"http://127.0.0.1:{port}/-/count")[1])["received"] < count:
            time.sleep(0.1)
        before = strangler.resident()
        with on_core(LOAD_CORE):
            followers = stack.enter_context(
                subprocess.Popen(
                    python("bench.followers", "follow", str(strangler.port)),
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        assert followers.stdin is not None
        assert followers.stdout is not None
        followers.stdin.write(json.dumps(paths) + "\n")
        followers.stdin.flush()
        if followers.stdout.readline() != "open\n":
            raise RuntimeError("not all streams were opened")
        each = (strangler.resident() - before) / count
        shown = strangler.metric("strangler_open_streams")
        get(f"http://127.0.0.1:{port}/-/release/{WITHIN}")
        heard = Heard(**json.loads(followers.stdout.readline()))
        peak = strangler.peak()
    return [
        Row(
            f"{count:,} followers, told the end",
            f"{heard.ended:,} of {heard.opened:,}",
            target="all",
            met=heard.ended == count == shown,
            memory=f"{peak / MIB:.0f} MiB",
            notes=[f"{heard.events:,} events; the ends came within {heard.spread:.2f} s"],
        ),
        Row("memory of each", f"{each / 1024:.1f} KiB", target="<= 24 KiB", met=each <= 24 * 1024),
        Row(
            "from the end to the follower",
            f"p99 {heard.p99:.0f} ms, p50 {heard.p50:.0f} ms",
            target="p99 <= 500 ms",
            met=heard.p99 <= 500,
            notes=[f"slowest {heard.slowest:.0f} ms; from finishedAt, which is before the commit"],
        ),
    ]
