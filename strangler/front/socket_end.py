"""Our end of a client's socket: bytes out, and reading stopped and resumed; safe while the transport closes."""

from __future__ import annotations

import asyncio
import socket
import struct

_RESET = struct.pack("ii", 1, 0)


class SocketEnd(asyncio.Protocol):
    """What a connection does with its transport."""

    def __init__(self) -> None:
        self.congested = False  # the client is slow to read
        self._transport: asyncio.Transport | None = None
        self._reading = True

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        transport = self._socket()
        if not transport.is_closing():
            transport.write(data)

    def write_eof(self) -> None:
        """Say that nothing more comes; over TLS that is the end of the connection."""
        if self._socket().is_closing():
            return
        if self._socket().can_write_eof():
            self._socket().write_eof()
        else:
            self._socket().close()

    def pause_reading(self) -> None:
        """Let the client wait."""
        if self._reading and not self._socket().is_closing():
            self._reading = False
            self._socket().pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if not self._reading and not self._socket().is_closing():
            self._reading = True
            self._socket().resume_reading()

    def _break(self, *, reset: bool) -> None:
        """Close at once. ``reset``: the kernel sends a reset where it would send the end of the stream."""
        connected = self._socket().get_extra_info("socket") if reset else None
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket().abort()

    def _socket(self) -> asyncio.Transport:
        assert self._transport is not None, "the event loop makes the connection before anything else"
        return self._transport
