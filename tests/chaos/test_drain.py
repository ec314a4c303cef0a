"""Going away in order: what was sent is waited for, what was not is sent after the restart."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.chaos.policies import one_route
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually, for_a_while

TWO_AT_ONCE = "mode: async\ncall: {concurrency: 2}"


async def with_two_in_flight(stage: Stage, *options: str) -> tuple[Legacy, Server]:
    """Five accepted, two of them under way."""
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, TWO_AT_ONCE), options=options)
    await server.start()
    client = await stage.client(server)
    for number in range(5):
        assert (await client.submit("/claims", f"m-{number}", script="do=hold", key=f"k-{number}")).status == 202
    await eventually(lambda: legacy.received() == 2, what="two calls are under way")
    return legacy, server


async def test_sigterm_waits_for_what_is_in_flight_and_the_rest_is_sent_after_the_restart(stage: Stage) -> None:
    legacy, server = await with_two_in_flight(stage)
    client = await stage.client(server)
    server.signal(signal.SIGTERM)

    async def unready() -> bool:
        return await server.readiness() == 503

    await eventually(unready, what="readiness is off")
    refused = await client.submit("/claims", "too-late")
    assert (refused.status, refused.code) == (503, "draining")
    assert int(refused.headers["Retry-After"]) >= 1
    listed = await client.all_processes()
    assert len(listed) == 5, "it can still be asked"
    await legacy.release()
    assert await server.ended() == 0
    assert legacy.received() == 2
    await server.start()
    await eventually(lambda: legacy.received() == 4)
    await legacy.release()
    await eventually(lambda: legacy.received() == 5)
    await legacy.release()
    for document in listed:
        assert (await client.settled(document["id"]))["state"] == "completed"
    assert set(legacy.calls().values()) == {1}
    assert await server.stop() == 0
    assert server.fsck().returncode == 0


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
async def test_who_waits_for_what_was_not_sent_is_told_before_the_server_goes(
    stage: Stage, options: tuple[str, ...]
) -> None:
    legacy = await stage.legacy()
    policy = one_route(legacy.url, "mode: compat\ncall: {concurrency: 1}")
    server = stage.server(policy, options=("--drain-timeout", "500ms", *options))
    await server.start()
    client = await stage.client(server)
    sent = asyncio.create_task(client.submit("/claims", "sent", script="do=hold"))
    await eventually(lambda: legacy.received() == 1, what="the slot is taken")
    queued = asyncio.create_task(client.submit("/claims", "queued"))
    wishes = {"Prefer": "respond-async, wait=30"}
    promised = asyncio.create_task(client.submit("/claims", "promised", headers=wishes))
    keyed = asyncio.create_task(client.submit("/claims", "keyed", key="k"))

    async def waits() -> bool:
        return await server.metric("strangler_queue_processes") == 3

    await eventually(waits, what="three wait")
    repeat = await client.submit("/claims", "keyed", key="k", headers={"Prefer": "respond-async"})
    assert repeat.status == 202
    server.signal(signal.SIGTERM)
    assert [(reply.status, reply.code) for reply in (await sent, await queued)] == [
        (504, "outcome-unknown"),
        (503, "draining"),
    ]
    assert (await queued).json()["effect"] == "none"
    assert (await promised).status == 202
    assert (await keyed).status == 504, "a repeat with its key joins it"
    assert await server.ended() == 0
    await server.start()
    for accepted in (await promised, repeat):
        assert (await client.settled(accepted.json()["id"]))["state"] == "completed"
    assert (await client.submit("/claims", "queued")).status == 200, "as such a client does"
    assert legacy.calls() == {"sent": 1, "queued": 1, "promised": 1, "keyed": 1}
    assert await server.stop() == 0
    assert server.fsck().returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--workers", "2")])
async def test_what_passes_through_is_served_to_its_end(stage: Stage, options: tuple[str, ...]) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, TWO_AT_ONCE), options=options)
    await server.start()
    client = await stage.client(server)
    passing = asyncio.create_task(client.submit("/elsewhere", "m", script="do=hold"))
    await eventually(lambda: legacy.received() == 1, what="it is with the legacy system")
    server.signal(signal.SIGTERM)
    await for_a_while(6.0)  # longer than the last answers are waited for
    await legacy.release()
    assert (await passing).status == 200
    assert await server.ended() == 0


async def test_a_long_poll_is_answered_when_the_server_goes(stage: Stage) -> None:
    _, server = await with_two_in_flight(stage, "--drain-timeout", "500ms")
    client = await stage.client(server)
    listed = await client.all_processes()
    (waiting, *_) = [document["id"] for document in listed if document["state"] == "received"]
    wait = {"Prefer": "wait=40"}
    poll = asyncio.create_task(client.request("GET", f"/processes/{waiting}/status", headers=wait, timeout=40))
    await for_a_while(0.2)
    server.signal(signal.SIGTERM)
    assert (await poll).json()["state"] == "received"
    assert await server.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_while_it_starts_is_followed_in_order(stage: Stage, number: signal.Signals) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, TWO_AT_ONCE))
    server.launch()
    # What comes between this line and the end of the start are several commits.
    await eventually(lambda: '"operations_listen"' in server.tail(), what="it has begun to start")
    server.signal(number)
    if number == signal.SIGHUP:
        await server.ready()
        assert await server.stop() == 0
    else:
        assert await server.ended() == 0


@pytest.mark.slow
async def test_what_is_still_in_flight_at_the_drain_timeout_is_in_doubt(stage: Stage) -> None:
    legacy, server = await with_two_in_flight(stage, "--drain-timeout", "500ms")
    client = await stage.client(server)
    assert await server.stop() == 0
    await server.start()
    await eventually(lambda: legacy.received() == 4)
    states = sorted([document["state"] for document in await client.all_processes()])
    assert states == ["processing", "processing", "received", "unconfirmed", "unconfirmed"]
    assert set(legacy.calls().values()) == {1}


@pytest.mark.slow
async def test_a_second_sigterm_ends_it_at_once_and_loses_nothing(stage: Stage) -> None:
    legacy, server = await with_two_in_flight(stage)
    client = await stage.client(server)
    server.signal(signal.SIGTERM)

    async def unready() -> bool:
        return await server.readiness() != 200

    await eventually(unready, what="readiness is off")
    server.signal(signal.SIGTERM)
    await server.ended(within=5)
    await server.start()
    await eventually(lambda: legacy.received() == 4)

    async def in_doubt() -> bool:
        return [document["state"] for document in await client.all_processes()].count("unconfirmed") == 2

    await eventually(in_doubt, what="what was in flight waits for a person")
    assert set(legacy.calls().values()) == {1}
