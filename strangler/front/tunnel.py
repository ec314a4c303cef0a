"""An upgraded connection: bytes both ways, as they come, each half closed on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from strangler.ports import Failure, Link
from strangler.wire.malformed import Malformed
from strangler.wire.reply_head import ReplyHead

if TYPE_CHECKING:
    from strangler.front.connection import ClientConnection


class Tunnel:
    """An `Exchange` towards the client and a `Receiver` towards the upstream."""

    def __init__(self, connection: ClientConnection, link: Link, timeout: float, count: Callable[[], None]) -> None:
        self._connection = connection
        self._link = link
        self._timeout = timeout
        self._count = count
        self._client_ended = False
        connection.watch(timeout)

    # What the connection tells.

    def body(self, data: bytes, complete: bool) -> None:
        """Bytes of the client."""
        self._link.write(data)
        if self._link.congested:
            self._connection.pause_reading()
        self._connection.watch(self._timeout)

    def client_ended(self) -> bool:
        """The client sends nothing more; the upstream may go on."""
        self._client_ended = True
        self._link.write_eof()
        return True

    def left(self) -> None:
        """The client is gone."""
        self._link.abort()
        self._count()

    def overdue(self) -> None:
        """Nothing moved for too long."""
        if not (self._connection.congested and self._connection.takes()):
            self._connection.abandon()

    def broken(self, malformed: Malformed) -> None:
        """There is no framing to break."""

    def client_congested(self) -> None:
        """The client is slow to read."""
        self._link.pause_reading()

    def client_ready(self) -> None:
        """There is room again."""
        self._link.resume_reading()
        self._connection.watch(self._timeout)  # no more by what it takes

    # What the link tells.

    def data(self, data: bytes, complete: bool) -> None:
        """Bytes of the upstream."""
        self._connection.write(data)
        if self._connection.congested:
            self._connection.outlast(self._timeout)
        else:
            self._connection.watch(self._timeout)

    def ended(self) -> None:
        """The upstream sends nothing more; the client may go on."""
        if self._client_ended:
            self._link.write_eof()  # both halves are closed: this closes the link, and `lost` ends the tunnel
        else:
            self._connection.write_eof()

    def lost(self, failure: Failure | None) -> None:
        """The link is closed."""
        self._count()
        if failure is None:
            self._connection.end(keep=False)
        else:
            self._connection.abort(reset=True)

    def pause_writing(self) -> None:
        """The upstream is slow to read."""
        self._connection.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self._connection.resume_reading()

    def interim(self, head: ReplyHead) -> None:
        """There are no replies."""

    def reply(self, head: ReplyHead, body: bytes, complete: bool) -> None:
        """There are no replies."""
