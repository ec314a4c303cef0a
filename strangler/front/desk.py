"""What all connections of a front share."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import Protocol

from strangler.engine.instrument import Instrument
from strangler.front.settings import Settings
from strangler.ports import Direct, Links


class Watched(Protocol):
    """A connection as the sweep sees it."""

    deadline: float

    def overdue(self) -> None:
        """The deadline has passed."""
        ...

    def drain(self) -> None:
        """Close as soon as nothing is under way."""
        ...

    def abandon(self) -> None:
        """Close now."""
        ...


class Desk:
    """The ports, the settings, and a clock that is read once per tick instead of once per byte."""

    def __init__(self, direct: Direct, links: Links, instrument: Instrument, settings: Settings) -> None:
        self.direct = direct
        self.links = links
        self.instrument = instrument
        self.settings = settings
        self.draining = False
        self.soon = settings.tick  # loop time at the next tick: timeouts count from there, so that none is too short
        self.connections: set[Watched] = set()
        self.empty = asyncio.Event()  # set when the last connection is gone
        self._tasks: set[asyncio.Task[None]] = set()
        self._second = 0
        self._date = b""

    def date(self) -> bytes:
        """The value of a ``Date`` field."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode("ascii")
        return self._date

    def forget(self, connection: Watched) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task whose connection is gone until it has ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def sweep(self, now: float) -> None:
        """Tell the connections whose deadline has passed."""
        self.soon = now + self.settings.tick
        for connection in [connection for connection in self.connections if connection.deadline < now]:
            try:
                connection.overdue()
            except Exception as error:
                # A defect in one must not end the deadlines of all.
                self.instrument.failed("front", error)
                connection.abandon()
