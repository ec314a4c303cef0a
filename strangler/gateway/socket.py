"""WebSocket (RFC 6455): the messages of a process's stream as JSON, and the wish to cancel it.

The front did the parsing and keeps the connection; wsproto reads and writes frames, without I/O of its own. No
extension is agreed to: the messages are small, and compression costs a window of memory on each connection, and lets a
client send bombs.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Answer, Channel, Header, Request
from strangler.domain.problem import SOURCE, problem
from strangler.engine.streams import Streams
from strangler.gateway.events import Render
from strangler.gateway.reading import Read

PING = 20.0
"""Seconds between two pings. Who lets one pass without a byte until the next is gone."""

LARGEST = 4096
"""Characters of a message of a client."""

PATIENCE = 5.0
"""Seconds that a client has to answer a close, as long as a front lingers."""

_KEY_SIZE = 16
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

Cancel = Callable[[], Awaitable[Answer | None]]
"""Cancels the process; the problem that stands in the way, or None."""


def handshake(request: Request) -> list[Header] | Answer:
    """The header fields that accept an opening handshake (RFC 6455 section 4.2), or what is wrong with it. A request
    of HTTP/1.0 is none: its Upgrade is ignored (RFC 9110 section 7.8)."""
    tokens = [token.strip() for token in (request.field(b"connection") or b"").lower().split(b",")]
    upgrades = [token.strip() for token in (request.field(b"upgrade") or b"").lower().split(b",")]
    asked = b"upgrade" in tokens and b"websocket" in upgrades and not request.old
    if request.method != "GET" or not asked or request.has_body:
        return problem("bad-request", "this is a WebSocket; ask for it with Upgrade: websocket")
    if request.field(b"sec-websocket-version") != b"13":
        return problem("bad-request", "the version spoken here is 13", headers=[(b"Sec-WebSocket-Version", b"13")])
    key = request.field(b"sec-websocket-key") or b""
    try:
        sound = len(b64decode(key, validate=True)) == _KEY_SIZE
    except binascii.Error:
        sound = False
    if not sound:
        return problem("bad-request", "Sec-WebSocket-Key is not 16 bytes in base64")
    accept = b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return [(b"Sec-WebSocket-Accept", accept), SOURCE]


class Socket:
    """One conversation: one task tells, this one listens. Ends when either is over."""

    def __init__(self, channel: Channel, streams: Streams, read: Read, render: Render, cancel: Cancel) -> None:
        self._channel = channel
        self._streams = streams
        self._read = read
        self._render = render
        self._cancel = cancel
        self._frames = Connection(ConnectionType.SERVER)
        self._heard = True  # since the last ping
        self._message = ""

    async def converse(self) -> None:
        """Until the end."""
        telling = asyncio.get_running_loop().create_task(self._tell())
        try:
            await self._listen(telling)
        finally:
            telling.cancel()
            await asyncio.wait((telling,))
        if not telling.cancelled():
            telling.result()  # what went wrong there is a defect, to be told as one

    # Telling.

    async def _tell(self) -> None:
        try:
            await self._close(await self._tell_changes())
        except StoreUnavailable:
            await self._close(CloseReason.TRY_AGAIN_LATER)
        except BaseException:
            self._channel.hang_up()
            raise
        await asyncio.sleep(PATIENCE)
        self._channel.hang_up()

    async def _tell_changes(self) -> CloseReason | None:
        """Every change; returns with which code to close. None: nobody is there any more."""
        async with aclosing(self._streams.of_process(self._read.process, None, PING)) as batches:
            async for batch in batches:
                for index, process in enumerate(batch, 1):
                    kind = b"final" if process.final else b"state"
                    document = self._render(process, index == len(batch))
                    await self._text(b'{"type":"%b","process":%b}' % (kind, document))
                    if process.final:
                        return CloseReason.NORMAL_CLOSURE
                if not batch:
                    if not self._heard:
                        return None
                    self._heard = False
                    await self._send(Ping())
        return CloseReason.GOING_AWAY

    async def _text(self, message: bytes) -> None:
        # A lone surrogate is spelled by its escape in the document, so it is UTF-8 that can be decoded.
        await self._send(TextMessage(message.decode()))

    async def _close(self, reason: CloseReason | None, text: str | None = None) -> None:
        if reason is None:
            self._channel.hang_up()
        else:
            await self._send(CloseConnection(reason, text))

    async def _send(self, event: Event) -> None:
        """Send, unless the end was said already by either side."""
        if self._frames.state is ConnectionState.OPEN:
            await self._channel.write(self._frames.send(event))

    # Listening.

    async def _listen(self, telling: asyncio.Task[None]) -> None:
        while data := await self._channel.read():
            self._heard = True
            self._frames.receive_data(data)
            for event in self._frames.events():
                if await self._ended(event, telling):
                    return

    async def _ended(self, event: Event, telling: asyncio.Task[None]) -> bool:
        """Whether this event is the last one."""
        match event:
            case Ping():
                await self._send(event.response())
            case Pong():
                pass
            case CloseConnection():
                if self._frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                    # A breach of the protocol, or the client's close: both are answered with what the event says.
                    await self._channel.write(self._frames.send(event.response()))
                return True
            case TextMessage():
                return await self._refused(await self._hear(event), telling)
            case BytesMessage():
                return await self._refused((CloseReason.UNSUPPORTED_DATA, "messages are text"), telling)
        return False

    async def _refused(self, refusal: tuple[CloseReason, str] | None, telling: asyncio.Task[None]) -> bool:
        if refusal is None:
            return False
        telling.cancel()
        await self._close(*refusal)
        return True

    async def _hear(self, event: TextMessage) -> tuple[CloseReason, str] | None:
        """Take a piece of a message; with which code and words to close, or None."""
        self._message += event.data
        if len(self._message) > LARGEST:
            return CloseReason.MESSAGE_TOO_BIG, f"a message has at most {LARGEST} characters"
        if not event.message_finished:
            return None
        message, self._message = self._message, ""
        if _kind(message) != "cancel":
            return CloseReason.POLICY_VIOLATION, 'the only message is {"type": "cancel"}'
        refused = await self._cancel()
        if refused is not None:
            assert isinstance(refused.body, bytes)
            await self._text(b'{"type":"problem","problem":%b}' % refused.body)
        return None


def _kind(message: str) -> Any:
    """The ``type`` of a message; None where it is nothing of the kind."""
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return content.get("type") if isinstance(content, dict) else None
