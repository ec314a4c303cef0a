"""Looking after what the upstream took: one question after the other until it has decided.

A look is a GET, safe to repeat, so nothing is claimed for it: whoever dies in the middle leaves a process that is due,
and the next worker looks again. Only what a look led to is committed.
"""

from __future__ import annotations

from functools import partial

from strangler.domain.exchange import CHUNK_SIZE, RecordedRequest, joined_field
from strangler.domain.outcome import InDoubt, Outcome, Pending, Retry
from strangler.domain.process import Process, State
from strangler.domain.replies import number_of_look
from strangler.domain.steps import Doubt, Finish
from strangler.engine.aside import TookTooLong, beside
from strangler.engine.conclude import Concluder
from strangler.engine.means import Means
from strangler.engine.outgoing import lacks_credentials
from strangler.engine.question import Answer, headers_for, nobody_waits_for_it, question, short_body, source_of
from strangler.engine.recorder import Original, Recorder, reply_part
from strangler.engine.translating import asked_by, process_values, understood
from strangler.policy.circuit import says_down
from strangler.policy.documents import weight
from strangler.policy.expressions import ExpressionError
from strangler.policy.follow import (
    CONDITION_FAILED,
    FOLLOW_OVER,
    NOWHERE,
    Decided,
    Elsewhere,
    Judgement,
    Look,
    NotYet,
    Untold,
    is_down,
    judge,
    whereto,
)
from strangler.policy.follow_up import followed_to_end, looked_after, untold
from strangler.policy.forwarding import upstream_target
from strangler.policy.interpret import CREDENTIALS_LOST, interpret_end
from strangler.policy.model import FollowPolicy, Route
from strangler.policy.readable import Unparsable

_HOPS = 5  # places that one look may be sent on to


class Looker:
    """Asks the upstream about what it took.

    Args:
        answers: is told, by process, whether the upstream seems to be down.
    """

    def __init__(self, means: Means, concluder: Concluder, answers: dict[str, bool | None]) -> None:
        self._means = means
        self._concluder = concluder
        self._answers = answers

    async def look(self, route: Route, process: Process) -> Process | None:
        """Ask once, and commit what that leads to. Returns the process after it; None: it is no longer followed.

        Args:
            process: as it was when it was found to be due; where another worker has looked since, nothing is asked.

        Raises:
            StoreUnavailable: the store cannot say what was recorded; nothing was asked.
        """
        found = await self._means.store.process(process.id)
        if not isinstance(found, Process) or found.state is not State.FOLLOWING:
            return None
        if found.due_at is not None and found.due_at > self._means.clock.now():
            return found
        process = found
        request = await self._means.store.request(process.id)
        if request is None or process.follow_target is None:
            return None
        if self._means.promise_of(process.promise) is None:
            return await self._not_yet(route, process, NotYet())  # nobody here could tell what an answer means
        if lacks_credentials(request, route.call):
            return await self._concluder.looked(process, self._no_answer(route, process, CREDENTIALS_LOST))
        target, result = process.follow_target, False
        for _ in range(_HOPS):
            number = number_of_look(process.tries, self._means.ids.span_id())
            recorder = Recorder(self._means.bodies, process.id, number, route.call.max_reply, nobody_waits_for_it)
            if not await self._ask(route, process, request, target, recorder):
                return await self._not_yet(route, process, NotYet())
            judgement = await self._judgement(route, process, request, target, recorder, result=result)
            match judgement:
                case Elsewhere():
                    await self._drop(process, recorder)
                    target, result = judgement.target, judgement.result
                case NotYet():
                    await self._drop(process, recorder)
                    return await self._not_yet(route, process, judgement)
                case Untold(reason):
                    return await self._untold(route, process, reason, recorder)
                case Decided():
                    return await self._decided(route, process, request, judgement, recorder)
        return await self._concluder.looked(process, self._no_answer(route, process, NOWHERE))

    async def _judgement(
        self, route: Route, process: Process, request: RecordedRequest, target: str, recorder: Recorder, *, result: bool
    ) -> Judgement:
        follow = route.call.follow or FollowPolicy()
        answer = Answer(recorder.status, recorder.headers, await short_body(recorder), source_of(self._means, process))
        done = None if follow.done is None or result else False
        # The page of a system that is down is not what a condition was written for, unless it says so.
        if follow.done is not None and not result and (follow.done.names_statuses or not is_down(answer.status)):
            holds = partial(follow.done.holds, answer.status, answer.headers, answer)
            try:
                done = await beside(holds, weight(recorder.size, recorder.headers), hooks=follow.done.is_hook)
            except (ExpressionError, Unparsable, TookTooLong) as error:
                self._means.instrument.note(CONDITION_FAILED, "error", route=route.name, reason=str(error))
                return Untold(CONDITION_FAILED)
        look = Look(
            answer.status,
            answer.headers,
            await beside(answer.document, weight(recorder.size, recorder.headers), hooks=False),
        )
        authorities = authorities_of(route, process, request)
        now = self._means.clock.now()
        return judge(follow, look, target, authorities, now, result=result, done=done)

    async def _ask(
        self, route: Route, process: Process, request: RecordedRequest, target: str, recorder: Recorder
    ) -> bool:
        """Send the question; whether a whole answer came."""
        further = route.call.follow.set_headers if route.call.follow is not None else ()
        headers = headers_for(process, request, route, f"look-{process.sequence}", further)
        fault = await self._means.upstream.call(
            route.upstream,
            question(target, headers),
            recorder,
            timeout=route.call.timeout,
            may_send=lambda: True,
            fresh=False,
        )
        self._answers[process.id] = says_down(fault, recorder.status)
        if fault is not None:
            self._means.instrument.note("look_failed", "debug", process=process.id, reason=fault.reason)
        return fault is None

    async def _not_yet(
        self, route: Route, process: Process, not_yet: NotYet, pending: Pending | None = None
    ) -> Process | None:
        now = self._means.clock.now()
        if self._means.pauses.over_at(process, now) <= now:
            return await self._concluder.looked(process, self._no_answer(route, process, FOLLOW_OVER))
        told = pending or Pending()
        told = Pending(told.status, told.reason, not_yet.after if told.after is None else told.after)
        target = not_yet.target or process.follow_target or ""
        paused = self._means.pauses.stood_still(process, now)
        return await self._concluder.looked(process, looked_after(process, told, route.call, target, now, paused))

    async def _untold(self, route: Route, process: Process, reason: str, recorder: Recorder) -> Process | None:
        return await self._concluder.looked(process, self._no_answer(route, process, reason), recorder)

    async def _decided(
        self, route: Route, process: Process, request: RecordedRequest, decided: Decided, recorder: Recorder
    ) -> Process | None:
        """Its last answer is interpreted by the rules that any reply is interpreted by."""
        outcome, rule = (
            (decided.failed, None) if decided.failed else await self._meaning(route, process, request, recorder)
        )
        match outcome:
            case Pending() | Retry():
                await self._drop(process, recorder)
                pending = outcome if isinstance(outcome, Pending) else Pending(after=outcome.after)
                return await self._not_yet(route, process, NotYet(), pending)
            case InDoubt(reason):
                return await self._untold(route, process, reason, recorder)
        finish = followed_to_end(process, outcome, recorder.result(), rule)
        return await self._concluder.looked(process, finish, recorder)

    async def _meaning(
        self, route: Route, process: Process, request: RecordedRequest, recorder: Recorder
    ) -> tuple[Outcome, str | None]:
        """What the last answer means, and the rule that says so; None: the built-in ones, where there are no others."""
        built_in = interpret_end(process.method, recorder.status, recorder.headers, route.call)
        promise = self._means.promise_of(process.promise)
        if promise is None or promise.wall is None:
            return built_in, None
        asked = await asked_by(self._means.bodies, promise.wall, process, request, request.headers)
        outcome, rule, _ = await understood(promise.wall, asked, recorder, built_in, self._means.clock.now())
        return outcome, rule

    def _no_answer(self, route: Route, process: Process, reason: str) -> Doubt | Finish:
        return untold(reason, self._concluder.on_in_doubt(process, route.call))

    async def _drop(self, process: Process, recorder: Recorder) -> None:
        """An answer that is not the last one is not kept."""
        if recorder.size > CHUNK_SIZE:
            await self._means.bodies.discard_chunks(process.id, reply_part(recorder.number))


async def place_of(
    means: Means, route: Route, process: Process, request: RecordedRequest, recorder: Recorder
) -> str | None:
    """Where the upstream can be asked about what it took by a reply; None: nobody can tell."""
    follow = route.call.follow
    if follow is None:
        return None
    came = recorder.original or Original(recorder.status, recorder.headers, await short_body(recorder) or b"")
    reply = Answer(came.status, came.headers, came.first_bytes, source_of(means, process))
    document = await beside(reply.document, weight(len(came.first_bytes), came.headers), hooks=False)
    look = Look(came.status, came.headers, document)
    asked = upstream_target(request.target, route.rewrite, route.upstream)
    target = whereto(follow, look, process_values(process), asked, authorities_of(route, process, request))
    if target is None or follow.template is None:
        return target
    return f"{route.upstream.base_path}{target}"


def authorities_of(route: Route, process: Process, request: RecordedRequest) -> set[str]:
    """The names under which the upstream may speak of itself: its own, and those that clients call it by."""
    names = {route.upstream.authority.lower(), process.base.partition("://")[2].partition("/")[0].lower()}
    host = joined_field(request.headers, b"host")
    if host is not None:
        names.add(host.decode("latin-1").lower())
    return names
