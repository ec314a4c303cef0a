"""A disk that is full, stays full for a while, and has room again."""

from __future__ import annotations

import asyncio
import resource
from uuid import uuid4

import pytest

from tests.chaos.policies import one_route
from tests.harness.client import Client
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually

ASYNC = "mode: async"
FILLER = "x" * 20_000


def no_more_room(server: Server) -> None:
    """From now on no file of the server can grow, and no byte be written beyond its first ones."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, hard))


def room_again(server: Server) -> None:
    """Somebody cleared up."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))


async def takes_work(client: Client) -> None:
    """Wait until work is taken again."""

    async def look() -> bool:
        return (await client.submit("/claims", uuid4().hex)).status in (200, 202)

    await eventually(look, what="work is taken again")


async def test_a_full_disk_refuses_new_work_and_outcomes_are_committed_when_there_is_room(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, ASYNC))
    client = await stage.client(server)
    await server.start()
    held = [(await client.submit("/claims", f"held-{n}", script="do=hold")).json()["id"] for n in range(3)]
    await eventually(lambda: legacy.received() == 3)
    no_more_room(server)
    refused = await client.submit("/claims", "refused", key="k")
    assert (refused.status, refused.code) == (503, "store-unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    await legacy.release()
    again = await client.submit("/claims", "refused", key="k")
    assert (again.status, again.code) == (503, "store-unavailable")
    assert (await client.request("GET", "/anything")).status == 200, "what passes through needs no store"
    states = {(await client.status(identity))["state"] for identity in held}
    assert states == {"processing"}, "an outcome that is not on disk is told to nobody who can wait"
    room_again(server)
    for identity in held:
        assert (await client.settled(identity))["state"] == "completed"
    await takes_work(client)
    assert legacy.received("refused") == 0
    assert set(legacy.calls().values()) == {1}
    assert await server.stop() == 0
    assert server.fsck().returncode == 0


@pytest.mark.slow
async def test_a_waiting_client_gets_its_reply_although_the_outcome_has_no_room(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, "mode: compat"))
    client = await stage.client(server)
    await server.start()
    waiting = asyncio.create_task(client.submit("/claims", "waits", script="do=hold"))
    await eventually(lambda: legacy.received("waits"))
    no_more_room(server)
    await legacy.release()
    reply = await waiting
    assert (reply.status, reply.json()["marker"]) == (200, "waits")
    room_again(server)
    document = await client.settled(reply.headers["Strangler-Process"].rpartition("/")[2])
    assert document["state"] == "completed"
    assert legacy.received("waits") == 1


@pytest.mark.slow
async def test_compat_may_pass_through_when_nothing_can_be_recorded(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, "mode: compat\non_store_failure: passthrough"))
    client = await stage.client(server)
    await server.start()
    no_more_room(server)
    for number, wish in enumerate(("respond-async", "wait=1", "respond-async, wait=2")):
        reply = await client.submit("/claims", f"through-{number}", headers={"Prefer": wish}, body={"filler": FILLER})
        assert reply.status == 200
        assert reply.json()["marker"] == f"through-{number}"
        assert reply.json()["length"] == len(FILLER) + len('{"filler": ""}')
        assert "Strangler-Process" not in reply.headers
    room_again(server)

    async def recorded() -> bool:
        return "Strangler-Process" in (await client.submit("/claims", "recorded")).headers

    await eventually(recorded, what="it is recorded again")
    assert legacy.received("through-0") == 1


@pytest.mark.slow
async def test_a_reserve_larger_than_the_disk_refuses_before_anything_breaks(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, ASYNC), environment={"STRANGLER_DISK_RESERVE": "1000000GiB"})
    client = await stage.client(server)
    await server.start()
    refused = await client.submit("/claims", "refused")
    assert (refused.status, refused.code) == (503, "store-unavailable")
    assert (await client.request("GET", "/anything")).status == 200
    assert await client.all_processes() == []
    assert legacy.received("refused") == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_wherever_the_disk_fills_up_nothing_promised_is_lost(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, ASYNC + "\ncall: {backoff: {initial: 50ms, max: 200ms}}"))
    client = await stage.client(server)
    await server.start()
    await client.submit("/claims", "first")
    assert await server.stop() == 0
    refusals = 0
    for life in range(10):
        pages = (server.directory / "store.db").stat().st_size // 4096
        await server.start(STRANGLER_SQLITE_MAX_PAGES=str(pages + life * 3))
        for number in range(8):
            # The body is recorded with the request, the reply with the outcome: either may be what no longer fits.
            reply = await client.submit("/claims", f"{life}-{number}", body={"filler": FILLER[: 2000 * number]})
            assert (reply.status, reply.code) in ((202, None), (503, "store-unavailable"))
            refusals += reply.status == 503
        await server.kill()
    assert refusals > 8
    await server.start()
    for marker, identity in client.promises.items():
        document = await client.settled(identity)
        assert document["state"] in ("completed", "unconfirmed"), (marker, document)
    assert set(legacy.calls().values()) == {1}
    assert set(legacy.calls()) <= set(client.promises)
    assert await server.stop() == 0
    assert server.fsck().returncode == 0
