"""A store of a million processes: an operator's pages, what fills it, and forgetting it all beside new work."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bench.accepts import checked
from bench.fill import FINISHED, fill
from bench.machine import LOAD_CORE, ROOT, load, on_core, python
from bench.report import Row, Settings, mebibytes
from bench.subject import Strangler, directory, reading, submission, upstream
from strangler.store.sqlite.library import choose_library

_PAGE = 50.0  # milliseconds, p99
_FORGOTTEN = 5000.0  # processes per second, beside acceptance at half of what it can do
_PAGES = 400  # of each kind


def million(settings: Settings) -> list[Row]:
    """Pages of the operations API, `store usage`, and the sweep of all beside acceptances at half their rate."""
    count = 100_000 if settings.quick else 1_000_000
    with ExitStack() as stack:
        legacy = stack.enter_context(upstream("0"))
        path = stack.enter_context(directory())
        (identity, *_) = fill(path, count, FINISHED, sample=1)
        strangler = Strangler(path, legacy.port)
        with strangler:
            rows = _pages(strangler, identity)
            rows.append(_usage(path))
            most = checked(strangler.load([submission()], seconds=settings.seconds), "202").rate
        _run(path, "UPDATE process SET retain_until_at = created_at WHERE retain_until_at IS NOT NULL")
        strangler = Strangler(path, legacy.port)
        with strangler:
            rows.append(_sweep(path, strangler, most / 2))
            rows[-1].memory = mebibytes(strangler.peak())
    return rows


def _pages(strangler: Strangler, identity: str) -> list[Row]:
    rows = []
    for what, query in (
        ("newest first", "limit=50"),
        ("by state", "state=completed&limit=50"),
        ("by a state that none has", "state=failed&limit=50"),
        ("by route and date", "route=submit-claim&createdAfter=2026-01-01T00:00:00.000Z&limit=50"),
        ("from the middle", f"cursor={identity}&limit=50"),
    ):
        seen = checked(
            load(strangler.ops_port, [reading(f"/processes?{query}")], connections=1, seconds=60, most=_PAGES), "200"
        )
        rows.append(
            Row(
                f"page {what}, p99",
                f"{seen.p99:.1f} ms",
                target=f"<= {_PAGE:g} ms",
                met=seen.p99 <= _PAGE,
                notes=[f"median {seen.p50:.1f} ms, slowest {seen.slowest:.1f} ms"],
            )
        )
    return rows


def _usage(path: Path) -> Row:
    """On the other core, beside the server."""
    began = time.monotonic()
    with on_core(LOAD_CORE):
        run = subprocess.run(
            [*python("strangler", "store", "usage", "--json", "--store", f"sqlite:///{path / 'store.db'}")],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    took = time.monotonic() - began
    found: dict[str, Any] = json.loads(run.stdout)
    processes = sum(route["processes"] for route in found["routes"])
    content = sum(table["bytes"] for table in found["tables"])
    note = f"{processes:,} processes, {found['file']['bytes'] / content:.2f} bytes of file for one of content"
    return Row("store usage", f"{took:.1f} s", notes=[note])


def _sweep(path: Path, strangler: Strangler, rate: float) -> Row:
    """Processes forgotten per second while requests are accepted at a rate."""
    accepted: list[float] = []

    def accept() -> None:
        seen = checked(strangler.load([submission()], rate=rate, warm_up=0, seconds=4.0), "202")
        accepted.extend((seen.rate, seen.p99))

    before, began = _past(path), time.monotonic()
    traffic = threading.Thread(target=accept)
    traffic.start()
    traffic.join()
    left, took = _past(path), time.monotonic() - began
    if left == 0:
        raise RuntimeError(f"all {before} were forgotten within {took:.1f} s: too few to measure")
    forgotten = (before - left) / took
    return Row(
        f"forgotten beside {accepted[0]:,.0f}/s accepted",
        f"{forgotten:,.0f}/s",
        target=f">= {_FORGOTTEN:,.0f}/s",
        met=forgotten >= _FORGOTTEN,
        notes=[f"p99 of an acceptance {accepted[1]:.1f} ms; half of what it does alone is {rate:,.0f}/s"],
    )


def _past(path: Path) -> int:
    """How many are past their retention and still there."""
    now = time.time_ns() // 1_000_000
    return int(
        _run(path, f"SELECT count(*) FROM process INDEXED BY process_retention WHERE retain_until_at <= {now}")[0][0]
    )


def _run(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(choose_library().dbapi.connect(path / "store.db", timeout=60, isolation_level=None)) as connection:
        return list(connection.execute(sql))
