"""Whether this OS process has grown beyond what it may: new work is refused before the system ends it."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable

from strangler.engine.instrument import Instrument

_LOOK_EVERY = 0.25  # seconds
_TRIM_EVERY = 5.0  # seconds; giving free memory back takes some milliseconds
_ENOUGH = 0.95  # of the limit: below that new work is taken again


def resident() -> int:
    """Bytes of this OS process that are in memory."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Have the allocator give back what it keeps free. Does nothing where the C library knows no such thing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Memory:
    """Watches over the memory of one OS process.

    Args:
        limit: bytes; 0: there is none.
    """

    def __init__(
        self,
        limit: int,
        instrument: Instrument,
        read: Callable[[], int] = resident,
        give_back: Callable[[], None] = give_back,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._instrument = instrument
        self._read = read
        self._give_back = give_back
        self._now = now
        self._look_at = 0.0
        self._trim_at = 0.0
        self._reason: str | None = None

    def refusal(self) -> str | None:
        """Why no new work may be recorded, for people; None: it may."""
        if self._limit and (now := self._now()) >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            self._look(now)
        return self._reason

    def _look(self, now: float) -> None:
        used = self._read()
        if used > self._limit and now >= self._trim_at:
            self._trim_at = now + _TRIM_EVERY
            self._give_back()
            used = self._read()
        if used > self._limit:
            reason = f"{used} bytes of memory are in use, {self._limit} may be (--memory-limit)"
            if self._reason is None:
                self._instrument.note("memory_refuses", "error", used=used, limit=self._limit)
            self._reason = reason
        elif self._reason is not None and used <= self._limit * _ENOUGH:
            self._instrument.note("memory_takes_work", used=used, limit=self._limit)
            self._reason = None
