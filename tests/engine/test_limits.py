"""Limits on acceptance, and in what memory they are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from strangler.domain.exchange import Peer, Request
from strangler.engine.limits import Buckets, client_of
from strangler.engine.submission import Acceptance, Accepted, Joined, Refused
from strangler.policy.limit import Reading
from strangler.policy.model import AcceptPolicy, AccessPolicy, Limits, Rate
from strangler.policy.trust import TrustedNetworks
from strangler.ports import Commit
from tests.engine.world import IDENTITY_KEY, FakeClock, World, a_request, a_route

ALICE = (b"X-Api-Key", b"alice")
BOB = (b"X-Api-Key", b"bob")
TWO = Limits(accepts=Rate(2, 60.0))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(replace(a_route(), limits=TWO))
    await made.lease.renew()
    yield made
    await made.executor.drain(0.0)


def told(acceptance: Acceptance) -> Reading | None:
    assert isinstance(acceptance, Accepted | Refused)
    return acceptance.limit


async def test_one_request_too_many_is_refused_and_nothing_is_recorded(world: World) -> None:
    for left in (1, 0):
        accepted = await world.submit(a_request(headers=[ALICE]))
        assert isinstance(accepted, Accepted)
        assert accepted.limit is not None
        assert (accepted.limit.remaining, accepted.limit.quota) == (left, 2)
    refused = await world.submit(a_request(headers=[ALICE]))
    assert isinstance(refused, Refused)
    assert refused.name == "too-many-requests"
    assert refused.limit is not None
    assert refused.limit.retry_after == 30
    assert len([1 for name, _ in world.instrument.told if name == "changed"]) >= 2
    assert ("limited", ("submit-claim", "accepts")) in world.instrument.told
    world.clock.pass_(30)
    await world.lease.renew()
    assert isinstance(await world.submit(a_request(headers=[ALICE])), Accepted)


async def test_each_caller_has_its_own_quota(world: World) -> None:
    for _ in range(2):
        await world.submit(a_request(headers=[ALICE]))
    assert isinstance(await world.submit(a_request(headers=[ALICE])), Refused)
    assert isinstance(await world.submit(a_request(headers=[BOB])), Accepted)


async def test_the_repeat_of_a_known_key_is_never_limited(world: World) -> None:
    def keyed(key: bytes) -> Request:
        return a_request(headers=[ALICE, (b"Idempotency-Key", key)])

    first = await world.accepted(keyed(b"k-1"))
    for _ in range(5):
        assert await world.submit(keyed(b"k-1")) == Joined(first.id)
    assert isinstance(await world.submit(keyed(b"k-2")), Accepted)
    assert isinstance(await world.submit(keyed(b"k-3")), Refused)
    assert await world.submit(keyed(b"k-1")) == Joined(first.id)


async def test_who_sends_the_same_key_twice_at_once_is_one_process_and_no_defect(world: World) -> None:
    begun: list[Commit] = []

    def slow(commit: Commit) -> bool:
        begun.append(commit)
        return len(begun) <= 2

    world.store.slow = slow
    requests = [a_request(headers=[ALICE, (b"Idempotency-Key", b"k-1")]) for _ in range(2)]
    asked = [asyncio.create_task(world.submit(request)) for request in requests]
    while len(begun) < 2:
        await asyncio.sleep(0)
    world.store.flushed.set()
    verdicts = [await each for each in asked]
    [accepted] = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
    assert told(accepted) is not None
    assert Joined(accepted.process.id) in verdicts


async def test_what_is_wrong_with_a_request_is_said_before_and_costs_nothing() -> None:
    schema = {"type": "object", "required": ["amount"]}
    world = World(replace(a_route(accept=AcceptPolicy(schema=schema)), limits=TWO))
    await world.lease.renew()
    for _ in range(3):
        refused = await world.submit(a_request(b"{}", headers=[ALICE]))
        assert isinstance(refused, Refused)
        assert refused.name == "invalid-request"
    assert isinstance(await world.submit(a_request(headers=[ALICE])), Accepted)


async def test_a_full_queue_is_told_after_the_limit() -> None:
    world = World(replace(a_route(queue=1), limits=Limits(accepts=Rate(1, 60.0))))  # no lease: nothing starts
    assert isinstance(await world.submit(a_request(headers=[ALICE])), Accepted)
    limited, full = await world.submit(a_request(headers=[ALICE])), await world.submit(a_request(headers=[BOB]))
    assert isinstance(limited, Refused)
    assert isinstance(full, Refused)
    assert (limited.name, full.name) == ("too-many-requests", "overloaded")


async def test_without_limits_nothing_is_counted() -> None:
    world = World()
    await world.lease.renew()
    assert told(await world.submit(a_request(headers=[ALICE]))) is None


def client(request: Request, by: str, access: AccessPolicy | None = None) -> str:
    route = replace(a_route(), limits=Limits(accepts=Rate(1, 1.0), by=by))
    return client_of(request, route, access or AccessPolicy(), "accepts", IDENTITY_KEY)


def from_address(address: str, *headers: tuple[bytes, bytes]) -> Request:
    request = a_request(headers=headers)
    request.peer = Peer(address, 40000)
    return request


def test_clients_are_told_apart_by_what_the_policy_says() -> None:
    here, there = from_address("192.0.2.1", ALICE), from_address("192.0.2.2", ALICE)
    assert client(here, "caller") == client(there, "caller") != client(from_address("192.0.2.1", BOB), "caller")
    assert client(here, "address") == client(from_address("192.0.2.1", BOB), "address") != client(there, "address")
    tenant = (b"X-Tenant", b"one")
    assert client(from_address("192.0.2.1", tenant), "header:X-Tenant") == client(
        from_address("192.0.2.2", tenant, ALICE), "header:x-tenant"
    )


def test_behind_a_proxy_that_is_trusted_clients_are_told_apart_by_the_addresses_that_it_names() -> None:
    trusted = TrustedNetworks([ip_network("10.0.0.0/8")])

    def behind(proxy: str, named: bytes) -> str:
        request = from_address(proxy, (b"X-Forwarded-For", named))
        route = replace(a_route(), limits=Limits(accepts=Rate(1, 1.0), by="address"))
        return client_of(request, route, AccessPolicy(), "accepts", IDENTITY_KEY, trusted)

    assert behind("10.0.0.1", b"192.0.2.1") == behind("10.0.0.2", b"198.51.100.9, 192.0.2.1")
    assert behind("10.0.0.1", b"192.0.2.1") != behind("10.0.0.1", b"192.0.2.2")
    assert behind("203.0.113.1", b"192.0.2.1") == behind("203.0.113.1", b"192.0.2.2")
    assert behind("10.0.0.1", b"unknown") == behind("10.0.0.1", b"_hidden") != behind("10.0.0.2", b"unknown")


async def test_so_are_those_who_hand_something_in() -> None:
    world = World(replace(a_route(), limits=Limits(accepts=Rate(1, 60.0), by="address")))
    await world.lease.renew()
    world.acceptor._trusted = TrustedNetworks([ip_network("192.0.2.0/24")])
    for named in (b"198.51.100.1", b"198.51.100.2"):
        one, more = [await world.submit(a_request(headers=[(b"X-Forwarded-For", named)])) for _ in range(2)]
        assert isinstance(one, Accepted)
        assert isinstance(more, Refused)


@pytest.mark.parametrize("by", ["caller", "header:X-Tenant"])
def test_who_has_no_such_thing_is_told_apart_by_the_address(by: str) -> None:
    assert client(from_address("192.0.2.1"), by) == client(from_address("192.0.2.1"), "address")
    assert client(from_address("192.0.2.1"), by) != client(from_address("192.0.2.2"), by)


async def test_only_so_many_clients_are_remembered_those_heard_of_last() -> None:
    buckets = Buckets(FakeClock(), most=3)
    rate = Rate(1, 60.0)

    async def allowed(client: str) -> bool:
        reading = await buckets.take(client, rate)
        assert reading is not None
        return reading.allowed

    assert [await allowed(client) for client in "abc"] == [True] * 3
    assert not await allowed("a")
    assert await allowed("d")  # in place of b
    assert len(buckets) == 3
    assert [await allowed(client) for client in "acdb"] == [False, False, False, True]
