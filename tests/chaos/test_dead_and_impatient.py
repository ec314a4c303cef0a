"""A legacy system that is away for a while, and clients that do not wait."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.policies import one_route
from tests.harness.stage import Stage
from tests.harness.waiting import eventually, for_a_while

ASYNC = "mode: async\ncall: {backoff: {initial: 100ms, max: 1s}}"


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("seconds", [10, 60])
async def test_a_legacy_system_that_is_down_for_a_while_fails_no_accepted_process(stage: Stage, seconds: int) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, ASYNC))
    client = await stage.client(server)
    await server.start()
    await legacy.kill()
    for number in range(8):
        assert (await client.submit("/claims", f"early-{number}")).status == 202
    await for_a_while(seconds / 2)
    for number in range(8):
        assert (await client.submit("/claims", f"late-{number}")).status == 202
    await for_a_while(seconds / 2)
    assert legacy.received() == 0
    assert {document["state"] for document in await client.all_processes()} == {"processing"}
    await legacy.start()
    for marker, identity in client.promises.items():
        document = await client.settled(identity)
        assert (document["state"], document["effect"]) == ("completed", "applied"), marker
    assert legacy.calls() == dict.fromkeys(client.promises, 1)


@pytest.mark.slow
async def test_a_legacy_system_that_refuses_for_a_while_is_asked_again_until_it_takes_it(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, ASYNC))
    client = await stage.client(server)
    await server.start()
    reply = await client.submit("/claims", "busy", script="status=503")
    await eventually(lambda: legacy.received("busy") >= 3, what="three attempts")
    gone = await client.request("DELETE", f"/processes/{reply.json()['id']}")
    while gone.status == 409:  # an attempt is under way this very moment
        gone = await client.request("DELETE", f"/processes/{reply.json()['id']}")
    assert (gone.status, gone.json()["state"]) == (200, "cancelled")


async def test_an_impatient_client_that_retries_without_a_key_makes_one_call_and_gets_its_answer(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, "mode: compat\naccept: {idempotency: {derive: fingerprint}}"))
    client = await stage.client(server)
    await server.start()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await client.submit("/claims", "impatient", script="do=hold", timeout=0.5)
    last = asyncio.create_task(client.submit("/claims", "impatient", script="do=hold"))
    await eventually(lambda: legacy.received() >= 1)
    await legacy.release()
    reply = await last
    assert reply.status == 200
    assert reply.json()["marker"] == "impatient"
    assert reply.headers["Idempotency-Replayed"] == "true"
    assert legacy.received() == 1
    assert len(await client.all_processes()) == 1


@pytest.mark.slow
async def test_clients_without_identity_are_not_joined_by_what_they_send(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, "mode: compat\naccept: {idempotency: {derive: fingerprint}}"))
    client = await stage.client(server, caller=None)
    await server.start()
    for _ in range(2):
        assert (await client.submit("/claims", "same")).status == 200
    assert legacy.received() == 2


@pytest.mark.slow
async def test_a_retry_of_a_cut_compat_call_is_told_the_truth_and_is_not_sent_again(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, "mode: compat"))
    client = await stage.client(server)
    await server.start()
    for _ in range(2):
        reply = await client.submit("/claims", "cut", script="do=half", key="k-1")
        assert (reply.status, reply.code) == (504, "outcome-unknown")
        assert reply.headers["Strangler-Effect"] == "unknown"
    assert legacy.received() == 1


@pytest.mark.slow
@pytest.mark.parametrize("sent", [1, 40, 120])
async def test_a_connection_cut_in_the_middle_of_the_request_is_in_doubt_and_not_repeated(
    stage: Stage, sent: int
) -> None:
    legacy = await stage.legacy()
    network = await stage.fault_proxy(legacy.port)
    server = stage.server(one_route(network.url, "mode: async"))
    client = await stage.client(server)
    await server.start()
    network.cut_after_sent = sent
    reply = await client.submit("/claims", "cut", body={"filler": "x" * 2000})
    document = await client.settled(reply.json()["id"])
    assert (document["state"], document["effect"]) == ("unconfirmed", "unknown")
    network.cut_after_sent = None
    assert network.connections == 1
    assert legacy.received() == 0


@pytest.mark.slow
@pytest.mark.parametrize("received", [1, 30, 150])
async def test_a_reply_cut_short_is_in_doubt(stage: Stage, received: int) -> None:
    legacy = await stage.legacy()
    network = await stage.fault_proxy(legacy.port)
    server = stage.server(one_route(network.url, "mode: async"))
    client = await stage.client(server)
    await server.start()
    network.cut_after_received = received
    reply = await client.submit("/claims", "cut")
    document = await client.settled(reply.json()["id"])
    assert (document["state"], document["effect"]) == ("unconfirmed", "unknown")
    assert legacy.received("cut") == 1


@pytest.mark.slow
async def test_a_legacy_system_that_takes_it_and_says_nothing_times_out_into_doubt(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, "mode: async", timeout="500ms"))
    client = await stage.client(server)
    await server.start()
    reply = await client.submit("/claims", "silent", script="do=hold")
    document = await client.settled(reply.json()["id"])
    assert (document["state"], document["effect"]) == ("unconfirmed", "unknown")
    assert legacy.received("silent") == 1
