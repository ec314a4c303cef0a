"""The unit of systemd takes nothing away that the program needs: its calls of the kernel, watched."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.material import judged, tool
from tests.deploy.test_unit import values
from tests.harness.child import ROOT
from tests.harness.server import Server
from tests.harness.stage import Stage

POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
routes:
  - {{name: submit-claim, match: {{path: /claims, methods: [POST]}}, upstream: legacy, mode: async}}
default: {{upstream: legacy}}
"""

WITHOUT_WRITABLE_CODE = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: from Linux 6.3 on
    sys.exit("this kernel does not know how to refuse it")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs Python as `MemoryDenyWriteExecute=yes` does."""

OF_ROOT = {"fchown"}
"""What SQLite does only where it runs as root (os_unix.c, robustFchown): the tests may, the unit never does."""


def members(group: str) -> set[str]:
    """The system calls of a group of systemd."""
    names = re.findall(
        r"^    (?!#)(\S+)", judged(tool("systemd-analyze"), "syscall-filter", group).stdout, re.MULTILINE
    )
    return {each for name in names for each in (members(name) if name.startswith("@") else {name})}


def allowed() -> set[str]:
    """What the filters of the unit leave; systemd itself adds what every program needs to start (@default)."""
    calls = members("@default")
    for line in values("SystemCallFilter"):
        if line.startswith("~"):
            calls -= {call for group in line[1:].split() for call in members(group)}
        else:
            calls |= {call for group in line.split() for call in members(group)}
    return calls


class Watched(Server):
    """The server under strace, and without memory that is writable and executable."""

    trace: Path

    def spawn(self, arguments: list[str], environment: dict[str, str]) -> None:  # type: ignore[override]
        """Start it so."""
        self.trace = self.directory / "trace"
        command = [
            tool("strace"),
            "-f",
            "-qq",
            "-o",
            self.trace,
            sys.executable,
            "-c",
            WITHOUT_WRITABLE_CODE,
            *arguments,
        ]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program; strace ends with it, and would leave it running if it went first."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                os.kill(int(child), number)

    def used(self) -> set[str]:
        """The system calls that it made."""
        return set(re.findall(r"^\d+ +(\w+)\(", self.trace.read_text(errors="replace"), re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_the_filters_of_the_unit_let_the_program_do_what_it_does(stage: Stage, workers: int) -> None:
    tool("strace")
    legacy = await stage.legacy()
    server = Watched(stage.directory, POLICY.format(url=legacy.url), options=["--workers", str(workers)])
    stage.keep(server)
    await server.start(within=60)
    client = await stage.client(server)
    reply = await client.submit("/claims", "marker")
    await client.settled(reply.json()["id"])
    assert (await server.operations("POST", "/-/reload") or (0,))[0] == 200
    assert await server.stop(within=60) == 0
    assert server.used() - allowed() - OF_ROOT == set()


def test_a_call_that_is_no_service_s_business_is_not_let_through() -> None:
    assert not allowed() & {"mount", "ptrace", "reboot", "setuid", "bpf", "init_module"}
