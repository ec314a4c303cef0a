"""An OS process under test: started, signalled, awaited, and its output kept for who has to read why it failed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """One OS process at a time; it can be started again after it ended. Its output is appended to one file."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its OS process id."""
        assert self._process is not None
        return self._process.pid

    def spawn(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start `python ARGUMENTS` from the root of the project."""
        assert not self.running, f"{self.name} runs already"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRANGLER_")}
        with self.log.open("ab") as output:
            output.write(f"--- {self.name}: {' '.join(arguments)} {dict(environment or {})}\n".encode())
            output.flush()
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**inherited, "PYTHONUNBUFFERED": "1", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, within: float = 15.0) -> int:
        """Its exit code, once it has ended; negative: the signal that ended it."""
        assert self._process is not None
        try:
            return await asyncio.to_thread(self._process.wait, within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {within:g} s") from None

    async def kill(self) -> None:
        """End it as a power cut does: no handler runs, nothing is flushed."""
        if self.running:
            self.signal(signal.SIGKILL)
            self.signal(signal.SIGCONT)
        if self._process is not None:
            await self.ended()

    def freeze(self) -> None:
        """Stop it where it stands, as a paused virtual machine."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if no time had passed."""
        self.signal(signal.SIGCONT)

    def tail(self, lines: int = 60) -> str:
        """The last lines of its output."""
        if not self.log.exists():
            return "(no output)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
