"""A request that is ours: a handler answers it."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from strangler.domain.exchange import Answer, BadBody, BodyTimeout, ClientGone, PassOn, Request, Upgrade
from strangler.domain.problem import problem
from strangler.engine.instrument import Instrument
from strangler.front.answer_stream import AnswerStream
from strangler.front.body import RequestBody, gone
from strangler.front.channel import ClientChannel
from strangler.front.passage import Passage
from strangler.front.response import switching_protocols
from strangler.ports import Handle
from strangler.wire.malformed import Malformed
from strangler.wire.request_head import RequestHead

if TYPE_CHECKING:
    from strangler.front.connection import ClientConnection


class Handling:
    """Runs a handler in a task, and writes what it answers. See `strangler.front.exchange.Exchange`."""

    def __init__(self, connection: ClientConnection, head: RequestHead, request: Request, handle: Handle) -> None:
        self._connection = connection
        self._head = head
        self._request = request
        self._handle = handle
        self._body: RequestBody | None = None
        self._writer: AnswerStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._started = monotonic()

    def start(self, body: RequestBody | None) -> None:
        """Begin."""
        self._body = body
        if body is not None:
            self._request.body = body
        self._task = asyncio.get_running_loop().create_task(self._serve())

    # What the connection tells.

    def body(self, data: bytes, complete: bool) -> None:
        """More of the body."""
        assert self._body is not None
        self._body.put(data, complete)

    def broken(self, malformed: Malformed) -> None:
        """The framing of the body is broken."""
        assert self._body is not None
        self._body.fail(BadBody(malformed.detail))

    def left(self) -> None:
        """The client is gone: a read of the body says so, any other wait is cancelled."""
        if self._body is not None and self._body.awaited:
            self._body.fail(gone())
        elif self._task is not None and not self._task.done():
            if self._body is not None:
                self._body.fail(gone())
            self._connection.desk.keep(self._task)
            self._task.cancel()

    def overdue(self) -> None:
        """The client sends or reads nothing for too long."""
        if self._body is not None and self._body.awaited:
            self._body.fail(BodyTimeout("no byte of the body came for too long"))
        elif not (self._connection.congested and self._connection.takes()):
            self._connection.abandon()

    def client_congested(self) -> None:
        """The client is slow to read."""

    def client_ready(self) -> None:
        """There is room again."""
        if self._writer is not None:
            self._writer.client_ready()

    def client_ended(self) -> bool:
        """The client sends nothing more: taken for leaving."""
        return False

    # The task.

    async def _serve(self) -> None:
        verdict = await self._verdict()
        if verdict is None:
            self._connection.abort(reset=False)
        elif isinstance(verdict, PassOn):
            self._pass_on(verdict)
        elif isinstance(verdict, Upgrade):
            await self._converse(verdict)
        elif isinstance(verdict.body, bytes):
            self._connection.answer(verdict)
        else:
            await self._stream(verdict)

    async def _verdict(self) -> Answer | PassOn | Upgrade | None:
        try:
            return await self._handle.respond(self._request)
        except ClientGone:
            return None
        except Exception as error:
            instrument, seconds = self._connection.desk.instrument, monotonic() - self._started
            return defect(instrument, self._request, self._handle.route, seconds, error)

    def _pass_on(self, verdict: PassOn) -> None:
        body = self._body
        if body is not None and isinstance(body.error, BadBody):
            # It broke while nobody read it. What came of it before is no request that anybody made.
            self._connection.refuse(Malformed("bad-request", str(body.error)))
            return
        way = self._handle.passthrough
        assert way is not None, "a handler that passes on says where to"
        passage = Passage(self._connection, self._head, way, started=self._started)
        self._connection.hand_over(passage)
        if body is None:
            passage.start(b"", True)
            return
        content = b"".join((*verdict.read, body.take()))
        passage.start_decoded(content, body.complete, expect=body.still_expected)

    async def _stream(self, answer: Answer) -> None:
        self._writer = AnswerStream(self._connection, self._head, answer)
        await self._writer.run()

    async def _converse(self, verdict: Upgrade) -> None:
        connection, task = self._connection, self._task
        assert task is not None, "this runs in it"
        connection.write(switching_protocols(verdict))
        channel = ClientChannel(connection, task)
        connection.begin_tunnel(channel)
        try:
            await verdict.converse(channel)
        except Exception as error:
            connection.desk.instrument.failed("front", error)
            connection.abort(reset=True)
            return
        connection.end(keep=False)


def defect(instrument: Instrument, request: Request, route: str, seconds: float, error: Exception) -> Answer:
    """What a client gets whose handler failed after ``seconds``: told, counted, and with a line of the access log."""
    code = "internal-error"
    answer = problem(code, "The request could not be answered.")
    instrument.failed("front", error)
    instrument.refused(route, code)
    if instrument.access_log != "none":
        instrument.answered(request, route, answer.status, seconds, decision="front", code=code)
    return answer
