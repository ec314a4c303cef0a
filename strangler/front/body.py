"""The body of a request that a handler reads."""

from __future__ import annotations

import asyncio
from typing import Protocol

from strangler.domain.exchange import BodyReader, ClientGone
from strangler.front.response import CONTINUE

HELD = 256 * 1024
"""Bytes that may wait for the handler before the client has to."""


class Source(Protocol):
    """Where the body comes from."""

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        ...

    def pause_reading(self) -> None:
        """Let the client wait."""
        ...

    def resume_reading(self) -> None:
        """Go on."""
        ...

    def watch(self, timeout: float | None) -> None:
        """Set the deadline, seconds from now."""
        ...


class NoBody:
    """The body of a request without one."""

    async def read(self) -> bytes:
        """The end."""
        return b""


NO_BODY: BodyReader = NoBody()


class RequestBody:
    """See `strangler.domain.exchange.BodyReader`.

    Args:
        idle_timeout: seconds that a read waits at most; None: reading leaves the deadline of the source alone.
    """

    def __init__(self, source: Source, idle_timeout: float | None, *, expected: bool) -> None:
        self._source = source
        self._idle_timeout = idle_timeout
        self._expected = expected  # the client waits for "100 Continue"
        self._pieces: list[bytes] = []
        self._held = 0
        self._complete = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def awaited(self) -> bool:
        """Whether the handler waits for the client."""
        return self._waiter is not None

    @property
    def complete(self) -> bool:
        """Whether all of it has arrived."""
        return self._complete

    @property
    def error(self) -> Exception | None:
        """Why nothing more comes, if nothing does though it is not complete."""
        return self._error

    @property
    def still_expected(self) -> bool:
        """Whether the client still waits for "100 Continue"."""
        return self._expected

    def put(self, data: bytes, complete: bool) -> None:
        """More has arrived."""
        self._complete = complete
        if data:
            self._expected = False
            self._pieces.append(data)
            self._held += len(data)
            if self._held > HELD:
                self._source.pause_reading()
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more comes."""
        self._error = error
        self._wake()

    def take(self) -> bytes:
        """What has arrived and was not read."""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return data

    async def read(self) -> bytes:
        """See `strangler.domain.exchange.BodyReader`."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._complete:
                return b""
            await self._arrival()
        return self.take()

    async def _arrival(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("the body of a request has one reader")
        if self._expected:
            self._expected = False
            self._source.write(CONTINUE)
        self._source.resume_reading()
        if self._idle_timeout is not None:
            self._source.watch(self._idle_timeout)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self._idle_timeout is not None:
                self._source.watch(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def gone() -> ClientGone:
    """The client left in the middle of its body."""
    return ClientGone("the client closed the connection before the end of the body")
