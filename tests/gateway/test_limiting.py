"""`limits`, as clients see them: on acceptance and on reads of processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from strangler.domain.exchange import Answer
from strangler.domain.pause import Pause
from strangler.engine.limits import Buckets
from strangler.gateway.limiting import Limiting
from strangler.policy.limit import Reading
from strangler.policy.model import Limits, Rate
from strangler.policy.standing import Hold
from strangler.policy.trust import TrustedNetworks
from tests.engine.world import ASYNC, COMPAT, NOON, FakeClock, Reply, Silent, World, a_request, a_route
from tests.gateway.following import all_events
from tests.gateway.scene import ALICE, BOB, IDENTITY_KEY, SENT, Scene, a_promise, content, field, finish
from tests.gateway.test_recording import ask


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(replace(a_route(), limits=Limits(accepts=Rate(2, 60.0))))
    await made.lease.renew()
    yield made
    await made.executor.drain(0.0)


async def test_a_202_tells_what_is_left(world: World) -> None:
    answer = await ask(world)
    assert answer.status == 202
    assert field(answer, "RateLimit-Policy") == '"accepts";q=2;w=60'
    assert field(answer, "RateLimit") == '"accepts";r=1;t=30'


async def test_too_many_requests_are_429_with_all_that_a_client_needs(world: World) -> None:
    for _ in range(2):
        await ask(world)
    answer = await ask(world, a_request(headers=[(b"X-Correlation-ID", b"c-1")]))
    assert answer.status == 429
    assert field(answer, "Retry-After") == "30"
    assert field(answer, "RateLimit-Policy") == '"accepts";q=2;w=60'
    assert field(answer, "RateLimit") == '"accepts";r=0;t=60'
    assert field(answer, "X-Correlation-ID") == "c-1"
    assert field(answer, "Strangler-Source") == "proxy"
    document = json.loads(await content(answer))
    assert document["code"] == "too-many-requests"
    assert "nothing was done" in document["detail"]
    assert ("refused", ("submit-claim", "too-many-requests")) in world.instrument.told


async def test_a_recorded_reply_to_who_waits_bears_nothing_of_ours(world: World) -> None:
    world.upstream.script = [Reply(202)]
    answer = await ask(world, decision=COMPAT)
    assert answer.status == 202
    assert field(answer, "RateLimit") is None


async def test_on_hold_who_can_only_wait_is_503_and_who_can_poll_is_202(world: World) -> None:
    await world.gates.hold(Hold("submit-claim", NOON, "alice", "patching"))
    refused = await ask(world, decision=COMPAT)
    assert refused.status == 503
    assert field(refused, "Retry-After") == "30"
    assert field(refused, "Strangler-Effect") is None
    assert (await ask(world, decision=ASYNC)).status == 202
    world.gates.close()


# Reads of processes.


def limited(rate: Rate = Rate(2, 60.0)) -> Scene:  # noqa: B008
    scene = Scene()
    scene.routes["submit-claim"] = replace(a_route(), limits=Limits(polls=rate))
    return scene


async def test_reads_of_processes_are_limited_whatever_of_them_is_read() -> None:
    scene = limited()
    process, other = await scene.process(*SENT), await scene.process(*SENT, finish())
    first = await scene.ask("GET", process, "/status", ALICE)
    assert (first.status, field(first, "RateLimit")) == (200, '"polls";r=1;t=30')
    assert field(first, "RateLimit-Policy") == '"polls";q=2;w=60'
    assert (await scene.ask("GET", other, "/result", ALICE)).status == 204
    for one, rest in ((process, ""), (process, "/status"), (other, "/result"), (process, "/history")):
        answer = await scene.ask("GET", one, rest, ALICE)
        assert answer.status == 429
        assert field(answer, "Retry-After") == "30"
    assert ("limited", ("submit-claim", "polls")) in scene.instrument.told
    scene.clock.pass_(30)
    assert (await scene.ask("GET", process, "/status", ALICE)).status == 200


async def test_cancelling_is_never_limited() -> None:
    scene = limited(Rate(1, 60.0))
    process = await scene.process()
    await scene.ask("GET", process, "/status", ALICE)
    assert (await scene.ask("GET", process, "/status", ALICE)).status == 429
    assert (await scene.ask("DELETE", process, "", ALICE)).status == 200


async def test_who_may_not_see_a_process_is_not_told_by_a_limit_that_it_exists() -> None:
    scene = limited(Rate(1, 60.0))
    process = await scene.process(*SENT)
    for _ in range(3):
        assert (await scene.ask("GET", process, "/status", BOB)).status == 404
    assert (await scene.ask("GET", process, "/status", ALICE)).status == 200


async def test_a_list_is_a_read_too() -> None:
    scene = limited()
    await scene.process(*SENT)
    assert field(await scene.list("", ALICE), "RateLimit") == '"polls";r=1;t=30'
    assert (await scene.list("", ALICE)).status == 200
    assert (await scene.list("", ALICE)).status == 429
    assert (await scene.list("", BOB)).status == 200


@pytest.mark.parametrize("names", [("wide", "narrow", "free"), ("free", "narrow", "wide")])
async def test_of_several_routes_the_one_that_leaves_the_least_is_told_and_only_what_is_refused_is_counted(
    names: tuple[str, ...],
) -> None:
    limits = {"wide": Limits(polls=Rate(9, 60.0)), "narrow": Limits(polls=Rate(2, 60.0)), "free": Limits()}
    routes = {name: replace(a_route(), name=name, limits=limits[name]) for name in names}
    instrument = Silent()
    limiting = Limiting(Buckets(FakeClock()), routes.get, instrument, IDENTITY_KEY)
    promises = [replace(a_promise(), route=name) for name in (*names, "gone")]
    readings = [await limiting.polled(a_request(None, method="GET", headers=[ALICE]), promises) for _ in range(3)]
    assert [reading and (reading.quota, reading.allowed, reading.remaining) for reading in readings] == [
        (2, True, 1),
        (2, True, 0),
        (2, False, 0),
    ]
    assert instrument.told == [("limited", ("narrow", "polls"))]


async def test_clients_behind_a_proxy_that_is_trusted_have_a_quota_each() -> None:
    route = replace(a_route(), limits=Limits(polls=Rate(1, 60.0), by="address"))
    trusted = TrustedNetworks([ip_network("192.0.2.0/24")])
    limiting = Limiting(Buckets(FakeClock()), {route.name: route}.get, Silent(), IDENTITY_KEY, trusted)

    async def polled(named: bytes) -> bool:
        request = a_request(None, method="GET", headers=[(b"X-Forwarded-For", named)])
        reading = await limiting.polled(request, [a_promise()])
        return reading is not None and reading.allowed

    assert await polled(b"198.51.100.1")
    assert await polled(b"198.51.100.2")
    assert not await polled(b"198.51.100.1")


async def test_where_nobody_can_count_nobody_is_limited() -> None:
    class Nobody:
        async def take(self, client: str, rate: Rate) -> Reading | None:
            return None

    route, instrument = replace(a_route(), limits=Limits(polls=Rate(1, 60.0))), Silent()
    limiting = Limiting(Nobody(), {route.name: route}.get, instrument, IDENTITY_KEY)
    for _ in range(2):
        assert await limiting.polled(a_request(None, method="GET", headers=[ALICE]), [a_promise()]) is None
    assert instrument.told == []


async def test_a_stream_a_question_that_makes_no_sense_and_what_is_gone_tell_what_is_left_too() -> None:
    scene = limited(Rate(4, 60.0))
    forgotten = await scene.process(*SENT, finish())
    scene.clock.pass_(31 * 86_400)
    await scene.store.sweep(scene.clock.now(), 10)
    answers = [
        await scene.ask("GET", forgotten, "/status", ALICE),
        await scene.list("?limit=many", ALICE),
        await all_events(scene),
    ]
    assert [answer.status for answer in answers] == [410, 400, 200]
    assert [field(answer, "RateLimit") for answer in answers] == [
        '"polls";r=3;t=15',
        '"polls";r=2;t=30',
        '"polls";r=1;t=45',
    ]


async def test_a_route_without_limits_says_nothing_of_them() -> None:
    scene = Scene()
    scene.routes["submit-claim"] = a_route()
    process = await scene.process(*SENT)
    assert field(await scene.ask("GET", process, "/status", ALICE), "RateLimit") is None


# The deadline as it stands.


async def deadline(answer: Answer) -> str:
    document = json.loads(await content(answer))
    found: str = document["processes"][0]["deadlineAt"] if "processes" in document else document["deadlineAt"]
    return found


async def test_the_document_shows_the_deadline_as_it_stands() -> None:
    scene = Scene()
    process = await scene.process()
    promised = await deadline(await scene.ask("GET", process, "/status", ALICE))
    scene.pauses.begin("submit-claim", scene.clock.now())
    scene.clock.pass_(90)
    shown = {await deadline(await scene.ask("GET", process, rest, ALICE)) for rest in ("", "/status")}
    shown.add(await deadline(await scene.list("", ALICE)))
    (later,) = shown
    assert promised == "2027-01-16T08:00:00.000Z"
    assert later == "2027-01-16T08:01:30.000Z"


async def test_while_calls_are_paused_clients_are_told_to_ask_rarely() -> None:
    scene = Scene()
    waiting, sent = await scene.process(), await scene.process(*SENT)
    scene.pauses.begin("submit-claim", scene.clock.now())
    for rest in ("", "/status", "/result"):
        assert field(await scene.ask("GET", waiting, rest, ALICE), "Retry-After") == "30"
        assert field(await scene.ask("GET", sent, rest, ALICE), "Retry-After") == "3"


async def test_the_deadline_of_what_ended_stays() -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish())
    before = await deadline(await scene.ask("GET", process, "/status", ALICE))
    scene.pauses.put("submit-claim", [Pause("submit-claim", scene.clock.now() + 1000)])
    scene.clock.pass_(90)
    assert await deadline(await scene.ask("GET", process, "/status", ALICE)) == before
