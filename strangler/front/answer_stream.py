"""An answer whose body comes piece by piece, written as fast as the client reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from strangler.domain.exchange import Answer
from strangler.domain.last_piece import LastPiece
from strangler.front.response import Response, respond
from strangler.front.room import Room
from strangler.wire.body import chunk, last_chunk
from strangler.wire.request_head import RequestHead

if TYPE_CHECKING:
    from strangler.front.connection import ClientConnection


class AnswerStream:
    """Writes one such answer."""

    def __init__(self, connection: ClientConnection, head: RequestHead, answer: Answer) -> None:
        assert not isinstance(answer.body, bytes)
        self._connection = connection
        self._length = answer.length
        self._body: AsyncIterator[bytes] = answer.body
        self._sent = 0
        self._room = Room(connection)
        keep, date = connection.keeps(head), connection.desk.date()
        self._response: Response = respond(
            answer, to_head=head.method == "HEAD", old=head.fields.old, keep=keep, date=date
        )

    async def run(self) -> None:
        """Write all of it, and end the exchange. A body that breaks off is broken off for the client too."""
        self._connection.write(self._response.head)
        try:
            if not self._response.bodiless:
                await self._pump()
        except Exception as error:
            if not isinstance(error, ConnectionError):
                self._connection.desk.instrument.failed("front", error)
            self._connection.abort(reset=True)
            return
        finally:
            close = getattr(self._body, "aclose", None)
            if close is not None:
                await close()
        self._connection.end(keep=self._response.keep)

    def client_ready(self) -> None:
        """There is room again."""
        self._room.open()

    async def _pump(self) -> None:
        connection, chunked = self._connection, self._response.chunked
        async for piece in self._body:
            if not piece:
                continue
            self._sent += len(piece)
            if self._length is not None and self._sent > self._length:
                raise ValueError("the body of an answer is longer than its length")
            if chunked and isinstance(piece, LastPiece):
                connection.write(chunk(piece) + last_chunk())
                return
            connection.write(chunk(piece) if chunked else piece)
            await self._room.wait()
        if self._length is not None and self._sent < self._length:
            raise ValueError("the body of an answer is shorter than its length")
        if chunked:
            connection.write(last_chunk())
