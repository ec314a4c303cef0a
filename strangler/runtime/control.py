"""The line between the supervisor and one of its children: short messages, one JSON document per line.

It is also the lifeline: a child whose supervisor is gone reads the end, and ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from typing import Any

ORPHANED = 1
"""Exit code of a child whose supervisor is gone."""


class Line:
    """One end of the line, for whoever asks it; nothing here waits, but `tell_whole`."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end = end
        self._buffer = b""

    def tell(self, **message: Any) -> None:
        """Say something. A child that takes nothing any more is not waited for."""
        try:
            self.end.send(json.dumps(message).encode() + b"\n")
        except (BlockingIOError, ConnectionError, BrokenPipeError):
            return

    def tell_whole(self, **message: Any) -> None:
        """Say something of any length, and wait until it is taken: the last words of a child."""
        self.end.setblocking(True)
        with contextlib.suppress(ConnectionError):
            self.end.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> list[dict[str, Any]] | None:
        """All that was said since; None: nothing was, and the other end is gone."""
        said: list[bytes] = []
        try:
            while data := self.end.recv(65536):
                said.append(data)
            gone = True
        except BlockingIOError:
            gone = False
        except ConnectionError:
            gone = True
        if gone and not said:
            return None
        *lines, self._buffer = b"".join((self._buffer, *said)).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Hang up."""
        self.end.close()


def listen(line: Line, heard: Callable[[dict[str, Any]], None], orphaned: Callable[[], None] = lambda: None) -> None:
    """In a child: have the running loop hear what the supervisor says, and end, after ``orphaned``, when it is gone."""

    def readable() -> None:
        messages = line.read()
        if messages is None:
            orphaned()
            # Nobody would replace this one, and nobody would end it: what is in flight is found by its lease.
            os._exit(ORPHANED)
        for message in messages:
            heard(message)

    asyncio.get_running_loop().add_reader(line.end, readable)
