"""``GET R/{id}/result``: what the synchronous client would have got, or why there is nothing of the kind."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urljoin

from strangler.domain.errors import InternalError
from strangler.domain.exchange import CHUNK_SIZE, Answer, Body, Header, Headers, RecordedReply, Request, joined_fields
from strangler.domain.problem import SOURCE, problem
from strangler.domain.process import Process, State
from strangler.engine.document import process_url
from strangler.engine.queries import Queries
from strangler.engine.recorder import reply_part
from strangler.gateway.conditional import Span, Whole, not_modified, span
from strangler.ports import Bodies

LEFT_TO_THE_FRONT = frozenset({b"content-length", b"transfer-encoding", b"trailer"})
"""Fields of a recorded reply that are not replayed: the front frames the body, and trailers are not recorded."""

OURS_ALONE = frozenset({b"strangler-process", b"strangler-status"})
"""Fields by which we tell of the process: of a legacy system that is behind a Strangler itself they tell of another."""

_LEFT_OUT = (
    LEFT_TO_THE_FRONT
    | OURS_ALONE
    | {
        b"set-cookie",  # meant for the client of that call, at that time
        b"age",
        b"expires",
        b"cache-control",
    }
)
_OF_304 = frozenset({b"etag", b"last-modified", b"content-location", b"date", b"vary"})  # RFC 9110 section 15.4.5
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")
_NOT_STORED: Header = (b"Cache-Control", b"private, no-store")
_AS_200 = (202, 304)
"""They would say something of this request that was said of another one."""


class Results:
    """Answers with recorded replies."""

    def __init__(self, queries: Queries, bodies: Bodies) -> None:
        self._queries = queries
        self._bodies = bodies

    async def answer(self, request: Request, process: Process) -> Answer:
        """The answer to a GET or HEAD for the result of a final process."""
        recorded = await self._queries.reply(process.id) if process.has_result else None
        if recorded is None or not recorded[1].body.kept:
            return no_reply(process)
        attempt, reply = recorded
        fields = joined_fields(reply.headers)
        headers = await self._headers(process, reply)
        tag, modified = fields.get(b"etag"), fields.get(b"last-modified")
        if reply.status == 200:
            if not_modified(request, tag, modified):
                return Answer(304, [header for header in headers if header[0].lower() in _OF_304 | _OURS])
            part = span(request, reply.body.size, tag, modified)
            if part is Whole.UNSATISFIABLE:
                return _unsatisfiable(process, reply.body.size)
            if isinstance(part, Span):
                headers.append((b"Content-Range", b"bytes %d-%d/%d" % (part.first, part.last, reply.body.size)))
                return self._part(process, attempt, reply, headers, part)
        status, reason = (200, b"") if reply.status in _AS_200 else (reply.status, reply.reason)
        if reply.body.data is not None:
            return Answer(status, headers, reply.body.data, reason=reason)
        whole = self._chunks(process.id, attempt, reply.body, Span(0, reply.body.size - 1))
        return Answer(status, headers, whole, reply.body.size, reason)

    async def _headers(self, process: Process, reply: RecordedReply) -> list[Header]:
        """The legacy headers as they may be told again, and ours."""
        headers = [header for header in reply.headers if header[0].lower() not in _LEFT_OUT]
        if any(_is_relative(header) for header in headers):
            request = await self._queries.request(process.id)
            if request is not None:
                headers = absolute_locations(headers, process.base, request.target)
        headers.append(_NOT_STORED)
        headers.append((b"Strangler-Process", process_url(process).encode()))
        if reply.status in _AS_200:
            headers.append((b"Strangler-Status", b"%d" % reply.status))
        return headers

    def _part(self, process: Process, attempt: int, reply: RecordedReply, headers: list[Header], part: Span) -> Answer:
        if reply.body.data is not None:
            return Answer(206, headers, reply.body.data[part.first : part.last + 1])
        body = self._chunks(process.id, attempt, reply.body, part)
        return Answer(206, headers, body, part.last - part.first + 1)

    async def _chunks(self, process_id: str, attempt: int, body: Body, part: Span) -> AsyncIterator[bytes]:
        """The bytes of a part of a body, chunk by chunk."""
        for index in range(part.first // CHUNK_SIZE, part.last // CHUNK_SIZE + 1):
            try:
                chunk = await self._bodies.read_chunk(process_id, reply_part(attempt), index)
            except KeyError:
                raise InternalError(f"chunk {index} of {body.chunks} of the reply to {process_id} is gone") from None
            begin = index * CHUNK_SIZE
            yield chunk[max(0, part.first - begin) : part.last + 1 - begin]


def not_ready(process: Process, retry_after: int) -> Answer:
    """The answer while the process is not final."""
    return _problem(process, "result-not-ready", "the process has not come to its end", retry_after)


def no_reply(process: Process) -> Answer:
    """The answer for a final process of which no reply of the legacy system is kept."""
    if process.result_kept:
        return _problem(process, "no-longer-kept", "the reply is past its retention; its status is still known")
    if process.has_result:
        return _problem(process, "result-too-large", "the legacy system's reply was larger than this route keeps")
    match process.state:
        case State.COMPLETED | State.REJECTED:
            return Answer(204, [_NOT_STORED, (b"Strangler-Process", process_url(process).encode()), SOURCE])
        case State.EXPIRED:
            return _problem(process, "expired", "its deadline passed before it could be sent; nothing was sent")
        case State.CANCELLED:
            return _problem(process, "cancelled", "it was cancelled before it was sent")
        case State.FAILED:
            detail = f"there is no reply of the legacy system: {process.reason or 'it failed'}"
            name = "upstream-timeout" if process.reason == "upstream-timeout" else "upstream-failed"
            return _problem(process, name, detail)
        case _:
            raise InternalError(f"{process.id} is not final")


def absolute_locations(headers: Headers, base: str, target: bytes) -> list[Header]:
    """The headers with a relative Location or Content-Location resolved against the URL of the original request."""
    url = base + target.decode("latin-1")
    return [(name, _absolute(url, value)) if _is_relative((name, value)) else (name, value) for name, value in headers]


def _absolute(url: str, value: bytes) -> bytes:
    try:
        return urljoin(url, value.decode("latin-1")).encode("latin-1")
    except ValueError:
        return value  # it is no reference: the client gets what the legacy system said


def _is_relative(header: Header) -> bool:
    return header[0].lower() in (b"location", b"content-location") and _SCHEME.match(header[1]) is None


_OURS = frozenset({b"cache-control", b"strangler-process"})


def _problem(process: Process, name: str, detail: str, retry_after: int | None = None) -> Answer:
    url = process_url(process)
    return problem(
        name,
        detail,
        instance=f"{url}/result",
        retry_after=retry_after,
        correlation_id=process.correlation_id,
        process=url,
        effect=process.effect,
    )


def _unsatisfiable(process: Process, length: int) -> Answer:
    return Answer(
        416,
        [
            (b"Content-Range", b"bytes */%d" % length),
            _NOT_STORED,
            (b"Strangler-Process", process_url(process).encode()),
            SOURCE,
        ],
    )
