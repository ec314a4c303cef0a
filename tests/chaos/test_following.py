"""What the legacy system took is followed over crashes, and a client that waits gets its answer all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.chaos.policies import one_route
from tests.harness.legacy import Legacy
from tests.harness.stage import Stage
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

FOLLOW = """
mode: {mode}
wait: {wait}
call: {{follow: {{every: 100ms, for: {duration}}}}}
"""


def policy(legacy: Legacy, mode: str = "async", wait: str = "0s", duration: str = "1h") -> str:
    return one_route(legacy.url, FOLLOW.format(mode=mode, wait=wait, duration=duration))


def calls(legacy: Legacy, marker: str) -> tuple[int, int]:
    """How often the work was handed over, and how often it was asked for."""
    methods = [line["method"] for line in legacy.lines() if line["marker"] == marker]
    return methods.count("POST"), methods.count("GET")


async def asked_more(legacy: Legacy, marker: str, than: int) -> None:
    await eventually(lambda: calls(legacy, marker)[1] > than, what="the legacy system is asked")


async def test_a_crash_while_it_is_followed_costs_nothing_but_the_look(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(policy(legacy))
    client = await stage.client(server)
    await server.start()
    ids = {}
    for number in range(5):
        ids[f"m{number}"] = (await client.submit("/claims", f"m{number}", script="do=take")).json()["id"]
    for _ in range(3):
        for marker in ids:
            await asked_more(legacy, marker, calls(legacy, marker)[1])
        await server.kill()
        await server.start()
        assert await server.metric("strangler_processes", state="following") == 5
    await legacy.release()
    for marker, process_id in ids.items():
        ended = await client.settled(process_id)
        assert (ended["state"], ended["effect"], ended["result"]["status"]) == ("completed", "applied", 200)
        result = await client.request("GET", ended["links"]["result"])
        assert result.json()["marker"] == marker
        assert calls(legacy, marker)[0] == 1
    assert await server.stop() == 0
    checked = server.fsck()
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("failpoint", ["before-commit", "after-commit"])
async def test_a_crash_at_the_commit_of_what_a_look_led_to_loses_nothing(stage: Stage, failpoint: str) -> None:
    legacy = await stage.legacy()
    server = stage.server(policy(legacy), environment={"STRANGLER_LEASE": "60s"})
    client = await stage.client(server)
    await server.start()
    process_id = (await client.submit("/claims", "m", script="do=take")).json()["id"]
    await asked_more(legacy, "m", 1)
    await server.kill()
    # One turn after another is a look, or what it led to: it dies at one of them, in the middle of following.
    server.launch(STRANGLER_FAILPOINT=f"{failpoint}:4")
    assert await server.ended() == 137
    await server.start()
    assert (await client.status(process_id))["state"] == "processing"
    await legacy.release()
    assert (await client.settled(process_id))["state"] == "completed"
    assert calls(legacy, "m")[0] == 1
    assert await server.stop() == 0
    assert server.fsck().returncode == 0


async def test_a_waiting_client_keeps_its_answer_after_the_system_behind_became_asynchronous(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(policy(legacy, "compat", "30s"))
    client = await stage.client(server)
    await server.start()
    waiting = asyncio.create_task(client.submit("/claims", "m", script="do=take"))
    await asked_more(legacy, "m", 1)
    assert not waiting.done()
    await legacy.release()
    answer = await waiting
    assert (answer.status, answer.json()["marker"], answer.headers["X-Legacy-Answer"]) == (200, "m", "yes")
    assert await server.stop() == 0
    assert server.fsck().returncode == 0


async def test_what_is_never_decided_is_left_to_a_person(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(policy(legacy, duration="300ms"))
    client = await stage.client(server)
    await server.start()
    process_id = (await client.submit("/claims", "m", script="do=take")).json()["id"]
    told: dict[str, Any] = await client.settled(process_id)
    assert (told["state"], told["reason"], told["effect"]) == ("unconfirmed", "follow-over", "unknown")
    assert await server.stop() == 0
    assert server.fsck().returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_progress_reaches_the_client_while_the_call_and_the_following_go_on(stage: Stage, workers: int) -> None:
    legacy = await stage.legacy()
    server = stage.server(policy(legacy), options=["--workers", str(workers)])
    client = await stage.client(server)
    await server.start()
    held = (await client.submit("/claims", "held", script="do=hold")).json()
    taken = (await client.submit("/claims", "taken", script="do=take")).json()
    await asked_more(legacy, "taken", 1)
    await eventually(lambda: legacy.received("held") == 1, what="the call is under way")
    for document in (held, taken):
        path = f"{server.ops_url}/processes/{document['id']}/progress"
        told = await client.request("POST", path, body={"status": "ASSESSING", "text": "with the assessor"})
        assert (told.status, told.json()["status"], told.json()["state"]) == (200, "ASSESSING", "processing")
        seen = await client.status(document["id"])
        assert (seen["state"], seen["status"], seen["reason"]) == ("processing", "ASSESSING", "with the assessor")
    await legacy.release()
    for document in (held, taken):
        ended = await client.settled(document["id"])
        assert (ended["state"], ended["status"]) == ("completed", "COMPLETED")
        assert "reason" not in ended
        history = (await client.request("GET", ended["links"]["history"])).json()["history"]
        assert [one["status"] for one in history][-2:] == ["ASSESSING", "COMPLETED"]
        path = f"{server.ops_url}/processes/{document['id']}/progress"
        assert (await client.request("POST", path, body={"status": "LATE"})).code == "process-ended"
    assert (await client.request("POST", f"{server.ops_url}/processes/x/progress", body={"status": "A"})).status == 404
    assert {marker: calls(legacy, marker)[0] for marker in ("held", "taken")} == {"held": 1, "taken": 1}
    assert await server.stop() == 0
    checked = server.fsck()
    assert checked.returncode == 0, checked.stdout + checked.stderr
