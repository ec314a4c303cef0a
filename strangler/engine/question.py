"""Questions to the upstream that change nothing: what goes out, and its answer as conditions look at it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from strangler.domain.exchange import CHUNK_SIZE, Body, Header, Headers, RecordedRequest
from strangler.domain.process import Process
from strangler.engine.means import Means
from strangler.engine.outgoing import set_header, upstream_headers
from strangler.engine.recorder import LiveReply, Recorder
from strangler.policy.documents import Read, read_body, reply_values
from strangler.policy.formula import Compiled
from strangler.policy.measure import Document
from strangler.policy.model import Route
from strangler.policy.readable import Unparsable
from strangler.policy.wall import Source
from strangler.ports import Outgoing

# Of the request that began it, these speak of its own body, key or wishes.
_NOT_OF_A_QUESTION = frozenset({b"expect", b"origin", b"prefer", b"range", b"te", b"transfer-encoding"})
_NOT_OF_A_QUESTION_BEGIN = (b"content-", b"if-")

_NOTHING = Body(0, hashlib.sha256(b"").digest(), b"")


def question(target: str, headers: Headers, method: str = "GET") -> Outgoing:
    """A request without a body."""
    return Outgoing(method, target.encode(), headers, _NOTHING, _nothing_to_read)


def headers_for(
    process: Process, request: RecordedRequest, route: Route, span: str, further: Sequence[tuple[str, str]]
) -> list[Header]:
    """The fields of a question: those of the request that began it, as far as they are about who asks and how.

    ``span``: the name of the span that sends it, see `tracing.child`.
    """
    keys = {name.lower().encode() for name in route.accept.idempotency.headers}
    if route.call.forward_idempotency_key is not None:
        keys.add(route.call.forward_idempotency_key.lower().encode())
    headers: list[Header] = [
        (name, value)
        for name, value in upstream_headers(process, request, route, span)
        if (lower := name.lower()) not in _NOT_OF_A_QUESTION
        and lower not in keys
        and not lower.startswith(_NOT_OF_A_QUESTION_BEGIN)
    ]
    return readable(headers, further)


def readable(headers: list[Header], further: Sequence[tuple[str, str]]) -> list[Header]:
    """These fields and further ones. An answer is looked into, so it has to come in plain bytes."""
    headers = set_header(headers, b"Accept-Encoding", b"identity")
    for name, value in further:
        headers = set_header(headers, name.encode(), value.encode())
    return headers


def source_of(means: Means, process: Process) -> Source:
    """How the upstream's replies are read, as it was promised."""
    promise = means.promise_of(process.promise)
    return promise.wall.wall.reply_source if promise is not None and promise.wall is not None else Source()


class Answer:
    """An answer of the upstream, as a condition looks at it. ``asked``: what hooks are told of the request, too."""

    def __init__(
        self, status: int, headers: Headers, data: bytes | None, source: Source, asked: Mapping[str, Any] | None = None
    ) -> None:
        self.status, self.headers = status, headers
        self._data = data
        self._source = source
        self._asked = asked or {}
        self._read_before: tuple[Read, Document] | None = None

    def over_body(self, formula: Compiled) -> object:
        """See `LooksAt.over_body`. A hook is given the answer as ``reply``."""
        read, body = self._read()
        if formula.is_hook:
            return formula.value({**self._asked, "reply": reply_values(self.status, self.headers, read)})
        return formula.value(body)

    def values(self) -> dict[str, Any]:
        """The request and this answer as expressions see them.

        Raises:
            Unparsable: the body cannot be read.
        """
        return {**self._asked, "reply": reply_values(self.status, self.headers, self._read()[0])}

    def document(self) -> object:
        """The value of the body; None: there is none that can be read."""
        try:
            return self._read()[0].body
        except Unparsable:
            return None

    def _read(self) -> tuple[Read, Document]:
        """The body as it is read, once however many conditions look into it, and measured."""
        if self._read_before is None:
            if self._data is None:
                raise Unparsable("it is too large for an answer")
            read = read_body(self._data, self.headers, self._source)
            self._read_before = read, read.document()
        return self._read_before


async def short_body(recorder: Recorder) -> bytes | None:
    """The body of an answer; None: it is longer than what tells how far something is."""
    return await recorder.first_bytes() if not recorder.too_large and recorder.size <= CHUNK_SIZE else None


async def nobody_waits_for_it(_: Recorder) -> LiveReply | None:
    """An answer too large to keep is judged by its status, and dropped."""
    return None


async def _nothing_to_read(_: int) -> bytes:
    return b""
