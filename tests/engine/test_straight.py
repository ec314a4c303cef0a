"""Acceptances that wait for nothing but their commit: the same is recorded, and all else is left to `accept`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from strangler.domain.exchange import CHUNK_SIZE, Request
from strangler.domain.process import State
from strangler.engine.accept import straight
from strangler.engine.submission import Acceptance, Accepted, Joined, Refused, Submission
from strangler.policy.model import (
    AcceptPolicy,
    AccessPolicy,
    AuthorizePolicy,
    IdempotencyPolicy,
    JwtPolicy,
    Limits,
    Rate,
    Route,
)
from strangler.policy.receivers import CallbackPolicy
from strangler.policy.references import References
from strangler.policy.translate import Interpreter
from strangler.ports import Commit, Full, Verdict
from strangler.store.ledger import Ledger
from tests.engine.world import ASYNC, Gate, World, a_request, a_route

KEY = (b"Idempotency-Key", b"k-1")


async def a_world(accept: AcceptPolicy | None = None, **route: Any) -> World:
    world = World(a_route(accept=accept, **route))
    await world.lease.renew()
    return world


def begin(world: World, request: Request, data: bytes, told: Callable[[Any], None]) -> bool:
    submission = Submission(request, world.route, {}, ASYNC, "https://public.example")
    return world.acceptor.begin(submission, data, told)


async def begun(world: World, request: Request | None = None, data: bytes = b'{"amount": 12}') -> Acceptance:
    told: asyncio.Queue[Any] = asyncio.Queue()
    assert begin(world, request or a_request(data), data, told.put_nowait)
    found = await told.get()
    return await found() if callable(found) else found  # type: ignore[no-any-return]


def ledgers(world: World) -> list[Ledger]:
    with world.store.ledgers() as found:
        return [*found.all()]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (KEY,),
        (KEY, (b"X-Api-Key", b"secret"), (b"X-Correlation-ID", b"c-1")),
        (
            (b"X-Forwarded-For", b"6.6.6.6"),
            (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ),
    ],
)
@pytest.mark.parametrize("body", [b'{"amount": 12}', None])
async def test_it_records_what_the_other_way_records(headers: Any, body: bytes | None) -> None:
    found: list[Ledger] = []
    for way in ("straight", "usual"):
        world = await a_world(concurrency=1)
        world.upstream.script = [gate := Gate()]
        # The first one is claimed with its acceptance, the second one waits.
        for number in range(2):
            own = [(name, value + b"%d" % number) if name == KEY[0] else (name, value) for name, value in headers]
            request = a_request(body, headers=own)
            acceptance = await (begun(world, request, body or b"") if way == "straight" else world.submit(request))
            assert isinstance(acceptance, Accepted)
        found += sorted(ledgers(world), key=lambda ledger: ledger.process.id)
        gate.open.set()
        await world.executor.drain(5.0)
    assert found[:2] == found[2:]
    assert [ledger.process.state for ledger in found[:2]] == [State.PROCESSING, State.RECEIVED]


async def test_a_key_that_is_known_is_joined_and_another_request_under_it_refused() -> None:
    world = await a_world()
    first = await begun(world, a_request(b"one", headers=[KEY]), b"one")
    assert isinstance(first, Accepted)
    assert await begun(world, a_request(b"one", headers=[KEY]), b"one") == Joined(first.process.id)
    other = await begun(world, a_request(b"two", headers=[KEY]), b"two")
    assert isinstance(other, Refused)
    assert other.name == "idempotency-key-reused"
    assert len(ledgers(world)) == 1


async def test_where_others_were_first_to_fill_the_queue_it_is_refused_unless_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await a_world(concurrency=1)
    first = await begun(world, a_request(b"one", headers=[KEY]), b"one")
    assert isinstance(first, Accepted)

    async def full(commit: Commit) -> Verdict:
        return Full()

    monkeypatch.setattr(world.store, "commit", full)
    refused = await begun(world, a_request(b"two"), b"two")
    assert isinstance(refused, Refused)
    assert (refused.name, refused.retry_after) == ("overloaded", 1)
    assert await begun(world, a_request(b"one", headers=[KEY]), b"one") == Joined(first.process.id)
    assert world.lanes.of("submit-claim").coming == 0


def required() -> AcceptPolicy:
    return AcceptPolicy(idempotency=IdempotencyPolicy(required=True))


@pytest.mark.parametrize(
    ("accept", "data", "headers"),
    [
        (AcceptPolicy(max_body=3), b"four", []),
        (AcceptPolicy(), b"x" * (CHUNK_SIZE + 1), []),
        (AcceptPolicy(content_types=("text/plain",)), b"x", []),
        (AcceptPolicy(require_headers=("X-Desk",)), b"x", []),
        (required(), b"x", []),
        (AcceptPolicy(), b"x", [(b"Idempotency-Key", b'"open')]),
        (AcceptPolicy(idempotency=IdempotencyPolicy(derive="fingerprint", derive_anonymous=True)), b"x", []),
    ],
)
async def test_what_is_refused_or_has_to_be_looked_into_is_left_to_the_other_way(
    accept: AcceptPolicy, data: bytes, headers: Any
) -> None:
    world = await a_world(accept)
    assert not begin(world, a_request(data, headers=headers), data, pytest.fail)
    assert ledgers(world) == []


async def test_what_there_is_no_room_for_is_left_to_the_other_way() -> None:
    world = await a_world(concurrency=1, queue=1)
    world.upstream.script = [gate := Gate()]
    assert isinstance(await begun(world), Accepted)
    assert isinstance(await begun(world), Accepted)
    world.draining = True
    assert not begin(world, a_request(), b"", pytest.fail)
    world.draining, world.overloaded = False, "no memory"
    assert not begin(world, a_request(), b"", pytest.fail)
    world.overloaded = None
    assert not begin(world, a_request(), b"", pytest.fail)
    assert len(ledgers(world)) == 2
    gate.open.set()
    await world.executor.drain(5.0)


@pytest.mark.parametrize("concurrency", [1, 0])
async def test_what_could_not_be_committed_is_refused_and_takes_neither_slot_nor_place(concurrency: int) -> None:
    world = await a_world(concurrency=concurrency)
    world.store.refuses = lambda commit: commit.request is not None
    acceptance = await begun(world)
    assert isinstance(acceptance, Refused)
    assert acceptance.name == "store-unavailable"
    lane = world.lanes.of(world.route.name)
    assert (lane.running, lane.coming, lane.coming_bytes) == (0, 0, 0)


async def test_a_key_that_is_known_is_joined_though_nothing_can_be_recorded() -> None:
    world = await a_world()
    first = await begun(world, a_request(b"one", headers=[KEY]), b"one")
    assert isinstance(first, Accepted)
    world.store.refuses = lambda commit: True
    assert await begun(world, a_request(b"one", headers=[KEY]), b"one") == Joined(first.process.id)


async def test_what_cannot_even_be_handed_to_the_store_takes_neither_slot_nor_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a defect")

    world = await a_world(concurrency=1)
    monkeypatch.setattr(world.store, "commit", broken)
    with pytest.raises(ValueError, match="a defect"):
        begin(world, a_request(), b"", pytest.fail)
    with pytest.raises(ValueError, match="a defect"):
        await world.submit(a_request())
    lane = world.lanes.of(world.route.name)
    assert (lane.running, lane.coming, lane.coming_bytes) == (0, 0, 0)


async def test_a_defect_after_the_commit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a defect")

    world = await a_world(concurrency=1)
    monkeypatch.setattr(world.notifier, "committed", broken)
    with pytest.raises(ValueError, match="a defect"):
        await begun(world)


def a_rate() -> Limits:
    return Limits(accepts=Rate(1, 60.0))


def test_a_route_is_straight_unless_something_is_to_be_waited_for_or_reported() -> None:
    usual = a_route()
    assert straight(usual)
    others: list[Route] = [
        replace(usual, accept=AcceptPolicy(enforce="report")),
        replace(usual, accept=AcceptPolicy(schema={})),
        replace(usual, callbacks=CallbackPolicy(receivers=())),
        replace(usual, limits=a_rate()),
        replace(usual, access=AccessPolicy(authorize=AuthorizePolicy(path="/may"))),
        replace(
            usual,
            access=AccessPolicy(
                identity=("jwt:sub",),
                jwt=JwtPolicy(jwks="https://id.example/keys", issuer="https://id.example", audience=("claims",)),
            ),
        ),
        replace(usual, promise=replace(usual.promise, references=cast(References, object()))),
        replace(usual, promise=replace(usual.promise, wall=cast(Interpreter, object()))),
        replace(usual, on_store_failure="passthrough"),
    ]
    assert [straight(route) for route in others] == [False] * len(others)
