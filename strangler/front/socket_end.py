"""Our end of a client's socket: bytes out, and reading stopped and resumed; safe while the transport closes."""

from __future__ import annotations

import asyncio
import fcntl
import math
import socket
import struct
import sys
import termios
from typing import Final

from strangler.front.desk import Desk

_UNSEEN: Final = -1
"""In place of what is unsent: nobody has looked at it since it was written."""

_ON_ITS_WAY = 64 * 1024  # bytes that a client may not have acknowledged yet, though it is quick to read
_RESET = struct.pack("ii", 1, 0)
_COUNT = bytes(struct.calcsize("i"))


class SocketEnd(asyncio.Protocol):
    """What a connection does with its transport."""

    _transport: asyncio.Transport  # from `connection_made` on, before anything else

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.deadline = math.inf
        self.congested = False  # the client is slow to read
        self._reading = True
        self._unsent = 0  # bytes, when `takes` was last asked
        self._patience = desk.settings.keepalive  # seconds; see `outlast`

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

    def outlast(self, patience: float) -> None:
        """Wait until the client takes nothing of what was written for ``patience`` seconds."""
        self._patience, self._unsent = patience, _UNSEEN
        self.deadline = self.desk.soon  # then it is looked at: what the kernel takes at once, the client has not read

    def takes(self) -> bool:
        """Whether the client, to which nothing more is written, has taken some of it since this was last asked.

        If so, it has its patience again.
        """
        before, self._unsent = self._unsent, self.unsent()
        if self._unsent == before:
            return False
        self.deadline = self.desk.soon + self._patience
        return True

    def was_read(self) -> bool:
        """Whether a client that is idle has long had its answer: what was merely on its way at the first look is no
        slow reading."""
        return _UNSEEN < self._unsent <= _ON_ITS_WAY and self.unsent() == 0

    def unsent(self) -> int:
        """Bytes that were written and that the client's kernel has not taken."""
        return self._transport.get_write_buffer_size() + self._in_kernel()

    def _in_kernel(self) -> int:
        """Bytes that left the transport and did not arrive. Without them a slow reader seems to stand still: Linux asks
        for more only when a third of its buffer, which grows to megabytes, is free. 0 where the kernel does not say."""
        connected = self._transport.get_extra_info("socket")
        try:
            return int.from_bytes(fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, _COUNT), sys.byteorder)
        except (AttributeError, OSError, ValueError):  # no socket; it is not for sockets there; it is closed
            return 0

    def _break(self, *, reset: bool) -> None:
        """Close at once. ``reset``: the kernel sends a reset where it would send the end of the stream."""
        connected = self._transport.get_extra_info("socket") if reset else None
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()
