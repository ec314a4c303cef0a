"""When something is looked into again: of several wishes for one name the earliest counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from strangler.ports import Clock

LONGEST = 60.0
"""Seconds until the clock is looked at anew: it may have been set meanwhile, and the timer knows nothing of that."""


class Wakes:
    """Instants at which names, of routes or lanes, are woken.

    Args:
        woken: what is done with a name then.
    """

    def __init__(self, clock: Clock, woken: Callable[[str], None]) -> None:
        self._clock = clock
        self._do = woken
        self._set: dict[str, tuple[int, asyncio.TimerHandle]] = {}
        self._stopped = False

    def __contains__(self, name: str) -> bool:
        """Whether it is going to be woken."""
        return name in self._set

    def at(self, name: str, due_at: int) -> bool:
        """Wake it at an instant, if not before. Returns whether a later wish was given up for this one."""
        if self._stopped:
            return False
        known = self._set.get(name)
        if known is not None:
            if known[0] <= due_at:
                return False
            known[1].cancel()
        seconds = max(0.0, (due_at - self._clock.now()) / 1000)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(min(seconds, LONGEST), self._wake if seconds <= LONGEST else self._again, name)
        self._set[name] = (due_at, timer)
        return known is not None

    def stop(self) -> None:
        """Wake nobody any more."""
        self._stopped = True
        for _, handle in self._set.values():
            handle.cancel()
        self._set.clear()

    def _wake(self, name: str) -> None:
        del self._set[name]
        self._do(name)

    def _again(self, name: str) -> None:
        due_at, _ = self._set.pop(name)
        self.at(name, due_at)
