"""The upstream is asked whether a client may (`access.authorize`), with the client's own credentials."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from strangler.domain import tracing
from strangler.domain.exchange import Answer, Body, Header, Headers, Peer, Request
from strangler.domain.problem import problem
from strangler.engine.instrument import Instrument
from strangler.policy.forwarding import forwarding_fields, owned
from strangler.policy.model import AuthorizePolicy
from strangler.policy.upstreams import Upstream
from strangler.ports import Clock, Ids, Outgoing, UpstreamCaller

TIMEOUT = 10.0
"""Seconds for a question, with its wait for a place."""

AT_ONCE = 16
"""Questions to one upstream at a time, of each worker: they are not to crowd out the calls that they are about."""

_MOST_ASKED = 1000  # questions under way or waiting
_MOST_KEPT = 10_000  # answers
_LARGEST = 64 * 1024  # bytes of a refusal that are passed on
_RETRY = 5  # seconds
_PURPOSE = b"strangler: who may, as the upstream said, 1"
_ALWAYS = frozenset({b"authorization", b"cookie"})
_PASSED_ON = frozenset({b"content-type", b"content-language", b"www-authenticate"})
_NOTHING = Body(0, hashlib.sha256(b"").digest(), b"")


class Barred(NamedTuple):
    """A client may not, or nobody can say."""

    name: str  # of the problem
    answer: Answer  # of ours, or the upstream's own


def undecided(detail: str) -> Barred:
    """Nobody can say now."""
    return Barred("authorization-unavailable", problem("authorization-unavailable", detail, retry_after=_RETRY))


_Refusal = Callable[[], Barred]
"""Makes one for each who waits: an answer is added to on its way to its client."""


class Authorizer:
    """Asks upstreams, and remembers for a while whom they let in: by a keyed hash, never by the credentials.

    Args:
        identity_key: of which the key of that hash is made.
        trusted: whether a peer's forwarding headers are believed.
    """

    def __init__(
        self,
        upstream: UpstreamCaller,
        clock: Clock,
        ids: Ids,
        instrument: Instrument,
        *,
        identity_key: bytes,
        trusted: Callable[[Peer], bool],
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._ids = ids
        self._instrument = instrument
        self._trusted = trusted
        self._key = hmac.digest(identity_key, _PURPOSE, "sha256")
        self._allowed: OrderedDict[bytes, float] = OrderedDict()  # until when, by whom and what
        self._asking: dict[bytes, asyncio.Task[_Refusal | None]] = {}
        self._places: dict[str, asyncio.Semaphore] = {}

    async def ask(
        self, policy: AuthorizePolicy, upstream: Upstream, identity: Sequence[str], request: Request, path: str
    ) -> Barred | None:
        """Ask at ``path`` for the client of a request; None: it may.

        Args:
            identity: sources of the client's identity; the headers among them go along.
        """
        target = f"{upstream.base_path}{path}".encode()
        credentials = _credentials(request, identity)
        key = self._hash(policy.method, target, upstream, request.field(b"host") or b"", credentials)
        if self._allowed.get(key, 0.0) > self._now():
            return None
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= _MOST_ASKED:
                return undecided("too many wait to be let in")
            question = Outgoing(policy.method, target, self._headers(request, upstream, credentials), _NOTHING, _none)
            asking = asyncio.get_running_loop().create_task(self._ask(question, upstream, key, policy.cache))
            self._asking[key] = asking
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        # Several wait for one answer; the client of one of them may leave.
        refusal = await asyncio.shield(asking)
        return refusal() if refusal is not None else None

    def close(self) -> None:
        """Ask no more."""
        for asking in list(self._asking.values()):
            asking.cancel()

    async def _ask(self, question: Outgoing, upstream: Upstream, key: bytes, cache: float) -> _Refusal | None:
        reply = _Reply()
        try:
            async with asyncio.timeout(TIMEOUT), self._places.setdefault(upstream.name, asyncio.Semaphore(AT_ONCE)):
                fault = await self._upstream.call(
                    upstream, question, reply, timeout=TIMEOUT, may_send=lambda: True, fresh=True
                )
        except TimeoutError:
            return self._unanswered(upstream, f"no answer within {TIMEOUT:g} s")
        except _TooLarge:
            pass
        except Exception as error:
            self._instrument.failed("authorize", error)
            return partial(undecided, "the question could not be asked")
        else:
            if fault is not None:
                return self._unanswered(upstream, fault.reason)
        if 200 <= reply.status < 300:
            self._remember(key, cache)
            return None
        if reply.status in (401, 403):
            return reply.barred
        return self._unanswered(upstream, f"the answer was {reply.status}")

    def _unanswered(self, upstream: Upstream, reason: str) -> _Refusal:
        self._instrument.note("authorization_unanswered", "warning", upstream=upstream.name, reason=reason)
        return partial(undecided, "the legacy system did not say whether it is allowed")

    def _remember(self, key: bytes, seconds: float) -> None:
        if seconds <= 0:
            return
        self._allowed[key] = self._now() + seconds
        self._allowed.move_to_end(key)
        if len(self._allowed) > _MOST_KEPT:
            self._allowed.popitem(last=False)

    def _hash(self, method: str, target: bytes, upstream: Upstream, host: bytes, credentials: Headers) -> bytes:
        """Whom and what an answer is about."""
        place = f"{upstream.scheme} {upstream.authority} {upstream.socket_path} {method}".encode()
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (place, target, host, *(part for name, value in credentials for part in (name.lower(), value))):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def _headers(self, request: Request, upstream: Upstream, credentials: Headers) -> list[Header]:
        forward = upstream.forward
        host = request.field(b"host") or b""
        earlier = {name: value for name, value in request.fields().items() if name in owned(forward)}
        authority = host if host and upstream.host_header == "preserve" else upstream.authority.encode()
        headers: list[Header] = [(b"Host", authority), (b"Accept-Encoding", b"identity"), *credentials]
        trusted = self._trusted(request.peer)
        headers += forwarding_fields(earlier, host, request.peer, forward, trusted=trusted, old=request.old)
        correlation = request.field(b"x-correlation-id")
        if correlation is not None:
            headers.append((b"X-Correlation-ID", correlation))
        span = tracing.parse(request.field(b"traceparent"))
        if span is not None:
            headers.append((b"traceparent", str(span._replace(span_id=self._ids.span_id())).encode()))
        return headers

    def _now(self) -> float:
        return self._clock.boottime() / 1e9


class _TooLarge(Exception):
    """The answer is longer than what is passed on."""


class _Reply:
    """A `ReplySink` that holds a small reply."""

    def __init__(self) -> None:
        self.status = 0
        self._headers: Headers = ()
        self._data = bytearray()
        self._whole = True

    def head(self, status: int, reason: bytes, headers: Headers) -> None:
        """Take the head."""
        self.status, self._headers = status, headers

    async def write(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._data += data
        if len(self._data) > _LARGEST:
            self._whole = False
            raise _TooLarge

    def barred(self) -> Barred:
        """What the client is told, as the upstream said it."""
        name = "unauthenticated" if self.status == 401 else "forbidden"
        headers = [header for header in self._headers if header[0].lower() in _PASSED_ON]
        if not self._whole:
            asks = [header for header in headers if header[0].lower() == b"www-authenticate"]
            return Barred(name, problem(name, "the legacy system does not allow it", headers=asks))
        return Barred(name, Answer(self.status, [*headers, (b"Cache-Control", b"no-store")], bytes(self._data)))


def _credentials(request: Request, identity: Sequence[str]) -> Headers:
    headers = (source.partition(":") for source in identity)
    names = _ALWAYS.union(name.lower().encode() for kind, _, name in headers if kind == "header")
    return [header for header in request.headers if header[0].lower() in names]


async def _none(_: int) -> bytes:
    return b""
