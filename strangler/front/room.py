"""Waiting until a slow client has made room for more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strangler.front.connection import ClientConnection


class Room:
    """Room in what is written to a client, for any number of writers.

    Who takes nothing for ``body_idle_timeout`` from the first wait on is dropped by the exchange.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._opened: asyncio.Event | None = None  # while there is none, and somebody waited for it

    async def wait(self) -> None:
        """Return when there is room."""
        if not self._connection.congested:
            return
        if self._opened is None:
            self._opened = asyncio.Event()
            self._connection.outlast(self._connection.desk.settings.body_idle_timeout)
        await self._opened.wait()

    def open(self) -> None:
        """There is room again."""
        if self._opened is not None:
            self._opened.set()
            self._opened = None
            self._connection.watch(None)
