"""Concluding an attempt: commit what follows from its outcome, whatever the store does meanwhile, and tell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Attempt, AttemptOutcome, Fault, RecordedReply, RecordedRequest
from strangler.domain.idempotency import key_expiry, retained_from
from strangler.domain.outcome import Completed, Failed, InDoubt, Outcome, Pending, Rejected, Retry
from strangler.domain.process import Effect, Process, State
from strangler.domain.steps import Doubt, Finish, Follow, Probed, Result, Resume, Transition
from strangler.domain.transitions import Change, apply
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Settled
from strangler.engine.outgoing import lacks_credentials
from strangler.engine.recorder import LiveReply, Recorder
from strangler.engine.referencing import ended_with, found_in_reply
from strangler.engine.uninterrupted import uninterrupted
from strangler.policy.follow_up import finished, follow_up, overdue, settled_late, stricter, withdrawn
from strangler.policy.interpret import CREDENTIALS_LOST, WORKER_LOST
from strangler.policy.model import CallPolicy, OnInDoubt, on_in_doubt_for
from strangler.policy.translate import stays_inside
from strangler.ports import Closing, Commit, End, Evidence, OpenException, Stale, Verdict

_STORE_BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

NOBODY = "strangler"
"""Who did what no person did."""

WITHOUT_ROUTE = CallPolicy(timeout=60.0, attempts=1, on_in_doubt="fail", settle=75.0)
"""How the calls of a route that is no longer in the policy are concluded: by what was promised, and never repeated."""


def applied(process: Process, transitions: Sequence[Transition], now: int) -> Change:
    """The change that all of the transitions make, one after the other."""
    change = apply(process, transitions[0], now)
    for transition in transitions[1:]:
        change = change.then(transition, now)
    return change


def settling(
    change: Change,
    attempt: Attempt | None,
    reply: RecordedReply | None,
    *,
    evidence: Evidence | None = None,
    closes: Closing | None = None,
) -> Commit:
    """The commit of a change, with what belongs to an end, or to a doubt that only a person can settle."""
    process = change.process
    now = change.events[-1].at
    if process.final:
        end = End(key_expiry(process, now), retained_from(process, now) + process.retain)
        kept = (attempt.number, reply) if attempt is not None and reply is not None else None
        broken = _broken_promise(process)
        opens = OpenException(process.id, "expired", now, broken) if broken is not None else None
        return Commit(change, attempt=attempt, reply=kept, end=end, evidence=evidence, opens=opens, closes=closes)
    if process.state is State.IN_DOUBT and not process.settling:
        opens = OpenException(process.id, "in_doubt", now, process.reason or "")
        return Commit(change, attempt=attempt, evidence=evidence, opens=opens)
    return Commit(change, attempt=attempt, evidence=evidence)


def _broken_promise(process: Process) -> str | None:
    """Why what was promised was never done, for people; None: it was, or may have been, or nobody promised it."""
    if not process.promised:
        return None
    if process.state is State.EXPIRED:
        return "it was promised, and was not done before its deadline"
    if process.reason == CREDENTIALS_LOST and process.effect is Effect.NONE:
        return "it was promised, and could not be sent: its credentials do not open under today's identity key"
    return None


def ended(
    begun: Attempt, now: int, fault: Fault | None, status: int | None, outcome: Outcome | None, rule: str | None = None
) -> Attempt:
    """The attempt as it ended: with a fault, or with a whole reply that came to an outcome, by a rule of the route."""
    if fault is not None:
        return begun._replace(ended_at=now, outcome=AttemptOutcome(fault.kind.value), detail=fault.reason)
    kind = AttemptOutcome.REFUSED if isinstance(outcome, Retry) else AttemptOutcome.COMPLETED
    # Not `_replace`, which on the way of every call costs as much as the rest of the decision.
    return Attempt(begun.process_id, begun.number, begun.fence, begun.owner, begun.started_at, now, kind, status, rule)


def _asked_as(process: Process) -> tuple[object, ...]:
    """What must not change while the upstream is asked, for the answer to be about the process as it is."""
    return process.state, process.fence, process.settling


class Concluder:
    """Commits outcomes."""

    def __init__(self, means: Means, notifier: Notifier) -> None:
        self._means = means
        self._notifier = notifier

    async def conclude(
        self,
        process: Process,
        outcome: Outcome,
        attempt: Attempt,
        call: CallPolicy,
        recorder: Recorder | None = None,
        live: LiveReply | None = None,
        target: str | None = None,
    ) -> Process | None:
        """Commit what follows from an outcome. Returns the process after it; None: its fence was stale.

        Args:
            recorder: holds the whole reply; None: there was none.
            live: the reply is too large to keep and still arrives; it goes to who waits.
            target: where the upstream can be asked about what it took; None: nobody knows.
        """
        means = self._means
        whole = recorder.result(arriving=live is not None) if recorder is not None else None
        promise = means.promise_of(process.promise)
        result = None if stays_inside(outcome, promise.wall if promise is not None else None) else whole
        evidence = None
        if recorder is not None and (recorder.original is not None or isinstance(outcome, InDoubt | Pending)):
            evidence = await self._evidence(attempt, recorder, late=False)
        references = await self._references(process, recorder) if live is None else {}

        def decided(process: Process) -> Change:
            now = means.clock.now()
            transitions = self._transitions(process, outcome, call, result, target, now)
            return applied(process, ended_with(process, transitions, references), now)

        def held(reply: RecordedReply) -> None:
            after = decided(process).process
            settled = Settled(after, attempt.number, reply if after.has_result else None)
            self._held(settled, "its reply cannot be stored now")

        reply = None
        if recorder is not None and live is None:
            reply = await recorder.finish(held if self._notifier.awaited(process.id) else None)
        while True:
            change = decided(process)
            told = reply if change.process.has_result else None
            commit = settling(change, attempt, told, evidence=evidence)
            settled = Settled(change.process, attempt.number, told, live)
            if await self._commit_until(commit, change, settled, attempt):
                return change.process
            current = await self.current(process)
            if current is None or (current.fence, current.state) != (process.fence, process.state):
                if recorder is not None and whole is not None:
                    await self._late(process, outcome, attempt, recorder, whole, reply, references)
                return None
            process = current  # somebody told how far it is meanwhile; the attempt is ours all the same

    def _transitions(
        self,
        process: Process,
        outcome: Outcome,
        call: CallPolicy,
        result: Result | None,
        target: str | None,
        now: int,
    ) -> Sequence[Transition]:
        match outcome:
            case Completed() | Rejected() | Failed():
                return (finished(process, outcome, result),)  # whatever the policy says, and however things stand
        means = self._means
        on_in_doubt, paused = self.on_in_doubt(process, call), means.pauses.stood_still(process, now)
        return follow_up(process, outcome, call, on_in_doubt, now, means.ids.chance(), result, target, paused)

    async def looked(
        self, process: Process, transition: Follow | Finish | Doubt, recorder: Recorder | None = None
    ) -> Process | None:
        """Commit what a look at the upstream led to. Returns the process after it; None: it is no longer followed.

        Args:
            recorder: holds the whole reply that decided, or that tells nothing any more; None: there was none.
        """
        evidence = None
        if recorder is not None and (recorder.original is not None or isinstance(transition, Doubt)):
            evidence = await self._evidence(self._last_attempt(process), recorder, late=False)
        if isinstance(transition, Finish) and recorder is not None:
            transition = await self.told(process, transition, recorder)
        reply = None
        if recorder is not None and isinstance(transition, Finish) and transition.result is not None:
            reply = recorder.number, await recorder.finish()
        return await self.asked(process, transition, evidence, reply)

    async def asked(
        self,
        process: Process,
        transition: Follow | Finish | Probed | Resume | Doubt,
        evidence: Evidence | None = None,
        reply: tuple[int, RecordedReply] | None = None,
    ) -> Process | None:
        """Commit what the upstream was asked for, and led to. Returns the process after it; None: it has moved on.

        Args:
            evidence: what it answered.
            reply: what the client gets, and its number.
        """
        means = self._means
        number, recorded = reply or (process.tries, None)
        while True:
            change = apply(process, transition, means.clock.now())
            commit = settling(change, None, None, evidence=evidence)
            if reply is not None:
                commit = commit._replace(reply=reply)
            if await self._commit_until(commit, change, Settled(change.process, number, recorded)):
                return change.process
            current = await self.current(process)
            if current is None or _asked_as(current) != _asked_as(process):
                return None
            if isinstance(transition, Follow | Probed) and current.due_at != process.due_at:
                return None  # somebody else has looked
            process = current

    async def told(self, process: Process, end: Finish, recorder: Recorder) -> Finish:
        """An end as whoever looks for its process finds it: with the references that a whole reply says."""
        [told] = ended_with(process, [end], await self._references(process, recorder))
        return told

    async def _references(self, process: Process, recorder: Recorder | None) -> dict[str, str]:
        """What the reply says that its process is found by; where the store cannot say, it goes on without."""
        promise = self._means.promise_of(process.promise)
        references = promise.references if promise is not None else None
        if references is None or recorder is None or not references.asks_reply:
            return {}
        try:
            recorded = await self._means.store.request(process.id)
            if recorded is None:
                return {}
            return await found_in_reply(self._means.bodies, references, process, recorded, recorder)
        except StoreUnavailable as error:
            self._means.instrument.note("references_not_read", "warning", process=process.id, reason=str(error))
            return {}

    def on_in_doubt(self, process: Process, call: CallPolicy) -> OnInDoubt:
        """What is done when nobody knows what became of it; ``call`` counts where its route is gone by now."""
        today = self._means.route_of(process.route)
        if today is not None:
            call = today.call  # an attempt may have begun under an earlier one
        promise = self._means.promise_of(process.promise)
        promised = on_in_doubt_for(promise.on_in_doubt, process.method) if promise is not None else "review"
        return stricter(promised, on_in_doubt_for(call.on_in_doubt, process.method))

    def promise_is_unknown(self, process: Process, call: CallPolicy) -> bool:
        """Whether what becomes of a doubt is up to a promise that is not known now."""
        today = on_in_doubt_for(call.on_in_doubt, process.method)
        return today != "review" and self._means.promise_of(process.promise) is None

    async def current(self, process: Process) -> Process | None:
        """The process as the store has it, however long that takes; None: it is forgotten."""
        while True:
            try:
                found = await self._means.store.process(process.id)
            except StoreUnavailable:
                await asyncio.sleep(_STORE_BACKOFF[-1])
                continue
            return found if isinstance(found, Process) else None

    def _last_attempt(self, process: Process) -> Attempt:
        """The attempt that is followed, as far as evidence names it."""
        return Attempt(process.id, process.tries, process.fence, "", process.updated_at)

    async def recover(self, process: Process, call: CallPolicy | None) -> Process | None:
        """A process under way whose worker is gone: it was sent, or may have been. None: somebody else settled it."""
        attempt = Attempt(
            process.id,
            process.tries,
            process.fence,
            process.owner or "",
            process.updated_at,
            self._means.clock.now(),
            AttemptOutcome.INTERRUPTED,
            detail=WORKER_LOST,
        )
        return await self.conclude(process, InDoubt(WORKER_LOST), attempt, call or WITHOUT_ROUTE)

    async def overdue(self, process: Process) -> None:
        """A process whose deadline passed while it waited for a claim.

        Raises:
            StoreUnavailable: the store cannot record it now; it is still overdue then.
        """
        await self._come_to(process, overdue(process))

    async def withdrawn(self, process: Process, request: RecordedRequest) -> bool:
        """Whether a repeat that is due is not wanted any more, or cannot be made; then it is left to a person.

        Raises:
            StoreUnavailable: the store cannot record it now; it is still due then.
        """
        route = self._means.route_of(process.route)
        doubt = None
        if route is not None:
            lost = lacks_credentials(request, route.call)
            # While nobody knows what was promised the repeat is not given up: it waits, as what was never sent.
            unknown = self.promise_is_unknown(process, route.call)
            doubt = withdrawn(process, "retry" if unknown else self.on_in_doubt(process, route.call), lost=lost)
        if doubt is not None:
            await self._come_to(process, doubt)
        return doubt is not None

    async def _come_to(self, process: Process, transition: Transition) -> None:
        change = apply(process, transition, self._means.clock.now())
        await self._committed(settling(change, None, None), change, Settled(change.process))

    async def _committed(
        self, commit: Commit, change: Change | None, settled: Settled, attempt: Attempt | None = None
    ) -> bool:
        """Commit, and tell of it: also where who decided is cut off meanwhile, by a drain that is over.

        False: the fence was stale.

        Raises:
            StoreUnavailable: the store cannot.
        """

        def tell(verdict: Verdict) -> bool:
            if isinstance(verdict, Stale):
                return False
            if change is not None:
                self._notifier.committed(change, settled)
            if attempt is not None:
                self._means.instrument.attempt_ended(settled.process, attempt)
            return True

        return await uninterrupted(self._means.store.commit(commit), tell, stays=True)

    async def _commit_until(
        self, commit: Commit, change: Change | None, settled: Settled, attempt: Attempt | None = None
    ) -> bool:
        """As `_committed`; while the store cannot, hold the outcome, try again, and let who waits go on."""
        tries = 0
        while True:
            try:
                return await self._committed(commit, change, settled, attempt)
            except StoreUnavailable as error:
                if tries == 0:
                    self._held(settled, str(error))
                await asyncio.sleep(_STORE_BACKOFF[min(tries, len(_STORE_BACKOFF) - 1)])
                tries += 1

    def _held(self, settled: Settled, reason: str) -> None:
        self._means.instrument.note("outcome_held", "error", process=settled.process.id, reason=reason)
        self._notifier.held(settled)

    async def _late(
        self,
        process: Process,
        outcome: Outcome,
        attempt: Attempt,
        recorder: Recorder,
        result: Result,
        reply: RecordedReply | None,
        references: dict[str, str],
    ) -> None:
        """A reply under a stale fence: it settles a process still in doubt; else it is kept for a person to see.

        ``reply`` None: it is too large to keep.
        """
        means = self._means
        evidence = await self._evidence(attempt, recorder, late=True)
        while (current := await self.current(process)) is not None:
            transitions = settled_late(current, outcome, result)
            if transitions is None:
                break
            change = applied(current, ended_with(current, transitions, references), means.clock.now())
            settled = Settled(change.process, attempt.number, reply)
            closing = Closing(change.events[-1].at, NOBODY, "settled", "the reply came late")
            commit = settling(change, attempt, reply, evidence=evidence, closes=closing)
            if await self._commit_until(commit, change, settled):
                means.instrument.late_reply(change.process, settled=True)
                return
        detail = f"attempt {attempt.number} was answered {recorder.status} after it had been given up"
        opens = OpenException(process.id, "late_reply", means.clock.now(), detail)
        await self._commit_until(Commit(None, attempt=attempt, evidence=evidence, opens=opens), None, Settled(process))
        means.instrument.late_reply(process, settled=False)

    async def _evidence(self, attempt: Attempt, recorder: Recorder, *, late: bool) -> Evidence:
        return Evidence(
            attempt.process_id,
            attempt.number,
            "late_reply" if late else "reply",
            self._means.clock.now(),
            *(recorder.original or (recorder.status, recorder.headers, await recorder.first_bytes())),
        )
