"""Trying a route without calling anything: what would be sent, and what a reply would be taken for.

It goes the way that a recorded request goes, by the same functions: matching, deciding, checking what `accept` says,
translating, understanding, concluding. Credentials, callbacks, limits and room are not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, cast

from strangler.config.system import SystemClock, SystemIds
from strangler.domain.exchange import Answer, Body, Header, Peer, RecordedReply, RecordedRequest, Request
from strangler.domain.outcome import Outcome
from strangler.domain.problem import TITLES
from strangler.domain.process import Process
from strangler.domain.steps import Accept, Claim
from strangler.domain.transitions import apply
from strangler.engine.conclude import applied
from strangler.engine.content import JsonBody
from strangler.engine.document import status_document
from strangler.engine.instrument import Instrument
from strangler.engine.intake import names, recorded
from strangler.engine.keys import key_of_client
from strangler.engine.outgoing import outgoing
from strangler.engine.probe import Question, Unaskable, question_about
from strangler.engine.queries import Queries
from strangler.engine.recorder import LiveReply, Recorder
from strangler.engine.referencing import ended_with, found_in_reply, found_in_request
from strangler.engine.refusals import UNCLEAR, Refusals, Stop
from strangler.engine.submission import Acceptance, Pass, Refused, Submission, draft_of
from strangler.engine.translating import prepared, understood
from strangler.gateway.result import Results
from strangler.gateway.switch import client_value
from strangler.policy import prefer
from strangler.policy.decide import Decision, decide
from strangler.policy.follow_up import follow_up, repeats
from strangler.policy.interpret import interpret_reply, rule_of
from strangler.policy.match import compile_table
from strangler.policy.model import Mode, Route, Table, on_in_doubt_for
from strangler.policy.target import clear
from strangler.policy.translate import Unreadable, Untranslatable, stays_inside
from strangler.ports import Outgoing
from strangler.store.memory import MemoryStore


class Message(NamedTuple):
    """A request or a reply from a file."""

    first: str  # "POST /claims", or "200"
    headers: Sequence[Header]
    body: bytes


class Trial(NamedTuple):
    """What would happen."""

    route: Route | None  # that the request falls on; None: none
    decision: Decision | None = None  # None: nothing is decided, because no route is matched
    refusal: str | None = None  # why it would be refused
    sent: Outgoing | None = None  # None: it would pass through untouched, or be refused
    asked: Question | str | None = None  # where its outcome is in doubt; text: why it cannot be; None: nothing is
    outcome: Outcome | None = None  # None: no reply was given
    rule: str = ""  # that decided
    process: Process | None = None
    document: bytes = b""
    reply: RecordedReply | None = None  # as it is kept with a process that ended
    result: Answer | None = None  # what the client would get of `/result`, whole


async def attempt(table: Table, request: Message, reply: Message | None) -> Trial:
    """What would become of a request, and of a reply to it."""
    method, _, target = request.first.partition(" ")
    size = len(request.body)
    peer = Peer("127.0.0.1", 0)
    asked = Request(method, target.encode(), request.headers, peer, _Nothing(), has_body=size > 0, content_length=size)
    matched = compile_table(table).match_request(asked)
    if matched.ambiguous:
        return Trial(None, refusal="the raw and the normal form of the target fall on different routes")
    route = matched.route
    if route is None:
        return Trial(None)
    value = client_value(asked, route, route.rollout) if route.rollout is not None else None
    decision = decide(route, prefer.parse(asked.field(b"prefer")), value)
    if decision.mode is Mode.PASSTHROUGH:
        return Trial(route, decision)
    trial = Trial(route, decision)
    base = route.public_url or "http://127.0.0.1:8080"
    submission = Submission(asked, route, matched.parameters, decision, base)
    match await _judged(submission, request.body):
        case Refused() as refused:
            return trial._replace(refusal=f"{TITLES[refused.name][0]}: {refused.detail}")
        case Pass():
            return trial
    return await _recorded(submission, request.body, reply, trial)


async def _judged(submission: Submission, data: bytes) -> Acceptance | None:
    """What is refused, or passes through, by what `accept` says; None: it is recorded."""
    if not clear(submission.request.path):
        return UNCLEAR
    refusals, store = Refusals(cast(Instrument, _Unheard())), MemoryStore()
    try:
        refusals.check_head(submission)
        refusals.check_key(submission)
        body = Body(len(data), hashlib.sha256(data).digest(), data)
        await refusals.check_body(submission.route, JsonBody(submission.request, body, store, ""))
    except Stop as stop:
        return stop.verdict
    return None


async def _recorded(submission: Submission, data: bytes, reply: Message | None, trial: Trial) -> Trial:
    route, request = submission.route, submission.request
    clock, ids = SystemClock(), SystemIds()
    now = clock.now()
    store = MemoryStore()
    body = Body(len(data), hashlib.sha256(data).digest(), data)
    known_as = names(request, ids, now)
    kept = recorded(request, body, route, known_as, submission.decision.honoured, trusted=False)
    given = Refusals(cast(Instrument, _Unheard())).check_key(submission)
    key = key_of_client(request, route, None, body, given) if given is not None else None
    had, process_id = bool(kept.credentials), ids.process_id(now)
    draft = draft_of(submission, None, body, key, process_id, known_as, now, None, None, had_credentials=had)
    sought = route.promise.references
    references = await found_in_request(store, sought, draft, kept) if sought is not None else None
    process = apply(None, Accept(draft, references), now).then(Claim("trial"), now).process
    wall = route.promise.wall
    sent, seen = kept, None
    if wall is not None:
        try:
            sent, seen = await prepared(store, wall, process, kept, route.call)
        except Unreadable as error:
            return trial._replace(refusal=f"400: the body is not readable: {error}")
        except Untranslatable as error:
            return trial._replace(refusal=f"422: the request cannot be translated: {error}")
    asked = await _asked(route, store, process, kept)
    trial = trial._replace(sent=outgoing(process, sent, route, store), asked=asked, process=process)
    if reply is None:
        return trial._replace(document=status_document(process, route.process, may_cancel=False))
    recorder = Recorder(store, process.id, 1, route.call.max_reply, _nobody)
    recorder.head(int(reply.first), b"", reply.headers)
    await recorder.write(reply.body)
    status = recorder.status
    outcome: Outcome = interpret_reply(sent.method, status, reply.headers, route.call, now, deferred_credentials=False)
    rule = rule_of(status)
    if wall is not None and seen is not None:
        outcome, rule, _ = await understood(wall, seen, recorder, outcome, now, repeats=repeats(process))
    on_in_doubt = on_in_doubt_for(route.call.on_in_doubt, process.method)
    result = None if stays_inside(outcome, wall) else recorder.result()
    transitions = follow_up(process, outcome, route.call, on_in_doubt, now, 0.5, result)
    if sought is not None and sought.asks_reply:
        transitions = ended_with(process, transitions, await found_in_reply(store, sought, process, kept, recorder))
    process = applied(process, transitions, now).process
    replied = await recorder.finish() if process.final else None
    return trial._replace(
        outcome=outcome,
        rule=rule,
        process=process,
        document=status_document(process, route.process, may_cancel=False),
        reply=replied,
        result=await _result(process, replied, kept, store) if replied is not None else None,
    )


async def _result(process: Process, reply: RecordedReply, request: RecordedRequest, store: MemoryStore) -> Answer:
    """What a client would get that asks for it."""
    asked = Request("GET", b"/result", (), Peer("127.0.0.1", 0), _Nothing(), has_body=False, content_length=0)
    answer = await Results(cast(Queries, _OnlyOne(reply, request)), store).answer(asked, process)
    if not isinstance(answer.body, bytes):
        answer.body = b"".join([piece async for piece in answer.body])
    return answer


class _OnlyOne(NamedTuple):
    """Of the one process that there is."""

    recorded: RecordedReply
    asked: RecordedRequest

    async def reply(self, process_id: str) -> tuple[int, RecordedReply]:
        """See `Queries.reply`."""
        return 1, self.recorded

    async def request(self, process_id: str) -> RecordedRequest:
        """See `Queries.request`."""
        return self.asked


async def _asked(route: Route, store: MemoryStore, process: Process, kept: RecordedRequest) -> Question | str | None:
    if route.call.probe is None:
        return None
    try:
        return await question_about(store, route, process, kept, route.promise)
    except Unaskable as error:
        return str(error)


class _Unheard:
    """To whom is told what a route that only reports would refuse."""

    def would_refuse(self, route: str, code: str, detail: str) -> None:
        """See `Instrument.would_refuse`."""


class _Nothing:
    """The body of a request that was read from a file as a whole."""

    async def read(self) -> bytes:
        return b""


async def _nobody(_: Recorder) -> LiveReply | None:
    return None
