"""Our end of a client's socket: bytes out, and reading stopped and resumed; safe while the transport closes."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

UNSEEN: Final = -1
"""In place of what is unsent: nobody has looked at it since it was written."""

_RESET = struct.pack("ii", 1, 0)


class SocketEnd(asyncio.Protocol):
    """What a connection does with its transport."""

    _transport: asyncio.Transport  # from `connection_made` on, before anything else

    def __init__(self) -> None:
        self.congested = False  # the client is slow to read
        self._reading = True
        self._unsent = 0  # bytes, when `takes` was last asked

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        transport = self._transport
        if not transport.is_closing():
            transport.write(data)

    def write_eof(self) -> None:
        """Say that nothing more comes; over TLS that is the end of the connection."""
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def pause_reading(self) -> None:
        """Let the client wait."""
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def takes(self) -> bool:
        """Whether the client, to which nothing more is written, has taken some of it since this was last asked."""
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        return self._unsent != before

    def _break(self, *, reset: bool) -> None:
        """Close at once. ``reset``: the kernel sends a reset where it would send the end of the stream."""
        connected = self._transport.get_extra_info("socket") if reset else None
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()
