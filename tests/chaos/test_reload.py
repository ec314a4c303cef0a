"""A policy that changes while the server runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from tests.chaos.policies import one_route
from tests.harness.client import Client
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually

FAILURES = "strangler_policy_reload_failures_total"
RELOADS = "strangler_policy_reloads_total"


def rewrite(path: Path, text: str) -> None:
    """Put a new text in the place of a file at once, as a careful deployment does."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    os.replace(fresh, path)


async def answers(client: Client, status: int) -> None:
    """Wait until a submission is answered with this status."""

    async def look() -> bool:
        return (await client.submit("/claims", uuid4().hex)).status == status

    await eventually(look, what=f"/claims answers {status}")


async def running(stage: Stage) -> tuple[Server, Client, str]:
    """A server with an async route, a client, and the URL of the legacy system."""
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, "mode: async"))
    await server.start()
    client = await stage.client(server)
    assert (await client.submit("/claims", "first")).status == 202
    return server, client, legacy.url


@pytest.mark.slow
async def test_a_changed_file_is_picked_up(stage: Stage) -> None:
    server, client, upstream = await running(stage)
    rewrite(server.policy, one_route(upstream, "mode: compat"))
    await answers(client, 200)


async def test_a_file_that_does_not_load_changes_nothing_and_says_so(stage: Stage) -> None:
    server, client, upstream = await running(stage)
    before = await server.metric(FAILURES)
    rewrite(server.policy, one_route(upstream, "mode: asynk"))

    async def counted() -> bool:
        return await server.metric(FAILURES) > before

    await eventually(counted, what="the failure is counted")
    ready = await server.operations("GET", "/readyz")
    assert ready is not None
    assert ready[0] == 200
    assert "asynk" in ready[1] or "policy" in ready[1]
    assert (await client.submit("/claims", "still")).status == 202
    rewrite(server.policy, one_route(upstream, "mode: compat"))
    await answers(client, 200)


@pytest.mark.slow
async def test_an_emptied_file_keeps_the_old_table(stage: Stage) -> None:
    server, client, _ = await running(stage)
    before = await server.metric(FAILURES)
    rewrite(server.policy, "")

    async def counted() -> bool:
        return await server.metric(FAILURES) > before

    await eventually(counted, what="the failure is counted")
    assert (await client.submit("/claims", "still")).status == 202


@pytest.mark.slow
async def test_every_beginning_of_a_policy_file_keeps_the_old_table_or_loads(stage: Stage) -> None:
    server, client, upstream = await running(stage)
    whole = one_route(upstream, "mode: async")
    for end in range(0, len(whole), 23):
        rewrite(server.policy, whole[:end])
        answered = await server.operations("POST", "/-/reload")
        assert answered is not None
        assert answered[0] in (200, 422)
        reply = await client.submit("/claims", f"cut-{end}")
        assert reply.status in (202, 404), (end, reply)
        assert reply.status == 202 or answered[0] == 200


@pytest.mark.slow
async def test_sighup_loads_it_again(stage: Stage) -> None:
    server, client, _ = await running(stage)
    before = await server.metric(RELOADS)
    server.signal(signal.SIGHUP)  # the file is as it was, so that nobody who only watches it has a reason to load it

    async def counted() -> bool:
        return await server.metric(RELOADS) > before

    await eventually(counted, what="the policy is loaded once more")
    assert await server.metric(RELOADS) == before + 1
    assert (await client.submit("/claims", "still")).status == 202


@pytest.mark.slow
async def test_a_reload_by_request_has_happened_when_it_answers(stage: Stage) -> None:
    server, client, upstream = await running(stage)
    for mode, status in (("compat", 200), ("async", 202), ("compat", 200)):
        rewrite(server.policy, one_route(upstream, f"mode: {mode}"))
        answered = await server.operations("POST", "/-/reload")
        assert answered is not None
        assert answered[0] == 200
        assert (await client.submit("/claims", f"now-{mode}")).status == status


async def test_a_reload_by_request_of_what_does_not_load_is_422_with_all_errors(stage: Stage) -> None:
    server, client, upstream = await running(stage)
    rewrite(server.policy, one_route(upstream, "mode: asynk\nwait: soon\nquota: 3"))
    answered = await server.operations("POST", "/-/reload")
    assert answered is not None
    status, text = answered
    assert status == 422
    for word in ("asynk", "soon", "quota", "routes.yaml"):
        assert word in text
    assert (await client.submit("/claims", "still")).status == 202


@pytest.mark.slow
async def test_a_process_keeps_what_was_promised_with_it_and_uses_the_upstream_of_today(stage: Stage) -> None:
    legacy = await stage.legacy()
    nowhere = "http://127.0.0.1:9"
    promised = "mode: async\nprocess: {type: ClaimSubmission, resource: /claim-submissions}\n" + (
        "call: {backoff: {initial: 50ms, max: 200ms}}"
    )
    server = stage.server(one_route(nowhere, promised))
    await server.start()
    client = await stage.client(server)
    identity = (await client.submit("/claims", "kept")).json()["id"]
    rewrite(server.policy, one_route(legacy.url, "mode: passthrough"))
    answered = await server.operations("POST", "/-/reload")
    assert answered is not None
    assert answered[0] == 200
    document = await client.settled(identity, resource="/claim-submissions")
    assert (document["state"], document["type"]) == ("completed", "ClaimSubmission")
    assert legacy.received("kept") == 1


async def test_a_start_with_a_broken_policy_runs_the_last_good_one_where_that_is_asked_for(stage: Stage) -> None:
    server, client, upstream = await running(stage)
    await server.stop()
    rewrite(server.policy, one_route(upstream, "mode: asynk"))
    await server.start(STRANGLER_ON_BAD_POLICY="last-good")
    await answers(client, 202)
    ready = await server.operations("GET", "/readyz")
    assert ready is not None
    assert "asynk" in ready[1]
    rewrite(server.policy, one_route(upstream, "mode: compat"))
    await answers(client, 200)


async def test_a_start_with_a_broken_policy_ends_with_2_unless_the_last_good_one_is_asked_for(stage: Stage) -> None:
    server, _, upstream = await running(stage)
    await server.stop()
    rewrite(server.policy, one_route(upstream, "mode: asynk"))
    server.launch()
    assert await server.ended() == 2


@pytest.mark.parametrize("options", [(), ("--on-bad-policy", "last-good"), ("--workers", "2")], ids=" ".join)
async def test_neither_store_nor_key_is_made_for_a_policy_that_does_not_load(
    stage: Stage, options: tuple[str, ...]
) -> None:
    server = stage.server("routes: 7", options=options)
    server.launch()
    assert await server.ended() == 2
    assert "routes.yaml:1:9" in server.tail(5)
    assert not [*server.directory.glob("store.db*")]
