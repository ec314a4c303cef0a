"""A client's connection that was upgraded and stays with us: a handler converses on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from strangler.front.body import RequestBody
from strangler.front.room import Room
from strangler.wire.malformed import Malformed

if TYPE_CHECKING:
    from strangler.front.connection import ClientConnection


class ClientChannel:
    """A `strangler.domain.exchange.Channel` for the handler, an `Exchange` for the connection."""

    def __init__(self, connection: ClientConnection, conversation: asyncio.Task[None]) -> None:
        self._connection = connection
        self._conversation = conversation
        self._incoming = RequestBody(connection, None, expected=False)
        self._room = Room(connection)
        self._hung_up = False

    # What the handler does.

    async def read(self) -> bytes:
        """See `Channel`."""
        return b"" if self._hung_up else await self._incoming.read()

    async def write(self, data: bytes) -> None:
        """See `Channel`."""
        self._connection.write(data)
        await self._room.wait()

    def hang_up(self) -> None:
        """See `Channel`."""
        self._hung_up = True
        self._incoming.take()
        self._incoming.put(b"", complete=True)

    # What the connection tells.

    def body(self, data: bytes, complete: bool) -> None:
        """Bytes of the client."""
        if not self._hung_up:
            self._incoming.put(data, complete=False)

    def client_ended(self) -> bool:
        """The client sends nothing more; it may still be told something."""
        self._incoming.put(b"", complete=True)
        return True

    def left(self) -> None:
        """The client is gone."""
        if not self._conversation.done():
            self._connection.desk.keep(self._conversation)
            self._conversation.cancel()

    def overdue(self) -> None:
        """The client took nothing for too long."""
        if not (self._connection.congested and self._connection.takes()):
            self._connection.abandon()

    def client_congested(self) -> None:
        """The client is slow to read: the next write waits."""

    def client_ready(self) -> None:
        """There is room again."""
        self._room.open()

    def broken(self, malformed: Malformed) -> None:
        """There is no framing to break."""
