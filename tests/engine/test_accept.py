"""Acceptance: the order of refusal, idempotency, and what is recorded."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import replace

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, BadBody, BodyTimeout, ClientGone, Header, RecordedRequest, Request
from strangler.domain.process import Effect, State
from strangler.engine.submission import Accepted, Joined, Pass, Refused, Submission
from strangler.policy.decide import Decision
from strangler.policy.model import AcceptPolicy, IdempotencyPolicy, Mode
from strangler.ports import Commit, Full, QueueLimit, Verdict
from tests.engine.world import ASYNC, COMPAT, NOON, Gate, Reply, World, a_request, a_route

SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer"}, "name": {"type": "string"}},
}


def accepting(**policy: object) -> AcceptPolicy:
    return AcceptPolicy(**policy)  # type: ignore[arg-type]


async def a_world(accept: AcceptPolicy | None = None, **route: object) -> World:
    world = World(a_route(accept=accept, **route))  # type: ignore[arg-type]
    await world.lease.renew()
    return world


def keyed(key: bytes, body: bytes = b'{"amount": 12}', headers: Iterable[Header] = ()) -> object:
    return a_request(body, headers=[(b"Idempotency-Key", key), *headers])


async def refusal(world: World, request: object, name: str) -> Refused:
    verdict = await world.submit(request)  # type: ignore[arg-type]
    assert isinstance(verdict, Refused), verdict
    assert verdict.name == name
    assert await count(world) == 0
    return verdict


async def count(world: World) -> int:
    with world.store.ledgers() as ledgers:
        return sum(1 for _ in ledgers.all())


# ── What is refused, and records nothing ─────────────────────────────────────────────────────────────────────────────


async def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_read() -> None:
    world = await a_world(accepting(max_body=10))
    request = a_request(b"x" * 11)
    await refusal(world, request, "body-too-large")
    assert await request.body.read() == b"x" * 11


async def test_a_body_without_length_is_refused_as_soon_as_it_is_too_long() -> None:
    world = await a_world(accepting(max_body=10))
    request = a_request(b"x" * 30, pieces=3)
    request.content_length = None
    await refusal(world, request, "body-too-large")


async def test_a_compat_route_passes_on_what_is_too_large_with_what_it_read() -> None:
    world = await a_world(accepting(max_body=15, over_max_body="passthrough"))
    request = a_request(b"x" * 30, pieces=3)
    request.content_length = None
    verdict = await world.submit(request, COMPAT)
    assert verdict == Pass((b"x" * 10, b"x" * 10))
    assert await request.body.read() == b"x" * 10


async def test_a_media_type_that_is_not_taken_is_refused() -> None:
    world = await a_world(accepting(content_types=("application/xml",)))
    verdict = await refusal(world, a_request(), "unsupported-media-type")
    assert "application/xml" in verdict.detail


@pytest.mark.parametrize(
    ("taken", "sent", "is_taken"),
    [
        ("text/*", b"Text/CSV; charset=utf-8", True),
        ("text/*", b"application/json", False),
        ("text/*", b"text", False),
        ("*/*", b"application/json", True),
        ("*/*", b"", False),
    ],
)
async def test_a_range_of_media_types_takes_each_of_it(taken: str, sent: bytes, is_taken: bool) -> None:
    world = await a_world(accepting(content_types=(taken,)))
    request = a_request(usual=[(b"Content-Type", sent)])
    if is_taken:
        assert await world.accepted(request)
    else:
        await refusal(world, request, "unsupported-media-type")


async def test_a_missing_header_is_named() -> None:
    world = await a_world(accepting(require_headers=("X-Tenant",)))
    verdict = await refusal(world, a_request(), "header-required")
    assert "X-Tenant" in verdict.detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"amount": 1, "amount": 2}',
        b'{"amount": NaN}',
        b'{"amount": "\xff"}',
        b"[" * 100_000,
        b'{"amount": ' + b"9" * 5000 + b"}",
        b"\x00",
    ],
)
async def test_a_body_that_is_no_json_of_one_meaning_is_a_bad_request(body: bytes) -> None:
    world = await a_world(accepting(schema=SCHEMA))
    await refusal(world, a_request(body), "bad-request")


async def test_a_body_that_does_not_match_gets_all_errors_with_their_pointers() -> None:
    world = await a_world(accepting(schema=SCHEMA))
    verdict = await refusal(world, a_request(b'{"amount": "1", "name": 2}'), "invalid-request")
    assert sorted(violation.pointer for violation in verdict.violations) == ["/amount", "/name"]


async def test_a_text_too_long_for_a_pattern_is_refused_instead_of_matched() -> None:
    schema = {"properties": {"name": {"type": "string", "pattern": "^[a-z]*x[a-z]*y$"}}}
    world = await a_world(accepting(schema=schema))
    verdict = await refusal(world, a_request(b'{"name": "' + b"x" * 10_000 + b'"}'), "invalid-request")
    assert verdict.violations[0].pointer == "/name"
    assert "8192" in verdict.violations[0].detail


async def test_a_large_body_is_judged_by_its_schema_too() -> None:
    world = await a_world(accepting(schema=SCHEMA))
    body = b'{"amount": 1, "name": "' + b"x" * (CHUNK_SIZE + 100) + b'", "amount": 2}'
    await refusal(world, a_request(body, pieces=5), "bad-request")


async def test_a_required_key_that_is_missing_is_refused() -> None:
    world = await a_world(accepting(idempotency=IdempotencyPolicy(required=True)))
    await refusal(world, a_request(), "idempotency-key-missing")


@pytest.mark.parametrize("key", [b"a" * 256, b'"open', b"two words", b"a,b", b"\xff", b'"a"b'])
async def test_a_key_that_is_no_key_is_refused(key: bytes) -> None:
    await refusal(await a_world(), keyed(key), "idempotency-key-invalid")


async def test_reporting_refuses_nothing_and_says_what_it_would_have() -> None:
    world = await a_world(accepting(schema=SCHEMA, require_headers=("X-Tenant",), enforce="report"))
    await world.accepted(a_request(b"[]"))
    told = [values[1] for fact, values in world.instrument.told if fact == "would_refuse"]
    assert told == ["header-required", "invalid-request"]


async def test_reporting_passes_on_what_is_too_large_to_record_with_what_it_read() -> None:
    world = await a_world(accepting(max_body=15, enforce="report"))
    request = a_request(b"x" * 30, pieces=3)
    request.content_length = None
    assert await world.submit(request) == Pass((b"x" * 10, b"x" * 10))
    assert await request.body.read() == b"x" * 10
    told = [values[1] for fact, values in world.instrument.told if fact == "would_refuse"]
    assert told == ["body-too-large"]


async def test_a_full_queue_is_refused_with_a_time_to_come_back() -> None:
    world = await a_world(concurrency=1, queue=1)
    for _ in range(2):
        await world.accepted()
    verdict = await world.submit()
    assert isinstance(verdict, Refused)
    assert verdict.name == "overloaded"
    assert verdict.retry_after is not None
    assert verdict.retry_after >= 1


async def test_where_others_were_first_to_fill_the_queue_it_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other workers, at the same moment; only who sees the commits of all can tell."""
    world = await a_world(concurrency=1, queue=7)
    first = await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    asked: list[QueueLimit | None] = []

    async def full(commit: Commit) -> Verdict:
        asked.append(commit.within)
        return Full()

    monkeypatch.setattr(world.store, "commit", full)
    verdict = await world.submit(large(b"k-2"))
    assert isinstance(verdict, Refused)
    assert (verdict.name, verdict.retry_after) == ("overloaded", 1)
    assert await world.submit(keyed(b"k-1")) == Joined(first.id)  # type: ignore[arg-type]
    assert asked[0] == QueueLimit(7, world.route.accept.queue_bytes)
    assert world.store.kept_of() == set()
    assert world.lanes.of("submit-claim").coming == 0


async def test_bodies_that_wait_are_bounded_in_bytes() -> None:
    world = await a_world(accepting(queue_bytes=20), concurrency=1)
    await world.accepted(a_request(b"x" * 15))
    await world.accepted(a_request(b"x" * 15))
    verdict = await world.submit(a_request(b"x" * 15))
    assert isinstance(verdict, Refused)
    assert verdict.name == "overloaded"


async def test_a_server_that_drains_takes_no_new_work_but_knows_its_keys() -> None:
    world = await a_world()
    first = await world.accepted(keyed(b"k1"))  # type: ignore[arg-type]
    world.draining = True
    assert isinstance(await world.submit(), Refused)
    assert await world.submit(keyed(b"k1")) == Joined(first.id)  # type: ignore[arg-type]


async def test_a_store_that_refuses_is_said_and_nothing_is_sent() -> None:
    world = await a_world()
    world.store.reason = "the disk is full"
    await refusal(world, a_request(), "store-unavailable")
    world.store.reason = None
    world.store.refuses = lambda commit: True
    await refusal(world, a_request(), "store-unavailable")
    assert world.upstream.sent == []
    assert world.lanes.of("submit-claim").running == 0


async def test_a_compat_client_passes_through_a_failing_store_where_the_policy_says_so() -> None:
    world = await a_world(on_store_failure="passthrough")
    world.store.reason = "the disk is full"
    wished = COMPAT._replace(wait=0.0, accepts_202=True, applied=("respond-async",))
    for decision in (COMPAT, wished):
        verdict = await world.submit(decision=decision)
        assert verdict == Pass((b'{"amount": 12}',)), "what was read of its body goes with it"
    assert isinstance(await world.submit(decision=ASYNC), Refused)


# ── Idempotency ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_request_under_the_same_key_joins_quoted_or_bare() -> None:
    world = await a_world()
    first = await world.accepted(keyed(b'"k-1"'))  # type: ignore[arg-type]
    assert await world.submit(keyed(b"k-1")) == Joined(first.id)  # type: ignore[arg-type]
    await world.ended(first.id)
    assert await world.submit(keyed(b"k-1")) == Joined(first.id)  # type: ignore[arg-type]
    assert len(world.upstream.sent) == 1


async def test_another_request_under_a_used_key_is_refused() -> None:
    world = await a_world()
    await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    verdict = await world.submit(keyed(b"k-1", b'{"amount": 13}'))  # type: ignore[arg-type]
    assert isinstance(verdict, Refused)
    assert verdict.name == "idempotency-key-reused"


async def test_a_known_key_is_answered_before_anything_that_could_refuse() -> None:
    world = await a_world()
    first = await world.accepted(keyed(b"k-1", b"[]"))  # type: ignore[arg-type]
    world.load(a_route(accept=accepting(schema=SCHEMA)))
    world.store.reason = "the disk is full"
    assert await world.submit(keyed(b"k-1", b"[]")) == Joined(first.id)  # type: ignore[arg-type]


async def test_a_known_key_is_answered_while_the_store_cannot_record() -> None:
    world = await a_world()
    first = await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    world.store.refuses = lambda commit: commit.request is not None
    assert await world.submit(keyed(b"k-1")) == Joined(first.id)  # type: ignore[arg-type]
    assert isinstance(await world.submit(keyed(b"k-2")), Refused)  # type: ignore[arg-type]


async def test_a_key_belongs_to_its_caller() -> None:
    world = await a_world()
    first = await world.accepted(keyed(b"k-1", headers=[(b"Authorization", b"Bearer a")]))  # type: ignore[arg-type]
    other = await world.accepted(keyed(b"k-1", headers=[(b"Authorization", b"Bearer b")]))  # type: ignore[arg-type]
    assert first.id != other.id


async def test_two_at_once_under_one_key_become_one_process() -> None:
    world = await a_world()
    verdicts = await asyncio.gather(*(world.submit(keyed(b"k-1")) for _ in range(10)))  # type: ignore[arg-type]
    assert sum(isinstance(verdict, Accepted) for verdict in verdicts) == 1
    assert sum(isinstance(verdict, Joined) for verdict in verdicts) == 9
    assert await count(world) == 1


@pytest.mark.parametrize("concurrency", [1, 0])
async def test_who_comes_second_under_one_key_takes_neither_slot_nor_place(concurrency: int) -> None:
    world = await a_world(concurrency=concurrency)
    world.upstream.script = [gate := Gate()]
    await asyncio.gather(*(world.submit(keyed(b"k-1")) for _ in range(3)))  # type: ignore[arg-type]
    lane = world.lanes.of(world.route.name)
    assert (lane.running, lane.coming, lane.coming_bytes) == (concurrency, 0, 0)
    gate.open.set()
    await world.executor.drain(5.0)


async def test_a_key_lapses_only_some_time_after_the_end() -> None:
    world = await a_world(accepting(idempotency=IdempotencyPolicy(ttl=60.0)))
    first = await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    await world.ended(first.id)
    world.clock.pass_(59)
    await world.lease.renew()
    assert await world.submit(keyed(b"k-1")) == Joined(first.id)  # type: ignore[arg-type]
    world.clock.pass_(2)
    assert (await world.accepted(keyed(b"k-1"))).id != first.id  # type: ignore[arg-type]


@pytest.mark.parametrize(("ttl", "ends_at"), [(60.0, NOON + 60_000), (0.0, NOON)])
async def test_what_a_process_left_is_kept_from_its_end_or_the_lapse_of_its_key(ttl: float, ends_at: int) -> None:
    world = await a_world(accepting(idempotency=IdempotencyPolicy(ttl=ttl)))
    process = await world.ended((await world.accepted(keyed(b"k-1"))).id)  # type: ignore[arg-type]
    with world.store.ledgers() as ledgers:
        ledger = ledgers.one(process.id)
    assert ledger is not None
    assert ledger.retain_until_at == ends_at + process.retain


async def test_a_process_without_effect_releases_its_key() -> None:
    world = await a_world()
    world.upstream.script = [Reply(404)]
    first = await world.ended((await world.accepted(keyed(b"k-1"))).id)  # type: ignore[arg-type]
    assert first.effect is Effect.NONE
    assert (await world.accepted(keyed(b"k-1"))).id != first.id  # type: ignore[arg-type]


async def test_without_a_key_every_request_is_another_one() -> None:
    world = await a_world()
    assert (await world.accepted()).id != (await world.accepted()).id


async def test_a_derived_fingerprint_joins_an_impatient_client_within_the_window() -> None:
    world = await a_world(accepting(idempotency=IdempotencyPolicy(derive="fingerprint", window=300.0)))
    mine = [(b"Authorization", b"Bearer a")]
    first = await world.accepted(a_request(headers=mine))
    assert first.key is None
    await world.ended(first.id)
    assert await world.submit(a_request(headers=mine)) == Joined(first.id)
    assert isinstance(await world.submit(a_request(b"other", headers=mine)), Accepted)
    world.clock.pass_(301)
    await world.lease.renew()
    assert isinstance(await world.submit(a_request(headers=mine)), Accepted)


@pytest.mark.parametrize(("anonymous", "joined"), [(False, False), (True, True)])
async def test_requests_without_identity_are_joined_only_where_the_policy_says_so(
    anonymous: bool, joined: bool
) -> None:
    policy = IdempotencyPolicy(derive="fingerprint", derive_anonymous=anonymous)
    world = await a_world(accepting(idempotency=policy))
    await world.accepted()
    assert isinstance(await world.submit(), Joined) is joined


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        (b'{"claim": 1, "at": 1}', b'{"claim": 1, "at": 2}', True),
        (b'{"claim": 1}', b'{"claim": 2}', False),
        (b'{"claim": null}', b'{"claim": null}', False),
        (b'{"claim": ""}', b'{"claim": ""}', False),
        (b'{"claim": false}', b'{"claim": false}', False),
        (b'{"claim": [1, null]}', b'{"claim": [1, null]}', False),
        (b"no json", b"no json", False),
    ],
)
async def test_a_derived_expression_makes_a_key_unless_it_is_empty(first: bytes, second: bytes, joined: bool) -> None:
    policy = IdempotencyPolicy(derive="body.claim", derive_anonymous=True)
    world = await a_world(accepting(idempotency=policy))
    await world.accepted(a_request(first))
    assert isinstance(await world.submit(a_request(second)), Joined) is joined


async def test_a_given_key_beats_a_derived_one() -> None:
    policy = IdempotencyPolicy(derive="fingerprint", derive_anonymous=True)
    world = await a_world(accepting(idempotency=policy))
    await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    assert isinstance(await world.submit(keyed(b"k-2")), Accepted)  # type: ignore[arg-type]


async def test_of_a_list_of_headers_the_first_present_is_the_key() -> None:
    policy = IdempotencyPolicy(headers=("X-Request-Key", "Idempotency-Key"))
    world = await a_world(accepting(idempotency=policy))
    process = await world.accepted(keyed(b"second", headers=[(b"X-Request-Key", b"first")]))  # type: ignore[arg-type]
    assert process.key == "first"


# ── A route that went back to passthrough ────────────────────────────────────────────────────────────────────────────

THROUGH = Decision(Mode.PASSTHROUGH, 0.0, False, (), "mode of the route")


async def known(world: World, request: object) -> object:
    return await world.acceptor.known(Submission(request, world.route, {}, THROUGH, ""))  # type: ignore[arg-type]


async def test_a_known_key_is_still_answered_after_the_route_went_back_to_passthrough() -> None:
    world = await a_world()
    first = await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    assert await known(world, keyed(b"k-1")) == Joined(first.id)
    verdict = await known(world, keyed(b"k-1", b"another body"))
    assert isinstance(verdict, Refused)
    assert verdict.name == "idempotency-key-reused"


@pytest.mark.parametrize(
    ("error", "name"), [(BodyTimeout(), "request-timeout"), (BadBody("no size of a chunk"), "bad-request")]
)
async def test_a_repeat_whose_body_does_not_arrive_whole_is_refused_as_on_a_recorded_route(
    error: Exception, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> bytes:
        raise error

    world = await a_world()
    await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    request = keyed(b"k-1")
    monkeypatch.setattr(request.body, "read", broken)  # type: ignore[attr-defined]
    verdict = await known(world, request)
    assert isinstance(verdict, Refused)
    assert verdict.name == name


def shorter(world: World, max_body: int = 5) -> None:
    """From now on the route takes shorter bodies only, and passes longer ones on."""
    world.load(replace(world.route, accept=accepting(max_body=max_body, over_max_body="passthrough")))


@pytest.mark.parametrize("length", ["declared", "unknown"])
async def test_a_known_key_is_still_answered_after_the_route_came_to_take_shorter_bodies_only(length: str) -> None:
    world = await a_world()
    first = await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    shorter(world)
    for body, verdict in ((b'{"amount": 12}', Joined(first.id)), (b'{"amount": 13}', None), (b"x" * 100, None)):
        request = a_request(body, headers=[(b"Idempotency-Key", b"k-1")], pieces=2)
        if length == "unknown":
            request.content_length = None
        found = await world.submit(request, COMPAT)
        if verdict is not None:
            assert found == verdict
        else:
            assert isinstance(found, Refused)
            assert found.name == "idempotency-key-reused"


async def test_what_is_longer_than_was_recorded_with_its_key_is_another_request_for_passthrough_too() -> None:
    world = await a_world()
    first = await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    shorter(world)
    assert await known(world, keyed(b"k-1")) == Joined(first.id)
    verdict = await known(world, keyed(b"k-1", b"x" * 100))
    assert isinstance(verdict, Refused)
    assert verdict.name == "idempotency-key-reused"


async def test_what_is_too_large_passes_on_whole_where_its_key_is_unknown_or_has_lapsed() -> None:
    world = await a_world(accepting(idempotency=IdempotencyPolicy(ttl=1.0)))
    first = await world.accepted(keyed(b"k-1"))  # type: ignore[arg-type]
    await world.ended(first.id)
    world.clock.pass_(2)
    await world.lease.renew()
    shorter(world)
    for key in (b"k-1", b"k-2"):
        request = a_request(b"x" * 30, headers=[(b"Idempotency-Key", key)], pieces=3)
        request.content_length = None
        verdict = await world.submit(request, COMPAT)
        assert isinstance(verdict, Pass)
        assert b"".join(verdict.read) + await request.body.read() + await request.body.read() == b"x" * 30


async def test_an_unknown_key_passes_with_its_body_unread() -> None:
    world = await a_world()
    request = keyed(b"k-9")
    assert await known(world, request) == Pass()
    assert await request.body.read() == b'{"amount": 12}'  # type: ignore[attr-defined]


async def test_a_key_that_is_no_key_passes_through_untouched() -> None:
    assert await known(await a_world(), keyed(b"two words")) == Pass()


@pytest.mark.parametrize("headers", [[(b"Idempotency-Key", b"k-1")], []])
async def test_what_passes_through_passes_while_the_store_cannot_tell_its_key(
    headers: list[Header], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("the disk is gone")

    body = b'"' + b"x" * 3 * CHUNK_SIZE + b'"'
    derived = IdempotencyPolicy(derive="body", derive_anonymous=True)
    world = await a_world(accepting(idempotency=derived))
    process = await world.accepted(a_request(body, headers=headers, pieces=12))
    assert await known(world, a_request(body, headers=headers, pieces=12)) == Joined(process.id)
    monkeypatch.setattr(world.store, "key", unavailable)
    verdict = await known(world, request := a_request(body, headers=headers, pieces=12))
    assert isinstance(verdict, Pass)
    assert await passed(verdict, request) == body


async def passed(verdict: Pass, request: Request) -> bytes:
    """The body that the upstream gets: what was read of it, and the rest."""
    pieces = [*verdict.read]
    while piece := await request.body.read():
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("headers", [[(b"Idempotency-Key", b"k-1")], []])
@pytest.mark.parametrize("way", ["back to passthrough", "over max_body", "on_store_failure"])
async def test_a_known_key_makes_no_second_call_while_the_store_can_read_and_not_write(
    way: str, headers: list[Header], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    def of(byte: bytes) -> Request:
        return a_request(b'"' + byte * 3 * CHUNK_SIZE + b'"', headers=headers, pieces=12)

    accept = accepting(idempotency=IdempotencyPolicy(derive="body", derive_anonymous=True))
    world = await a_world(accept, on_store_failure="passthrough")
    first = await world.accepted(of(b"x"))
    world.store.refuses = lambda commit: commit.request is not None
    monkeypatch.setattr(world.store, "write_chunk", unavailable)
    if way == "over max_body" and headers:
        shorter(world, CHUNK_SIZE * 2)

    async def submitted(request: Request) -> object:
        return await (known(world, request) if way == "back to passthrough" else world.submit(request, COMPAT))

    assert await submitted(of(b"x")) == Joined(first.id)
    verdict = await submitted(another := of(b"y"))
    if headers:
        assert isinstance(verdict, Refused)
        assert verdict.name == "idempotency-key-reused"
    else:
        assert isinstance(verdict, Pass)
        assert await passed(verdict, another) == b'"' + b"y" * 3 * CHUNK_SIZE + b'"'


# ── What is recorded ─────────────────────────────────────────────────────────────────────────────────────────────────


async def recorded_of(world: World, request: object, decision: Decision = ASYNC) -> RecordedRequest:
    world.load(a_route(concurrency=0))
    process = await world.accepted(request, decision)  # type: ignore[arg-type]
    found = await world.store.request(process.id)
    assert found is not None
    return found


async def test_the_request_is_kept_as_it_came_but_for_hop_by_hop_fields(world: World) -> None:
    request = a_request(
        target=b"/claims?x=%2F&y",
        headers=[
            (b"x-Odd", b"\xff"),
            (b"x-Odd", b"2"),
            (b"Connection", b"x-hop"),
            (b"X-Hop", b"1"),
            (b"TE", b"trailers"),
        ],
    )
    kept = await recorded_of(world, request)
    assert kept.target == b"/claims?x=%2F&y"
    names = [name for name, _ in kept.all_headers()]
    assert names.count(b"x-Odd") == 2
    assert b"X-Hop" not in names
    assert b"TE" not in names
    assert (b"x-Odd", b"\xff") in kept.headers
    assert kept.body.data == b'{"amount": 12}'
    assert kept.body.digest == hashlib.sha256(b'{"amount": 12}').digest()


async def test_credentials_are_kept_apart_and_go_back_to_their_places(world: World) -> None:
    headers = [(b"Authorization", b"Bearer secret"), (b"X-Last", b"1"), (b"Cookie", b"a=b")]
    kept = await recorded_of(world, a_request(headers=headers))
    assert [name for _, name, _ in kept.credentials] == [b"Authorization", b"Cookie"]
    assert all(name not in (b"Authorization", b"Cookie") for name, _ in kept.headers)
    names = [name for name, _ in kept.all_headers()]
    assert names.index(b"Authorization") < names.index(b"X-Last") < names.index(b"Cookie")


async def test_forwarding_fields_name_the_client_and_replace_what_it_claims(world: World) -> None:
    kept = await recorded_of(world, a_request(headers=[(b"X-Forwarded-For", b"6.6.6.6"), (b"X_Forwarded_For", b"7")]))
    values = dict(kept.headers)
    assert values[b"X-Forwarded-For"] == b"192.0.2.7"
    assert values[b"X-Forwarded-Host"] == b"claims.example"
    assert b"X_Forwarded_For" not in values


@pytest.mark.parametrize(("old", "via"), [(False, b"1.1 strangler"), (True, b"1.0 strangler")])
async def test_via_says_in_which_version_the_request_came(world: World, old: bool, via: bytes) -> None:
    assert dict((await recorded_of(world, a_request(old=old))).headers)[b"Via"] == via


async def test_preferences_that_we_honoured_do_not_go_upstream(world: World) -> None:
    decision = Decision(Mode.ASYNC, 0.0, True, ("respond-async",), "")
    kept = await recorded_of(world, a_request(headers=[(b"Prefer", b"respond-async, handling=lenient")]), decision)
    assert dict(kept.headers)[b"Prefer"] == b"handling=lenient"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"X-Correlation-ID", b"c-1"), (b"X-Request-ID", b"r-1")], "c-1"),
        ([(b"X-Request-ID", b"r-1")], "r-1"),
        (
            [(b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        ([(b"X-Correlation-ID", b"bad\xff")], "new-correlation-id"),
        ([(b"X-Correlation-ID", b"x" * 200)], "x" * 200),
        ([(b"X-Correlation-ID", b"x" * 201)], "new-correlation-id"),
        ([(b"X-Correlation-ID", b"two words"), (b"X-Request-ID", b"r-1")], "r-1"),
        ([(b"X-Correlation-ID", b"a"), (b"X-Correlation-ID", b"b")], "new-correlation-id"),
        ([], "new-correlation-id"),
    ],
)
async def test_the_correlation_id_is_the_clients_or_new_and_goes_upstream(
    world: World, headers: list[Header], expected: str
) -> None:
    process = await world.accepted(a_request(headers=headers))
    await world.ended(process.id)
    assert process.correlation_id == expected
    assert dict(world.upstream.sent[0].headers)[b"X-Correlation-ID"] == expected.encode()


@pytest.mark.parametrize("extra", [-1, 0, 1, CHUNK_SIZE, CHUNK_SIZE + 1])
async def test_a_body_of_any_length_goes_upstream_whole(world: World, extra: int) -> None:
    body = bytes(index % 251 for index in range(CHUNK_SIZE + extra))
    process = await world.ended((await world.accepted(a_request(body, pieces=7))).id)
    assert process.state is State.COMPLETED
    sent = world.upstream.sent[0]
    assert sent.body.size == len(body)
    if sent.body.data is None:
        data = b"".join([await sent.read_chunk(index) for index in range(sent.body.chunks)])
    else:
        data = sent.body.data
    assert data == body
    assert hashlib.sha256(data).digest() == sent.body.digest


def large(key: bytes = b"k-1", byte: bytes = b"x") -> Request:
    """A request whose body fills three chunks, and whose length nobody knows before it is there."""
    request = a_request(byte * (3 * CHUNK_SIZE), headers=[(b"Idempotency-Key", key)], pieces=12)
    request.content_length = None
    return request


@pytest.mark.parametrize("policy", [{"max_body": 2 * CHUNK_SIZE}, {"schema": SCHEMA}], ids=["too large", "no JSON"])
async def test_chunks_of_a_refused_body_are_discarded(policy: dict[str, object]) -> None:
    world = await a_world(accepting(**policy))
    assert isinstance(await world.submit(large()), Refused)
    assert world.store.written
    assert world.store.kept_of() == set()


async def test_a_body_that_takes_too_long_is_refused_before_its_chunks_are_taken_for_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("strangler.engine.intake.LONGEST_UPLOAD", 0.0)
    world = await a_world()
    request = large()
    pieces = request.body

    class Stalling:
        async def read(self) -> bytes:
            data = await pieces.read()
            if world.store.written:
                await asyncio.Event().wait()
            return data

    request.body = Stalling()
    verdict = await refusal(world, request, "request-timeout")
    assert "to arrive" in verdict.detail
    assert world.store.written
    assert world.store.kept_of() == set()


async def test_chunks_of_a_body_that_could_not_be_recorded_are_discarded() -> None:
    world = await a_world()
    world.store.refuses = lambda commit: commit.request is not None
    assert isinstance(await world.submit(large()), Refused)
    assert world.store.written
    assert world.store.kept_of() == set()


async def test_what_arrives_while_the_clock_is_set_forward_by_days_is_refused_rather_than_recorded_by_half() -> None:
    world = await a_world()
    request = large()
    pieces = request.body

    class Jumping:
        async def read(self) -> bytes:
            data = await pieces.read()
            if not data:
                world.clock.pass_(3 * 24 * 3600)
                await world.store.sweep(world.clock.now(), 100)
            return data

    request.body = Jumping()
    await refusal(world, request, "store-unavailable")
    assert world.store.kept_of() == set()
    assert isinstance(await world.submit(large()), Accepted)


async def test_a_refusal_is_the_same_where_its_chunks_cannot_be_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world(accepting(schema=SCHEMA))
    monkeypatch.setattr(world.store, "discard_chunks", cannot)

    await refusal(world, large(), "bad-request")

    request = large()
    pieces = request.body

    class Leaving:
        async def read(self) -> bytes:
            if world.store.kept_of():
                raise ClientGone
            return await pieces.read()

    request.body = Leaving()
    world.store.written.clear()
    with pytest.raises(ClientGone):
        await world.submit(request)


async def cannot(process_id: str, part: str) -> None:
    raise StoreUnavailable("the disk is full")


async def test_chunks_of_a_body_that_came_twice_are_kept_once() -> None:
    world = await a_world(concurrency=1)
    verdicts = await asyncio.gather(*(world.submit(large()) for _ in range(3)))
    [first] = [verdict.process for verdict in verdicts if isinstance(verdict, Accepted)]
    assert await world.submit(large()) == await known(world, large()) == Joined(first.id)
    assert isinstance(await world.submit(large(byte=b"y")), Refused)
    assert len({process_id for process_id, _, _ in world.store.written}) == 5
    assert world.store.kept_of() == {first.id}


async def test_what_the_policy_sets_and_removes_is_set_and_removed_on_the_way_upstream() -> None:
    world = await a_world(
        set_headers=(("X-Service", "strangler"),),
        remove_headers=frozenset({"x-odd"}),
        credentials="drop",
        forward_idempotency_key="X-Key",
    )
    request = keyed(b"k-1", headers=[(b"X-Odd", b"1"), (b"Authorization", b"Bearer secret")])
    await world.ended((await world.accepted(request)).id)  # type: ignore[arg-type]
    sent = dict(world.upstream.sent[0].headers)
    assert sent[b"X-Service"] == b"strangler"
    assert sent[b"X-Key"] == b"k-1"
    assert b"X-Odd" not in sent
    assert b"Authorization" not in sent


async def test_what_the_policy_removes_goes_in_no_spelling_that_an_upstream_takes_for_it() -> None:
    world = await a_world(remove_headers=frozenset({"x-gone_by"}))
    request = a_request(headers=[(b"X_Gone-By", b"1"), (b"x-gone-by", b"1"), (b"X-Gone", b"1")])
    await world.ended((await world.accepted(request)).id)
    assert [name for name, value in world.upstream.sent[0].headers if value == b"1"] == [b"X-Gone"]


@pytest.mark.parametrize(("given", "sent"), [(b'"two words"', b'"two words"'), (b'"k"', b'"k"'), (b"k", b"k")])
async def test_a_key_goes_upstream_as_its_client_spelled_it(given: bytes, sent: bytes) -> None:
    world = await a_world(forward_idempotency_key="Idempotency-Key")
    await world.ended((await world.accepted(keyed(given))).id)  # type: ignore[arg-type]
    assert dict(world.upstream.sent[0].headers)[b"Idempotency-Key"] == sent


async def test_a_request_without_host_goes_upstream_with_one() -> None:
    """HTTP/1.0 can do without; HTTP/1.1, which goes upstream, cannot."""
    world = await a_world()
    request = a_request(usual=(), old=True)
    await world.ended((await world.accepted(request)).id)
    authority = world.route.upstream.authority.encode()
    assert [value for name, value in world.upstream.sent[0].headers if name == b"Host"] == [authority]


async def test_no_field_of_a_client_is_taken_for_one_of_ours_by_who_reads_underscores_as_dashes() -> None:
    world = await a_world(set_headers=(("X-Service", "strangler"),), forward_idempotency_key="X-Key")
    spelled = (b"X_Service", b"x_service", b"X_KEY", b"X_Correlation_ID", b"X_Forwarded-Proto", b"X_Other")
    request = a_request(headers=[(name, b"evil") for name in spelled])
    await world.ended((await world.accepted(request)).id)
    sent = world.upstream.sent[0].headers
    assert [name for name, value in sent if value == b"evil"] == [b"X_Other"]
    assert dict(sent)[b"X-Service"] == b"strangler"


@pytest.mark.parametrize("name", ["X_Tenant_Id", "X_Tenant-Id", "X-Tenant_Id", "X-Tenant-Id"])
async def test_no_dash_or_underscore_lets_a_field_of_a_client_pass_for_one_that_is_set(name: str) -> None:
    world = await a_world(set_headers=((name, "ours"),))
    spelled = (b"X-Tenant-Id", b"x_tenant-id", b"X-TENANT_ID", b"X_Tenant_Id", b"X-Tenant")
    request = a_request(headers=[(each, b"evil") for each in spelled])
    await world.ended((await world.accepted(request)).id)
    sent = [(each.lower(), value) for each, value in world.upstream.sent[0].headers if b"enant" in each.lower()]
    assert sorted(sent) == sorted([(name.lower().encode(), b"ours"), (b"x-tenant", b"evil")])


async def test_how_long_its_parts_are_kept_is_written_down_with_it(world: World) -> None:
    kept = replace(world.route.process, retain=90.0, retain_bodies=30.0, retain_history=60.0, retain_deliveries=1.5)
    world.load(replace(world.route, process=kept))
    process = await world.accepted()
    assert (process.retain, process.retain_bodies) == (90_000, 30_000)
    assert (process.retain_history, process.retain_deliveries) == (60_000, 1_500)
