"""Log lines go through a bounded queue to a thread that writes them: whoever logs waits for no disk and no pipe."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Thread

from strangler.engine.instrument import Level
from strangler.operations.lines import RANKS, Line, LogFormat, describe, formatter, trace

CAPACITY = 10_000
"""Lines that may wait; from warnings on, a tenth more."""

_BATCH = 256
_TURN_PAUSE = 0.001  # seconds between two looks at the lock of another process …
_TURN_TRIES = 1000  # … and how many of them


class Logs:
    """Where lines go. Made, `start`-ed, and closed at the end; lines before the start wait for it."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        form: LogFormat = "json",
        level: Level = "info",
        capacity: int = CAPACITY,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._write = write
        self._form = formatter(form)
        self._rank = RANKS[level]
        self._capacity = capacity
        self._now = now
        self._queue: SimpleQueue[Line | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._unqueued = 0  # written by those who log
        self._unwritten = 0  # written by the writer alone
        self._told = 0

    @property
    def dropped(self) -> int:
        """Lines that found no room in the queue, or nobody who took them."""
        return self._unqueued + self._unwritten

    def start(self) -> None:
        """Begin to write."""
        if self._thread is None:
            # A daemon: a reader who stopped reading must not keep the server from ending.
            self._thread = Thread(target=self._run, name="logs", daemon=True)
            self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, for ``timeout`` seconds at most, and stop."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout)
            self._thread = None

    def enabled(self, level: Level) -> bool:
        """Whether lines of a level are wanted."""
        return RANKS[level] >= self._rank

    def line(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        """Say that something happened. The fields are read later: they must not change."""
        rank = RANKS[level]
        if rank < self._rank:
            return
        room = self._capacity if rank < RANKS["warning"] else self._capacity + self._capacity // 10
        if self._queue.qsize() >= room:
            self._unqueued += 1
            return
        self._queue.put(Line(self._now() // 1_000_000, level, event, fields))

    def _run(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._gather()
            self._write_batch(batch)

    def _gather(self) -> tuple[list[Line], bool]:
        """The lines that wait, as soon as there is one; and whether they were the last."""
        batch: list[Line] = []
        while (entry := self._queue.get()) is not None:
            batch.append(entry)
            if len(batch) == _BATCH or self._queue.empty():
                return batch, False
        return batch, True

    def _write_batch(self, batch: list[Line]) -> None:
        text = "".join(f"{self._text(line)}\n" for line in batch)
        if (dropped := self.dropped) > self._told:
            told = Line(self._now() // 1_000_000, "warning", "lines_dropped", {"lines": dropped - self._told})
            text += f"{self._text(told)}\n"
        try:
            self._write(text.encode())
        except OSError:
            # Nobody reads, or the disk is full. The lines are gone, the server goes on, the next batch tries again.
            self._unwritten += len(batch)
        else:
            self._told = dropped

    def _text(self, line: Line) -> str:
        try:
            return self._form(line)
        except Exception as error:  # a defect in one line must not end all the others
            return self._form(Line(line.at, "error", "line_not_shown", {"line": line.event, "error": describe(error)}))


def descriptor_writer(descriptor: int) -> Callable[[bytes], None]:
    """What writes to a file descriptor, whole, however little it takes at a time; it blocks while a pipe is full.

    Raises:
        OSError: the descriptor is not open.
    """
    # A copy of our own: were number 2 closed and used again, the lines would go to somebody's connection.
    own = os.dup(descriptor)

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(own, rest) :]
            except BlockingIOError:  # somebody who shares the pipe has made it non-blocking
                poll = select.poll()
                poll.register(own, select.POLLOUT)
                poll.poll(1000)

    return write


def taking_turns(write: Callable[[bytes], None], path: str) -> Callable[[bytes], None]:
    """A writer among several OS processes: who holds the lock of the file at ``path`` writes, so that no line of one
    begins within a line of another. A holder that is frozen is waited for a second, and then no longer.

    Raises:
        OSError: the file cannot be opened.
    """
    # Opened here, and not inherited: a lock belongs to the opening, which a fork shares.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take() -> bool:
        for _ in range(_TURN_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_TURN_PAUSE)
            else:
                return True
        return False

    def locked(data: bytes) -> None:
        taken = take()
        try:
            write(data)
        finally:
            if taken:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    return locked


class Bridge(logging.Handler):
    """Brings what libraries log among our lines: of a message its first line, before anything is filled in.

    asyncio and aiohttp fill in representations of exceptions and tasks, which may quote a request.
    """

    def __init__(self, logs: Logs) -> None:
        super().__init__(logging.WARNING)
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Make a line of a record."""
        fields: dict[str, object] = {"logger": record.name, "detail": str(record.msg).partition("\n")[0]}
        if record.exc_info and record.exc_info[1] is not None:
            fields["traceback"] = trace(record.exc_info[1])
        self._logs.line("error" if record.levelno >= logging.ERROR else "warning", "library", fields)

    def install(self) -> None:
        """Take all records that nobody else takes."""
        logging.getLogger().addHandler(self)

    def remove(self) -> None:
        """Take no more."""
        logging.getLogger().removeHandler(self)
