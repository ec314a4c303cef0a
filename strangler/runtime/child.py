"""What the supervisor's children have in common: what they are given, their log, and how they begin and end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from strangler.config.settings import Settings
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.operations.logs import Bridge, Logs, descriptor_writer, taking_turns
from strangler.operations.telemetry import Telemetry
from strangler.runtime.control import Line
from strangler.runtime.loops import loop_factory

FAILED = 2
"""Exit code of a child that could not start, or whose work ended by a defect."""


class Given(NamedTuple):
    """What all children are given; made before the first fork."""

    settings: Settings
    paths: Sequence[Path]
    environ: Mapping[str, str]
    identity_key: bytes | None  # None: the first store process finds it or makes it, once it has judged the policy
    folder: Path  # private to this server: the socket of the store, the lock of the log

    @property
    def socket(self) -> str:
        """Path of the socket at which the store process serves the workers."""
        return str(self.folder / "store")


@contextmanager
def telemetry_of(given: Given) -> Iterator[Telemetry]:
    """The log and the counts of this child; lines of all children take turns."""
    settings = given.settings
    write = taking_turns(descriptor_writer(sys.stderr.fileno()), str(given.folder / "log"))
    logs = Logs(write, form=settings.log_format, level=settings.log_level)
    started_at = SystemClock().now()
    telemetry = Telemetry(logs, version=version("strangler"), started_at=started_at, access_log=settings.access_log)
    bridge = Bridge(logs)
    logs.start()
    bridge.install()
    try:
        yield telemetry
    finally:
        bridge.remove()
        logs.close()


def run(given: Given, line: Line, work: Callable[[Telemetry], Awaitable[None]]) -> int:
    """Do the work of a child, on a loop of its own. Returns its exit code; why it failed goes to the supervisor."""
    for number in (signal.SIGINT, signal.SIGHUP):
        # A terminal tells the whole group; what comes of it is the supervisor's to say.
        signal.signal(number, signal.SIG_IGN)

    async def main() -> None:
        with telemetry_of(given) as telemetry:
            await work(telemetry)

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(main())
    except (OperatorError, StoreUnavailable, OSError) as error:
        line.tell_whole(failed=str(error))
        return FAILED
    except Exception as error:
        line.tell_whole(failed=f"{type(error).__name__} at the end of a worker")
        traceback.print_exc()
        return FAILED
    return os.EX_OK
