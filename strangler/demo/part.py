"""The parts of the demonstration: programs that it starts, watches and ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_SECONDS = 30.0
END_SECONDS = 10.0
TAIL_LINES = 15
_POLL = 0.05  # seconds
_TRIES = 20  # that any port is looked for: one that UDP has free may be taken all the same


class PartFailed(Exception):
    """A program ended that should be running, or does not begin to answer; the text holds the end of its log."""


class Part:
    """A program of its own, ``python -m`` with words and flags; its output goes to a log file."""

    def __init__(
        self,
        name: str,
        log: Path,
        words: Sequence[str],
        flags: Mapping[str, str],
        environment: Mapping[str, str],
        announces: str,  # what it writes to its log once it listens
    ) -> None:
        self.name = name
        self.log = log
        self._announces = announces
        self._arguments = [sys.executable, "-m", *words, *(f"--{flag}={value}" for flag, value in flags.items())]
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._program: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The id of the running program."""
        return self._program.pid if self._program is not None else None

    def start(self, answers: Callable[[], bool]) -> None:
        """Start the program and wait until it says that it listens, and answers.

        Raises:
            PartFailed: it ended, or did not answer in `START_SECONDS`.
        """
        with self.log.open("ab") as log:
            begin = log.tell()
            # A session of its own: Ctrl-C reaches the story only, which then ends the parts in order.
            self._program = subprocess.Popen(  # noqa: S603 - our own interpreter with our own modules
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        # An answer alone would do if nobody else could be listening there by now.
        while not (self._announces in self._text(begin) and answers()):
            self.check()
            if time.monotonic() > deadline:
                raise PartFailed(f"{self.name} does not answer after {START_SECONDS:.0f} s{self._tail()}")
            time.sleep(_POLL)

    def check(self) -> None:
        """Do nothing while it runs.

        Raises:
            PartFailed: it does not.
        """
        code = self._program.poll() if self._program is not None else None
        if code is not None:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise PartFailed(f"{self.name} {how}{self._tail()}")

    def kill(self) -> None:
        """End it as a crash would: at once, with nothing put in order."""
        if self._program is not None:
            self._program.kill()
            self._program.wait()
            self._program = None

    def stop(self) -> None:
        """Ask it to end, and kill it where it does not."""
        if self._program is None:
            return
        self._program.terminate()
        try:
            self._program.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._program = None

    def _tail(self) -> str:
        lines = self._text().splitlines()[-TAIL_LINES:]
        return "".join(f"\n    {line}" for line in [f"the end of {self.log}:", *lines])

    def _text(self, begin: int = 0) -> str:
        return self.log.read_bytes()[begin:].decode("utf-8", "replace")


def take_port(wish: int) -> socket.socket:
    """A port on 127.0.0.1 that nothing listens on, the one wished for or any, for a part that listens there later.

    What is returned is a UDP socket of that port: as long as it is open, nobody else who takes ports so is given this
    one, whether somebody listens by then or not.

    Raises:
        PartFailed: there is none.
    """
    for port in (wish, *[0] * _TRIES):
        taken = socket.socket(type=socket.SOCK_DGRAM)
        try:
            taken.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(taken.getsockname())
        except OSError:
            taken.close()
        else:
            return taken
    raise PartFailed("no port is free on 127.0.0.1")
