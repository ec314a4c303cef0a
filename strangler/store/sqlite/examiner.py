"""Looking through the file in an OS process of its own, so that no request waits for it.

It runs at a low priority, reads by a connection of its own, one short snapshot after the other, and says only what it
found. Run as ``python -m strangler.store.sqlite.examiner FILE``: takes questions from its standard input, one JSON
document per line, and answers each by one line; it ends with its input, and so with whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from strangler.domain.errors import StoreUnavailable
from strangler.domain.process import is_id
from strangler.ports import Examined, Finding
from strangler.store.fsck import check, latest, stray
from strangler.store.ids import FIRST, LAST, id_bytes
from strangler.store.sqlite import stepping
from strangler.store.sqlite.connection import Connection, open_reader
from strangler.store.sqlite.library import choose_library

_STEP = 200  # processes of one question: some tens of milliseconds
_STEP_WITH_BODIES = 50
_KEYS = 2000  # idempotency keys of one question
_NICENESS = 10
_LINE = 64 * 1024 * 1024  # bytes of an answer at most: every one of its processes has every finding
_LEAVE = 5.0  # seconds for it to end by itself


class SqliteExaminer:
    """See `Examiner`. The other process is started by the first question."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._child: asyncio.subprocess.Process | None = None

    async def total(self) -> int:
        """See `Examiner.total`."""
        found: int = await self._ask("total")
        return found

    async def examine(self, mark: str | None, *, bodies: bool) -> Examined:
        """See `Examiner.examine`."""
        processes, findings, after = await self._ask("examine", mark, bodies)
        return Examined(processes, [Finding(*finding) for finding in findings], after)

    async def examine_one(self, process_id: str) -> Sequence[Finding]:
        """See `Examiner.examine_one`."""
        return [Finding(*finding) for finding in await self._ask("examine_one", process_id)]

    async def close(self) -> None:
        """See `Examiner.close`."""
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), _LEAVE)
        except TimeoutError:
            child.kill()
            await child.wait()

    async def _ask(self, *question: Any) -> Any:
        child = self._child = self._child or await _start(self._path)
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            await child.stdin.drain()
            line = await child.stdout.readline()
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise StoreUnavailable("the process that examines the store has ended")
        answer, error = json.loads(line)
        if error is not None:
            raise StoreUnavailable(error)
        return answer


def _environment() -> dict[str, str]:
    """Ours, in which this package is found wherever it lies."""
    package, known = str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": package if known is None else package + os.pathsep + known}


async def _start(path: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the folder that somebody happens to be in is no place to import from
        "-m",
        __name__,
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE,
        env=_environment(),
    )


# ── In the other process ─────────────────────────────────────────────────────────────────────────────────────────────


class Examination:
    """Answers the questions, over one connection that can only read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._chunk = partial(stepping.chunk, connection)

    def total(self) -> int:
        """See `Examiner.total`."""
        with stepping.snapshot(self._connection):
            ((total,),) = self._connection.rows("SELECT count(*) FROM process")
        return int(total)

    def examine(self, mark: str | None, bodies: bool) -> Examined:
        """See `Examiner.examine`. A mark is the first id of the next step, or the last key of this one."""
        match json.loads(mark) if mark is not None else FIRST.hex():
            case str(low):
                return self._processes(bytes.fromhex(low), bodies)
            case (scope, key):
                found = stepping.keys(self._connection, (bytes.fromhex(scope), bytes.fromhex(key)), _KEYS, latest)
                after = None if found.upto is None else json.dumps([part.hex() for part in found.upto])
                return Examined(0, [stray(*place) for place in found.strays], after)
        raise ValueError(mark)

    def examine_one(self, process_id: str) -> Sequence[Finding]:
        """See `Examiner.examine_one`."""
        if not is_id(process_id):  # rows of what was never a process of ours
            everywhere = stepping.strays(self._connection, FIRST, LAST)
            return [stray(*place) for place in everywhere if place[1] == process_id]
        key = bytes(id_bytes(process_id))
        step = stepping.read(self._connection, key, key, 1)
        keys = stepping.keys_of(self._connection, key, latest()) if not step.ledgers else []
        return [*self._findings(step, bodies=True), *(stray(*place) for place in keys)]

    def _processes(self, low: bytes, bodies: bool) -> Examined:
        limit = _STEP_WITH_BODIES if bodies else _STEP
        step = stepping.read(self._connection, low, LAST, limit, bodies=bodies)
        following = stepping.after(step.upto)
        mark = json.dumps(following.hex()) if following is not None else json.dumps(("", ""))
        return Examined(len(step.ledgers), [*self._findings(step, bodies)], mark)

    def _findings(self, step: stepping.Step, bodies: bool) -> Iterator[Finding]:
        now = latest()
        for ledger in step.ledgers:
            yield from check(ledger, self._chunk if bodies else None, now)
        for place in step.strays:
            yield stray(*place)


def _stand_back() -> None:
    """Give way to everybody else on the machine, as far as that is allowed here."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        # sched(7): only what nobody else wants, and given up at once when somebody wakes. A low priority alone keeps a
        # commit waiting for some milliseconds at each of its wake-ups.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(path: str) -> None:
    """Answer until there are no more questions."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the whole group: it ends with its input
    _stand_back()
    # What is made for one process is gone with it: looking for cycles among many finds none, and costs a third.
    gc.set_threshold(100_000, 50, 1000)
    examination = Examination(open_reader(Path(path), choose_library()))
    for line in sys.stdin:
        name, *values = json.loads(line)
        try:
            answer = [getattr(examination, name)(*values), None]
        except Exception as error:  # whatever it is, who asked is told, and decides
            answer = [None, f"{type(error).__name__}: {error}"]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
