"""Acceptance: persist, then promise. The checks come in the wire contract's order of refusal; none of them records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import BadBody, Body, BodyTimeout, Peer, RecordedRequest
from strangler.domain.idempotency import Judgement, KeyRecord, KeySyntaxError, judge
from strangler.domain.process import Process
from strangler.domain.steps import Accept, Claim
from strangler.domain.transitions import apply
from strangler.engine.admission import Admission
from strangler.engine.attempt import Claimed
from strangler.engine.capacity import Capacity, passes_without_store
from strangler.engine.content import Schemas, Violation
from strangler.engine.execute import Executor
from strangler.engine.identity import caller_name, identify
from strangler.engine.intake import TooLarge, names, read_body, recorded, whole_body
from strangler.engine.keys import Key, Keys, given_key, given_lookup, key_scope
from strangler.engine.lanes import Lanes
from strangler.engine.limits import client_of
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.outgoing import REQUEST_PART
from strangler.engine.referencing import found_in_request
from strangler.engine.submission import Acceptance, Accepted, Joined, Pass, Refused, Submission, draft_of
from strangler.engine.subscribing import named_url, subscribed
from strangler.engine.translating import Ready, evidence_of_sent, prepared
from strangler.engine.uninterrupted import uninterrupted
from strangler.policy.limit import Reading
from strangler.policy.model import Rate, Route
from strangler.policy.readable import Unparsable
from strangler.policy.receivers import CallbackNotAllowed, CallbackPolicy, Receiver
from strangler.policy.translate import Interpreter, Unreadable, Untranslatable
from strangler.ports import Commit, Committed, KeyTaken, Limiter, Verdict


class _Stop(Exception):
    """The checks came to a verdict."""

    def __init__(self, verdict: Acceptance) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class Acceptor:
    """Judges submissions and records them.

    Args:
        identity_key: for the keyed hash of callers.
        trusted: whether a peer's forwarding headers are believed.
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
        trusted: Callable[[Peer], bool],
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
        self._schemas = Schemas()
        self._keys = Keys()

    async def accept(self, submission: Submission) -> Acceptance:
        """Record a submission, unless it is refused, passed on, or known.

        Raises:
            ClientGone: the client left before its body was complete; nothing is recorded.
        """
        pieces: list[bytes] | None = [] if _may_pass(submission) else None
        try:
            return await self._accept(submission, pieces)
        except _Stop as stop:
            return stop.verdict
        except BodyTimeout:
            return Refused("request-timeout", "no byte of the body came for too long")
        except BadBody as error:
            return Refused("bad-request", f"the framing of the body is broken: {error}")
        except StoreUnavailable as error:
            return self._capacity.without_store(submission, str(error), pieces)

    async def known(self, submission: Submission) -> Acceptance:
        """For a route that went back to passthrough: the process of a key that is still known, else `Pass`.

        So that going back does not make a retry a second call.
        """
        route, request = submission.route, submission.request
        pieces: list[bytes] = []
        try:
            given = given_key(request, route.accept.idempotency)
            if await self._admission.token(request, (route.promise,)) is not None:
                return Pass()  # what passes through is not ours to refuse
            caller = identify(request, route.access, self._identity_key)
            if given is not None:
                # Most keys are not known, and then nothing of the body needs to be read.
                record = await self._means.store.key(key_scope(route, caller), given_lookup(given))
                if record is None:
                    return Pass()
            elif route.accept.idempotency.derive is None:
                return Pass()
            process_id = self._means.ids.process_id(self._means.clock.now())
            body = await read_body(request, self._means.bodies, process_id, route.accept.max_body, pieces)
            if isinstance(body, TooLarge):
                return Pass(tuple(pieces))
            data = await whole_body(body, self._means.bodies, process_id)
            await self._discard(body, process_id)
            key = await self._keys.key(request, route, submission.parameters, caller, body, data, given)
            if key is None:
                return Pass(tuple(pieces))
            known = await self._judged(key)
            if known is None or await self._admission.to_submit(request, route) is not None:
                return Pass(tuple(pieces))
            return known
        except (_Stop, KeySyntaxError, StoreUnavailable):
            return Pass(tuple(pieces))
        except (BodyTimeout, BadBody) as error:
            return Refused("bad-request", f"the body did not arrive whole: {error}")

    async def _accept(self, submission: Submission, pieces: list[bytes] | None) -> Acceptance:
        route, request = submission.route, submission.request
        now = self._means.clock.now()
        self._check_head(submission)
        if route.access.guarded and (barred := await self._admission.to_submit(request, route)) is not None:
            return barred
        caller = identify(request, route.access, self._identity_key)
        process_id = self._means.ids.process_id(now)
        body = await self._read(submission, process_id, pieces)
        try:
            key = await self._checked(submission, caller, body, process_id)
            told = await self._subscribed(submission, route.callbacks, body, process_id) if route.callbacks else None
            draft, kept = self._drafted(submission, caller, body, key, process_id, now, told)
            references = None
            if route.promise.references is not None:
                references = await found_in_request(self._means.bodies, route.promise.references, draft, kept)
            ready = await self._ready(route, draft, kept, wall) if (wall := route.promise.wall) is not None else None
            limit = await self._limited(submission, route.limits.accepts) if route.limits.accepts is not None else None
            if (obstacle := self._capacity.obstacle(submission, body, pieces)) is not None:
                raise _Stop((await self._judged(key) if key is not None else None) or obstacle)
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
        client = client_of(request, route, route.access, "accepts", self._identity_key)
        reading = await self._limiter.take(client, rate)
        if reading is not None and not reading.allowed:
            self._means.instrument.limited(route.name, "accepts")
            raise _Stop(Refused("too-many-requests", "", limit=reading))
        return reading

    def _check_head(self, submission: Submission) -> None:
        """What can be judged before the body: its length, its type, required headers."""
        route, request = submission.route, submission.request
        accept = route.accept
        if request.content_length is not None and request.content_length > accept.max_body:
            self._too_large(route, None)
        if accept.content_types and request.has_body:
            given = (request.field(b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")
            if given not in accept.content_types:
                expected = ", ".join(accept.content_types)
                self._refuse(route, "unsupported-media-type", f"{given or 'no type'} was sent; taken are: {expected}")
        for name in accept.require_headers:
            if not request.field(name.lower().encode()):
                self._refuse(route, "header-required", f"the header {name} is required")

    async def _read(self, submission: Submission, process_id: str, pieces: list[bytes] | None) -> Body:
        route, request = submission.route, submission.request
        body = await read_body(request, self._means.bodies, process_id, route.accept.max_body, pieces)
        if isinstance(body, TooLarge):
            self._too_large(route, pieces)
            raise AssertionError("unreachable")
        return body

    async def _checked(self, submission: Submission, caller: str | None, body: Body, process_id: str) -> Key | None:
        """What can be judged once the body is there; a known key comes before all that could refuse."""
        route, request = submission.route, submission.request
        accept = route.accept
        try:
            given = given_key(request, route.accept.idempotency)
        except KeySyntaxError as error:
            self._refuse(route, "idempotency-key-invalid", str(error))
            given = None  # the route only reports: a key that is none counts as missing
        if given is None and accept.idempotency.required:
            self._refuse(route, "idempotency-key-missing", f"the header {accept.idempotency.headers[0]} is required")
        if given is None and accept.idempotency.derive is None and accept.schema is None:
            return None
        looks = accept.schema is not None or accept.idempotency.derive not in (None, "fingerprint")
        data = await whole_body(body, self._means.bodies, process_id) if looks else b""
        key = await self._keys.key(request, route, submission.parameters, caller, body, data, given)
        # Where nothing is going to refuse, the commit itself tells of a key that is taken, and spares a read of each.
        may_refuse = (
            accept.schema is not None
            or route.promise.wall is not None
            or route.callbacks is not None
            or route.limits.accepts is not None
        )
        if key is not None and may_refuse and (verdict := await self._judged(key)) is not None:
            raise _Stop(verdict)
        if accept.schema is not None:
            try:
                coding = request.field(b"content-encoding")
                violations = await self._schemas.violations(route.name, accept.schema, data, coding)
            except Unparsable as error:
                self._refuse(route, "bad-request", f"the body is not readable JSON: {error}")
            else:
                if violations:
                    self._refuse(route, "invalid-request", _sentence(violations), violations)
        return key

    async def _subscribed(
        self, submission: Submission, policy: CallbackPolicy, body: Body, process_id: str
    ) -> str | None:
        """Who is to be told, as it is kept with the process; None: nobody."""
        route, request = submission.route, submission.request
        name, receivers = caller_name(request, route.access), self._receivers()
        try:
            read = partial(whole_body, body, self._means.bodies, process_id)
            named = await named_url(policy, request, submission.parameters, name, read)
            return subscribed(policy, receivers, named, name)
        except CallbackNotAllowed as error:
            self._refuse(route, "callback-not-allowed", str(error))
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
        draft = draft_of(submission, caller, body, key, process_id, known_as, now, self._revision(), told)
        trusted = self._trusted(request.peer)
        kept = recorded(request, body, submission.route, known_as, submission.decision.honoured, trusted=trusted)
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
            self._refuse(route, "bad-request", f"the body is not readable: {error}")
        except Untranslatable as error:
            self._refuse(route, "invalid-request", f"the request cannot be translated: {error}")
        return None

    async def _record(
        self, submission: Submission, key: Key | None, accepted: Accept, kept: RecordedRequest, ready: Ready | None
    ) -> Acceptance:
        """Commit the acceptance, and with it the claim where a slot is free."""
        draft = accepted.draft
        route, body, process_id, now = submission.route, kept.body, draft.id, draft.created_at
        record = KeyRecord(key.scope, key.lookup, key.fingerprint, process_id) if key is not None else None
        change = apply(None, accepted, now)
        attempt = None
        reserved, lane = self._executor.reserve(route), self._lanes.of(route.name)
        if reserved is not None:
            change = change.then(Claim(self._means.lease.owner), now)
            attempt = self._executor.begun(change.process, now)
        else:
            lane.expect(1, body.size)

        def on_disk(verdict: Verdict) -> Verdict:
            if not isinstance(verdict, Committed):
                given_back()
                return verdict
            self._notifier.committed(change)
            if attempt is not None and reserved is not None:
                self._executor.start(Claimed(change.process, attempt, kept, reserved.term, ready), reserved)
            else:
                lane.expect(-1, body.size)
                self._executor.enqueue(change.process)
            return verdict

        def given_back() -> None:
            if reserved is not None:
                self._executor.release(route.name, reserved)
            else:
                lane.expect(-1, body.size)

        sent = (
            evidence_of_sent(attempt, kept, ready.request, now) if attempt is not None and ready is not None else None
        )
        commit = Commit(change, request=kept, key=record, attempt=attempt, evidence=sent)
        try:
            verdict = await uninterrupted(self._means.store.commit(commit), on_disk, given_back)
        except StoreUnavailable:
            await self._discard(body, process_id)
            if key is not None and (known := await self._judged(key)) is not None:
                return known  # nothing had to be recorded for it
            raise
        if isinstance(verdict, Committed):
            return Accepted(change.process)
        assert isinstance(verdict, KeyTaken)
        assert key is not None
        await self._discard(body, process_id)
        return _verdict(verdict.record, key, self._means.clock.now()) or Joined(verdict.record.process_id)

    async def _judged(self, key: Key) -> Acceptance | None:
        record = await self._means.store.key(key.scope, key.lookup)
        return _verdict(record, key, self._means.clock.now()) if record is not None else None

    async def _discard(self, body: Body, process_id: str) -> None:
        if body.chunks:
            await self._means.bodies.discard_chunks(process_id, REQUEST_PART)

    def _too_large(self, route: Route, pieces: Sequence[bytes] | None) -> None:
        if route.accept.over_max_body == "passthrough":
            raise _Stop(Pass(tuple(pieces or ())))
        if route.accept.enforce == "report":
            # It cannot be recorded, and nothing is to be refused: it goes through.
            self._means.instrument.would_refuse(route.name, "body-too-large", "")
            raise _Stop(Pass(tuple(pieces or ())))
        raise _Stop(Refused("body-too-large", f"at most {route.accept.max_body} bytes are taken"))

    def _refuse(self, route: Route, name: str, detail: str, violations: Sequence[Violation] = ()) -> None:
        """Refuse, or only say so where the route reports."""
        if route.accept.enforce == "report":
            self._means.instrument.would_refuse(route.name, name, detail)
            return
        raise _Stop(Refused(name, detail, violations=violations))


def _may_pass(submission: Submission) -> bool:
    """Whether it may turn out, after some or all of the body was read, that the request goes through untouched."""
    accept = submission.route.accept
    over = accept.over_max_body == "passthrough" or accept.enforce == "report"
    return passes_without_store(submission) or (over and submission.request.content_length is None)


def _verdict(record: KeyRecord, key: Key, now: int) -> Acceptance | None:
    match judge(record, key.fingerprint, now):
        case Judgement.FRESH:
            return None
        case Judgement.REPLAY:
            return Joined(record.process_id)
        case Judgement.MISMATCH:
            return Refused("idempotency-key-reused", "the key was used for another request; take a new one")


def _sentence(violations: Sequence[Violation]) -> str:
    first = violations[0]
    where = first.pointer or "the body"
    more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
    return f"{where}: {first.detail}{more}"
