"""A real server: bodies go before their process, by their clock and by command, also where several workers share it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.chaos.policies import one_route
from tests.harness.child import ROOT
from tests.harness.server import Server
from tests.harness.stage import Stage, pytest_runtest_makereport, stage
from tests.harness.waiting import eventually

__all__ = ["pytest_runtest_makereport", "stage"]

pytestmark = pytest.mark.slow


async def command(server: Server, *words: str) -> tuple[int, str]:
    """A command of `strangler store`: its exit code, and what it said."""
    line = [sys.executable, "-m", "strangler", "store", *words, "--store", server.store]
    done = await asyncio.to_thread(subprocess.run, line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


async def sound(server: Server) -> None:
    assert await server.stop() == 0
    checked = server.fsck()
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("workers", [1, 2])
async def test_bodies_go_by_their_clock_and_the_process_stays(stage: Stage, workers: int) -> None:
    legacy = await stage.legacy()
    keys = "mode: async\nprocess: {retain: 1h, retain_bodies: 1s, retain_history: 2s}"
    server = stage.server(one_route(legacy.url, keys), options=["--workers", str(workers)])
    client = await stage.client(server)
    await server.start()
    process_id = (await client.submit("/claims", "m")).json()["id"]
    document: dict[str, Any] = await client.settled(process_id)

    async def gone(link: str) -> bool:
        answer = await client.request("GET", document["links"][link])
        return answer.status == 410 and answer.json()["code"] == "no-longer-kept"

    await eventually(lambda: gone("result"), 20, "the reply is gone")
    await eventually(lambda: gone("history"), 20, "the history is gone")
    assert (await client.status(process_id))["state"] == "completed"
    await sound(server)


@pytest.mark.parametrize("workers", [1, 2])
async def test_bodies_go_by_command_while_the_server_runs(stage: Stage, workers: int) -> None:
    legacy = await stage.legacy()
    server = stage.server(one_route(legacy.url, "mode: async"), options=["--workers", str(workers)])
    client = await stage.client(server)
    await server.start()
    ids = [(await client.submit("/claims", f"m{number}")).json()["id"] for number in range(3)]
    for process_id in ids:
        await client.settled(process_id)
    code, said = await command(server, "shed", "--free", "1B", "--why", "a test", "--json")
    assert (code, json.loads(said)["processes"]) == (0, 1)
    statuses = [(await client.request("GET", f"/processes/{process_id}/result")).status for process_id in ids]
    assert statuses == [410, 200, 200]
    code, said = await command(server, "usage", "--json")
    found = json.loads(said)
    assert (code, found["routes"][0]["processes"], found["routes"][0]["ended"]) == (0, 3, 3)
    await sound(server)
