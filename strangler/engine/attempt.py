"""One attempt: send what was recorded, record what comes back, and conclude."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Attempt, Fault, FaultKind, Hindrance, RecordedRequest
from strangler.domain.outcome import Failed, InDoubt, Outcome, Pending, Retry
from strangler.domain.process import Effect, Process
from strangler.engine.conclude import Concluder, ended
from strangler.engine.look import place_of
from strangler.engine.means import Means
from strangler.engine.outcomes import Outcomes
from strangler.engine.outgoing import lacks_credentials, outgoing
from strangler.engine.recorder import LiveReply, Recorder
from strangler.engine.translating import Ready, keep_sent, prepared, understood
from strangler.policy.circuit import says_down
from strangler.policy.documents import Asked
from strangler.policy.follow_up import repeats
from strangler.policy.interpret import CREDENTIALS_LOST, interpret_fault, interpret_reply
from strangler.policy.model import Route, on_in_doubt_for
from strangler.policy.translate import REQUEST_NOT_TRANSLATED, Interpreter, Unreadable, Untranslatable

_DRAINED = "drained"


class Claimed(NamedTuple):
    """A process that is ours to call for, on disk."""

    process: Process
    attempt: Attempt
    request: RecordedRequest
    term: int  # of the lease under which it was claimed
    ready: Ready | None = None  # translated at acceptance a moment ago, and recorded with it


class AttemptUnderWay:
    """An attempt whose claim is on disk."""

    def __init__(
        self,
        means: Means,
        concluder: Concluder,
        outcomes: Outcomes,
        route: Route,
        claimed: Claimed,
    ) -> None:
        self._means = means
        self._concluder = concluder
        self._outcomes = outcomes
        self._route = route
        self._process, self._begun, self._request, self._term, self._ready = claimed
        self._sending = False
        self.failed: bool | None = None  # what it said of the upstream; None: nothing
        self.cut_off = False  # it was sent, and a drain was over before its reply had come
        self.task = asyncio.current_task()
        self.over = False  # nothing more is going to come from the upstream
        self._concluded = False
        self._understands: tuple[Interpreter, Asked] | None = None  # on a route with a wall
        self._credentials = bool(self._request.credentials)

    @property
    def process_id(self) -> str:
        """Whose call it is."""
        return self._process.id

    async def run(self) -> Process | None:
        """Send, record, conclude. Returns the process after it; None: another worker has it, or it was concluded."""
        means, limit = self._means, self._route.call.max_reply
        # Not kept by us: it keeps our method, and each call would leave a ring to the garbage collector.
        recorder = Recorder(means.bodies, self._process.id, self._begun.number, limit, self._too_large)
        try:
            return await self._run(recorder)
        except asyncio.CancelledError:
            if self._sending:
                raise
            # The drain is over, and it was still being made ready.
            return await self._lost(Fault(FaultKind.NOT_SENT, _DRAINED, ours=Hindrance.DRAINING))
        except Exception as error:
            # A defect of ours. The process must not stay under way: while our lease goes on it is nobody's orphan.
            means.instrument.failed("execute", error)
            await recorder.break_off()
            kind = FaultKind.INTERRUPTED if self._sending else FaultKind.NOT_SENT
            why = f"a defect of Strangler: {type(error).__name__}"
            after = await self._lost(Fault(kind, why, ours=Hindrance.DEFECT))
            return after or await self._concluder.current(self._process)  # it may have struck behind the commit

    async def _run(self, recorder: Recorder) -> Process | None:
        if lacks_credentials(self._request, self._route.call):
            unsent = Fault(FaultKind.NOT_SENT, "its credentials do not open under today's identity key")
            return await self._conclude(Failed(CREDENTIALS_LOST, Effect.NONE), unsent, None)
        promise = self._means.promise_of(self._process.promise)
        if promise is None:
            # What is to be sent, and what a reply means, is not known: nothing is guessed.
            unsent = Fault(FaultKind.NOT_SENT, "what was promised for it is not known here", ours=Hindrance.PROMISE)
            return await self._lost(unsent)
        kept: asyncio.Future[None] | None = None
        if promise.wall is not None:
            try:
                kept = await self._translate(promise.wall)
            except (Unreadable, Untranslatable) as error:
                # It was translated when it was accepted, so this is the operator's: a hook, or a promise of long ago.
                fault = Fault(FaultKind.NOT_SENT, f"{REQUEST_NOT_TRANSLATED}: {error}")
                return await self._conclude(Failed(REQUEST_NOT_TRANSLATED, Effect.NONE), fault, None)
            except StoreUnavailable:
                why = "the recorded body cannot be read: StoreUnavailable"
                return await self._lost(Fault(FaultKind.NOT_SENT, why, ours=Hindrance.STORE))
        broken = await self._send(recorder)
        self.over = True
        if kept is not None:
            await kept
        if self._concluded:
            await (recorder.close() if broken is None else recorder.break_off())
            return None
        if broken is not None:
            return await self._lost(broken)
        outcome, rule = await self._understand(recorder)
        return await self._conclude(outcome, None, recorder, rule=rule)

    async def _translate(self, wall: Interpreter) -> asyncio.Future[None] | None:
        """On a route that translates, or says what replies mean: as it was promised, not as it says today. What is
        sent in place of the client's request is kept as evidence meanwhile.

        Raises:
            Unreadable, Untranslatable: as `Interpreter.request`.
            StoreUnavailable: the recorded body cannot be read.
        """
        means, original = self._means, self._request
        ready = self._ready or await prepared(means.bodies, wall, self._process, original, self._route.call)
        self._request, asked = ready
        self._understands = wall, asked
        if self._ready is None and self._begun.number == 1 and wall.translates_request:
            return asyncio.ensure_future(keep_sent(means, self._begun, original, self._request))
        return None

    async def _understand(self, recorder: Recorder) -> tuple[Outcome, str | None]:
        """What a whole reply means, and the rule of the route that said so."""
        built_in = self._interpret(recorder)
        if self._understands is None:
            return built_in, None
        again, now = repeats(self._process), self._means.clock.now()
        outcome, rule, _ = await understood(*self._understands, recorder, built_in, now, repeats=again)
        return outcome, rule

    async def _lost(self, fault: Fault) -> Process | None:
        """No whole reply came."""
        return await self._conclude(interpret_fault(fault, self._route.call), fault, None)

    async def _send(self, recorder: Recorder) -> Fault | None:
        call = self._route.call
        now = self._means.clock.now()
        left = (self._means.pauses.over_at(self._process, now) - now) / 1000
        if left <= 0:
            return Fault(FaultKind.NOT_SENT, "its deadline passed before it was sent", ours=Hindrance.DEADLINE)
        try:
            fault = await self._means.upstream.call(
                self._route.upstream,
                outgoing(self._process, self._request, self._route, self._means.bodies),
                recorder,
                timeout=min(call.timeout, left),
                may_send=self._may_send,
                fresh=on_in_doubt_for(call.on_in_doubt, self._process.method) != "retry",
            )
        except asyncio.CancelledError:
            # The drain is over. What was not sent goes back; of what was sent nobody knows.
            self.cut_off = self._sending and not self._concluded  # a reply that is only handed on has ended it
            kind = FaultKind.INTERRUPTED if self._sending else FaultKind.NOT_SENT
            return Fault(kind, _DRAINED, ours=Hindrance.DRAINING)
        if fault is None or not fault.timeout or left >= call.timeout:
            self.failed = says_down(fault, recorder.status)
        return fault

    def _may_send(self) -> bool:
        self._sending = self._means.lease.may_send(self._term)
        return self._sending

    def _interpret(self, recorder: Recorder) -> Outcome:
        # A call that starts at once is begun by the commit that accepts its process, at the same instant.
        deferred = self._begun.started_at > self._process.created_at
        return interpret_reply(
            self._request.method,  # as it was sent: a translated one may be another than the client's
            recorder.status,
            recorder.headers,
            self._route.call,
            self._means.clock.now(),
            deferred_credentials=deferred and self._credentials,
        )

    async def _conclude(
        self,
        outcome: Outcome,
        fault: Fault | None,
        recorder: Recorder | None,
        live: LiveReply | None = None,
        rule: str | None = None,
    ) -> Process | None:
        status = (recorder.original or recorder).status if recorder is not None else None
        attempt = ended(self._begun, self._means.clock.now(), fault, status, outcome, rule)
        target = None
        if isinstance(outcome, Pending) and recorder is not None:
            target = await place_of(self._means, self._route, self._process, self._request, recorder)
        return await self._concluder.conclude(
            self._process, outcome, attempt, self._route.call, recorder=recorder, live=live, target=target
        )

    async def _too_large(self, recorder: Recorder) -> LiveReply | None:
        """The reply is larger than what is kept: its status completes the process; the rest goes to who waits."""
        if self._understands is not None and self._understands[0].translates_reply:
            return None  # what is not translated does not leave the house
        outcome, rule = await self._understand(recorder)
        if isinstance(outcome, Retry | Pending | InDoubt):
            return None
        live = LiveReply(recorder.status, recorder.reason, recorder.headers)
        after = await self._conclude(outcome, None, recorder, live, rule)
        self._concluded = True
        if after is None or not self._outcomes.awaited(self._process.id):
            live.abandon()
        return live
