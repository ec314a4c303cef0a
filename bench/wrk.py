"""wrk as the load where it is installed: it takes a small part of what `bench.load` takes from the backend's core."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from bench.load import Seen
from bench.machine import LOAD_CORE, Program, on_core
from bench.subject import reading

_DONE = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m),")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
TARGET = "/anything?a=1"


def press(program: Program, seconds: float, *, connections: int = 64) -> Seen:
    """A GET after the other on each of so many connections, and what came back."""
    if shutil.which("wrk") is None:
        return program.load([reading(TARGET)], seconds=seconds, connections=connections)
    _run(program.port, 1, connections)  # warms up
    before = program.cpu()
    text = _run(program.port, max(1, round(seconds)), connections)
    seen = parsed(text)
    seen.cpu = (program.cpu() - before) / max(1, seen.replies) * 1e6
    return seen


def parsed(text: str) -> Seen:
    """What wrk says of a run.

    Raises:
        RuntimeError: it says something else.
    """
    done = _DONE.search(text)
    if done is None:
        raise RuntimeError(f"wrk says: {text}")
    count = int(done[1])
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = int(bad[1]) if bad else 0
    return Seen(
        counted=count,
        seconds=float(done[2]) * _UNITS[done[3]],
        statuses={"200": count - failed} | ({"other": failed} if failed else {}),
        errors=sum(map(int, broken.groups())) if broken else 0,
    )


def _run(port: int, seconds: int, connections: int) -> str:
    options: Sequence[str] = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    with on_core(LOAD_CORE):
        run = subprocess.run(
            ["wrk", *options, f"http://127.0.0.1:{port}{TARGET}"], capture_output=True, text=True, check=False
        )
    if run.returncode:
        raise RuntimeError(run.stdout + run.stderr)
    return run.stdout
