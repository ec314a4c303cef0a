"""The server dies at a named place, and what a client sees after the restart is exactly what that place means."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.chaos.policies import of_all_kinds
from tests.harness.client import Client, Reply
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

DIED = 137
# Long enough that no renewal falls into the test and counts as a turn of the writer; a restart does not wait for it.
LEASE = {"STRANGLER_LEASE": "60s"}
ROUTES = ("review", "retry", "probe", "fail")

UNCONFIRMED = ("unconfirmed", "unknown")
FAILED = ("failed", "unknown")
COMPLETED = ("completed", "applied")
PROCESSING = ("processing", None)  # its repeat, or the question, is due once the legacy side has settled


class Scene(NamedTuple):
    """A server that is going to die, and who watches."""

    legacy: Legacy
    server: Server
    client: Client


@pytest.fixture(scope="module")
def turns(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many turns the store's writer makes in a first life before there is any request."""
    server = Server(tmp_path_factory.mktemp("turns"), of_all_kinds("http://127.0.0.1:9"), environment=LEASE)

    async def count() -> int:
        try:
            await server.start()
            return int(await server.metric("strangler_group_commit_seconds_count"))
        finally:
            await server.kill()

    return asyncio.run(count())


async def scene(stage: Stage, concurrency: int = 32) -> Scene:
    """A server that has yet to be started, and is going to die."""
    legacy = await stage.legacy()
    server = stage.server(of_all_kinds(legacy.url, concurrency=concurrency, timeout="20s"), environment=LEASE)
    return Scene(legacy, server, await stage.client(server))


async def submit(client: Client, route: str, marker: str, script: str = "") -> Reply | None:
    """One request; None where the server died before it answered."""
    try:
        return await client.submit(f"/{route}", marker, script=script, key=marker)
    except (aiohttp.ClientError, OSError):
        return None


async def end_after_restart(on: Scene, marker: str) -> tuple[str, str | None] | None:
    """State and effect of the only process with this marker, once it no longer changes by itself; None: no such."""
    await on.server.start()
    found = [d for d in await on.client.all_processes() if d["correlationId"] == marker]
    if not found:
        return None
    (document,) = found

    async def at_rest() -> dict[str, Any] | None:
        before = await on.client.status(document["id"])
        running = await on.server.metric("strangler_calls_running")
        after = await on.client.status(document["id"])
        waits = before == after and after["state"] == "processing" and running == 0
        return after if waits or after["state"] not in ("received", "processing") else None

    seen = await eventually(at_rest, what=f"{marker} is at rest")
    return seen["state"], seen.get("effect")


async def dies_at(on: Scene, failpoint: str, route: str) -> Reply | None:
    """Run until the failpoint ends it; what the client was told before."""
    await on.server.start(STRANGLER_FAILPOINT=failpoint)
    told = await submit(on.client, route, "m")
    assert await on.server.ended() == DIED
    return told


async def checked(on: Scene) -> None:
    """The store is sound."""
    assert await on.server.stop() == 0
    result = on.server.fsck()
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("route", ROUTES)
async def test_died_before_the_commit_of_the_acceptance_it_never_happened(stage: Stage, route: str, turns: int) -> None:
    on = await scene(stage)
    assert await dies_at(on, f"before-commit:{turns + 1}", route) is None
    assert await end_after_restart(on, "m") is None
    assert on.legacy.received() == 0
    # The client repeats with its key, as it should: it is a first time.
    again = await submit(on.client, route, "m")
    assert again is not None
    assert "Idempotency-Replayed" not in again.headers
    assert (await on.client.settled(again.json()["id"]))["state"] == "completed"
    assert on.legacy.received() == 1
    await checked(on)


@pytest.mark.parametrize(
    ("route", "end"), [("review", UNCONFIRMED), ("retry", PROCESSING), ("probe", PROCESSING), ("fail", FAILED)]
)
async def test_died_after_the_commit_of_acceptance_and_claim_it_may_have_been_sent(
    stage: Stage, route: str, end: tuple[str, str | None], turns: int
) -> None:
    on = await scene(stage)
    assert await dies_at(on, f"after-commit:{turns + 1}", route) is None
    assert await end_after_restart(on, "m") == end
    assert on.legacy.received() == 0
    again = await submit(on.client, route, "m")
    assert again is not None
    assert (again.status, again.headers["Idempotency-Replayed"]) == (202, "true")
    await checked(on)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("place", ["before-commit", "after-commit"])
async def test_died_at_the_commit_of_an_acceptance_that_has_to_wait(
    stage: Stage, place: str, route: str, turns: int
) -> None:
    on = await scene(stage, concurrency=1)
    await on.server.start(STRANGLER_FAILPOINT=f"{place}:{turns + 2}")
    assert (await on.client.submit(f"/{route}", "first", script="do=hold")).status == 202
    await eventually(lambda: on.legacy.received("first"))
    assert await submit(on.client, route, "m") is None
    assert await on.server.ended() == DIED
    if place == "before-commit":
        assert await end_after_restart(on, "m") is None
    else:
        assert await end_after_restart(on, "m") == COMPLETED
    assert on.legacy.received("m") == (place == "after-commit")
    await checked(on)


@pytest.mark.parametrize(
    ("place", "route", "end", "calls"),
    [
        ("before-commit", "review", COMPLETED, 1),
        ("before-commit", "retry", COMPLETED, 1),
        ("before-commit", "probe", COMPLETED, 1),
        ("before-commit", "fail", COMPLETED, 1),
        ("after-commit", "review", UNCONFIRMED, 0),
        ("after-commit", "retry", PROCESSING, 0),
        ("after-commit", "probe", PROCESSING, 0),
        ("after-commit", "fail", FAILED, 0),
    ],
)
async def test_died_at_the_commit_of_a_later_claim(
    stage: Stage, place: str, route: str, end: tuple[str, str | None], calls: int, turns: int
) -> None:
    on = await scene(stage, concurrency=1)
    # Turns: the first is accepted and claimed, the second accepted, the first ends, the second is claimed.
    await on.server.start(STRANGLER_FAILPOINT=f"{place}:{turns + 4}")
    await on.client.submit(f"/{route}", "first", script="do=hold")
    await eventually(lambda: on.legacy.received("first"))
    promised = await submit(on.client, route, "m")
    assert promised is not None
    assert promised.status == 202
    await on.legacy.release()
    assert await on.server.ended() == DIED
    assert await end_after_restart(on, "m") == end
    assert await end_of(on, "first") == COMPLETED
    assert (on.legacy.received("m"), on.legacy.received("first")) == (calls, 1)
    await checked(on)


async def end_of(on: Scene, marker: str) -> tuple[str, str | None]:
    """State and effect of a promised process."""
    document = await on.client.settled(on.client.promises[marker])
    return document["state"], document.get("effect")


@pytest.mark.parametrize(
    ("place", "route", "end", "calls"),
    [
        ("before-first-byte", "review", UNCONFIRMED, {0}),
        ("before-first-byte", "retry", PROCESSING, {0}),
        ("before-first-byte", "probe", PROCESSING, {0}),
        ("before-first-byte", "fail", FAILED, {0}),
        ("after-first-byte", "review", UNCONFIRMED, {0, 1}),
        ("after-first-byte", "retry", PROCESSING, {0, 1}),
        ("after-first-byte", "probe", PROCESSING, {0, 1}),
        ("after-first-byte", "fail", FAILED, {0, 1}),
        ("after-reply", "review", UNCONFIRMED, {1}),
        ("after-reply", "retry", PROCESSING, {1}),
        ("after-reply", "probe", PROCESSING, {1}),
        ("after-reply", "fail", FAILED, {1}),
    ],
)
async def test_died_while_it_was_being_sent_or_answered(
    stage: Stage, place: str, route: str, end: tuple[str, str | None], calls: set[int]
) -> None:
    on = await scene(stage)
    await dies_at(on, place, route)
    assert await end_after_restart(on, "m") == end
    assert on.legacy.received("m") in calls
    await checked(on)


@pytest.mark.parametrize(
    ("place", "route", "end"),
    [
        ("before-commit", "review", UNCONFIRMED),
        ("before-commit", "retry", PROCESSING),
        ("before-commit", "probe", PROCESSING),
        ("before-commit", "fail", FAILED),
        ("after-commit", "review", COMPLETED),
        ("after-commit", "retry", COMPLETED),
        ("after-commit", "probe", COMPLETED),
        ("after-commit", "fail", COMPLETED),
    ],
)
async def test_died_at_the_commit_of_the_outcome(
    stage: Stage, place: str, route: str, end: tuple[str, str | None], turns: int
) -> None:
    on = await scene(stage)
    told = await dies_at(on, f"{place}:{turns + 2}", route)
    assert told is not None
    assert told.status == 202
    assert await end_after_restart(on, "m") == end
    assert on.legacy.received("m") == 1
    await checked(on)


async def test_a_waiting_client_whose_server_died_after_the_outcome_gets_it_by_its_key(
    stage: Stage, turns: int
) -> None:
    on = await scene(stage)
    assert await dies_at(on, f"after-commit:{turns + 2}", "compat") is None
    await on.server.start()
    again = await submit(on.client, "compat", "m")
    assert again is not None
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["marker"] == "m"
    assert on.legacy.received("m") == 1
    await checked(on)


async def test_a_waiting_client_whose_server_died_before_the_outcome_is_told_that_nobody_knows(stage: Stage) -> None:
    on = await scene(stage)
    assert await dies_at(on, "after-reply", "compat") is None
    await on.server.start()
    again = await submit(on.client, "compat", "m")
    assert again is not None
    assert (again.status, again.code) == (504, "outcome-unknown")
    assert again.headers["Strangler-Effect"] == "unknown"
    assert on.legacy.received("m") == 1
    await checked(on)


async def test_a_repeat_after_a_crash_waits_until_the_legacy_side_has_settled_and_is_then_made_once(
    stage: Stage,
) -> None:
    legacy = await stage.legacy()
    # Never less than the lease and the timeout of a call, some 6 s here.
    server = stage.server(of_all_kinds(legacy.url, timeout="1s"), environment={"STRANGLER_LEASE": "5s"})
    client = await stage.client(server)
    await server.start(STRANGLER_FAILPOINT="after-reply")
    told = await submit(client, "retry", "m")
    assert await server.ended() == DIED
    await server.start()
    assert told is not None
    document = await client.settled(told.json()["id"], within=40)
    assert (document["state"], document["effect"]) == COMPLETED
    assert legacy.received("m") == 2
    assert [line["key"] for line in legacy.lines()] == ["m", "m"]


async def test_two_servers_do_not_share_a_store(stage: Stage) -> None:
    legacy = await stage.legacy()
    first = stage.server(of_all_kinds(legacy.url))
    await first.start()
    second = stage.server(of_all_kinds(legacy.url), name="second")
    second.store = first.store
    second.launch()
    assert await second.ended() in (1, 2)
    assert "Traceback" not in second.log.read_text()
    assert await asyncio.wait_for(first.readiness(), 5) == 200
