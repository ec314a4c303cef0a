"""A small scene for the process resources: a store in memory, processes in any state, requests without a socket."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

from strangler.domain.exchange import (
    CHUNK_SIZE,
    Answer,
    Attempt,
    AttemptOutcome,
    Body,
    Header,
    Peer,
    RecordedReply,
    RecordedRequest,
    Request,
)
from strangler.domain.process import Effect, Process, State
from strangler.domain.steps import Accept, Claim, Finish, Result, Transition
from strangler.domain.transitions import apply
from strangler.engine.commands import Commands
from strangler.engine.conclude import settling
from strangler.engine.identity import identify
from strangler.engine.lanes import Lanes
from strangler.engine.latencies import Latencies
from strangler.engine.limits import Buckets
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Outcomes
from strangler.engine.pauses import Pauses
from strangler.engine.queries import Queries
from strangler.engine.signals import Signals
from strangler.engine.streams import Streams
from strangler.gateway.cors import Cors
from strangler.gateway.limiting import Limiting
from strangler.gateway.resources import Resources
from strangler.policy.match import ResourcePath
from strangler.policy.model import AccessPolicy, ProcessPolicy, Promise, Route
from strangler.ports import Commit
from tests.engine.admitting import Published, an_admission
from tests.engine.world import IDENTITY_KEY, FakeClock, FakeIds, FlakyStore, ScriptedUpstream, Silent

R = "/claim-submissions"
BASE = "https://public.example"
ALICE: Header = (b"Authorization", b"Bearer alice")
BOB: Header = (b"Authorization", b"Bearer bob")
SENT = (Claim("worker-1"),)


class NoBody:
    """The body of a request that has none."""

    async def read(self) -> bytes:
        return b""


def a_request(method: str = "GET", target: str = "/", *headers: Header, peer: Peer | None = None) -> Request:
    """A request without a body."""
    return Request(method, target.encode(), headers, peer or Peer("192.0.2.7", 40000), NoBody())


def a_promise(access: AccessPolicy | None = None, *, resource: str = R, **process: Any) -> Promise:
    """A promise of the route submit-claim; keyword arguments go to its `ProcessPolicy`."""
    policy = ProcessPolicy(**{"type": "ClaimSubmission", "resource": resource, **process})
    access = access or AccessPolicy()
    digest = hashlib.sha256(repr((policy, access)).encode()).hexdigest()
    return Promise(digest=digest, route="submit-claim", process=policy, access=access, on_in_doubt="review", wait=0.0)


def finish(state: State = State.COMPLETED, effect: Effect = Effect.APPLIED, **fields: Any) -> Finish:
    """An end without a reply."""
    return Finish(state, effect, **fields)


class Scene:
    """The resources over a store in memory."""

    def __init__(self, promise: Promise | None = None) -> None:
        self.clock = FakeClock()
        self.store = FlakyStore()
        self.instrument = Silent()
        self.signals = Signals()
        self.latencies = Latencies(self.store)
        self.notifier = Notifier(Lanes(), Outcomes(), self.signals, self.latencies, self.instrument)
        self.queries = Queries(self.store, self.signals, self.clock)
        self.commands = Commands(self.store, self.notifier, self.clock)
        self.promises: list[Promise] = [promise or a_promise()]
        self.ids = FakeIds()
        self.streams = Streams(self.store, self.signals)
        self.cors = Cors()
        self.routes: dict[str, Route] = {}
        self.upstream = ScriptedUpstream()
        self.published = Published()
        self.pauses = Pauses()
        self.admission = an_admission(
            self.published,
            self.upstream,
            self.clock,
            self.ids,
            self.instrument,
            self.store,
            self.routes.get,
            IDENTITY_KEY,
        )
        self.resources = Resources(
            self.queries,
            self.commands,
            self.store,
            self.latencies,
            self.clock,
            self.instrument,
            promise_of=lambda digest: next((one for one in self.promises if one.digest == digest), None),
            promises_of=lambda resource: [one for one in self.promises if one.process.resource == resource],
            identity_key=IDENTITY_KEY,
            admission=self.admission,
            limiting=Limiting(Buckets(self.clock), self.routes.get, self.instrument, IDENTITY_KEY),
            pauses=self.pauses,
            streams=self.streams,
            cors=self.cors,
        )

    @property
    def promise(self) -> Promise:
        return self.promises[0]

    async def process(
        self,
        *transitions: Transition,
        by: Header | None = ALICE,
        promise: Promise | None = None,
        target: bytes = b"/claims",
        **fields: Any,
    ) -> Process:
        """A process that was accepted for ``by``, and whatever happened to it since."""
        promise = promise or self.promise
        request = a_request("POST", "/claims", *((by,) if by is not None else ()))
        now = self.clock.now()
        draft = Process(
            **{
                "id": self.ids.process_id(now),
                "route": promise.route,
                "type": promise.process.type,
                "promise": promise.digest,
                "base": BASE,
                "resource": promise.process.resource,
                "method": "POST",
                "correlation_id": "corr-1",
                "created_at": now,
                "deadline_at": now + 86_400_000,
                "retain": 30 * 86_400_000,
                "promised": True,
                "caller": identify(request, promise.access, IDENTITY_KEY),
                **fields,
            }
        )
        body = Body(0, hashlib.sha256().digest(), b"")
        change = apply(None, Accept(draft), now)
        await self.store.commit(Commit(change, request=RecordedRequest("POST", target, (), (), body)))
        process = change.process
        for transition in transitions:
            process = await self.goes_on(process, transition)
        return process

    async def goes_on(self, process: Process, transition: Transition, reply: RecordedReply | None = None) -> Process:
        """One more thing happens to a process, and everybody is told."""
        change = apply(process, transition, self.clock.now())
        after, attempt = change.process, None
        if after.tries:
            attempt = Attempt(process.id, after.tries, after.fence, "worker-1", self.clock.now())
            if after.state is not State.PROCESSING:
                attempt = attempt._replace(ended_at=self.clock.now(), outcome=AttemptOutcome.COMPLETED)
        await self.store.commit(settling(change, attempt, reply))
        self.notifier.committed(change)
        return change.process

    async def replied(
        self,
        status: int = 200,
        body: bytes = b'{"id": 77}',
        headers: Iterable[Header] = ((b"Content-Type", b"application/json"),),
        *,
        reason: bytes = b"",
        kept: bool = True,
        **fields: Any,
    ) -> Process:
        """A process that ended with a reply; a body over one chunk lies in chunks."""
        process = await self.process(*SENT, **fields)
        data: bytes | None = body
        if len(body) > CHUNK_SIZE:
            for index, start in enumerate(range(0, len(body), CHUNK_SIZE)):
                await self.store.write_chunk(process.id, "reply-1", index, body[start : start + CHUNK_SIZE])
            data = None
        recorded = Body(len(body), hashlib.sha256(body).digest(), data if kept else None, kept)
        end = Finish(State.COMPLETED, Effect.APPLIED, result=Result(status, "application/json", len(body), kept))
        return await self.goes_on(process, end, RecordedReply(status, reason, tuple(headers), recorded))

    async def watched(self) -> None:
        """Until somebody waits for a process."""
        for _ in range(100):
            if self.signals.watches:
                return
            await asyncio.sleep(0)
        raise AssertionError("nobody waits")

    async def ask(
        self, method: str, process: Process | str, rest: str = "", *headers: Header, query: str = "", resource: str = R
    ) -> Answer:
        """What a request for a process, or something under it, is answered."""
        process_id = process if isinstance(process, str) else process.id
        request = a_request(method, f"{resource}/{process_id}{rest}{query}", *headers)
        answer = await self.resources.respond(request, ResourcePath(resource, process_id, rest.encode()))
        assert isinstance(answer, Answer)
        return answer

    async def list(self, query: str = "", *headers: Header, resource: str = R) -> Answer:
        """What a request for the list is answered."""
        request = a_request("GET", f"{resource}{query}", *headers)
        answer = await self.resources.respond(request, ResourcePath(resource, None, b""))
        assert isinstance(answer, Answer)
        return answer


def field(answer: Answer, name: str) -> str | None:
    """The one value of a header; None where there is none."""
    values = [value.decode() for given, value in answer.headers if given.lower() == name.lower().encode()]
    assert len(values) <= 1, f"{name} stands there more than once: {values}"
    return values[0] if values else None


async def content(answer: Answer) -> bytes:
    """The whole body of an answer."""
    if isinstance(answer.body, bytes):
        return answer.body
    return b"".join([piece async for piece in answer.body])
