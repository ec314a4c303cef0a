"""The worker's end: a connection to the process that owns the store, made again whenever it breaks.

What was sent and not answered when it breaks is sent again, in its order, to whoever owns the store next; nobody is
told that something was not written while it may have been. What is asked while there is no connection is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from strangler.domain.errors import InternalError, StoreUnavailable
from strangler.store.remote.frames import Frames, Message, frame

_AGAIN = 0.02  # seconds between two tries to connect
_ONCE_MORE = 0.2  # seconds until it is looked once more what an answer comes to

Settle = Callable[[Any, bool], Any]
"""From the value that came back, and whether the question was sent more than once, to what was asked for. While it
raises `StoreUnavailable` it is asked once more."""


class _Question:
    __slots__ = ("future", "message", "sent", "settle")

    def __init__(self, message: Message, future: asyncio.Future[Any], settle: Settle) -> None:
        self.message = message
        self.future = future
        self.settle = settle
        self.sent = 0  # times


class Link(asyncio.Protocol):
    """The connection. Made on a running loop, where it begins to connect.

    Args:
        path: of the socket.
        hello: what is said first on each connection.
        on_message: told whatever is no answer.
        on_down: told when a connection breaks.
    """

    def __init__(
        self,
        path: str,
        hello: Callable[[], Sequence[Message]],
        on_message: Callable[[Message], None],
        on_down: Callable[[], None],
    ) -> None:
        self._path = path
        self._hello = hello
        self._on_message = on_message
        self._on_down = on_down
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None  # once somebody has said a word
        self._frames = Frames()
        self._questions: dict[int, _Question] = {}
        self._number = 0
        self._outgoing: list[Message] = []
        self._been_up = False
        self._closed = False
        self._lost = asyncio.Event()
        self._answered = asyncio.Event()
        self._task = self._loop.create_task(self._keep())

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._transport is not None

    def ask(self, kind: str, *values: Any, settle: Settle = lambda value, again: value) -> asyncio.Future[Any]:
        """Ask for something. The future raises `StoreUnavailable` where it surely was not done."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed or (self._been_up and self._transport is None):
            future.set_exception(StoreUnavailable("the process that owns the store is away"))
            return future
        self._number += 1
        question = _Question((kind, self._number, *values), future, settle)
        self._questions[self._number] = question
        if self._transport is not None:
            self._send(question.message)
            question.sent += 1
        return future

    def tell(self, *message: Any) -> None:
        """Say something that has no answer; while there is no connection it is lost."""
        if self._transport is not None:
            self._send(message)

    async def close(self, patience: float = 5.0) -> None:
        """Ask nothing more; wait for the answers that are due, so many seconds at most, then leave."""
        self._closed = True
        try:
            async with asyncio.timeout(patience):
                while self._questions:
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            pass
        self._flush()
        self._task.cancel()
        if self._connected is not None:
            self._connected.close()
        for question in self._questions.values():
            if not question.future.done():
                question.future.set_exception(StoreUnavailable("the process that owns the store did not answer"))
        self._questions.clear()

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody listens; whether somebody owns the store is known when the first word comes."""
        self._connected = cast(asyncio.Transport, transport)
        self._frames = Frames()

    def _greeted(self) -> None:
        """There is somebody who owns the store."""
        self._transport = self._connected
        self._been_up = True
        self._outgoing = [*self._hello()]
        for question in self._questions.values():
            self._outgoing.append(question.message)
            question.sent += 1
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Answers, and whatever else there is to say."""
        for message in self._frames.feed(data):
            if message[0] == "done":
                self._settle(*message[1:])
            elif message[0] == "failed":
                self._fail(*message[1:])
            elif message[0] == "welcome":
                self._greeted()
            else:
                self._on_message(message)
        if not self._questions:
            self._answered.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever owned the store is gone."""
        was_up, self._transport, self._connected = self.up, None, None
        self._outgoing = []
        self._lost.set()
        if was_up and not self._closed:
            self._on_down()

    # Inside.

    def _settle(self, number: int, value: Any) -> None:
        question = self._questions.get(number)
        if question is None or self._settled(question, value):
            self._questions.pop(number, None)
        else:
            self._loop.call_later(_ONCE_MORE, self._settle_again, number, value)

    def _settle_again(self, number: int, value: Any) -> None:
        self._settle(number, value)
        if not self._questions:
            self._answered.set()

    def _settled(self, question: _Question, value: Any) -> bool:
        """Whether who asked was told; False: it cannot be judged now what the answer comes to."""
        if question.future.done():
            return True  # who asked was cancelled
        try:
            question.future.set_result(question.settle(value, question.sent > 1))
        except StoreUnavailable:
            return False  # it may have been written: that nobody can look is no answer
        except Exception as error:
            question.future.set_exception(error)
        return True

    def _fail(self, number: int, kind: str, reason: str) -> None:
        question = self._questions.pop(number, None)
        if question is not None and not (future := question.future).done():
            future.set_exception(StoreUnavailable(reason) if kind == "unavailable" else InternalError(reason))

    def _send(self, message: Message) -> None:
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(message)

    def _flush(self) -> None:
        """All that was said in one turn of the loop goes out as one frame."""
        if self._outgoing and self._transport is not None:
            self._transport.write(frame(self._outgoing))
        self._outgoing = []

    async def _keep(self) -> None:
        while not self._closed:
            self._lost.clear()
            try:
                await self._loop.create_unix_connection(lambda: self, self._path)
            except OSError:
                await asyncio.sleep(_AGAIN)
            else:
                await self._lost.wait()
