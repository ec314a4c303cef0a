"""OS processes on a core of their own, what memory they took, and load on the other core."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.load import Plan, Seen

ROOT = Path(__file__).resolve().parents[1]
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
LOAD_CORE = CORES[-1]


@contextmanager
def on_core(*cores: int) -> Iterator[None]:
    """What is started in here runs on these cores alone."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


class Program:
    """An OS process that listens on a port; ends with the `with` block.

    Args:
        core: on which it runs alone; None: on any.
    """

    def __init__(
        self, name: str, command: Sequence[str], port: int, core: int | None, probe: str | None = None
    ) -> None:
        self.name = name
        self.port = port
        self._probe = probe
        self._log = tempfile.NamedTemporaryFile(prefix=f"bench-{name}-", suffix=".log")  # noqa: SIM115
        self.started_at = time.monotonic_ns()
        with on_core(*(CORES if core is None else (core,))):
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
            )

    def __enter__(self) -> Program:
        deadline = time.monotonic() + 60
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not listen:\n{self.log()}")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _listens(self) -> bool:
        if self._probe is not None:
            try:
                return get(self._probe)[0] == 200
            except OSError:
                return False
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def pid(self) -> int:
        """Its OS process id."""
        return self._process.pid

    def log(self) -> str:
        """The end of what it printed."""
        return Path(self._log.name).read_text(errors="replace")[-3000:]

    def peak(self) -> int:
        """The most memory that it ever held, bytes."""
        return self._memory("VmHWM")

    def resident(self) -> int:
        """The memory that it holds now, bytes."""
        return self._memory("VmRSS")

    def cpu(self) -> float:
        """Seconds that its threads have run, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, requests: Sequence[bytes], **options: Any) -> Seen:
        """Load on it, with the options of `load`, and what came back."""
        before = self.cpu()
        seen = load(self.port, requests, **options)
        if seen.replies:
            seen.cpu = (self.cpu() - before) / seen.replies * 1e6
        return seen

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"{self.name} is gone:\n{self.log()}")


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module."""
    return [sys.executable, "-m", module, *arguments]


def get(url: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(method, f"/{path}")
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def load(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int = 64,
    seconds: float = 3.0,
    warm_up: float = 0.5,
    most: int = 0,
    sample: int = 0,
    rate: float = 0.0,
) -> Seen:
    """Load from the other core, and what came back."""
    plan = Plan(
        host="127.0.0.1",
        port=port,
        requests=[b64encode(request).decode() for request in requests],
        connections=connections,
        seconds=seconds,
        warm_up=warm_up,
        most=most,
        sample=sample,
        rate=rate,
    )
    with on_core(LOAD_CORE):
        run = subprocess.run(
            python("bench.load"),
            cwd=ROOT,
            # Unbuffered, a long result may be written in part only.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            input=json.dumps(asdict(plan)),
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode:
        raise RuntimeError(run.stderr[-3000:])
    return Seen(**json.loads(run.stdout))
