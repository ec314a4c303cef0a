"""The public listener: sockets, and the life of the connections that come in by them."""

from __future__ import annotations

import asyncio
import socket
import ssl

from strangler.engine.instrument import Instrument
from strangler.front.connection import ClientConnection
from strangler.front.desk import Desk
from strangler.front.settings import Settings
from strangler.ports import Direct, Links

BACKLOG = 1024


class Front:
    """Serves clients. ``direct`` is asked once for each request which way it goes."""

    def __init__(self, direct: Direct, links: Links, instrument: Instrument, settings: Settings | None = None) -> None:
        self._desk = Desk(direct, links, instrument, settings if settings is not None else Settings())
        self._servers: list[asyncio.Server] = []
        self._sweep: asyncio.TimerHandle | None = None

    async def listen(self, bound: socket.socket, *, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Take connections from a socket that is bound, which is the front's from now on.

        Returns the host and port that it is bound to; a path and 0 for a Unix socket.
        """
        if self._sweep is None:
            self._tick()  # the timeouts of the first connections count from it
        # A client that does not get on with its handshake holds a socket as one does that sends no head.
        handshake = self._desk.settings.head_timeout if tls is not None else None
        server = await asyncio.get_running_loop().create_server(
            self._connection, sock=bound, ssl=tls, ssl_handshake_timeout=handshake, backlog=BACKLOG
        )
        self._servers.append(server)
        name = server.sockets[0].getsockname()
        return (name[0], name[1]) if isinstance(name, tuple) else (str(name), 0)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._desk.connections)

    def stop_listening(self) -> None:
        """Take no more connections; those that are there go on."""
        for server in self._servers:
            server.close()

    def drain(self, *, idle: bool = True) -> None:
        """Serve what is under way to its end, and close each connection after it. New ones are still taken, until
        `stop_listening`, and get one answer each. ``idle``: those on which nothing is under way are closed at once."""
        self._desk.draining = True
        for connection in list(self._desk.connections) if idle else ():
            connection.drain()

    async def drained(self) -> None:
        """Wait until no client is connected."""
        while self._desk.connections:
            self._desk.empty.clear()
            await self._desk.empty.wait()

    async def close(self) -> None:
        """Close everything at once."""
        self.stop_listening()
        for connection in list(self._desk.connections):
            connection.abandon()
        await self.drained()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for server in self._servers:
            await server.wait_closed()

    def _connection(self) -> ClientConnection:
        return ClientConnection(self._desk)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._desk.settings.tick, self._tick)
        self._desk.sweep(loop.time())
