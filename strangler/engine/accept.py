"""Acceptance: persist, then promise. The checks come in the order of docs/http.md, *Refusals*; none of them records."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, BadBody, Body, BodyTimeout, RecordedRequest
from strangler.domain.idempotency import KeySyntaxError
from strangler.domain.process import Process
from strangler.domain.steps import Accept
from strangler.engine.admission import Admission
from strangler.engine.beginning import Beginning
from strangler.engine.capacity import Capacity, passes_without_store
from strangler.engine.content import JsonBody
from strangler.engine.execute import Executor
from strangler.engine.identity import caller_name, identify
from strangler.engine.intake import TooLarge, discard, names, read_body, recorded
from strangler.engine.keys import Key, Keys, given_key, given_lookup, key_of_client, key_scope
from strangler.engine.lanes import Lanes
from strangler.engine.limits import client_of
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.referencing import found_in_request
from strangler.engine.refusals import Refusals, Stop, TooLong
from strangler.engine.submission import Acceptance, Accepted, Joined, Pass, Refused, Submission, draft_of, verdict_on
from strangler.engine.subscribing import named_url, subscribed
from strangler.engine.translating import Ready, prepared
from strangler.engine.uninterrupted import uninterrupted
from strangler.policy.limit import Reading
from strangler.policy.model import Rate, Route
from strangler.policy.receivers import CallbackNotAllowed, CallbackPolicy, Receiver
from strangler.policy.translate import Interpreter, Unreadable, Untranslatable
from strangler.policy.trust import TrustedNetworks
from strangler.ports import Committed, Full, KeyTaken, Limiter, Verdict

Tell = Callable[[Acceptance | Callable[[], Awaitable[Acceptance]]], None]
"""Is told what became of a submission, or who finds that out."""

_LONGER = Body(0, b"", None, kept=False)  # than the one that was recorded: another one, whatever its digest is


class Acceptor:
    """Judges submissions and records them.

    Args:
        identity_key: for the keyed hash of callers.
        trusted: whose forwarding headers are believed.
        draining: whether the server is going away.
        limiter: counts what clients send.
        overloaded: why this worker takes no new work right now, for people.
        revision: of the policy in force, as it is kept with a process.
        receivers: of the policy in force, by name.
    """

    def __init__(
        self,
        means: Means,
        lanes: Lanes,
        executor: Executor,
        notifier: Notifier,
        admission: Admission,
        *,
        identity_key: bytes,
        trusted: TrustedNetworks,
        draining: Callable[[], bool],
        limiter: Limiter,
        overloaded: Callable[[], str | None] = lambda: None,
        revision: Callable[[], str | None] = lambda: None,
        receivers: Callable[[], Mapping[str, Receiver]] = dict,
    ) -> None:
        self._means = means
        self._lanes = lanes
        self._executor = executor
        self._notifier = notifier
        self._admission = admission
        self._identity_key = identity_key
        self._trusted = trusted
        self._capacity = Capacity(means, lanes, executor, draining=draining, overloaded=overloaded)
        self._limiter = limiter
        self._revision = revision
        self._receivers = receivers
        self._refusals = Refusals(means.instrument)
        self._keys = Keys()

    async def accept(self, submission: Submission) -> Acceptance:
        """Record a submission, unless it is refused, passed on, or known.

        Raises:
            ClientGone: the client left before its body was complete; nothing is recorded.
        """
        pieces: list[bytes] | None = [] if _may_pass(submission) else None
        try:
            return await self._accept(submission, pieces)
        except TooLong as stop:
            # Its key may be known from a time when longer bodies were recorded.
            return await self.known(submission, stop.read)
        except Stop as stop:
            return stop.verdict
        except (BodyTimeout, BadBody) as error:
            return _unfinished(error)
        except StoreUnavailable as error:
            if passes_without_store(submission):
                # A store that cannot write may be able to read: a repeat is no second call.
                known = await self.known(submission, pieces or ())
                if not isinstance(known, Pass):
                    return known
                pieces = list(known.read)
            return self._capacity.without_store(submission, str(error), pieces)

    def begin(self, submission: Submission, data: bytes, tell: Tell) -> bool:
        """Record a submission on a `straight` route, whose whole body is ``data``. False: nothing was begun, and
        `accept` has to be asked, which also says why something is refused.

        ``tell`` is called once, later, with what became of it, or with who finds that out.
        """
        route, request = submission.route, submission.request
        if len(data) > min(route.accept.max_body, CHUNK_SIZE):
            return False
        try:
            self._refusals.check_head(submission)
            given = self._refusals.check_key(submission)
        except Stop:
            return False
        if given is None and route.accept.idempotency.derive is not None:
            return False
        if self._capacity.obstacle(submission, len(data), None) is not None:
            return False
        now = self._means.clock.now()
        body = Body(len(data), hashlib.sha256(data).digest(), data)
        caller = identify(request, route.access, self._identity_key)
        key = key_of_client(request, route, caller, body, given) if given is not None else None
        process_id = self._means.ids.process_id(now)
        draft, kept = self._drafted(submission, caller, body, key, process_id, now, None)
        beginning = self._beginning(route, Accept(draft), kept, key, None)

        def settled(commit: asyncio.Future[Verdict]) -> None:
            try:
                acceptance = self._acceptance(beginning, key, beginning.on_disk(commit.result()))
            except Exception as error:
                if commit.exception() is not None:
                    beginning.given_back()
                tell(partial(self._unrecorded, submission, key, error))
            else:
                tell(acceptance)

        asyncio.ensure_future(beginning.submit()).add_done_callback(settled)
        return True

    async def _unrecorded(self, submission: Submission, key: Key | None, error: Exception) -> Acceptance:
        """What becomes of what could not be committed: for a key that is known nothing had to be.

        Raises:
            Exception: ``error``, where it is a defect.
        """
        if not isinstance(error, StoreUnavailable | Stop):
            raise error
        try:
            known = await self._judged(key) if key is not None else None
        except StoreUnavailable as unread:
            known, error = None, unread
        if isinstance(error, Stop):
            return known or error.verdict
        return known or self._capacity.without_store(submission, str(error), None)

    async def known(self, submission: Submission, read: Sequence[bytes] = ()) -> Acceptance:
        """For a request that is not going to be recorded: the process of a key that is still known, else `Pass`.

        So that a route which goes back to passthrough, or records shorter bodies only, does not make a retry a second
        call. ``read`` of its body was read.
        """
        route, request = submission.route, submission.request
        pieces, limit = list(read), route.accept.max_body
        try:
            given = given_key(request, route.accept.idempotency)
            if await self._admission.token(request, (route.promise,)) is not None:
                return Pass(tuple(pieces))  # what passes through is not ours to refuse
            caller = identify(request, route.access, self._identity_key)
            if given is not None:
                # Most keys are not known, and then nothing of the body needs to be read.
                record = await self._means.store.key(key_scope(route, caller), given_lookup(given))
                if record is None:
                    return Pass(tuple(pieces))
                process = await self._means.store.process(record.process_id)
                limit = max(limit, process.body_size if isinstance(process, Process) else 0)
            elif route.accept.idempotency.derive is None:
                return Pass(tuple(pieces))
            # In memory, for the store may be able to read, and not to write.
            body = await read_body(request, None, "", limit, pieces)
            if isinstance(body, TooLarge):
                if given is None:
                    return Pass(tuple(pieces))
                body = _LONGER
            content = JsonBody(request, body, self._means.bodies, "")
            key = await self._keys.key(request, route, submission.parameters, caller, body, content, given)
            if key is None:
                return Pass(tuple(pieces))
            known = await self._judged(key)
            if known is None or await self._admission.to_submit(request, route) is not None:
                return Pass(tuple(pieces))
            return known
        except (Stop, KeySyntaxError, StoreUnavailable):
            return Pass(tuple(pieces))
        except (BodyTimeout, BadBody) as error:
            return _unfinished(error)

    async def _accept(self, submission: Submission, pieces: list[bytes] | None) -> Acceptance:
        route, request = submission.route, submission.request
        now = self._means.clock.now()
        self._refusals.check_head(submission)
        if route.access.guarded and (barred := await self._admission.to_submit(request, route)) is not None:
            return barred
        caller = identify(request, route.access, self._identity_key)
        process_id = self._means.ids.process_id(now)
        body = await self._read(submission, process_id, pieces)
        try:
            content = JsonBody(request, body, self._means.bodies, process_id)
            key = await self._checked(submission, caller, body, content)
            told = await self._subscribed(submission, route.callbacks, content) if route.callbacks else None
            del content  # what was parsed of a large body is much larger
            draft, kept = self._drafted(submission, caller, body, key, process_id, now, told)
            references = None
            if route.promise.references is not None:
                references = await found_in_request(self._means.bodies, route.promise.references, draft, kept)
            ready = await self._ready(route, draft, kept, wall) if (wall := route.promise.wall) is not None else None
            limit = await self._limited(submission, route.limits.accepts) if route.limits.accepts is not None else None
            if (obstacle := self._capacity.obstacle(submission, body.size, pieces)) is not None:
                raise Stop((await self._judged(key) if key is not None else None) or obstacle)
        except BaseException:
            await self._discard(body, process_id)
            raise
        acceptance = await self._record(submission, key, Accept(draft, references), kept, ready)
        if limit is not None and isinstance(acceptance, Accepted):
            return acceptance._replace(limit=limit)
        return acceptance

    async def _limited(self, submission: Submission, rate: Rate) -> Reading | None:
        """Take the request from the quota of its client; None: it is not limited."""
        route, request = submission.route, submission.request
        client = client_of(request, route, route.access, "accepts", self._identity_key, self._trusted)
        reading = await self._limiter.take(client, rate)
        if reading is not None and not reading.allowed:
            self._means.instrument.limited(route.name, "accepts")
            raise Stop(Refused("too-many-requests", "", limit=reading))
        return reading

    async def _read(self, submission: Submission, process_id: str, pieces: list[bytes] | None) -> Body:
        route, request = submission.route, submission.request
        body = await read_body(request, self._means.bodies, process_id, route.accept.max_body, pieces)
        if isinstance(body, TooLarge):
            self._refusals.too_large(route, pieces)
            raise AssertionError("unreachable")
        return body

    async def _checked(self, submission: Submission, caller: str | None, body: Body, content: JsonBody) -> Key | None:
        """What can be judged once the body is there; a known key comes before all that could refuse."""
        route, request = submission.route, submission.request
        accept = route.accept
        given = self._refusals.check_key(submission)
        if given is None and accept.idempotency.derive is None and accept.schema is None:
            return None
        key = await self._keys.key(request, route, submission.parameters, caller, body, content, given)
        # Where nothing is going to refuse, the commit itself tells of a key that is taken, and spares a read of each.
        may_refuse = (
            accept.schema is not None
            or route.promise.wall is not None
            or route.callbacks is not None
            or route.limits.accepts is not None
        )
        if key is not None and may_refuse and (verdict := await self._judged(key)) is not None:
            raise Stop(verdict)
        await self._refusals.check_body(route, content)
        return key

    async def _subscribed(self, submission: Submission, policy: CallbackPolicy, content: JsonBody) -> str | None:
        """Who is to be told, as it is kept with the process; None: nobody."""
        route, request = submission.route, submission.request
        name, receivers = caller_name(request, route.access), self._receivers()
        try:
            named = await named_url(policy, request, submission.parameters, name, content)
            return subscribed(policy, receivers, named, name)
        except CallbackNotAllowed as error:
            self._refusals.refuse(route, "callback-not-allowed", str(error))
            return subscribed(policy, receivers, None, name)

    def _drafted(
        self,
        submission: Submission,
        caller: str | None,
        body: Body,
        key: Key | None,
        process_id: str,
        now: int,
        told: str | None,
    ) -> tuple[Process, RecordedRequest]:
        """The process that is going to be accepted, and its request as it is kept. ``told``: who is to be told."""
        request = submission.request
        known_as = names(request, self._means.ids, now)
        trusted = self._trusted.peer(request.peer)
        kept = recorded(request, body, submission.route, known_as, submission.decision.honoured, trusted=trusted)
        had, revision = bool(kept.credentials), self._revision()
        draft = draft_of(submission, caller, body, key, process_id, known_as, now, revision, told, had_credentials=had)
        return draft, kept

    async def _ready(
        self, route: Route, draft: Process, kept: RecordedRequest, interpreter: Interpreter
    ) -> Ready | None:
        """The request as it is going to be sent, where the route translates it: its client is told now that it cannot
        be, not when it is too late."""
        if not interpreter.translates_request:
            return None
        try:
            return await prepared(self._means.bodies, interpreter, draft, kept, route.call)
        except Unreadable as error:
            self._refusals.refuse(route, "bad-request", f"the body is not readable: {error}")
        except Untranslatable as error:
            self._refusals.refuse(route, "invalid-request", f"the request cannot be translated: {error}")
        return None

    async def _record(
        self, submission: Submission, key: Key | None, accepted: Accept, kept: RecordedRequest, ready: Ready | None
    ) -> Acceptance:
        """Commit the acceptance."""
        beginning = self._beginning(submission.route, accepted, kept, key, ready)
        try:
            verdict = await uninterrupted(beginning.submit(), beginning.on_disk, beginning.given_back)
            acceptance = self._acceptance(beginning, key, verdict)
        except (StoreUnavailable, Stop):
            await self._discard(kept.body, accepted.draft.id)
            if key is not None and (known := await self._judged(key)) is not None:
                return known  # nothing had to be recorded for it
            raise
        if not isinstance(acceptance, Accepted):
            await self._discard(kept.body, accepted.draft.id)
        return acceptance

    def _acceptance(self, beginning: Beginning, key: Key | None, verdict: Verdict) -> Acceptance:
        """What the verdict of the store comes to.

        Raises:
            Stop: there is no room for it; its key, if it has one, may be known all the same.
        """
        if isinstance(verdict, Committed):
            return Accepted(beginning.process)
        if isinstance(verdict, Full):
            raise Stop(self._capacity.full(beginning.route))
        assert isinstance(verdict, KeyTaken)
        assert key is not None
        return verdict_on(verdict.record, key, self._means.clock.now()) or Joined(verdict.record.process_id)

    def _beginning(
        self, route: Route, accepted: Accept, kept: RecordedRequest, key: Key | None, ready: Ready | None
    ) -> Beginning:
        lane = self._lanes.of(route.name)
        return Beginning(self._means, self._executor, self._notifier, lane, route, accepted, kept, key, ready)

    async def _judged(self, key: Key) -> Acceptance | None:
        record = await self._means.store.key(key.scope, key.lookup)
        return verdict_on(record, key, self._means.clock.now()) if record is not None else None

    async def _discard(self, body: Body, process_id: str) -> None:
        if body.chunks:
            await discard(self._means.bodies, process_id)


def straight(route: Route) -> bool:
    """Whether an acceptance on a route has nothing to wait for but its body and its commit, nothing to report, and no
    other way to go where it cannot be recorded."""
    accept, promise = route.accept, route.promise
    waits = (
        route.access.guarded
        or route.callbacks is not None
        or promise.references is not None
        or promise.wall is not None
        or route.limits.accepts is not None
        or accept.schema is not None
    )
    return not waits and accept.enforce == "on" and route.on_store_failure == "refuse"


def _unfinished(error: BodyTimeout | BadBody) -> Refused:
    if isinstance(error, BodyTimeout):
        return Refused("request-timeout", str(error))
    return Refused("bad-request", f"the framing of the body is broken: {error}")


def _may_pass(submission: Submission) -> bool:
    """Whether it may turn out, after some or all of the body was read, that the request goes through untouched."""
    accept = submission.route.accept
    over = accept.over_max_body == "passthrough" or accept.enforce == "report"
    return passes_without_store(submission) or (over and submission.request.content_length is None)
