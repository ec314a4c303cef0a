"""The server under measurement: pinned to one core, with a store on a real disk."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.machine import LOAD_CORE, SERVER_CORE, Program, get, python
from tests.harness.waiting import free_port

POLICY = """
upstreams:
  legacy: {{url: "http://127.0.0.1:{upstream}", timeout: 1h, max_connections: 20000}}
routes:
  - name: submit-claim
    match: {{path: /claims, methods: [POST]}}
    upstream: legacy
    mode: {mode}
    accept: {{queue_bytes: 1000GiB}}
    call: {{concurrency: {concurrency}, queue: 1000000000}}
default: {{upstream: legacy}}
"""

_CLAIM = (
    b'{"policyNumber":"P-4711","claimant":{"name":"Erika Mustermann","city":"Dresden"},"kind":"water",'
    b'"occurredAt":"2026-11-20T08:15:00Z","amount":1250.0,"currency":"EUR","positions":[{"sku":"A-1",'
    b'"quantity":2,"price":400.0},{"sku":"B-2","quantity":1,"price":450.0}],"note":"pipe burst in the kitchen"}'
)


def submission(*headers: bytes) -> bytes:
    """A claim of some 300 bytes, as a whole request."""
    lines = [b"POST /claims HTTP/1.1", b"Host: 127.0.0.1", b"Content-Type: application/json", *headers]
    lines.append(b"Content-Length: %d" % len(_CLAIM))
    return b"\r\n".join(lines) + b"\r\n\r\n" + _CLAIM


def reading(path: str) -> bytes:
    """A GET as a whole request."""
    return b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode()


@contextmanager
def directory() -> Iterator[Path]:
    """A directory on a disk, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Strangler(Program):
    """`strangler serve` over the policy above."""

    def __init__(
        self,
        path: Path,
        upstream: int,
        *,
        mode: str = "async",
        concurrency: int = 32,
        workers: int = 1,
        core: int | None = SERVER_CORE,
        more: str = "",
    ) -> None:
        policy = path / "routes.yaml"
        policy.write_text(POLICY.format(upstream=upstream, mode=mode, concurrency=concurrency) + more)
        port, self.ops_port = free_port(), free_port()
        command = python("strangler", "serve", str(policy), "--listen", f"127.0.0.1:{port}")
        command += ["--ops", f"127.0.0.1:{self.ops_port}", "--store", f"sqlite:///{path / 'store.db'}"]
        command += ["--disk-reserve", "0", "--max-clients", "20000", "--access-log", "none", "--log-level", "warning"]
        command += ["--workers", str(workers)]
        super().__init__("strangler", command, port, core, f"http://127.0.0.1:{self.ops_port}/readyz")

    def metric(self, name: str) -> float:
        """The sum of all samples of a metric."""
        return self.metrics(name)[0]

    def metrics(self, *names: str) -> list[float]:
        """The sums of all samples of some metrics, at one instant."""
        status, text = get(f"http://127.0.0.1:{self.ops_port}/metrics")
        assert status == 200
        totals = dict.fromkeys(names, 0.0)
        for line in text.decode().splitlines():
            sample, _, value = line.rpartition(" ")
            name = sample.partition("{")[0]
            if name in totals:
                totals[name] += float(value)
        return list(totals.values())

    def wait_for(self, name: str, value: float, within: float = 300.0) -> None:
        """Wait until a metric has reached a value.

        Raises:
            RuntimeError: it did not within so many seconds.
        """
        deadline = time.monotonic() + within
        while (seen := self.metric(name)) < value:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} is {seen:g}, not {value:g}, after {within:g} s")
            time.sleep(0.05)


def upstream(hold: str) -> Program:
    """An upstream on the core of the load; ``hold`` is seconds or "never"."""
    port = free_port()
    return Program("upstream", python("bench.upstream", str(port), hold), port, LOAD_CORE)


def bare_aiohttp() -> Program:
    """aiohttp that reads and answers, on the server's core."""
    port = free_port()
    return Program("aiohttp", python("bench.baselines", "answer", str(port)), port, SERVER_CORE)


@contextmanager
def side_by_side(hold: str, *, mode: str = "async", concurrency: int = 32) -> Iterator[tuple[Strangler, Program]]:
    """Strangler with an empty store, and bare aiohttp, each waiting for its turn on the same core."""
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        legacy = stack.enter_context(upstream(hold))
        ours = Strangler(path, legacy.port, mode=mode, concurrency=concurrency)
        stack.enter_context(ours)
        yield ours, stack.enter_context(bare_aiohttp())
