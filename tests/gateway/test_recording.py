"""What a client gets for a request that is recorded: its 202, its synchronous answer, or why not."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from strangler.config.hooks import find_hook
from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, Answer, Fault, FaultKind, Hindrance, PassOn, Request
from strangler.domain.process import Effect, Process, State
from strangler.engine.commands import Commands
from strangler.engine.signals import Signals, Watch
from strangler.gateway.acceptance import Recording
from strangler.policy import conditions
from strangler.policy.decide import Decision
from strangler.policy.expressions import Template
from strangler.policy.model import (
    AcceptPolicy,
    AccessPolicy,
    Deprecation,
    IdempotencyPolicy,
    JwtPolicy,
    Mode,
    ProbePolicy,
    Route,
)
from strangler.policy.wall import Condition
from strangler.ports import Outgoing, ReplySink, Said
from strangler.store.ledger import Ledger
from tests.engine import admitting
from tests.engine.tokens import Signer
from tests.engine.world import ASYNC, COMPAT, IDENTITY_KEY, Reply, World, a_request, a_route, feed

BASE = "https://public.example"


def recording_of(world: World, signals: Signals | None = None) -> Recording:
    """The HTTP side of a world; ``signals``: what wakes those who wait, if not what the engine announces."""
    commands = Commands(world.store, world.notifier, world.clock)
    return Recording(
        world.acceptor,
        world.store,
        world.store,
        signals or world.signals,
        world.outcomes,
        world.latencies,
        world.clock,
        world.instrument,
        lambda request, route: BASE,
        world.promises.get,
        commands.forgo,
        commands.promise,
        IDENTITY_KEY,
        world.means.pauses,
    )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.lease.renew()
    yield world
    await world.executor.drain(0.0)


async def a_world(route: Route) -> World:
    world = World(route)
    await world.lease.renew()
    return world


async def ask(world: World, request: Request | None = None, decision: Decision = ASYNC) -> Answer:
    answer = await recording_of(world).record(world.route, {}, decision, request or a_request())
    assert isinstance(answer, Answer)
    return answer


def fields(answer: Answer) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in answer.headers}


def document(answer: Answer) -> Any:
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


def keyed(body: bytes = b'{"amount": 12}') -> Request:
    return a_request(body, headers=[(b"Idempotency-Key", b"k-1")])


class Held:
    """A call that goes on until it is released."""

    def __init__(self, step: Reply | Fault) -> None:
        self.reached, self.open, self._step = asyncio.Event(), asyncio.Event(), step

    async def __call__(self, request: Outgoing, sink: ReplySink, may_send: Callable[[], bool]) -> Fault | None:
        self.reached.set()
        await self.open.wait()
        if isinstance(self._step, Fault):
            return self._step
        await feed(sink, self._step)
        return None


# ── The promise ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def told(world: World, request: Request, decision: Decision) -> Answer:
    """The answer to what is begun without a task."""
    said: asyncio.Queue[Said] = asyncio.Queue()
    data = await request.body.read()
    assert recording_of(world).begin(world.route, {}, decision, request, data, said.put_nowait)
    answer = (await said.get())()
    if callable(answer):
        answer = await answer(request)  # type: ignore[assignment]
    assert isinstance(answer, Answer)
    return answer


@pytest.mark.parametrize("decision", [ASYNC, Decision(Mode.ASYNC, 0.0, True, ("respond-async",), "wished")])
@pytest.mark.parametrize("refused", [False, True])
async def test_what_is_begun_without_a_task_is_answered_alike(decision: Decision, refused: bool) -> None:
    answers: dict[str, list[Answer]] = {}
    facts: dict[str, list[tuple[str, str]]] = {}
    for way in (told, ask):
        world = World()
        world.instrument.access_log = "all"
        await world.lease.renew()
        world.upstream.script = [held := Held(Reply())]
        # The second one joins the first one's process, the third one is refused.
        requests = [keyed(), keyed(), keyed(b"other")]
        if refused:
            world.store.refuses = lambda commit: commit.request is not None
        answers[way.__name__] = [await way(world, request, decision) for request in requests]
        facts[way.__name__] = [
            (fact, str(values[2]) if fact == "answered" else "")
            for fact, values in world.instrument.told
            if fact in ("accepted", "replayed", "refused", "answered")
        ]
        held.open.set()
        await world.executor.drain(5.0)
    assert answers["told"] == answers["ask"]
    assert facts["told"] == facts["ask"]
    known = [("accepted", ""), ("answered", "202"), ("replayed", ""), ("answered", "202")]
    unknown = [("refused", ""), ("answered", "503" if refused else "422")]
    assert facts["ask"] == (unknown * 3 if refused else known + unknown)
    assert [answer.status for answer in answers["ask"]] == ([503] * 3 if refused else [202, 202, 422])


async def test_an_async_client_gets_its_202_at_once_with_all_that_it_needs(world: World) -> None:
    held = Held(Reply())
    world.upstream.script = [held]
    request = a_request(headers=[(b"X-Correlation-ID", b"c-1")])
    answer = await ask(world, request, ASYNC._replace(applied=("respond-async",)))
    head = fields(answer)
    url = f"{BASE}/processes/{document(answer)['id']}"
    assert answer.status == 202
    assert head["Location"] == url
    assert head["Link"] == f'<{url}/status>; rel="monitor"'
    assert int(head["Retry-After"]) >= 1
    assert head["Preference-Applied"] == "respond-async"
    assert head["Vary"] == "Prefer"
    assert head["X-Correlation-ID"] == "c-1"
    assert head["Cache-Control"] == "no-store"
    assert head["Content-Type"] == "application/json"
    assert head["Strangler-Source"] == "proxy"
    assert "Idempotency-Replayed" not in head
    held.open.set()


async def test_an_answer_that_no_wish_changes_does_not_vary_with_wishes() -> None:
    world = await a_world(replace(a_route(), prefer="ignore"))
    world.upstream.script = [Reply()]
    answer = await ask(world, a_request(headers=[(b"Prefer", b"respond-async, wait=5")]), ASYNC)
    assert answer.status == 202
    assert fields(answer).keys().isdisjoint({"Vary", "Preference-Applied"})


async def test_cancelling_is_offered_to_who_may_and_not_to_another_who_repeats_the_request() -> None:
    # Without a slot it waits, and could be cancelled.
    route = a_route(accept=AcceptPolicy(idempotency=IdempotencyPolicy(scope="route")), concurrency=0)
    world = await a_world(route)
    offered = []
    for name in (b"mine", b"mine", b"other"):
        request = a_request(headers=[(b"Idempotency-Key", b"k-1"), (b"X-Api-Key", name)])
        offered.append("cancel" in document(await ask(world, request))["links"])
    assert offered == [True, True, False]
    anonymous = a_request(headers=[(b"Idempotency-Key", b"k-2")])
    assert "cancel" not in document(await ask(world, anonymous))["links"]


@pytest.mark.parametrize(("lost", "offered"), [(False, True), (True, False)])
async def test_a_repeat_is_shown_what_was_promised_and_what_is_promised_today_only_where_that_is_lost(
    lost: bool, offered: bool
) -> None:
    world = await a_world(a_route(concurrency=0))
    headers = [(b"Idempotency-Key", b"k-1"), (b"X-Api-Key", b"mine")]
    assert "cancel" in document(await ask(world, a_request(headers=headers)))["links"]
    if lost:
        world.promises.clear()
    world.load(a_route(concurrency=0, access=AccessPolicy(cancel="nobody")))
    assert ("cancel" in document(await ask(world, a_request(headers=headers)))["links"]) is offered


async def test_a_repeat_gets_the_same_202_and_says_that_it_is_one(world: World) -> None:
    first = await ask(world, keyed())
    for _ in range(2):
        again = await ask(world, keyed())
        assert again.status == 202
        assert fields(again)["Location"] == fields(first)["Location"]
        assert fields(again)["Idempotency-Replayed"] == "true"
        await world.ended(document(first)["id"])
    assert len(world.upstream.sent) == 1


# ── The synchronous answer ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_compat_client_gets_the_legacy_answer_byte_for_byte_and_the_url_of_its_process(world: World) -> None:
    headers = [(b"x-Odd", b"1"), (b"Set-Cookie", b"a=\xff"), (b"X-odd", b"2"), (b"Set-Cookie", b"b=2")]
    world.upstream.script = [Reply(201, b"\x00\xff done", headers)]
    answer = await ask(world, decision=COMPAT)
    assert (answer.status, answer.body) == (201, b"\x00\xff done")
    assert answer.headers[:4] == headers
    assert [name for name, _ in answer.headers[4:]] == [b"Strangler-Process"]


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_a_compat_client_gets_legacy_errors_as_they_are(world: World, status: int) -> None:
    world.upstream.script = [Reply(status, b"legacy words")]
    answer = await ask(world, decision=COMPAT)
    assert (answer.status, answer.body) == (status, b"legacy words")


async def test_an_async_client_that_waits_gets_a_quick_answer_directly(world: World) -> None:
    answer = await ask(world, decision=ASYNC._replace(wait=2.0))
    assert (answer.status, answer.body) == (200, b"done")
    assert "Strangler-Process" in fields(answer)


async def test_an_async_client_whose_wait_is_over_gets_its_202(world: World) -> None:
    held = Held(Reply())
    world.upstream.script = [held]
    answer = await ask(world, decision=ASYNC._replace(wait=0.01))
    assert answer.status == 202
    held.open.set()
    assert (await world.ended(document(answer)["id"])).final


class Lapse(Watch):
    """A wait during which no signal arrives, and which is over as soon as the process is as the test wants it."""

    def __init__(self, signals: Signals, process_id: str, reached: Callable[[str], Awaitable[Process]]) -> None:
        super().__init__(signals, process_id)
        self._reached = partial(reached, process_id)

    async def changed(self, seen: int, timeout: float) -> bool:
        await self._reached()
        return False


class Deaf(Signals):
    """Signals that all get lost."""

    def __init__(self, reached: Callable[[str], Awaitable[Process]]) -> None:
        super().__init__()
        self._reached = reached

    def watch(self, process_id: str) -> Watch:
        return Lapse(self, process_id, self._reached)


class Impatient(Signals):
    """Signals that say at once that a wait is over, and how long it would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def watch(self, process_id: str) -> Watch:
        waits = self.waits

        class Over(Watch):
            async def changed(self, seen: int, timeout: float) -> bool:
                waits.append(timeout)
                return False

        return Over(self, process_id)


async def test_who_is_told_202_after_a_wait_is_shown_the_process_as_it_is_by_then(world: World) -> None:
    def refused(process_id: str) -> Awaitable[Process]:
        return world.until(process_id, lambda process: process.state is State.WAITING)

    world.upstream.script = [Reply(503)]
    request = a_request(headers=[(b"X-Api-Key", b"mine")])
    answer = await recording_of(world, Deaf(refused)).record(world.route, {}, ASYNC._replace(wait=60.0), request)
    assert isinstance(answer, Answer)
    assert (answer.status, "cancel" in document(answer)["links"]) == (202, True)


async def test_a_lost_signal_costs_a_client_that_waits_time_and_not_its_answer(world: World) -> None:
    recording = recording_of(world, Deaf(world.ended))
    answer = await recording.record(world.route, {}, COMPAT, a_request())
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (200, b"done")


@pytest.mark.parametrize(
    ("decision", "status", "code"), [(ASYNC._replace(wait=60.0), 202, None), (COMPAT, 504, "wait-over")]
)
async def test_a_store_that_cannot_be_read_costs_nobody_the_word_that_his_work_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch, decision: Decision, status: int, code: str | None
) -> None:
    held = Held(Reply())
    world.upstream.script = [held]

    async def unreadable(process_id: str) -> Process:
        raise StoreUnavailable("disk I/O error")

    async def broken(process_id: str) -> Process:
        process = await world.until(process_id, lambda process: process.state is State.PROCESSING)
        monkeypatch.setattr(world.store, "process", unreadable)
        return process

    answer = await recording_of(world, Deaf(broken)).record(world.route, {}, decision, a_request())
    assert ("note", "wait_unread") in [(fact, values[0]) for fact, values in world.instrument.told]
    assert isinstance(answer, Answer)
    assert (answer.status, document(answer).get("code")) == (status, code)
    monkeypatch.undo()
    held.open.set()


async def test_a_compat_client_whose_wait_is_over_is_told_that_the_work_goes_on(world: World) -> None:
    held = Held(Reply())
    world.upstream.script = [held]
    answer = await ask(world, decision=COMPAT._replace(wait=0.01))
    assert (answer.status, document(answer)["code"], document(answer)["effect"]) == (504, "wait-over", "unknown")
    assert fields(answer)["Strangler-Effect"] == "unknown"
    assert document(answer)["process"].startswith(f"{BASE}/processes/")
    held.open.set()


async def test_a_compat_client_is_let_go_as_soon_as_only_a_person_can_settle_it(world: World) -> None:
    world.upstream.script = [Fault(FaultKind.INTERRUPTED, "reset")]
    answer = await ask(world, decision=COMPAT)
    assert (answer.status, document(answer)["code"], document(answer)["effect"]) == (504, "outcome-unknown", "unknown")
    assert fields(answer)["Strangler-Effect"] == "unknown"


@pytest.mark.parametrize("lost", [Fault(FaultKind.INTERRUPTED, "reset"), Reply(502, b"bad gateway")])
async def test_who_is_let_go_is_told_no_more_than_is_known(world: World, lost: Fault | Reply) -> None:
    world.upstream.script = [lost]
    answer = await ask(world, decision=COMPAT)
    assert document(answer)["code"] == "outcome-unknown"
    assert document(answer)["detail"].startswith("the call was sent, and nobody knows what it did;")


def asks_what_was_lost() -> Route:
    applied = conditions.Test(Condition(statuses=((200, 200),)), find_hook)
    return a_route(on_in_doubt="probe", probe=ProbePolicy(template=Template("/claims/{process.id}"), applied=applied))


async def test_a_client_that_waits_is_let_go_as_soon_as_only_a_probe_can_settle_it() -> None:
    world = await a_world(asks_what_was_lost())
    world.upstream.script = [Fault(FaultKind.INTERRUPTED, "reset")]
    answer = await ask(world, decision=COMPAT)
    assert (answer.status, document(answer)["code"], document(answer)["effect"]) == (504, "outcome-unknown", "unknown")
    answer = await ask(world, decision=ASYNC._replace(wait=60.0))
    assert (answer.status, document(answer)["state"]) == (202, "processing")
    await world.executor.drain(0.0)


async def test_an_async_client_that_waits_gets_its_202_as_soon_as_only_a_person_can_settle_it(world: World) -> None:
    world.upstream.script = [Fault(FaultKind.INTERRUPTED, "reset")]
    answer = await ask(world, decision=ASYNC._replace(wait=60.0))
    assert (answer.status, document(answer)["state"]) == (202, "unconfirmed")
    assert int(fields(answer)["Retry-After"]) >= 30


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault(FaultKind.NOT_SENT, "refused"), 502, "upstream-unreachable"),
        (Fault(FaultKind.NOT_SENT, "refused", timeout=True), 504, "upstream-timeout"),
        (Fault(FaultKind.NOT_SENT, "drained", ours=Hindrance.DRAINING), 503, "draining"),
        (Fault(FaultKind.NOT_SENT, "unread", ours=Hindrance.STORE), 503, "store-unavailable"),
        (Fault(FaultKind.NOT_SENT, "no lease", ours=Hindrance.LEASE), 503, "store-unavailable"),
        (Fault(FaultKind.NOT_SENT, "too late", ours=Hindrance.DEADLINE), 504, "expired"),
        (Fault(FaultKind.NOT_SENT, "unknown", ours=Hindrance.PROMISE), 500, "internal-error"),
        (Fault(FaultKind.NOT_SENT, "a defect", ours=Hindrance.DEFECT), 500, "internal-error"),
    ],
)
async def test_a_compat_client_is_told_at_once_that_nothing_was_sent(
    world: World, fault: Fault, status: int, code: str
) -> None:
    world.upstream.script = [fault]
    answer = await ask(world, decision=COMPAT)
    assert (answer.status, document(answer)["code"], document(answer)["effect"]) == (status, code, "none")
    assert ("Retry-After" in fields(answer)) is (status == 503)


async def test_a_repeat_of_a_compat_request_joins_it_while_it_runs_and_after(world: World) -> None:
    held = Held(Reply(200, b"once"))
    world.upstream.script = [held]
    first = asyncio.create_task(ask(world, keyed(), COMPAT))
    await held.reached.wait()
    second = asyncio.create_task(ask(world, keyed(), COMPAT))
    held.open.set()
    assert [(await task).body for task in (first, second)] == [b"once", b"once"]
    third = await ask(world, keyed(), COMPAT)
    assert third.body == b"once"
    assert fields(third)["Idempotency-Replayed"] == "true"
    assert len(world.upstream.sent) == 1


async def test_a_compat_client_that_does_not_wait_gets_the_answer_by_a_repeat_once_it_is_there(world: World) -> None:
    held = Held(Reply(200, b"once"))
    world.upstream.script = [held]
    at_once = COMPAT._replace(wait=0.0)
    first = await ask(world, keyed(), at_once)
    assert (first.status, document(first)["code"]) == (504, "wait-over")
    held.open.set()
    await world.ended(document(first)["process"].rpartition("/")[2])
    assert (await ask(world, keyed(), at_once)).body == b"once"
    assert len(world.upstream.sent) == 1


async def test_what_a_waiting_client_began_is_promised_once_a_repeat_of_it_is_told_202() -> None:
    world = await a_world(a_route(wait=5.0, accept=AcceptPolicy(idempotency=IdempotencyPolicy(ttl=60.0))))
    held = Held(Reply(503, b"busy"))
    world.upstream.script = [held, Reply(200, b"at last")]
    first = asyncio.create_task(ask(world, keyed(), COMPAT))
    await held.reached.wait()

    told = await ask(world, keyed(), COMPAT._replace(wait=0.0, accepts_202=True))

    assert (told.status, fields(told)["Idempotency-Replayed"]) == (202, "true")
    process = await world.process(document(told)["id"])
    assert process.promised
    held.open.set()
    refused = await world.due(process.id)
    assert refused.attempts == 0, "what surely did nothing does not count once a 202 has left"
    assert (await world.ended(process.id)).state is State.COMPLETED
    assert (await first).body == b"at last"
    assert len(world.upstream.sent) == 2


async def test_no_202_leaves_for_a_repeat_that_the_store_cannot_hold_to(world: World) -> None:
    held = Held(Reply(200, b"once"))
    world.upstream.script = [held]
    first = asyncio.create_task(ask(world, keyed(), COMPAT))
    await held.reached.wait()
    world.store.refuses = lambda commit: True

    told = await ask(world, keyed(), COMPAT._replace(wait=0.0, accepts_202=True))

    assert (told.status, document(told)["code"], document(told)["effect"]) == (503, "store-unavailable", "unknown")
    process_id = document(told)["process"].rpartition("/")[2]
    assert not (await world.process(process_id)).promised
    assert fields(told)["Retry-After"] == "5"
    world.store.refuses = lambda commit: False
    held.open.set()
    assert (await first).body == b"once"
    assert len(world.upstream.sent) == 1


async def test_a_client_that_hangs_up_does_not_stop_its_process_and_finds_it_by_its_key(world: World) -> None:
    held = Held(Reply(200, b"once"))
    world.upstream.script = [held]
    client = asyncio.create_task(ask(world, keyed(), COMPAT))
    await held.reached.wait()
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    held.open.set()
    assert (await ask(world, keyed(), COMPAT)).body == b"once"
    assert len(world.upstream.sent) == 1


async def test_a_long_answer_comes_from_the_store_in_pieces(world: World) -> None:
    body = bytes(range(256)) * 2000
    reply = Reply(200, body)
    reply.pieces = 5
    world.upstream.script = [reply]
    answer = await ask(world, decision=COMPAT)
    assert answer.length == len(body) > CHUNK_SIZE
    assert not isinstance(answer.body, bytes)
    assert answer.as_it_came
    assert b"".join([piece async for piece in answer.body]) == body


async def test_an_answer_too_large_to_keep_streams_to_who_waits_and_is_gone_for_who_comes_later() -> None:
    world = await a_world(a_route(max_reply=100))
    reply = Reply(200, b"x" * 5000)
    reply.pieces = 50
    world.upstream.script = [reply]
    answer = await ask(world, keyed(), COMPAT)
    assert not isinstance(answer.body, bytes)
    assert answer.as_it_came
    assert b"".join([piece async for piece in answer.body]) == reply.body
    later = await ask(world, keyed(), COMPAT)
    assert (later.status, document(later)["code"]) == (410, "result-too-large")


async def test_of_two_who_wait_for_an_answer_too_large_to_keep_one_gets_it() -> None:
    world = await a_world(a_route(max_reply=100))
    reply = Reply(200, b"x" * 5000)
    reply.pieces = 50
    held = Held(reply)
    world.upstream.script = [held]
    asked = [asyncio.create_task(ask(world, keyed(), COMPAT))]
    await held.reached.wait()
    asked.append(asyncio.create_task(ask(world, keyed(), COMPAT)))
    while sum(map(len, world.signals.watches.values())) < 2:
        await asyncio.sleep(0)
    held.open.set()
    answers = [await one for one in asked]
    streams = [answer for answer in answers if not isinstance(answer.body, bytes)]
    others = [answer for answer in answers if isinstance(answer.body, bytes)]
    assert [b"".join([piece async for piece in answer.body]) for answer in streams] == [reply.body]  # type: ignore[union-attr]
    assert [(answer.status, document(answer)["code"]) for answer in others] == [(410, "result-too-large")]
    told = [name for name, _ in world.instrument.told]
    assert (told.count("accepted"), told.count("replayed")) == (1, 1)


async def test_an_answer_to_head_tells_the_length_of_the_body_that_it_does_not_have(world: World) -> None:
    world.upstream.script = [Reply(200, b"", [(b"Content-Length", b"5000")])]
    answer = await ask(world, a_request(None, method="HEAD"), COMPAT)
    lengths = [value for name, value in answer.headers if name == b"Content-Length"]
    assert answer.body == b""
    assert answer.as_it_came
    assert (lengths, answer.length) == ([b"5000"], 5000)


async def test_a_store_that_refuses_the_outcome_does_not_keep_the_answer_from_the_client(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.engine.conclude._STORE_BACKOFF", (0.0,))
    world.store.refuses = lambda commit: commit.end is not None
    answer = await ask(world, decision=COMPAT)
    assert (answer.status, answer.body) == (200, b"done")
    world.store.refuses = lambda commit: False
    await world.ended(fields(answer)["Strangler-Process"].rpartition("/")[2])


# ── Refusals, and what goes through ──────────────────────────────────────────────────────────────────────────────────


async def test_a_refusal_is_a_problem_document_with_its_errors_and_the_clients_correlation_id() -> None:
    world = await a_world(a_route(accept=AcceptPolicy(schema={"required": ["amount"]})))
    world.instrument.access_log = "all"
    answer = await ask(world, a_request(b"{}", headers=[(b"X-Correlation-ID", b"c-1")]))
    told = document(answer)
    assert (answer.status, told["code"], told["correlationId"]) == (422, "invalid-request", "c-1")
    assert told["errors"] == [{"pointer": "", "detail": "'amount' is a required property"}]
    [line] = [values for fact, values in world.instrument.told if fact == "answered"]
    assert line[-1] == "invalid-request"


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        (b"gzip", gzip.compress(b'{"amount": 1}', mtime=0), 202),
        (b"gzip", gzip.compress(b"{}", mtime=0), 422),
        (b"gzip", b'{"amount": 1}', 400),
        (b"br", b'{"amount": 1}', 400),
    ],
)
async def test_a_packed_body_is_looked_into_as_well(coding: bytes, body: bytes, status: int) -> None:
    world = await a_world(a_route(accept=AcceptPolicy(schema={"required": ["amount"]})))
    answer = await ask(world, a_request(body, headers=[(b"Content-Encoding", coding)]))
    assert answer.status == status
    if status == 202:
        await world.ended(document(answer)["id"])
        assert world.upstream.sent[0].body.data == body  # the upstream gets it as it came


async def test_a_full_queue_says_when_to_come_back() -> None:
    world = await a_world(a_route(concurrency=0, queue=0))
    answer = await ask(world)
    assert (answer.status, document(answer)["code"]) == (503, "overloaded")
    assert int(fields(answer)["Retry-After"]) >= 1


async def test_a_body_too_large_for_a_compat_route_passes_on() -> None:
    world = await a_world(a_route(accept=AcceptPolicy(max_body=3, over_max_body="passthrough")))
    assert await recording_of(world).record(world.route, {}, COMPAT, a_request()) == PassOn(())


async def test_clients_that_still_wait_are_told_of_the_deprecation(world: World) -> None:
    route = a_route()
    told = Deprecation(since="@1735689600", sunset="Wed, 31 Dec 2025 23:59:59 GMT", link="https://d.example/")
    world.load(Route(**{**{name: getattr(route, name) for name in route.__slots__}, "deprecation": told}))
    waiting = fields(await ask(world, decision=COMPAT))
    assert (waiting["Deprecation"], waiting["Sunset"]) == ("@1735689600", "Wed, 31 Dec 2025 23:59:59 GMT")
    assert waiting["Link"] == '<https://d.example/>; rel="deprecation"'
    own = [(b"deprecation", b"@1"), (b"Sunset", b"never"), (b"Link", b"</next>"), (b"Strangler-Process", b"/inner")]
    world.upstream.script = [Reply(200, b"", own)]
    names = Counter(name.lower() for name, _ in (await ask(world, decision=COMPAT)).headers)
    assert [names[name] for name in (b"deprecation", b"sunset", b"link", b"strangler-process")] == [1, 1, 2, 1]
    assert "Deprecation" not in fields(await ask(world))
    world.draining = True
    for decision, said in ((COMPAT, True), (ASYNC, False)):
        refused = await ask(world, decision=decision)
        assert (document(refused)["code"], "Deprecation" in fields(refused)) == ("draining", said)


# ── A route that went back to passthrough ────────────────────────────────────────────────────────────────────────────

THROUGH = Decision(Mode.PASSTHROUGH, 0.0, False, (), "mode of the route")


async def test_a_known_key_is_answered_as_it_was_promised_after_the_route_went_back(world: World) -> None:
    promised = await ask(world, keyed())
    again = await recording_of(world).look_up(world.route, {}, THROUGH, keyed())
    assert isinstance(again, Answer)
    assert (again.status, fields(again)["Location"]) == (202, fields(promised)["Location"])
    assert fields(again)["Idempotency-Replayed"] == "true"


async def test_a_known_key_of_a_compat_request_still_waits_for_its_answer() -> None:
    world = await a_world(a_route(wait=5.0, accept=AcceptPolicy(idempotency=IdempotencyPolicy(ttl=60.0))))
    held = Held(Reply(200, b"once"))
    world.upstream.script = [held]
    first = asyncio.create_task(ask(world, keyed(), COMPAT))
    await held.reached.wait()
    again = asyncio.create_task(recording_of(world).look_up(world.route, {}, THROUGH, keyed()))
    await asyncio.sleep(0)
    held.open.set()
    answers = [await first, await again]
    assert [answer.body for answer in answers if isinstance(answer, Answer)] == [b"once", b"once"]
    assert len(world.upstream.sent) == 1


@pytest.mark.parametrize(
    ("wait", "lost", "least", "most"), [(600.0, False, 300, 600), (0.0, False, 30, 65), (600.0, True, 30, 65)]
)
async def test_such_a_client_waits_as_long_as_was_promised_and_is_then_told_that_the_work_goes_on(
    wait: float, lost: bool, least: float, most: float
) -> None:
    world = await a_world(a_route(wait=wait))
    held = Held(Reply(200, b"once"))
    world.upstream.script = [held]
    first = asyncio.create_task(ask(world, keyed(), COMPAT))
    await held.reached.wait()
    if lost:
        world.promises.clear()
    signals = Impatient()
    again = await recording_of(world, signals).look_up(world.route, {}, THROUGH, keyed())
    assert isinstance(again, Answer)
    assert (again.status, document(again)["code"]) == (504, "wait-over")
    [seconds] = signals.waits
    assert least < seconds <= most
    world.load(a_route(wait=wait))
    held.open.set()
    assert (await first).body == b"once"


async def test_a_repeat_of_what_is_no_longer_kept_is_told_so_and_not_called_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.ended(document(await ask(world, keyed()))["id"])

    async def forgotten(process_id: str) -> None:
        return None

    monkeypatch.setattr(world.store, "process", forgotten)
    again = await ask(world, keyed())
    assert (again.status, document(again)["code"]) == (410, "no-longer-kept")
    assert len(world.upstream.sent) == 1


async def test_an_unknown_key_passes_on(world: World) -> None:
    assert await recording_of(world).look_up(world.route, {}, THROUGH, keyed()) == PassOn(())


async def test_who_is_not_let_in_is_told_so_with_the_clients_correlation_id() -> None:
    access = AccessPolicy(identity=("jwt:sub",), jwt=JwtPolicy(jwks="https://id.example/keys"))
    world = await a_world(a_route(access=access))
    world.published.document = admitting.document(Signer("one").published())
    headers = [(b"Authorization", b"Bearer opaque"), (b"X-Correlation-ID", b"c-7")]
    deprecated = replace(world.route, deprecation=Deprecation(since="@1735689600"))
    answer = await recording_of(world).record(deprecated, {}, COMPAT, a_request(headers=headers))
    assert isinstance(answer, Answer)
    assert fields(answer)["Deprecation"] == "@1735689600"
    told, head = document(answer), fields(answer)
    assert (answer.status, told["code"], told["correlationId"]) == (401, "unauthenticated", "c-7")
    assert head["X-Correlation-ID"] == "c-7"
    assert head["WWW-Authenticate"] == 'Bearer error="invalid_token", error_description="the token is malformed"'
    assert ("refused", ("submit-claim", "unauthenticated")) in world.instrument.told


async def test_a_reply_that_nobody_can_make_sense_of_is_the_result_where_that_ends_it() -> None:
    world = await a_world(a_route(on_in_doubt="fail"))
    world.upstream.script = [Reply(502, b'{"legacy": 1}', [(b"Content-Type", b"application/json")])]
    answer = await ask(world, keyed(), COMPAT)
    assert (answer.status, answer.body) == (502, b'{"legacy": 1}')
    again = await ask(world, keyed(), COMPAT)
    assert (again.status, again.body) == (502, b'{"legacy": 1}')
    assert fields(again)["Idempotency-Replayed"] == "true"
    with world.store.ledgers() as ledgers:
        [ledger] = ledgers.all()
    assert isinstance(ledger, Ledger)
    assert (ledger.process.state, ledger.process.effect) == (State.FAILED, Effect.UNKNOWN)
    assert (ledger.process.reason, ledger.process.result_status) == ("gateway-lost-it", 502)
