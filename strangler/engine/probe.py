"""Probing: the upstream is asked what a call in doubt did, until it tells, or a person has to find out.

A question changes nothing, so nothing is claimed for it: whoever dies in the middle leaves a process that is due, and
the next worker asks again. Only what an answer led to is committed, with the answer as evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from strangler.domain.exchange import CHUNK_SIZE, Header, Headers, Hindrance, RecordedRequest, joined_field
from strangler.domain.process import Process, State
from strangler.domain.replies import number_of_look
from strangler.domain.retry import parse_retry_after
from strangler.domain.steps import Doubt, Finish
from strangler.engine.aside import TookTooLong, beside
from strangler.engine.conclude import Concluder
from strangler.engine.failpoint import reach
from strangler.engine.intake import whole_body
from strangler.engine.means import Means
from strangler.engine.outgoing import lacks_credentials
from strangler.engine.question import (
    Answer,
    headers_for,
    nobody_waits_for_it,
    question,
    readable,
    short_body,
    source_of,
)
from strangler.engine.recorder import Recorder
from strangler.engine.translating import process_values
from strangler.policy.documents import Asked, Read, read_body, request_values, weight
from strangler.policy.expressions import ExpressionError
from strangler.policy.follow import is_target
from strangler.policy.interpret import CREDENTIALS_LOST
from strangler.policy.model import ProbePolicy, ProbeResult, Promise, Route
from strangler.policy.probe import (
    CONDITION_FAILED,
    NOT_ASKED,
    QUESTION_FAILED,
    RESULT_FAILED,
    UNANSWERED,
    Applied,
    Finding,
    Inconclusive,
    holds,
    judge,
    settled,
)
from strangler.policy.readable import Unparsable
from strangler.policy.upstreams import Upstream
from strangler.policy.wall import Source
from strangler.ports import Bodies, Evidence, Outgoing

_OF_THE_BODY = frozenset({"body", "soap", "@"})


class Unaskable(ValueError):
    """The question cannot be made of the request; the text says why."""


class Question(NamedTuple):
    """What is asked, and whom."""

    upstream: Upstream
    outgoing: Outgoing
    asked: Mapping[str, Any]  # the request as expressions see it


class _Found(NamedTuple):
    finding: Finding
    evidence: Evidence | None
    result: Recorder | None = None  # holds what the client gets, where the answer makes something


class _Made(NamedTuple):
    head: tuple[int, bytes, Headers]
    body: bytes


class Prober:
    """Asks the upstream about what is in doubt."""

    def __init__(self, means: Means, concluder: Concluder) -> None:
        self._means = means
        self._concluder = concluder

    async def look(self, route: Route, process: Process) -> Process | None:
        """Ask once, and commit what that leads to. Returns the process after it; None: it is no longer in doubt.

        Raises:
            StoreUnavailable: the store cannot say what was recorded; nothing was asked.
        """
        found = await self._means.store.process(process.id)
        if not isinstance(found, Process) or found.state is not State.IN_DOUBT or found.due_at is None:
            return None
        if found.due_at > self._means.clock.now():
            return found
        process, probe = found, route.call.probe
        if probe is not None and self._concluder.promise_is_unknown(process, route.call):
            # Whether it is to be asked about, and what of: that may be known in a while.
            unknown = Inconclusive(Hindrance.PROMISE.value)
            self._tell(process, unknown)
            return await self._concluder.asked(process, settled(process, unknown, probe, self._means.clock.now()))
        if probe is None or self._concluder.on_in_doubt(process, route.call) != "probe":
            return await self._concluder.asked(process, Doubt(NOT_ASKED, settling=False))
        request = await self._means.store.request(process.id)
        if request is None:
            return None  # it was forgotten meanwhile
        if probe.upstream is None and lacks_credentials(request, route.call):
            return await self._concluder.asked(process, Doubt(CREDENTIALS_LOST, settling=False))
        finding, evidence, result = await self._find_out(route, probe, process, request)
        reach("after-answer")
        self._tell(process, finding)
        transition = settled(process, finding, probe, self._means.clock.now())
        reply = (result.number, await result.finish()) if result is not None else None
        if isinstance(transition, Finish) and result is not None:
            transition = await self._concluder.told(process, transition, result)
        return await self._concluder.asked(process, transition, evidence, reply)

    async def _find_out(self, route: Route, probe: ProbePolicy, process: Process, request: RecordedRequest) -> _Found:
        means = self._means
        try:
            upstream, outgoing, asked = await question_about(
                means.bodies, route, process, request, means.promise_of(process.promise)
            )
        except Unaskable as error:
            means.instrument.note(QUESTION_FAILED, "error", route=route.name, process=process.id, reason=str(error))
            return _Found(Inconclusive(QUESTION_FAILED), None)
        recorder = Recorder(means.bodies, process.id, process.tries, CHUNK_SIZE, nobody_waits_for_it)
        fault = await means.upstream.call(
            upstream, outgoing, recorder, timeout=probe.timeout, may_send=lambda: True, fresh=False
        )
        if fault is not None:
            return _Found(Inconclusive(UNANSWERED), self._evidence(process, outgoing, (), b"", None))
        data = await short_body(recorder)
        evidence = self._evidence(process, outgoing, recorder.headers, data or b"", recorder.status)
        answer = Answer(recorder.status, recorder.headers, data, source_of(means, process), asked)
        try:
            finding = await self._finding(probe, answer, weight(recorder.size, recorder.headers))
        except (ExpressionError, Unparsable, TookTooLong) as error:
            means.instrument.note(CONDITION_FAILED, "error", route=route.name, process=process.id, reason=str(error))
            return _Found(Inconclusive(CONDITION_FAILED), evidence)
        if not isinstance(finding, Applied) or probe.result is None:
            return _Found(finding, evidence)
        try:
            made = await self._made(probe.result, answer, weight(recorder.size, recorder.headers))
        except (ExpressionError, Unparsable, TookTooLong) as error:
            means.instrument.note(RESULT_FAILED, "error", route=route.name, process=process.id, reason=str(error))
            return _Found(Inconclusive(RESULT_FAILED), evidence)
        number = number_of_look(process.tries, means.ids.span_id())
        into = Recorder(means.bodies, process.id, number, route.call.max_reply, nobody_waits_for_it)
        into.head(*made.head)
        await into.write(made.body)
        return _Found(Applied(into.result()), evidence, into)

    async def _finding(self, probe: ProbePolicy, answer: Answer, size: int) -> Finding:
        """What an answer says.

        Raises:
            ExpressionError, Unparsable, TookTooLong: a condition cannot be evaluated.
        """
        applied, absent = [
            await beside(
                partial(holds, condition, answer.status, answer.headers, answer),
                size,
                hooks=condition is not None and condition.is_hook,
            )
            for condition in (probe.applied, probe.absent)
        ]
        after = joined_field(answer.headers, b"retry-after")
        return judge(applied, absent, parse_retry_after(after, self._means.clock.now()))

    async def _made(self, result: ProbeResult, answer: Answer, size: int) -> _Made:
        """What the client gets.

        Raises:
            ExpressionError, Unparsable, TookTooLong: it cannot be made of the answer.
        """
        rendering = result.body
        if rendering is None:
            return _Made((result.status, b"", ()), b"")
        body = await beside(lambda: rendering.body(answer.values()), size, hooks=rendering.has_hooks)
        return _Made((result.status, b"", [(b"Content-Type", rendering.content_type)]), body)

    def _evidence(
        self, process: Process, outgoing: Outgoing, headers: Headers, body: bytes, status: int | None
    ) -> Evidence:
        asked: list[Header] = [(b":method", outgoing.method.encode()), (b":target", outgoing.target)]
        return Evidence(process.id, process.tries, "probe", self._means.clock.now(), status, [*asked, *headers], body)

    def _tell(self, process: Process, finding: Finding) -> None:
        said = finding.reason if isinstance(finding, Inconclusive) else type(finding).__name__.lower()
        self._means.instrument.note("probed", process=process.id, route=process.route, found=said)


async def question_about(
    bodies: Bodies, route: Route, process: Process, request: RecordedRequest, promise: Promise | None
) -> Question:
    """What the upstream is asked about a request; the route has a probe.

    Raises:
        Unaskable: the request does not hold what the question is made of.
    """
    probe = route.call.probe
    assert probe is not None, "a route that asks nothing"
    wall = promise.wall.wall if promise is not None and promise.wall is not None else None
    source = wall.request.source if wall is not None and wall.request is not None else Source()
    data = await whole_body(request.body, bodies, process.id) if _looks_at_body(probe) else b""
    asked = Asked(request.method, request.target, request.headers, data, process.caller_name, process_values(process))
    work = partial(_worded, probe, asked, route.match.paths, source)
    try:
        path, values = await beside(work, weight(len(data), request.headers), hooks=False)
    except (ExpressionError, Unparsable) as error:
        raise Unaskable(str(error)) from None
    if not is_target(path):
        raise Unaskable("it makes no path of plain ASCII")
    upstream = probe.upstream or route.upstream
    if probe.upstream is None:
        headers = headers_for(process, request, route, f"probe-{process.sequence}", probe.set_headers)
    else:
        # Another system: nobody said that the client's credentials are for it.
        own: list[Header] = [
            (b"Host", upstream.authority.encode()),
            (b"Accept", b"*/*"),
            (b"X-Correlation-ID", process.correlation_id.encode()),
        ]
        headers = readable(own, probe.set_headers)
    return Question(upstream, question(f"{upstream.base_path}{path}", headers, probe.method), values)


def _looks_at_body(probe: ProbePolicy) -> bool:
    names = probe.template.names
    if probe.result is not None and probe.result.body is not None:
        names |= probe.result.body.names
    hooks = any(condition is not None and condition.is_hook for condition in (probe.applied, probe.absent))
    return hooks or bool(names & _OF_THE_BODY)


def _worded(probe: ProbePolicy, asked: Asked, paths: tuple[str, ...], source: Source) -> tuple[str, Mapping[str, Any]]:
    read = read_body(asked.data, asked.headers, source) if asked.data else Read(None)
    values = request_values(asked, paths, read)
    return probe.template.path(values), values
