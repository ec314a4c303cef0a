"""The process resources: ``R/{id}``, its status, result, history and streams, its cancellation, and the list ``R``.

Plain functions from a parsed request to an answer. They ignore ``Idempotency-Key``, ``Content-Type`` and unknown
preferences, because pollers send again whatever they sent first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from strangler.domain.errors import InternalError, StoreUnavailable
from strangler.domain.exchange import Answer, Header, Request, Upgrade
from strangler.domain.problem import SOURCE, problem
from strangler.domain.process import Process, Tombstone
from strangler.engine.admission import NO_SUCH_PROCESS, Admission
from strangler.engine.authorize import Barred
from strangler.engine.commands import Commands
from strangler.engine.document import history_document, keeps_history
from strangler.engine.instrument import Instrument
from strangler.engine.latencies import Latencies
from strangler.engine.pauses import Pauses
from strangler.engine.queries import Queries
from strangler.engine.streams import Streams
from strangler.engine.tickets import Tickets
from strangler.gateway import listing
from strangler.gateway.access import may_read, vary
from strangler.gateway.cancelling import Cancelling
from strangler.gateway.conditional import none_match
from strangler.gateway.contracts import contract_of
from strangler.gateway.cors import Cors
from strangler.gateway.limiting import Limiting, fields, too_many
from strangler.gateway.live import TICKETED, Live
from strangler.gateway.reading import Read
from strangler.gateway.result import Results, not_ready
from strangler.policy import prefer
from strangler.policy.limit import Reading
from strangler.policy.match import ResourcePath
from strangler.policy.model import AccessPolicy, Promise
from strangler.ports import Bodies, Clock

MAX_WAIT = 45
"""Seconds that a poll is held at most: below the 60 s after which proxies in the field give up."""

_STORE_RETRY = 5  # seconds
_JSON: Header = (b"Content-Type", b"application/json")
_STRANGER = AccessPolicy()
_REMEMBERED = 4096  # documents, some 1 KiB each: of as many processes as the store keeps as they were read


class Resources:
    """Answers requests for process resources.

    Args:
        promise_of: a promise by its digest; None: it is not known.
        promises_of: all promises, of today and kept ones, whose processes lie under a resource path R.
        identity_key: for the keyed hash of callers.
    """

    def __init__(
        self,
        queries: Queries,
        commands: Commands,
        bodies: Bodies,
        latencies: Latencies,
        clock: Clock,
        instrument: Instrument,
        *,
        promise_of: Callable[[str], Promise | None],
        promises_of: Callable[[str], Sequence[Promise]],
        identity_key: bytes,
        admission: Admission,
        limiting: Limiting,
        pauses: Pauses,
        streams: Streams,
        cors: Cors,
    ) -> None:
        self._queries = queries
        self._latencies = latencies
        self._clock = clock
        self._instrument = instrument
        self._promise_of = promise_of
        self._promises_of = promises_of
        self._key = identity_key
        self._admission = admission
        self._limiting = limiting
        self._pauses = pauses
        self._results = Results(queries, bodies)
        self._cancelling = Cancelling(commands, cors, identity_key)
        self._live = Live(streams, Tickets(identity_key, clock), queries, self._cancelling, instrument, self._written)
        self.open_streams = self._live.open_streams
        self._documents: dict[str, tuple[Process, bool, bool, bytes]] = {}  # the one that was written first comes first
        self._varies: dict[str, tuple[Header, ...]] = {}  # by promise; a promise never changes
        self._served: Mapping[bytes, Mapping[str, Callable[[Read], Awaitable[Answer | Upgrade]]]] = {
            b"": {"GET": self._process, "HEAD": self._process, "DELETE": self._cancel},
            b"/status": {"GET": self._status, "HEAD": self._status},
            b"/result": {"GET": self._result, "HEAD": self._result},
            b"/history": {"GET": self._history, "HEAD": self._history},
            b"/events": {"GET": self._live.events, "HEAD": self._live.events},
            b"/socket": {"GET": self._live.socket},
            b"/ticket": {"POST": self._live.ticket},
        }

    async def respond(self, request: Request, path: ResourcePath) -> Answer | Upgrade:
        """The answer to a request for ``path``. HEAD gets that to GET, body and all; the front leaves the body out."""
        try:
            if path.process_id is None:
                return await self._list(request, path)
            return await self._respond(request, path, path.process_id)
        except StoreUnavailable:
            return problem("store-unavailable", "the record cannot be read or written now", retry_after=_STORE_RETRY)

    async def _respond(self, request: Request, path: ResourcePath, process_id: str) -> Answer | Upgrade:
        methods = self._served.get(path.rest)
        if methods is None:
            return problem("no-route", "nothing of a process is at this path")
        serve = methods.get(request.method)
        if serve is None:
            return _not_allowed(request.method, methods)
        found = await self._queries.find(process_id)
        if found is not None and found.resource != path.resource:
            found = None
        promise = self._promised(found) if found is not None else None
        access = promise.access if promise is not None else _STRANGER
        ticketed = path.rest in TICKETED and self._live.admits(request, process_id) and found is not None
        if not ticketed:
            asked = (promise,) if promise is not None else self._promises_of(path.resource)
            barred = await self._admission.token(request, asked)
            if barred is not None:
                return self._refused(promise, barred)
        if not may_read(request, found, access, self._key) and not ticketed:
            return problem("no-such-process", NO_SUCH_PROCESS)
        assert found is not None
        assert promise is not None
        limit = await self._limiting.polled(request, (promise,)) if request.method != "DELETE" else None
        if limit is not None and not limit.allowed:
            return too_many("polls", limit)
        if not ticketed and (barred := await self._admission.to_read(request, promise, found)) is not None:
            return self._refused(promise, barred)
        if isinstance(found, Tombstone):
            return _limited(problem("no-longer-kept", "the process ended and its record is no longer kept"), limit)
        return _limited(await serve(Read(request, found, promise, ticketed)), limit)

    # ── The process and its status ────────────────────────────────────────────────────────────────────────────────

    async def _process(self, read: Read) -> Answer:
        """202 with the document while it runs; then 303 to the result."""
        headers: list[Header] = [_JSON, (b"Cache-Control", b"no-store"), SOURCE]
        read, applied = await self._held(read, _is_final)
        headers.extend(applied)
        process = read.process
        self._instrument.polled(process.route, "process")
        contract = contract_of(read.promise.process)
        status, where = contract.standing(process)
        headers.extend((*where, *contract.echoed(read.request)))
        if not process.final:
            headers.append(self._retry_after(process))
        return Answer(status, headers, self._document(read))

    async def _status(self, read: Read) -> Answer:
        """Always 200 with the document, unless the client has it already."""
        known = read.request.field(b"if-none-match")
        contract = contract_of(read.promise.process)
        if known is None:
            read, applied = await self._held(read, _is_final)
        else:
            # A final version never changes: nothing to be held for.
            read, applied = await self._held(
                read, lambda process: process.final or none_match(known, contract.tag(process))
            )
        process = read.process
        self._instrument.polled(process.route, "status")
        tag = contract.tag(process)
        headers: list[Header] = [
            (b"ETag", tag),
            (b"Cache-Control", b"private, max-age=60" if process.final else b"private, no-cache"),
            SOURCE,
            *applied,
            *contract.echoed(read.request),
        ]
        headers.extend(self._vary(read.promise))
        if not process.final:
            headers.append(self._retry_after(process))
        if known is not None and not none_match(known, tag):
            return Answer(304, headers)
        headers.append(_JSON)
        return Answer(200, headers, self._document(read))

    async def _held(self, read: Read, settled: Callable[[Process], bool]) -> tuple[Read, tuple[Header, ...]]:
        """``Prefer: wait=N``: hold the request until ``settled``, or for N seconds; and what was applied."""
        field = read.request.field(b"prefer")
        wait = prefer.parse(field).wait if field is not None else None
        if wait is None:
            return read, ()
        wait = min(wait, MAX_WAIT)
        if wait and not settled(read.process):
            read = read._replace(process=await self._queries.find_when(read.process, settled, wait))
        return read, ((b"Preference-Applied", b"wait=%d" % wait),)

    # ── Result, history, cancellation ─────────────────────────────────────────────────────────────────────────────

    async def _result(self, read: Read) -> Answer:
        self._instrument.polled(read.process.route, "result")
        if not read.process.final:
            return not_ready(read.process, self._seconds(read.process))
        return await self._results.answer(read.request, read.process)

    async def _history(self, read: Read) -> Answer:
        self._instrument.polled(read.process.route, "history")
        versions = await self._queries.history(read.process.id)
        if not versions:
            return problem("no-longer-kept", "the history is past its retention; what it led to is still known")
        headers: list[Header] = [_JSON, (b"Cache-Control", b"private, no-cache"), SOURCE]
        headers.extend(self._vary(read.promise))
        return Answer(200, headers, history_document(read.process.id, versions, read.promise.process))

    async def _cancel(self, read: Read) -> Answer:
        cancelled = await self._cancelling.cancel(read)
        if isinstance(cancelled, Answer):
            return cancelled
        headers: list[Header] = [_JSON, (b"Cache-Control", b"no-store"), SOURCE]
        return Answer(200, headers, self._document(read._replace(process=cancelled)))

    # ── The list ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _list(self, request: Request, path: ResourcePath) -> Answer | Upgrade:
        resource = path.resource
        promises = self._promises_of(resource)
        admitted, barred = await self._admission.to_list(request, promises)
        callers = listing.callers(request, admitted.values(), self._key)
        if not callers:
            return self._refused(None, barred) if barred is not None else listing.unauthenticated(promises)

        def shown(process: Process) -> bool:
            # One that was accepted under a promise of later may be there by now.
            return process.promise in admitted or not self._promised(process).access.guarded

        limit = await self._limiting.polled(request, promises)
        if limit is not None and not limit.allowed:
            return too_many("polls", limit)
        if path.rest:
            return _limited(self._live.list(request, resource, callers, self._promised, shown), limit)
        try:
            query = listing.parse(request, resource, promises)
        except listing.BadParameter as error:
            return _limited(problem("bad-request", str(error)), limit)
        page = await self._queries.page(query, callers)
        self._instrument.polled("", "list")
        return _limited(listing.answer(request, page, self._promised, self._key, shown, self._listed), limit)

    def _refused(self, promise: Promise | None, barred: Barred) -> Answer:
        self._instrument.refused(promise.route if promise is not None else "", barred.name)
        return barred.answer

    # ── What all of them need ─────────────────────────────────────────────────────────────────────────────────────

    def _promised(self, found: Process | Tombstone) -> Promise:
        promise = self._promise_of(found.promise)
        if promise is None:
            raise InternalError(f"the promise of {found.id} is not kept: {found.promise}")
        return promise

    def _vary(self, promise: Promise) -> tuple[Header, ...]:
        """``Vary``, where the answer depends on header fields."""
        found = self._varies.get(promise.digest)
        if found is None:
            names = vary(promise.access)
            found = self._varies[promise.digest] = ((b"Vary", names),) if names else ()
        return found

    def _document(self, read: Read) -> bytes:
        cancel = read.process.cancellable and self._cancelling.may(read)
        return self._written(read.process, read.promise, cancel)

    def _written(self, process: Process, promise: Promise, may_cancel: bool) -> bytes:
        """The document of a process as it stands by now, kept for who asks for the same next."""
        now = self._clock.now()
        process, history = self._pauses.shown(process, now), keeps_history(process, now)
        # The store gives out the same process until it changes. What it was promised never does.
        known = self._documents.get(process.id)
        if known is not None and known[0] is process and known[1:3] == (may_cancel, history):
            return known[3]
        document = _document(process, promise, may_cancel, history)
        self._documents.pop(process.id, None)
        if len(self._documents) >= _REMEMBERED:
            del self._documents[next(iter(self._documents))]
        self._documents[process.id] = process, may_cancel, history, document
        return document

    def _listed(self, process: Process, promise: Promise, may_cancel: bool) -> bytes:
        """The same for a list: of processes read anew, so that keeping it would only push out what polls ask for."""
        now = self._clock.now()
        return _document(self._pauses.shown(process, now), promise, may_cancel, keeps_history(process, now))

    def _retry_after(self, process: Process) -> Header:
        return b"Retry-After", b"%d" % self._seconds(process)

    def _seconds(self, process: Process) -> int:
        """After how many seconds it is worth asking again."""
        return self._latencies.retry_after(process, self._clock.now(), paused=self._pauses.open(process.route))


def _limited(answer: Answer | Upgrade, limit: Reading | None) -> Answer | Upgrade:
    """The answer, and what its client has left."""
    if limit is not None:
        answer.headers.extend(fields("polls", limit))
    return answer


def _document(process: Process, promise: Promise, may_cancel: bool, history: bool) -> bytes:
    policy = promise.process
    return contract_of(policy).document(process, policy, may_cancel=may_cancel, history=history)


def _is_final(process: Process) -> bool:
    return process.final


def _not_allowed(method: str, methods: Mapping[str, object]) -> Answer:
    allow = ", ".join(methods)
    return problem(
        "method-not-allowed",
        f"{method} means nothing here; allowed are {allow}",
        headers=[(b"Allow", allow.encode())],
    )
