"""A request that was begun without a task: its answer is told."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from strangler.domain.exchange import Answer, Request
from strangler.front.body import RequestBody
from strangler.front.handling import Handling, defect
from strangler.ports import Begin, Handle, Said
from strangler.wire.malformed import Malformed
from strangler.wire.request_head import RequestHead

if TYPE_CHECKING:
    from strangler.front.connection import ClientConnection


class Promised:
    """Waits for what is said to a client, see `strangler.ports.Begin` and `strangler.front.exchange.Exchange`."""

    def __init__(
        self, connection: ClientConnection, head: RequestHead, request: Request, handle: Handle, content: bytes
    ) -> None:
        self._connection = connection
        self._head = head
        self._request = request
        self._handle = handle
        self._content = content
        self._left = False
        self._started = monotonic()

    def begin(self, begin: Begin) -> bool:
        """Whether it was begun."""
        try:
            return begin(self._request, self._content, self._told)
        except Exception as error:
            self._left = True  # nothing else is said to it
            self._connection.answer(self._defect(error))
            return True

    def _told(self, said: Said) -> None:
        if self._left:
            return
        connection, handle = self._connection, self._handle
        try:
            verdict = said()
        except Exception as error:
            verdict = self._defect(error)
        if isinstance(verdict, Answer):
            connection.answer(verdict)
            return
        handling = Handling(connection, self._head, self._request, handle._replace(respond=verdict))
        body = RequestBody(connection, connection.desk.settings.body_idle_timeout, expected=False)
        body.put(self._content, True)
        connection.hand_over(handling)
        handling.start(body)

    def _defect(self, error: Exception) -> Answer:
        instrument, seconds = self._connection.desk.instrument, monotonic() - self._started
        return defect(instrument, self._request, self._handle.route, seconds, error)

    # What the connection tells.

    def body(self, data: bytes, complete: bool) -> None:
        """All of it was there at the beginning."""

    def broken(self, malformed: Malformed) -> None:
        """Likewise."""

    def left(self) -> None:
        """The client is gone: what was begun goes on."""
        self._left = True

    def overdue(self) -> None:
        """No deadline is set."""

    def client_congested(self) -> None:
        """The client is slow to read."""

    def client_ready(self) -> None:
        """There is room again."""

    def client_ended(self) -> bool:
        """The client sends nothing more: taken for leaving."""
        return False
