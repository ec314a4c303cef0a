"""A small world for the engine: a store in memory, a clock that is told the time, an upstream with a script."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Fault, FaultKind, Header, Hindrance, Peer, Request
from strangler.domain.process import Process, State
from strangler.engine.accept import Acceptor
from strangler.engine.conclude import Concluder
from strangler.engine.execute import Executor
from strangler.engine.gates import Gatekeeper
from strangler.engine.lanes import Lanes
from strangler.engine.latencies import Latencies
from strangler.engine.lease import LeaseKeeper
from strangler.engine.limits import Buckets
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Outcomes
from strangler.engine.pauses import Pauses
from strangler.engine.signals import Signals
from strangler.engine.submission import Acceptance, Accepted, Submission
from strangler.engine.supervise import Supervisor
from strangler.policy.decide import Decision
from strangler.policy.model import (
    AcceptPolicy,
    AccessPolicy,
    CallPolicy,
    Match,
    Mode,
    ProcessPolicy,
    Promise,
    Route,
)
from strangler.policy.receivers import Receiver as CallbackReceiver
from strangler.policy.trust import NOBODY
from strangler.policy.upstreams import Upstream
from strangler.ports import Commit, Outgoing, ReplySink, Verdict
from strangler.store.ledger import Ledger
from strangler.store.memory import MemoryStore
from tests.engine.admitting import Published, an_admission

NOON = 1_800_000_000_000
IDENTITY_KEY = b"k" * 32

ASYNC = Decision(Mode.ASYNC, 0.0, True, (), "mode of the route")
COMPAT = Decision(Mode.COMPAT, 65.0, False, (), "mode of the route")


class FakeClock:
    """Time that stands still until it is told to move."""

    boot_id = "boot-1"

    def __init__(self) -> None:
        self.instant = NOON
        self.nanoseconds = 1_000_000_000_000

    def now(self) -> int:
        return self.instant

    def boottime(self) -> int:
        return self.nanoseconds

    def pass_(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self.instant += round(seconds * 1000)
        self.nanoseconds += round(seconds * 1_000_000_000)


class FakeIds:
    """Names that count, and chance that is always the same."""

    def __init__(self) -> None:
        self._count = 0

    def process_id(self, now: int) -> str:
        self._count += 1
        return f"{now:012x}"[:8] + "-" + f"{now:012x}"[8:] + f"-7000-8000-{self._count:012x}"

    def correlation_id(self, now: int) -> str:
        return "new-correlation-id"

    def span_id(self) -> str:
        self._count += 1
        return f"{self._count:016x}"

    def chance(self) -> float:
        return 0.5


class Silent:
    """An instrument that keeps what it is told, by the name of the fact."""

    access_log = "none"

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*values: Any, **fields: Any) -> None:
            self.told.append((name, (*values, *fields.values())))
            if name == "failed":
                raise AssertionError(f"a defect: {values}") from values[1]

        return tell


class FlakyStore(MemoryStore):
    """A store in memory that can be told to refuse commits, or to keep some waiting until they are flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[Commit], bool] = lambda commit: False
        self.reason: str | None = None
        self.refused = asyncio.Event()
        self.slow: Callable[[Commit], bool] = lambda commit: False
        self.begun = asyncio.Event()  # a slow one
        self.flushed = asyncio.Event()
        self.written: list[tuple[str, str, int]] = []

    def write_chunk(self, process_id: str, part: str, index: int, data: bytes) -> asyncio.Future[None]:
        self.written.append((process_id, part, index))
        return super().write_chunk(process_id, part, index, data)

    def kept_of(self) -> set[str]:
        """The processes of which chunks are kept."""
        return {place[0] for place in self.written if self.chunk(*place) is not None}

    def commit(self, commit: Commit) -> asyncio.Future[Verdict]:
        if self.refuses(commit):
            self.refused.set()
            future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
            future.set_exception(StoreUnavailable("the disk is full"))
            return future
        if self.slow(commit):
            return asyncio.ensure_future(self._flushed(commit))
        return super().commit(commit)

    async def _flushed(self, commit: Commit) -> Verdict:
        self.begun.set()
        await self.flushed.wait()
        return await super().commit(commit)

    def refusal(self) -> str | None:
        return self.reason


class Reply:
    """A scripted reply."""

    def __init__(self, status: int = 200, body: bytes = b"done", headers: Iterable[Header] = ()) -> None:
        self.status, self.body, self.headers = status, body, [*headers]
        self.pieces = 1


Script = Reply | Fault | Callable[[Outgoing, ReplySink, Callable[[], bool]], Awaitable[Fault | None]]


class ScriptedUpstream:
    """Answers by its script, in order; the last entry again and again. Keeps what it was sent."""

    def __init__(self) -> None:
        self.script: list[Script] = [Reply()]
        self.sent: list[Outgoing] = []
        self.calls: list[dict[str, Any]] = []

    async def call(
        self,
        upstream: Upstream,
        request: Outgoing,
        sink: ReplySink,
        *,
        timeout: float,
        may_send: Callable[[], bool],
        fresh: bool,
    ) -> Fault | None:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.calls.append({"timeout": timeout, "fresh": fresh, "upstream": upstream.name})
        if isinstance(step, Fault) and step.kind is FaultKind.NOT_SENT:
            return step
        if not may_send():
            return Fault(FaultKind.NOT_SENT, "no lease", ours=Hindrance.LEASE)
        self.sent.append(request)
        if isinstance(step, Fault):
            return step
        if not isinstance(step, Reply):
            return await step(request, sink, may_send)
        await feed(sink, step)
        return None


async def feed(sink: ReplySink, reply: Reply) -> None:
    """Hand a whole reply to a sink."""
    sink.head(reply.status, b"", reply.headers)
    if reply.body:
        size = -(-len(reply.body) // reply.pieces)
        for start in range(0, len(reply.body), size):
            await sink.write(reply.body[start : start + size])


class Gate:
    """A call that waits at the upstream until it is let through."""

    def __init__(self, reply: Reply | Fault | None = None) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self._reply = reply if reply is not None else Reply()

    async def __call__(self, request: Outgoing, sink: ReplySink, may_send: Callable[[], bool]) -> Fault | None:
        self.reached.set()
        await self.open.wait()
        if isinstance(self._reply, Fault):
            return self._reply
        await feed(sink, self._reply)
        return None


class Pieces:
    """A request body that arrives in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [*pieces]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def a_request(
    body: bytes | None = b'{"amount": 12}',
    *,
    method: str = "POST",
    target: bytes = b"/claims",
    headers: Iterable[Header] = (),
    usual: Iterable[Header] = ((b"Host", b"claims.example"), (b"Content-Type", b"application/json")),
    pieces: int = 1,
    old: bool = False,
) -> Request:
    """A client's request."""
    data = body or b""
    size = max(1, -(-len(data) // pieces))
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return Request(
        method,
        target,
        (*usual, *headers),
        Peer("192.0.2.7", 40000),
        Pieces(*parts),
        has_body=body is not None,
        content_length=len(data) if body is not None else None,
        old=old,
    )


def a_route(
    *,
    mode: Mode = Mode.ASYNC,
    accept: AcceptPolicy | None = None,
    access: AccessPolicy | None = None,
    deadline: float = 86400.0,
    on_store_failure: Any = "refuse",
    wait: float = 0.0,
    **call: Any,
) -> Route:
    """The route submit-claim; keyword arguments go to its `CallPolicy`."""
    policy = CallPolicy(**{"timeout": 60.0, "attempts": 1, "on_in_doubt": "review", "settle": 75.0, **call})
    process = ProcessPolicy(type="ClaimSubmission", deadline=deadline)
    access = access or AccessPolicy()
    promise = Promise(
        digest=hashlib.sha256(repr((process, access, policy.on_in_doubt)).encode()).hexdigest(),
        route="submit-claim",
        process=process,
        access=access,
        on_in_doubt=policy.on_in_doubt,
        wait=wait,
    )
    return Route(
        name="submit-claim",
        match=Match(paths=("/claims",)),
        upstream=Upstream(name="claims", scheme="http", host="127.0.0.1", port=8081),
        mode=mode,
        wait=0.0,
        promise=promise,
        process=process,
        accept=accept or AcceptPolicy(),
        access=access,
        call=policy,
        on_store_failure=on_store_failure,
    )


class World:
    """The engine, whole, in memory."""

    def __init__(self, route: Route | None = None) -> None:
        self.clock = FakeClock()
        self.store = FlakyStore()
        self.upstream = ScriptedUpstream()
        self.instrument = Silent()
        self.routes: dict[str, Route] = {}
        self.promises: dict[str, Promise] = {}
        self.receivers: dict[str, CallbackReceiver] = {}
        self.draining = False
        self.overloaded: str | None = None
        self.load(route or a_route())
        self.restart("worker-1")

    def load(self, route: Route) -> None:
        """Put a route in force."""
        self.routes[route.name] = route
        self.promises[route.promise.digest] = route.promise

    def restart(self, owner: str) -> None:
        """A new incarnation of the worker over the same store; the old one is forgotten as it stands."""
        self.lease = LeaseKeeper(owner, 15.0, self.store, self.clock, self.instrument)
        self.signals = Signals()
        self.outcomes = Outcomes()
        self.lanes = Lanes()
        self.latencies = Latencies(self.store)
        self.means = Means(
            store=self.store,
            bodies=self.store,
            upkeep=self.store,
            health=self.store,
            upstream=self.upstream,
            clock=self.clock,
            ids=FakeIds() if not hasattr(self, "means") else self.means.ids,
            instrument=self.instrument,
            lease=self.lease,
            pauses=Pauses(),
            route_of=self.routes.get,
            promise_of=self.promises.get,
        )
        self.notifier = Notifier(self.lanes, self.outcomes, self.signals, self.latencies, self.instrument)
        self.concluder = Concluder(self.means, self.notifier)
        self.gates = Gatekeeper(self.store, self.means.pauses, self.clock, self.instrument, self._gate_changed)
        self.gates.load(self.routes)
        self.executor = Executor(self.means, self.lanes, self.outcomes, self.concluder, self.notifier, gate=self.gates)
        self.supervisor = Supervisor(self.means, self.executor, self.concluder)
        self.published = Published()
        self.admission = an_admission(
            self.published,
            self.upstream,
            self.clock,
            self.means.ids,
            self.instrument,
            self.store,
            self.routes.get,
            IDENTITY_KEY,
        )
        self.acceptor = Acceptor(
            self.means,
            self.lanes,
            self.executor,
            self.notifier,
            self.admission,
            identity_key=IDENTITY_KEY,
            trusted=NOBODY,
            draining=lambda: self.draining,
            limiter=Buckets(self.clock),
            overloaded=lambda: self.overloaded,
            receivers=lambda: self.receivers,
        )

    def _gate_changed(self, route: str) -> None:
        if self.gates.shut(route) is None:
            self.executor.look(route)

    @property
    def route(self) -> Route:
        return self.routes["submit-claim"]

    async def submit(self, request: Request | None = None, decision: Decision = ASYNC) -> Acceptance:
        """Hand in a request on the route."""
        return await self.acceptor.accept(
            Submission(request or a_request(), self.route, {}, decision, "https://public.example")
        )

    async def accepted(self, request: Request | None = None, decision: Decision = ASYNC) -> Process:
        """Hand in a request that is accepted."""
        acceptance = await self.submit(request, decision)
        assert isinstance(acceptance, Accepted), acceptance
        return acceptance.process

    async def process(self, process_id: str) -> Process:
        """The process as the store has it."""
        found = await self.store.process(process_id)
        assert isinstance(found, Process)
        return found

    def ledger(self, process_id: str) -> Ledger:
        """All that the store keeps of a process."""
        with self.store.ledgers() as ledgers:
            ledger = ledgers.one(process_id)
        assert isinstance(ledger, Ledger)
        return ledger

    async def until(self, process_id: str, reached: Callable[[Process], bool]) -> Process:
        """Wait for a process to be as it should."""
        with self.signals.watch(process_id) as watch:
            while not reached(process := await self.process(process_id)):
                assert await watch.changed(process.sequence, 5.0), f"nothing more happens to {process}"
            return process

    async def due(self, process_id: str) -> Process:
        """Let the time come at which a waiting process is due."""
        waiting = await self.until(process_id, lambda process: process.state is State.WAITING)
        assert waiting.due_at is not None
        self.clock.instant = waiting.due_at
        self.executor.wake(waiting.route, 0)
        return waiting

    async def tried_again(self, process_id: str) -> Process:
        """Let the time come at which a waiting process is due, and wait until its next attempt began."""
        waiting = await self.due(process_id)
        return await self.until(process_id, lambda process: process.tries > waiting.tries)

    async def ended(self, process_id: str) -> Process:
        """Wait for the end of a process."""
        return await self.until(process_id, lambda process: process.final)
