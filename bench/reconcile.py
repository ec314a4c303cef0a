"""Reconciliation of a full store beside acceptances: how long it takes, and what they notice of it."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.fill import FINISHED, fill
from bench.machine import get
from bench.pace import steady
from bench.report import Row, Settings, mebibytes, median
from bench.subject import Strangler, directory, submission, upstream

RATE = 200  # acceptances per second
_ALLOWED = 120e-6  # seconds for one process: two minutes for a million


def reconcile(settings: Settings) -> list[Row]:
    """A run over finished processes, on the core of the server, alone and beside 200 acceptances per second."""
    count = 100_000 if settings.quick else 1_000_000
    with ExitStack() as stack:
        legacy = stack.enter_context(upstream("0"))
        path = stack.enter_context(directory())
        fill(path, count, FINISHED)
        strangler = stack.enter_context(Strangler(path, legacy.port))
        desk = _Desk(path, strangler.ops_port)
        alone = desk.reconciled()
        quiet = _latencies(strangler.port, 5.0)
        beside, disturbed = _beside(desk, strangler.port)
        quiet += _latencies(strangler.port, 5.0)
        memory = mebibytes(strangler.peak())
    target = _ALLOWED * count
    p99s = f"{_p99(disturbed):.1f} ms", f"{_p99(quiet):.1f} ms"
    return [
        Row(f"{count:,} processes, alone", f"{alone:.1f} s", "", "", f"<= {target:.0f} s", alone <= target, memory),
        Row(f"beside {RATE}/s acceptances", f"{beside:.1f} s", "", "", f"<= {target:.0f} s", beside <= target),
        Row(
            "p99 of an acceptance",
            p99s[0],
            p99s[1],
            f"{_p99(disturbed) / _p99(quiet):.2f}",
            notes=[f"median {median(disturbed) / 1e6:.2f} against {median(quiet) / 1e6:.2f} ms without a run"],
        ),
    ]


class _Desk:
    """An operator at the machine of the server."""

    def __init__(self, path: Path, ops_port: int) -> None:
        self._url = f"http://127.0.0.1:{ops_port}/reconciliation"
        self._token = json.loads((path / "store.db.ops-token").read_text())["token"]

    def reconciled(self) -> float:
        """The seconds that a run took.

        Raises:
            RuntimeError: it did not finish, or found something.
        """
        began = time.monotonic()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self._url, b'{"why": "bench"}', headers)) as reply:
            report: dict[str, Any] = json.loads(reply.read())["report"]
        while report["outcome"] == "running":
            time.sleep(0.1)
            report = json.loads(get(self._url)[1])["report"]
        if report["outcome"] != "finished" or report["found"]:
            raise RuntimeError(f"not a fair run: {report}")
        return time.monotonic() - began


def _latencies(port: int, seconds: float) -> list[int]:
    return steady(port, RATE, seconds, submission(), b"202")


def _beside(desk: _Desk, port: int) -> tuple[float, list[int]]:
    """The seconds of a run, and what acceptances took while it went on."""
    taken: list[float] = []
    run = threading.Thread(target=lambda: taken.append(desk.reconciled()))
    latencies: list[int] = []
    run.start()
    while run.is_alive():
        latencies += _latencies(port, 1.0)
    run.join()
    return taken[0], latencies


def _p99(latencies: list[int]) -> float:
    """Milliseconds that 99 of 100 did not exceed."""
    return sorted(latencies)[len(latencies) * 99 // 100] / 1e6
