"""Waiting until a slow client has made room for more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strangler.front.connection import ClientConnection


class Room:
    """Room in what is written to a client. Who makes none for ``body_idle_timeout`` is dropped by the exchange."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._opened: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Return when there is room."""
        if not self._connection.congested:
            return
        self._opened = asyncio.get_running_loop().create_future()
        self._connection.watch(self._connection.desk.settings.body_idle_timeout)
        try:
            await self._opened
        finally:
            self._opened = None
            self._connection.watch(None)

    def open(self) -> None:
        """There is room again."""
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
