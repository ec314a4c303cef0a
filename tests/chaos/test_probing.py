"""A call that was lost in a crash is asked about, over further crashes, and is done exactly once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from tests.chaos.policies import of_all_kinds
from tests.harness.client import Client
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.stage import Stage

pytestmark = pytest.mark.slow

SHORT = {"STRANGLER_LEASE": "5s"}  # with the timeout of a call this is what the legacy side is given to settle


async def lost(stage: Stage, failpoint: str) -> tuple[Legacy, Server, Client, str]:
    """A process whose worker died at a place, and its server, started again."""
    legacy = await stage.legacy()
    server = stage.server(of_all_kinds(legacy.url), environment=SHORT)
    client = await stage.client(server)
    await server.start(STRANGLER_FAILPOINT=failpoint)
    with suppress(aiohttp.ClientError, OSError):
        await client.submit("/probe", "m", key="m")
    assert await server.ended() == 137
    await server.start()
    (document,) = await client.all_processes()
    return legacy, server, client, document["id"]


async def sound(server: Server) -> None:
    assert await server.stop() == 0
    checked = server.fsck()
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_what_the_legacy_system_knows_is_completed_and_not_done_again(stage: Stage) -> None:
    legacy, server, client, process_id = await lost(stage, "after-reply")
    assert (await client.status(process_id))["state"] == "processing"
    ended = await client.settled(process_id, within=30)
    assert (ended["state"], ended["effect"], ended["result"]["status"]) == ("completed", "applied", 200)
    assert (await client.request("GET", ended["links"]["result"])).json() == {"marker": "m"}
    assert (legacy.received("m"), legacy.asked("m")) == (1, 1)
    await sound(server)


async def test_what_the_legacy_system_does_not_know_is_done_once(stage: Stage) -> None:
    legacy, server, client, process_id = await lost(stage, "before-first-byte")
    assert legacy.received("m") == 0
    ended = await client.settled(process_id, within=30)
    assert (ended["state"], ended["effect"]) == ("completed", "applied")
    assert (legacy.received("m"), legacy.asked("m")) == (1, 1)
    await sound(server)


@pytest.mark.parametrize(("first", "calls"), [("after-reply", 1), ("before-first-byte", 0)])
async def test_a_crash_after_the_answer_costs_one_more_question_and_nothing_else(
    stage: Stage, first: str, calls: int
) -> None:
    legacy, server, client, process_id = await lost(stage, first)
    await server.kill()
    server.launch(STRANGLER_FAILPOINT="after-answer")
    assert await server.ended() == 137
    assert (legacy.received("m"), legacy.asked("m")) == (calls, 1)
    await server.start()
    ended = await client.settled(process_id, within=30)
    assert (ended["state"], ended["effect"]) == ("completed", "applied")
    assert (legacy.received("m"), legacy.asked("m")) == (1, 2)
    await sound(server)


@pytest.mark.parametrize(
    ("place", "received", "end"),
    [
        ("before-first-byte:2", 0, ("unconfirmed", "unknown", "probe-absent-again")),
        ("after-reply:2", 1, ("completed", "applied", None)),
    ],
)
async def test_a_crash_in_the_repeat_that_an_answer_led_to_does_not_repeat_it(
    stage: Stage, place: str, received: int, end: tuple[str, str, str | None]
) -> None:
    legacy, server, client, process_id = await lost(stage, "before-first-byte")
    await server.kill()
    server.launch(STRANGLER_FAILPOINT=place)  # the first time it is the question
    assert await server.ended() == 137
    assert (legacy.received("m"), legacy.asked("m")) == (received, 1)
    await server.start()
    ended = await client.settled(process_id, within=30)
    assert (ended["state"], ended["effect"], ended.get("reason")) == end
    assert (legacy.received("m"), legacy.asked("m")) == (received, 2)
    await sound(server)


async def test_workers_ask_one_at_a_time(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(of_all_kinds(legacy.url), environment=SHORT, options=["--workers", "2"])
    client = await stage.client(server)
    await server.start()
    ids: dict[str, Any] = {}
    for number in range(8):
        ids[f"m{number}"] = (await client.submit("/probe", f"m{number}", script="do=close")).json()["id"]
    for marker, process_id in ids.items():
        ended = await client.settled(process_id, within=30)
        assert (ended["state"], ended["effect"]) == ("completed", "applied")
        assert (legacy.received(marker), legacy.asked(marker)) == (1, 1)
    await sound(server)
