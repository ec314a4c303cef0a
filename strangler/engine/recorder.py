"""Recording a reply while it arrives: the first chunk in memory, the rest in the store, `max_reply` at most."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, Body, Headers, RecordedReply, joined_field
from strangler.domain.steps import Result
from strangler.ports import Bodies

STORE_RETRY = 0.2
"""Seconds between two tries of what the store refused: a reply is not given up because the store cannot just now."""

Found = TypeVar("Found")


def reply_part(number: int) -> str:
    """The name of the part under which the chunks of a reply lie."""
    return f"reply-{number}"


class Original(NamedTuple):
    """A reply as it came."""

    status: int
    headers: Headers
    first_bytes: bytes  # at most one chunk


class Recorder:
    """A `ReplySink` that records one reply.

    Args:
        number: of the reply, see `domain.replies`; nobody else records under it.
    """

    def __init__(
        self,
        bodies: Bodies,
        process_id: str,
        number: int,
        max_reply: int,
        on_too_large: Callable[[Recorder], Awaitable[LiveReply | None]],
    ) -> None:
        self.status = 0
        self.reason = b""
        self.headers: Headers = ()
        self.size = 0
        self.too_large = False
        self._bodies = bodies
        self._process_id = process_id
        self.number = number
        self._part = reply_part(number)
        self._max = max_reply
        self._on_too_large = on_too_large
        self._digest: hashlib._Hash  # of the chunks that are cut off; begins with the first of them
        self._pending = bytearray()
        self._chunks = 0  # that are cut off, stored or not
        self._unstored: dict[int, bytes] = {}
        self._live: LiveReply | None = None
        self.original: Original | None = None
        """The reply as it came, once a translated one stands in its place."""

    def head(self, status: int, reason: bytes, headers: Headers) -> None:
        """Take the head of the reply."""
        self.status, self.reason, self.headers = status, reason, headers

    async def write(self, data: bytes) -> None:
        """Take the next bytes of its body."""
        self.size += len(data)
        if self.too_large:
            if self._live is not None:
                await self._live.put(data)
            return
        self._pending += data
        if self.size > self._max:
            await self._turn_live()
            return
        if self.size > CHUNK_SIZE:
            await self._cut()

    async def finish(self, held: Callable[[RecordedReply], None] | None = None) -> RecordedReply:
        """The whole reply as it is to be recorded, once the store has taken its chunks.

        Args:
            held: told the reply, with its whole body, where the store does not take them now.
        """
        if self.too_large:
            await self.close()
            return RecordedReply(self.status, self.reason, self.headers, Body(self.size, b"", None, kept=False))
        if self._chunks == 0:
            data = bytes(self._pending)
            digest = hashlib.sha256(data).digest()
            return RecordedReply(self.status, self.reason, self.headers, Body(self.size, digest, data))
        if self._pending:
            await self._store(bytes(self._pending))
            self._pending.clear()
        digest = self._digest.digest()
        if self._unstored and held is not None:
            held(RecordedReply(self.status, self.reason, self.headers, Body(self.size, digest, await self.whole())))
        while self._unstored:
            await asyncio.sleep(STORE_RETRY)
            await self._store_again()
        return RecordedReply(self.status, self.reason, self.headers, Body(self.size, digest, None))

    async def whole(self) -> bytes | None:
        """The whole body; None: it was too large to keep."""
        if self.too_large:
            return None
        parts = [await self._chunk(index) for index in range(self._chunks)]
        return b"".join((*parts, self._pending))

    async def put_in_place(self, status: int, headers: Headers, data: bytes | None) -> None:
        """Let a translated reply stand in the place of the one that came; ``data`` None: with the same body."""
        self.original = Original(self.status, self.headers, await self.first_bytes())
        if status != self.status:
            self.status, self.reason = status, b""
        self.headers = headers
        if data is None:
            return
        await self._forget()
        self._chunks, self.size = 0, len(data)
        self._pending += data
        if self.size > CHUNK_SIZE:
            await self._cut()

    async def close(self) -> None:
        """No more bytes come: a live reply ends."""
        if self._live is not None:
            await self._live.put(b"")

    async def break_off(self) -> None:
        """No more bytes come, though more should have: a live reply is broken off."""
        if self._live is not None:
            self._live.break_off()

    def result(self, *, arriving: bool = False) -> Result:
        """What the process row says of the reply; of one that still arrives, the length that its head declares."""
        media_type = joined_field(self.headers, b"content-type")
        return Result(
            self.status,
            media_type.decode("latin-1") if media_type is not None else None,
            declared_length(self.headers) if arriving else self.size,
            kept=not self.too_large,
        )

    async def first_bytes(self) -> bytes:
        """At most one chunk from the begin of the body, as evidence."""
        if self._chunks == 0:
            return bytes(self._pending[:CHUNK_SIZE])
        return await self._chunk(0)

    async def _chunk(self, index: int) -> bytes:
        if index in self._unstored:
            return self._unstored[index]
        return await _insist(lambda: self._bodies.read_chunk(self._process_id, self._part, index))

    async def _cut(self) -> None:
        while len(self._pending) >= CHUNK_SIZE:
            chunk = bytes(self._pending[:CHUNK_SIZE])
            del self._pending[:CHUNK_SIZE]
            await self._store(chunk)

    async def _store(self, chunk: bytes) -> None:
        index = self._chunks
        self._chunks += 1
        if index == 0:
            self._digest = hashlib.sha256()
        self._digest.update(chunk)
        try:
            await self._bodies.write_chunk(self._process_id, self._part, index, chunk)
        except StoreUnavailable:
            # The upstream goes on while the store cannot: held here, at most `max_reply` of it, and tried again.
            self._unstored[index] = chunk

    async def _store_again(self) -> None:
        for index, chunk in list(self._unstored.items()):
            try:
                await self._bodies.write_chunk(self._process_id, self._part, index, chunk)
            except StoreUnavailable:
                return
            del self._unstored[index]

    async def _turn_live(self) -> None:
        """It is larger than what is kept: from here on it goes to a waiter, or nowhere."""
        self.too_large = True
        self._live = await self._on_too_large(self)
        if self._live is None:
            await self._forget()
            return
        for index in range(self._chunks):
            await self._live.put(await self._chunk(index))
        await self._live.put(bytes(self._pending))
        await self._forget()

    async def _forget(self) -> None:
        self._pending.clear()
        self._unstored.clear()
        if self._chunks:
            await _insist(lambda: self._bodies.discard_chunks(self._process_id, self._part))


async def _insist(ask: Callable[[], Awaitable[Found]]) -> Found:
    """What the store answers, as soon as it does."""
    while True:
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(STORE_RETRY)


class LiveReply:
    """A reply on its way to the one waiter that takes it, a few pieces at a time."""

    _PIECES = 4

    def __init__(self, status: int, reason: bytes, headers: Headers) -> None:
        self.status, self.reason, self.headers = status, reason, headers
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(self._PIECES)
        self._abandoned = False
        self.taken = False

    def take(self) -> bool:
        """Claim it; only the first who asks gets it."""
        first, self.taken = not self.taken, True
        return first

    async def put(self, data: bytes) -> None:
        """Hand on the next bytes; ``b""`` is the end. Waits while the waiter is slow."""
        if not self._abandoned:
            await self._pieces.put(data)

    def break_off(self) -> None:
        """The upstream broke off."""
        self.abandon()
        self._pieces.put_nowait(None)

    def abandon(self) -> None:
        """Nobody waits any more: what comes goes nowhere, so that the upstream can end in peace."""
        self._abandoned = True
        while not self._pieces.empty():
            self._pieces.get_nowait()

    def __aiter__(self) -> LiveReply:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the body.

        Raises:
            ConnectionError: the upstream broke off.
        """
        data = await self._pieces.get()
        if data is None:
            raise ConnectionError("the upstream broke off in the middle of its reply")
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Whoever took it reads no more."""
        self.abandon()


def declared_length(headers: Headers) -> int | None:
    """The length of the body by the head of its reply, in bytes; None: the head does not say."""
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None
