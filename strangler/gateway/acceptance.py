"""Recorded requests as HTTP: acceptance, the wait of a synchronous client, and what it gets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Answer, Header, Headers, PassOn, RecordedReply, Request
from strangler.domain.problem import SOURCE, code_of, correlated, located, problem
from strangler.domain.process import Effect, Process, State
from strangler.engine.accept import Acceptor
from strangler.engine.authorize import Barred
from strangler.engine.document import process_url
from strangler.engine.instrument import Instrument
from strangler.engine.intake import correlation_id
from strangler.engine.latencies import Latencies
from strangler.engine.outcomes import Outcomes, Settled
from strangler.engine.pauses import Pauses
from strangler.engine.recorder import declared_length, reply_part
from strangler.engine.refusals import UNCLEAR
from strangler.engine.signals import Signals
from strangler.engine.submission import Acceptance, Accepted, Joined, Pass, Refused, Submission
from strangler.gateway.access import may_cancel, may_cancel_own
from strangler.gateway.contracts import contract_of
from strangler.gateway.deprecation import note_deprecation
from strangler.gateway.limiting import fields, too_many
from strangler.gateway.result import LEFT_TO_THE_FRONT, OURS_ALONE, no_reply
from strangler.gateway.without_reply import NOT_SENT, not_promised, not_sent, unknown, wait_over
from strangler.policy.decide import Decision, usual_wait
from strangler.policy.model import Mode, Promise, Route
from strangler.policy.own_errors import in_form
from strangler.ports import Bodies, Clock, ProcessStore, Respond, Said

_NEVER_AS_IT_CAME = (LEFT_TO_THE_FRONT - {b"content-length"}) | OURS_ALONE
_VARY: tuple[Header, ...] = ((b"Vary", b"Prefer"),)


class Recording:
    """Answers the requests that routes record.

    Args:
        base_of: the public base URL for a request on a route.
        forgo, promise: see `Commands`.
        promise_of: a promise by its digest.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        store: ProcessStore,
        bodies: Bodies,
        signals: Signals,
        outcomes: Outcomes,
        latencies: Latencies,
        clock: Clock,
        instrument: Instrument,
        base_of: Callable[[Request, Route], str],
        promise_of: Callable[[str], Promise | None],
        forgo: Callable[[Process], Awaitable[Process | None]],
        promise: Callable[[Process], Awaitable[Process]],
        identity_key: bytes,
        pauses: Pauses,
    ) -> None:
        self._acceptor = acceptor
        self._store = store
        self._bodies = bodies
        self._signals = signals
        self._outcomes = outcomes
        self._latencies = latencies
        self._clock = clock
        self._instrument = instrument
        self._base_of = base_of
        self._promise_of = promise_of
        self._forgo = forgo
        self._promise = promise
        self._identity_key = identity_key
        self._pauses = pauses

    async def record(
        self, route: Route, parameters: Mapping[str, str], decision: Decision, request: Request
    ) -> Answer | PassOn:
        """Accept a request, and answer when its mode says so."""
        started = time.perf_counter()
        submission = Submission(request, route, parameters, decision, self._base_of(request, route))
        acceptance = await self._acceptor.accept(submission)
        if isinstance(acceptance, Accepted):
            self._instrument.accepted(acceptance.process, time.perf_counter() - started)
        return await self._answer(submission, acceptance, started)

    def begin(
        self,
        route: Route,
        parameters: Mapping[str, str],
        decision: Decision,
        request: Request,
        data: bytes,
        tell: Callable[[Said], None],
    ) -> bool:
        """The same where nothing is waited for but the commit: see `Acceptor.begin`, and `ports.Begin`.

        The route is `straight`, and who gets the answer is told 202 without a wait.
        """
        started = time.perf_counter()
        submission = Submission(request, route, parameters, decision, self._base_of(request, route))

        def told(found: Acceptance | Callable[[], Awaitable[Acceptance]]) -> None:
            tell(partial(self._said, submission, found, started))

        return self._acceptor.begin(submission, data, told)

    def _said(
        self, submission: Submission, found: Acceptance | Callable[[], Awaitable[Acceptance]], started: float
    ) -> Answer | Respond:
        if not isinstance(found, Accepted):
            return partial(self._found, submission, found, started)
        process = found.process
        self._instrument.accepted(process, time.perf_counter() - started)
        answer = self._accepted(submission.request, process, submission.route, own=True)
        _note_applied(answer, submission.decision)
        return self._finished(submission, answer, process, started)

    async def _found(
        self,
        submission: Submission,
        found: Acceptance | Callable[[], Awaitable[Acceptance]],
        started: float,
        request: Request,
    ) -> Answer | PassOn:
        return await self._answer(submission, await found() if callable(found) else found, started)

    async def look_up(
        self, route: Route, parameters: Mapping[str, str], decision: Decision, request: Request
    ) -> Answer | PassOn:
        """For a route that went back to passthrough: answer what its known keys promise, pass on all else."""
        started = time.perf_counter()
        submission = Submission(request, route, parameters, decision, self._base_of(request, route))
        return await self._answer(submission, await self._acceptor.known(submission), started)

    async def unclear(
        self, route: Route, parameters: Mapping[str, str], decision: Decision, request: Request
    ) -> Answer | PassOn:
        """Refuse a request whose path can be read in two ways."""
        started = time.perf_counter()
        submission = Submission(request, route, parameters, decision, self._base_of(request, route))
        return await self._answer(submission, UNCLEAR, started)

    async def _answer(self, submission: Submission, acceptance: Acceptance, started: float) -> Answer | PassOn:
        process: Process | None = None
        match acceptance:
            case Pass(read):
                return PassOn(read)
            case Accepted(accepted, limit):
                process, answer = accepted, await self._promised(submission, accepted, replayed=False)
                if limit is not None and answer.status == 202 and not answer.as_it_came:
                    answer.headers.extend(fields("accepts", limit))
            case Joined(process_id):
                process, answer = await self._joined(submission, process_id)
            case Refused():
                self._instrument.refused(submission.route.name, acceptance.name)
                answer = _refusal(acceptance, correlation_id(submission.request))
                note_deprecation(answer, submission)
            case Barred(name, barred):
                self._instrument.refused(submission.route.name, name)
                answer = correlated(barred, correlation_id(submission.request))
                note_deprecation(answer, submission)
        return self._finished(submission, answer, process, started)

    def _finished(self, submission: Submission, answer: Answer, process: Process | None, started: float) -> Answer:
        """The answer in the form of its route, and in the log."""
        code = code_of(answer)
        if submission.route.errors is not None:
            answer = in_form(located(answer, submission.request.target), submission.route.errors)
        if self._instrument.access_log != "none":
            self._instrument.answered(
                submission.request,
                submission.route.name,
                answer.status,
                time.perf_counter() - started,
                decision=submission.decision.reason,
                process=process,
                code=code,
            )
        return answer

    async def _joined(self, submission: Submission, process_id: str) -> tuple[Process | None, Answer]:
        known = await self._store.process(process_id)
        if not isinstance(known, Process):
            return None, problem("no-longer-kept", "the process of this idempotency key is no longer kept")
        self._instrument.replayed(known)
        if submission.decision.mode is Mode.PASSTHROUGH:
            submission = submission._replace(decision=self._as_promised(known, submission.route))
        return known, await self._promised(submission, known, replayed=True)

    def _as_promised(self, process: Process, route: Route) -> Decision:
        """How a repeat is answered when its route went back to passthrough: as the first request was."""
        if process.promised:
            return Decision(Mode.ASYNC, 0.0, True, (), "known key")
        promise = self._promise_of(process.promise)
        # A route that was compat for a while only promised no wait of its own.
        wait = (promise.wait if promise is not None else 0.0) or usual_wait(Mode.COMPAT, route.call.timeout)
        return Decision(Mode.COMPAT, wait, False, (), "known key")

    async def _promised(self, submission: Submission, process: Process, *, replayed: bool) -> Answer:
        """The answer to a request whose process is on disk."""
        request, route, decision = submission.request, submission.route, submission.decision
        settled = None
        if decision.wait > 0 or not decision.accepts_202:
            process, settled = await self._settled(process, decision.wait, fresh=not replayed)
            if self._signals.ended and settled is None and not (decision.accepts_202 or process.promised):
                process, settled = await self._forgone(process)
        if settled is not None and process.final:
            answer = await self._result(settled)
        elif decision.accepts_202:
            relied_on = process if process.promised or process.final else await self._relied_on(process)
            own = not replayed
            answer = self._accepted(request, relied_on, route, own=own) if relied_on else not_promised(process)
        else:
            answer = unknown(process) if settled is not None else wait_over(process)
        _note_applied(answer, decision)
        if replayed:
            answer.headers.append((b"Idempotency-Replayed", b"true"))
        note_deprecation(answer, submission)
        return answer

    async def _settled(self, process: Process, seconds: float, *, fresh: bool) -> tuple[Process, Settled | None]:
        """The process as it is once it ended, or only a person can settle it; None: the wait was over before.

        ``fresh``: the process is as the store has it, read or written without a pause since. At the end the store is
        asked once more: what is told is what is so by now, also where a signal was lost.
        """
        deadline, over = time.monotonic() + seconds, False
        with self._outcomes.interest(process.id), self._signals.watch(process.id) as watch:
            while True:
                found = None if fresh else await self._look_if_it_can(process.id)
                if isinstance(found, Settled):
                    return found.process, found
                process = found or process
                if over:
                    return process, None
                over = not await watch.changed(process.sequence, deadline - time.monotonic())
                fresh = False

    async def _forgone(self, process: Process) -> tuple[Process, Settled | None]:
        """What becomes of a process that was promised to nobody and not sent, as the server goes away: its client would
        send it again. None: it was sent, or that cannot be recorded; or it has a key, by which a repeat joins it."""
        if process.key_lookup is not None:
            return process, None
        try:
            after = await self._forgo(process)
        except StoreUnavailable:
            return process, None
        return (after, Settled(after)) if after is not None else (process, None)

    async def _relied_on(self, process: Process) -> Process | None:
        """What was promised to nobody so far, as it is once the 202 of a repeat may leave; None: it may not."""
        try:
            return await self._promise(process)
        except StoreUnavailable as error:
            self._instrument.note("not_promised", "warning", process=process.id, detail=str(error))
            return None

    async def _look_if_it_can(self, process_id: str) -> Settled | Process | None:
        """As `_look`. None also where the store cannot be read: the process is on the disk, and who waits is told so
        from what was known last, rather than an error after which he would send again."""
        try:
            return await self._look(process_id)
        except StoreUnavailable as error:
            self._instrument.note("wait_unread", "warning", process=process_id, detail=str(error))
            return None

    async def _look(self, process_id: str) -> Settled | Process | None:
        settled = self._outcomes.get(process_id)
        if settled is not None and _released(settled.process):
            # One waiter gets a reply that is too large to keep, and takes it before it says that it waits no more.
            if settled.live is not None and not settled.live.take():
                return settled._replace(live=None)
            return settled
        process = await self._store.process(process_id)
        if not isinstance(process, Process):
            return None
        if not _released(process):
            return process
        reply = await self._store.reply(process_id) if process.has_result else None
        number, recorded = reply if reply is not None else (0, None)
        return Settled(process, number, recorded)

    async def _result(self, settled: Settled) -> Answer:
        """What the synchronous client would have got without us, and the URL of the process."""
        process, number, reply, live = settled
        url = (b"Strangler-Process", process_url(process).encode())
        if live is not None:
            length = declared_length(live.headers)
            return Answer(live.status, [*_unframed(live.headers), url], live, length, live.reason, True)
        if reply is None or not reply.body.kept:
            unsent = process.effect is Effect.NONE and process.reason in NOT_SENT
            return not_sent(process) if unsent else no_reply(process)
        body = reply.body
        headers = [*_unframed(reply.headers), url]
        if process.method == "HEAD":
            # A reply to HEAD tells the length of a body that it does not have.
            return Answer(reply.status, headers, b"", declared_length(reply.headers), reply.reason, True)
        if body.data is not None:
            return Answer(reply.status, headers, body.data, body.size, reply.reason, True)
        return Answer(reply.status, headers, self._chunks(process.id, number, reply), body.size, reply.reason, True)

    async def _chunks(self, process_id: str, number: int, reply: RecordedReply) -> AsyncIterator[bytes]:
        for index in range(reply.body.chunks):
            yield await self._bodies.read_chunk(process_id, reply_part(number), index)

    def _accepted(self, request: Request, process: Process, route: Route, *, own: bool) -> Answer:
        """``own``: the process is that of this very request, whose caller need not be found out again."""
        now = self._clock.now()
        promise = self._promise_of(process.promise) or route.promise
        retry_after = self._latencies.retry_after(process, now, paused=self._pauses.open(process.route))
        contract = contract_of(promise.process)
        status, where = contract.accepted(process)
        document = contract.document(
            self._pauses.shown(process, now),
            promise.process,
            may_cancel=(
                may_cancel_own(process, promise.access)
                if own
                else may_cancel(request, process, promise.access, self._identity_key)
            ),
        )
        headers: list[Header] = [
            (b"Content-Type", b"application/json"),
            *where,
            (b"Retry-After", b"%d" % retry_after),
            *(_VARY if route.prefer == "honor" else ()),
            (b"X-Correlation-ID", process.correlation_id.encode()),
            (b"Cache-Control", b"no-store"),
            SOURCE,
            *contract.echoed(request),
        ]
        return Answer(status, headers, document)


def _note_applied(answer: Answer, decision: Decision) -> None:
    if decision.applied:
        answer.headers.append((b"Preference-Applied", ", ".join(decision.applied).encode()))


def _released(process: Process) -> bool:
    """Whether a waiting client is let go: it ended, or only a person or a probe can settle it. What is going to be
    repeated is in doubt for no longer than a commit."""
    return process.final or process.state is State.IN_DOUBT


def _unframed(headers: Headers) -> list[Header]:
    """The fields as they came. A length stays in its place among them: the front looks whether it is right."""
    return [header for header in headers if header[0].lower() not in _NEVER_AS_IT_CAME]


def _refusal(refused: Refused, correlation: str | None) -> Answer:
    if refused.limit is not None:
        return too_many("accepts", refused.limit, correlation)
    errors = [{"pointer": violation.pointer, "detail": violation.detail} for violation in refused.violations]
    return problem(
        refused.name, refused.detail, retry_after=refused.retry_after, correlation_id=correlation, errors=errors
    )
