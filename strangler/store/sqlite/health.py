"""Whether new work may be recorded: the disk has room above its reserve, the last write was not refused, and the file
is still the one that whoever starts next opens."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from strangler.ports import Clock
from strangler.store.sqlite.connection import Connection

_EVERY = 1_000_000_000  # nanoseconds between two looks at the disk, and between two probes
_PROBE = 64 * 1024  # bytes; more than an acceptance with a body of usual length


class Health:
    """Asked on the event loop; told of trouble by the writer's thread."""

    def __init__(self, path: Path, reserve: int, clock: Clock, probe: Callable[[], object]) -> None:
        self._path = path
        self._folder = path.parent
        self._file = _identity(path)
        self._reserve = reserve
        self._clock = clock
        self._probe = probe  # have `write_probe` done by the writer
        self._trouble: str | None = None
        self._space: str | None = None
        self._looked_at: int | None = None
        self._probed_at: int | None = None

    def failed(self, reason: str) -> None:
        """A write was refused by the disk."""
        self._trouble = reason

    def mended(self) -> None:
        """A probe was written."""
        self._trouble = None

    def refusal(self) -> str | None:
        """See `StoreHealth.refusal`."""
        now = self._clock.boottime()
        if self._looked_at is None or now - self._looked_at >= _EVERY:
            self._looked_at = now
            self._space = self._shortage()
        if self._trouble is not None and (self._probed_at is None or now - self._probed_at >= _EVERY):
            self._probed_at = now
            self._probe()
        return self._trouble or self._space

    def _shortage(self) -> str | None:
        try:
            found = os.statvfs(self._folder)
        except OSError as error:
            return f"{self._folder}: {error.strerror}"
        if _identity(self._path) != self._file:
            # SQLite writes on, into a file that nobody finds again.
            return f"{self._path} was removed or replaced while it was served; end this server, and look for it"
        free = found.f_bavail * found.f_frsize
        if free >= self._reserve:
            return None
        return (
            f"{self._folder} has {free / 2**20:.0f} MiB left, "
            f"less than the reserve of {self._reserve / 2**20:.0f} MiB (--disk-reserve)"
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a name stands for; None: for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def write_probe(connection: Connection) -> None:
    """Write something of some size. Its transaction is a turn of its own kind: that it comes to an end is the proof."""
    connection.run("INSERT OR REPLACE INTO probe (seq, data) VALUES (1, randomblob(?))", (_PROBE,))


def clear_probe(connection: Connection) -> None:
    """Take it away again."""
    connection.run("DELETE FROM probe")
