"""A server of several workers: who they are, and clients that are connected to a known one."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress
from typing import Any

import pytest

from tests.chaos.policies import one_route
from tests.harness.client import Client
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually


class Crew:
    """A supervisor with its children."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.legacy: Legacy
        self.server: Server

    async def begin(self, route: str = "mode: async", *options: str, **environment: str) -> None:
        """Start a legacy system and a server of two workers in front of it."""
        self.legacy = await self.stage.legacy()
        policy = one_route(self.legacy.url, route)
        self.server = self.stage.server(policy, options=["--workers", "2", *options], environment=environment)
        await self.server.start()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log about an event."""
        lines = self.server.log.read_text().splitlines()
        return [line for line in map(json.loads, (line for line in lines if line[:1] == "{")) if line["event"] == event]

    @property
    def workers(self) -> list[int]:
        """OS process ids of the workers that live, oldest first."""
        return [line["pid"] for line in self.lines("worker_serves") if alive(line["pid"])]

    @property
    def store(self) -> int:
        """OS process id of the latest store process."""
        return int(self.lines("store_open")[-1]["pid"])

    async def two_workers(self) -> list[int]:
        """The workers, as soon as both are there."""

        async def both() -> bool:
            ready = await self.server.operations("GET", "/readyz")
            # A worker is ready a moment before it says so in the log, which is where its number is read.
            whole = ready is not None and ready[0] == 200 and json.loads(ready[1])["degraded"] == {}
            return whole and len(self.workers) == 2

        await eventually(both, what="both workers serve")
        return self.workers

    async def clients(self) -> tuple[Client, Client]:
        """A client of the first worker, and one of the second; each keeps its connection while it asks in turn."""
        first, second = await self.two_workers()
        return await self._client_of(first, second), await self._client_of(second, first)

    async def _client_of(self, worker: int, other: int) -> Client:
        client = await self.stage.client(self.server)
        os.kill(other, signal.SIGSTOP)  # who is frozen accepts no connection
        try:
            assert (await client.request("GET", "/hello")).status == 200
        finally:
            os.kill(other, signal.SIGCONT)
        return client

    async def held(self, number: int, within: float = 10.0) -> None:
        """Wait until so many requests have come to the legacy system."""
        await eventually(lambda: self.calls() == number, within, f"{number} calls are under way")

    def markers(self) -> Counter[str]:
        """How often each recorded request has come to the legacy system."""
        lines = self.legacy.lines()
        return Counter(line["marker"] for line in lines if line["event"] == "received" and line["method"] == "POST")

    def calls(self) -> int:
        """How many recorded requests have come to the legacy system."""
        return self.markers().total()

    def caller_of(self, marker: str) -> int:
        """OS process id of the worker that calls for a request now."""
        with closing(sqlite3.connect(f"file:{self.server.directory / 'store.db'}?mode=ro", uri=True)) as store:
            ((owner,),) = store.execute("SELECT owner FROM process WHERE correlation_id = ?", (marker,))
        return next(int(line["pid"]) for line in self.lines("worker_serves") if line["worker"] == owner)

    async def all_in(self, client: Client, states: Sequence[str], within: float = 15.0) -> None:
        """Wait until the processes are in these states, in any order."""

        async def look() -> bool:
            return sorted([one["state"] for one in await client.all_processes()]) == sorted(states)

        await eventually(look, within, f"{states}")


def alive(pid: int) -> bool:
    """Whether there is such an OS process, and it has not ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
async def crew(stage: Stage) -> AsyncIterator[Crew]:
    """A server of several workers that has yet to begin. No child outlives it."""
    made = Crew(stage)
    yield made
    await made.server.kill()
    pids = {line["pid"] for event in ("worker_serves", "store_open") for line in made.lines(event)}
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    await eventually(lambda: not any(map(alive, pids)), 5.0, "the children have ended with their supervisor")
