"""What else shows that there is a proxy: time on the way, large bodies, idle clients, reloads."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import peers
from bench.load import Seen
from bench.machine import LOAD_CORE, Program, get, load, on_core, python
from bench.pace import REQUEST
from bench.report import MIB, Row, Settings, compared, mebibytes, median
from bench.subject import Strangler, directory, reading, upstream
from tests.harness.waiting import free_port

KIB = 1024
STEADY = 500  # requests per second


def latency(settings: Settings) -> list[Row]:
    """What strangler adds to the time of an exchange at a steady 500 requests per second."""
    added: dict[float, list[float]] = {0.5: [], 0.99: []}
    seen: dict[str, list[float]] = {"ours": [], "direct": []}
    with ExitStack() as stack:
        legacy = stack.enter_context(upstream("0"))
        ours = stack.enter_context(Strangler(stack.enter_context(directory()), legacy.port))
        for _ in range(settings.rounds):
            mine, direct = (
                sorted(json.loads(_beside("bench.pace", program.port, STEADY, settings.seconds)))
                for program in (ours, legacy)
            )
            for fraction, values in added.items():
                place = int(len(direct) * fraction)
                values.append((mine[place] - direct[place]) / 1e6)
            seen["ours"].append(mine[len(mine) // 2] / 1e6)
            seen["direct"].append(direct[len(direct) // 2] / 1e6)
    note = f"p50 {median(seen['ours']):.2f} ms through strangler, {median(seen['direct']):.2f} ms directly"
    return [
        _bounded("added at p50", added[0.5], 0.5, "ms", note),
        _bounded("added at p99", added[0.99], 2.0, "ms"),
    ]


def bulk(settings: Settings) -> list[Row]:
    """1 GiB down and 1 GiB up in one body (128 MiB with --quick), against nginx that streams as well."""
    size = (128 if settings.quick else 1024) * MIB
    rows = []
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        port = free_port()
        legacy = stack.enter_context(Program("volume", python("bench.volume", "serve", str(port)), port, LOAD_CORE))
        ours = stack.enter_context(Strangler(path, legacy.port))
        started = peers.nginx(path, legacy.port)
        theirs = stack.enter_context(started) if started is not None else legacy
        against = "nginx" if started is not None else "no proxy: nginx is not installed"
        before = ours.peak()
        for way in ("down", "up"):
            rates: dict[int, list[float]] = {ours.port: [], theirs.port: []}
            for _ in range(settings.rounds):
                for listening, values in rates.items():
                    values.append(size / MIB / float(_beside("bench.volume", way, listening, size)))
            at_least = 1.0 if started is not None else None
            row = compared(
                f"{size // MIB} MiB {way}, MiB",
                rates[ours.port],
                rates[theirs.port],
                at_least,
                mebibytes(ours.peak(), theirs.peak()),
            )
            row.notes.append(f"against {against}")
            rows.append(row)
        rows.append(_bounded("growth of peak memory over all of it", [(ours.peak() - before) / MIB], 32, "MiB"))
    return rows


def idle(settings: Settings) -> list[Row]:
    """What a client that keeps its connection and says nothing costs in memory."""
    count = 1000 if settings.quick else 5000
    with _many_files(), ExitStack() as stack:
        legacy = stack.enter_context(upstream("0"))
        ours = stack.enter_context(Strangler(stack.enter_context(directory()), legacy.port))
        clients: list[socket.socket] = []
        for wanted in (200, count):  # what only the first connections cost is not counted
            before, had = ours.resident(), len(clients)
            while len(clients) < wanted + had:
                clients.append(stack.enter_context(_client(ours.port)))
        each = (ours.resident() - before) / count
        for client in clients:  # it was there all the time, or the figure would be worth nothing
            _served(client)
    return [_bounded(f"memory of each of {count} idle clients", [each / KIB], 24, "KiB")]


def reloads(settings: Settings) -> list[Row]:
    """Reloads of a policy that changes, one after the other under load: no request fails."""
    count = 100 if settings.quick else 1000
    done, slowest, replies = 0, 0.0, 0
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        legacy = stack.enter_context(upstream("0"))
        ours = Strangler(path, legacy.port)
        stack.enter_context(ours)
        texts = [(path / "routes.yaml").read_text()]
        texts.append(texts[0].replace("timeout: 1h", "timeout: 59m"))
        beside = stack.enter_context(ThreadPoolExecutor(1))
        while done < count:
            running: Future[Seen] = beside.submit(load, ours.port, [reading("/anything?a=1")], seconds=settings.seconds)
            while done < count and not running.done():
                done += 1
                _replace(path / "routes.yaml", texts[done % 2])
                begin = time.monotonic()
                status, text = get(f"http://127.0.0.1:{ours.ops_port}/-/reload", "POST")
                slowest = max(slowest, time.monotonic() - begin)
                if status != 200:
                    raise RuntimeError(f"a reload says {status}: {text!r}")
            seen = running.result()
            failed = seen.errors + seen.replies - seen.statuses.get("200", 0)
            if failed:
                return [Row(f"{done} reloads under load", f"{failed} failed", "", "", "none failed", False)]
            replies += seen.replies
        memory = mebibytes(ours.peak())
    note = f"the slowest reload took {slowest * 1000:.0f} ms"
    what = f"{done} reloads under load"
    return [Row(what, f"0 of {replies:,} requests failed", "", "", "none failed", True, memory, [note])]


def _bounded(what: str, values: list[float], at_most: float, unit: str, *notes: str) -> Row:
    middle = median(values)
    shown = f"{middle:.2f} {unit} ({min(values):.2f}-{max(values):.2f})"
    return Row(what, shown, target=f"<= {at_most:g} {unit}", met=middle <= at_most, notes=list(notes))


def _beside(module: str, *arguments: object) -> str:
    """What a program on the core of the load prints."""
    with on_core(LOAD_CORE):
        run = subprocess.run(python(module, *map(str, arguments)), capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr[-3000:])
    return run.stdout


def _client(port: int) -> socket.socket:
    """A client that has had an answer and stays."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    _served(client)
    return client


def _served(client: socket.socket) -> None:
    client.sendall(REQUEST)
    if not client.recv(65536).startswith(b"HTTP/1.1 200"):
        raise RuntimeError("a client got no 200")


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    os.replace(fresh, path)


@contextmanager
def _many_files() -> Iterator[None]:
    """As many open files as this user may have, here and in what is started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
