"""The support desk of a server of several workers: one of them all, in the process that owns the store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from tests.harness.child import ROOT
from tests.harness.waiting import eventually
from tests.runtime.crew import Crew


async def strangler(crew: Crew, *arguments: str) -> tuple[int | None, str]:
    """The command line on the machine of the server."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "strangler", *arguments, "--store", crew.server.store),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await child.communicate()
    return child.returncode, out.decode()


async def listed(crew: Crew, *wishes: str) -> list[dict[str, Any]]:
    code, out = await strangler(crew, "processes", "list", "--json", *wishes)
    assert code == 0, out
    found: list[dict[str, Any]] = json.loads(out)["processes"]
    return found


async def test_what_all_workers_accepted_is_found_and_a_retry_is_executed_by_one_of_them(crew: Crew) -> None:
    await crew.begin("mode: async\naccess: {identity: []}")
    first, second = await crew.clients()
    for client, marker in ((first, "a"), (second, "b")):
        identity = (await client.submit("/claims", marker, script="status=422")).json()["id"]
        await client.settled(identity)
    assert [one["correlationId"] for one in await listed(crew)] == ["b", "a"]
    [found] = await listed(crew, "--correlation-id", "a")
    code, out = await strangler(crew, "processes", "retry", found["id"], "--why", "once more")
    assert code == 0, out

    async def twice() -> bool:
        states = [one["state"] for one in await listed(crew, "--correlation-id", "a")]
        return states == ["rejected", "rejected"]

    await eventually(twice, 10, "the retry is executed")
    assert crew.legacy.received("a") == 2
    _, out = await strangler(crew, "audit", "--json")
    assert [one["outcome"] for one in json.loads(out)["commands"]] == ["done"]
    assert crew.server.fsck().returncode == 0


async def test_a_drained_instance_refuses_at_every_worker_whoever_of_them_dies(crew: Crew) -> None:
    await crew.begin()
    clients = await crew.clients()

    async def answers() -> set[tuple[int, str | None]]:
        return {(answer.status, answer.code) for answer in [await one.submit("/claims", "m") for one in clients]}

    async def refused() -> bool:
        return await answers() == {(503, "draining")}

    assert await strangler(crew, "drain", "--why", "maintenance") == (0, "it is draining\n")
    await eventually(refused, 5, "both workers refuse")
    assert await crew.server.readiness() == 503
    os.kill(crew.store, signal.SIGKILL)
    store = crew.store
    await eventually(lambda: crew.store != store, 20, "the store process is there again")
    await eventually(refused, 20, "the workers remember it, and the new store process learns it")

    async def draining() -> bool:
        return await crew.server.readiness() == 503

    await eventually(draining, 10, "it is not ready")
    os.kill(crew.workers[0], signal.SIGKILL)
    await eventually(lambda: len(crew.lines("worker_serves")) == 3, 20, "another worker is there")
    for _ in range(8):
        newcomer = await crew.stage.client(crew.server)
        assert (await newcomer.submit("/claims", "m")).code == "draining"

    async def undrained() -> bool:
        code, out = await strangler(crew, "drain", "--undo", "--why", "over")
        return (code, out) == (0, "it is serving\n")

    await eventually(undrained, 10, "it serves")
    client = await crew.stage.client(crew.server)
    assert (await client.submit("/claims", "n")).status == 202
