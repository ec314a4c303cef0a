"""Taking a request in: its body while it arrives, its correlation id, and the form in which it is recorded."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from strangler.domain import tracing
from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, Body, BodyTimeout, Header, RecordedRequest, Request
from strangler.engine.outgoing import REQUEST_PART
from strangler.policy import prefer
from strangler.policy.forwarding import forwarding_fields, owned, read_by_cgi
from strangler.policy.model import Route
from strangler.policy.upstreams import Forward
from strangler.ports import LONGEST_UPLOAD, Bodies, Ids
from strangler.wire.fields import HOP_BY_HOP, nominated

_EMPTY = Body(0, hashlib.sha256(b"").digest(), b"")

_CORRELATION = re.compile(rb"[\x21-\x7e]{1,200}")

_ALWAYS_CREDENTIALS = frozenset({b"authorization", b"cookie"})
_REPLACED = frozenset({b"content-length", b"expect", b"trailer", b"x-correlation-id", b"traceparent", b"tracestate"})


class KnownAs(NamedTuple):
    """By what a request is known on its way from here on."""

    correlation_id: str
    trace: str  # the traceparent of our span of its acceptance
    trace_state: str | None  # the tracestate to hand on


class TooLarge(NamedTuple):
    """The body is longer than may be recorded."""


async def read_body(
    request: Request, bodies: Bodies | None, process_id: str, limit: int, pieces: list[bytes] | None
) -> Body | TooLarge:
    """Read the whole body, and store it chunk by chunk where it is longer than one.

    ``bodies``: where; None: it is only looked at, and all of it is held in memory.
    ``pieces`` is given what was read, as it is read, so that the request can still be passed on; None: it never is.
    What stands in it already was read before.

    Raises:
        ClientGone, BodyTimeout, BadBody: see `BodyReader`; what was stored is discarded.
        StoreUnavailable: a chunk could not be stored.
    """
    if not request.has_body:
        return _EMPTY
    intake = _Intake(bodies, process_id)
    try:
        data = b"".join(pieces or ()) or await request.body.read()
        if pieces:
            pieces.clear()
        if len(data) == request.content_length and len(data) <= min(limit, CHUNK_SIZE):
            # All of it is there at once, as for nearly every request.
            if pieces is not None:
                pieces.append(data)
            return Body(len(data), hashlib.sha256(data).digest(), data)
        async with asyncio.timeout(LONGEST_UPLOAD):
            while data:
                if pieces is not None:
                    pieces.append(data)
                if intake.size + len(data) > limit:
                    await intake.discard()
                    return TooLarge()
                await intake.take(data)
                data = await request.body.read()
        return await intake.finish()
    except TimeoutError:
        await intake.discard()
        raise BodyTimeout(f"the body took more than {LONGEST_UPLOAD / 3600:g} hours to arrive") from None
    except BaseException:
        await intake.discard()
        raise


class _Intake:
    """A body that arrives: the first chunk in memory, and from the second on all of it in the store, if any."""

    def __init__(self, bodies: Bodies | None, process_id: str) -> None:
        self.size = 0
        self._bodies = bodies
        self._process_id = process_id
        self._digest = hashlib.sha256()
        self._pending: list[bytes] = []
        self._chunks = 0

    async def take(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)
        self._pending.append(data)
        if self._bodies is not None and self.size - self._chunks * CHUNK_SIZE > CHUNK_SIZE:
            await self._store_whole_chunks(self._bodies)

    async def finish(self) -> Body:
        data = b"".join(self._pending)
        if self._bodies is None or self._chunks == 0:
            return Body(self.size, self._digest.digest(), data)
        if data:
            await self._bodies.write_chunk(self._process_id, REQUEST_PART, self._chunks, data)
        return Body(self.size, self._digest.digest(), None)

    async def discard(self) -> None:
        if self._bodies is not None and self._chunks:
            await discard(self._bodies, self._process_id)

    async def _store_whole_chunks(self, bodies: Bodies) -> None:
        data = b"".join(self._pending)
        self._pending.clear()
        while len(data) > CHUNK_SIZE or (self._chunks and len(data) == CHUNK_SIZE):
            self._chunks += 1
            await bodies.write_chunk(self._process_id, REQUEST_PART, self._chunks - 1, data[:CHUNK_SIZE])
            data = data[CHUNK_SIZE:]
        if data:
            self._pending.append(data)


async def discard(bodies: Bodies, process_id: str) -> None:
    """Give up the chunks of a body that is not going to be recorded. Where the store cannot, it sweeps them some day:
    what is told of the request itself must not depend on it."""
    with suppress(StoreUnavailable):
        await bodies.discard_chunks(process_id, REQUEST_PART)


async def whole_body(body: Body, bodies: Bodies, process_id: str) -> bytes:
    """The bytes of a recorded body, read back where it lies in chunks."""
    if body.data is not None:
        return body.data
    return b"".join([await bodies.read_chunk(process_id, REQUEST_PART, index) for index in range(body.chunks)])


def correlation_id(request: Request) -> str | None:
    """The client's: ``X-Correlation-ID``, else ``X-Request-ID``, else the trace id of ``traceparent``."""
    fields = request.fields()
    for name in (b"x-correlation-id", b"x-request-id"):
        if name in fields and _CORRELATION.fullmatch(fields[name]):
            return fields[name].decode("ascii")
    span = tracing.parse(fields.get(b"traceparent"))
    return span.trace_id if span is not None else None


def names(request: Request, ids: Ids, now: int) -> KnownAs:
    """By what a request is going to be known: as its client says, or by new names."""
    fields, correlation = request.fields(), correlation_id(request)
    # Where both are new they are one: whoever searches for the one finds the other.
    known = correlation or ids.correlation_id(now)
    trace_id = known if correlation is None else ids.correlation_id(now)
    span, state = tracing.begin(fields.get(b"traceparent"), fields.get(b"tracestate"), trace_id, ids.span_id())
    return KnownAs(known, str(span), state)


def recorded(
    request: Request,
    body: Body,
    route: Route,
    known_as: KnownAs,
    honoured: Collection[str],
    *,
    trusted: bool,
) -> RecordedRequest:
    """The request as it is kept and sent from: end-to-end headers, forwarding fields set, preferences that we honoured
    taken out, credentials apart.
    """
    # One pass, because this is done for every acceptance.
    forward = route.upstream.forward
    sorting = _sorting(forward, route.access.identity)
    dropped, owned_by_us, secret, ours = sorting
    fields = request.fields()
    if b"connection" in fields:
        dropped = dropped | nominated(fields[b"connection"])
    plain: list[Header] = []
    credentials: list[tuple[int, bytes, bytes]] = []
    earlier: dict[bytes, bytes] = {}
    position = 0
    for name, value in prefer.without(request.headers, honoured) if honoured else request.headers:
        lower = name.lower()
        if lower in dropped:
            if lower in owned_by_us:
                earlier[lower] = earlier[lower] + b", " + value if lower in earlier else value
            continue
        if b"_" in lower and read_by_cgi(lower) in ours:
            continue
        if lower in secret:
            credentials.append((position, name, value))
        else:
            plain.append((name, value))
        position += 1
    host = fields.get(b"host", b"")
    plain += forwarding_fields(earlier, host, request.peer, forward, trusted=trusted, old=request.old)
    plain.append((b"X-Correlation-ID", known_as.correlation_id.encode("ascii")))
    plain.append((b"traceparent", known_as.trace.encode("ascii")))
    if known_as.trace_state is not None:
        plain.append((b"tracestate", known_as.trace_state.encode("ascii")))
    return RecordedRequest(request.method, request.target, tuple(plain), tuple(credentials), body)


class _Sorting(NamedTuple):
    """What becomes of a header by its lower-case name."""

    dropped: frozenset[bytes]
    owned: frozenset[bytes]  # of the dropped, those that are set anew
    secret: frozenset[bytes]
    ours: frozenset[bytes]  # all that are replaced, which a client may not spell in another way either


@lru_cache(maxsize=1024)
def _sorting(forward: Forward, identity: tuple[str, ...]) -> _Sorting:
    owned_by_us = owned(forward)
    ours = owned_by_us | _REPLACED
    headers = (source.partition(":") for source in identity)
    secret = {name.lower().encode() for kind, _, name in headers if kind == "header"}
    return _Sorting(HOP_BY_HOP | ours, owned_by_us, frozenset(secret) | _ALWAYS_CREDENTIALS, ours)
