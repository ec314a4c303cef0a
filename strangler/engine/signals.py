"""Signals: "look again". Lossy, and nothing but (process id, sequence): whoever is woken reads the store again.

A waiter watches first, then reads, then waits, so that no change falls between::

    with signals.watch(process_id) as watch:
        process = await store.process(process_id)
        while not settled(process) and await watch.changed(process.sequence, seconds_left()):
            process = await store.process(process_id)
"""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType

from strangler.domain.process import Process

_EVERYTHING = ""  # stands for the id of a process where all of them are watched


class Watch:
    """One waiter's interest in one process, from ``with`` to its end. Costs a future while it waits, and no task."""

    __slots__ = ("_future", "_news", "_process_id", "_signals")

    def __init__(self, signals: Signals, process_id: str) -> None:
        self._signals = signals
        self._process_id = process_id
        self._news = 0  # the latest event heard of and not yet told; 0: none
        self._future: asyncio.Future[bool] | None = None

    def __enter__(self) -> Watch:
        self._signals.watches.setdefault(self._process_id, set()).add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watches = self._signals.watches[self._process_id]
        watches.discard(self)
        if not watches:
            del self._signals.watches[self._process_id]

    async def changed(self, seen: int, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for an event later than ``seen``; False: none was heard of.

        Each announcement is told once. So one that runs ahead of the store (an end that the store refuses to record
        for now) wakes its waiters once, and again when it is announced as recorded.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self._news <= seen:
            if self._signals.ended or loop.time() >= deadline or not await self._next(loop, deadline):
                return False
        self._news = 0
        return True

    async def _next(self, loop: asyncio.AbstractEventLoop, deadline: float) -> bool:
        """Wait for any announcement; False: the deadline came first."""
        future: asyncio.Future[bool] = loop.create_future()
        self._future = future
        timer = loop.call_at(deadline, _lapse, future)
        try:
            return await future
        finally:
            timer.cancel()
            self._future = None

    def give_up(self) -> None:
        """Wait no longer."""
        if self._future is not None and not self._future.done():
            self._future.set_result(False)

    def hear(self, sequence: int) -> None:
        """There is an event of this number."""
        if sequence > self._news:
            self._news = sequence
        if self._future is not None and not self._future.done():
            self._future.set_result(True)


class Signals:
    """Who is to be woken when a process changes."""

    def __init__(self) -> None:
        self.watches: dict[str, set[Watch]] = {}
        self.ended = False
        self._heard = 0

    def announce(self, process: Process) -> None:
        """A change of a process was committed here."""
        self.hear(process.id, process.sequence)

    def hear(self, process_id: str, sequence: int) -> None:
        """A change was committed, here or by another worker."""
        for watch in self.watches.get(process_id, ()):
            watch.hear(sequence)
        self._heard += 1
        for watch in self.watches.get(_EVERYTHING, ()):
            watch.hear(self._heard)

    def end(self) -> None:
        """The server is going away: nobody waits any longer, now or later."""
        self.ended = True
        for watches in self.watches.values():
            for watch in watches:
                watch.give_up()

    def hear_all(self) -> None:
        """Some announcements were lost: whoever waits here looks again."""
        for watches in self.watches.values():
            for watch in watches:
                watch.hear(sys.maxsize)

    def watch(self, process_id: str) -> Watch:
        """A context manager; what is announced while it is entered is not missed."""
        return Watch(self, process_id)

    def watch_all(self) -> Watch:
        """The same for all processes: ``changed(0, …)`` says whether there was any change since it last said so."""
        return Watch(self, _EVERYTHING)


def _lapse(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)
