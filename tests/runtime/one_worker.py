"""One worker of two, and what the workers share, on the event loop of the test."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.config.load import Loaded
from strangler.config.settings import Settings
from strangler.config.system import SystemClock
from strangler.domain.process import Process
from strangler.engine.latencies import Latencies
from strangler.operations.logs import Logs
from strangler.operations.telemetry import Telemetry
from strangler.ports import Commit, Committed
from strangler.runtime.child import Given
from strangler.runtime.control import Line
from strangler.runtime.hub import Hub
from strangler.runtime.policies import read_policy
from strangler.runtime.worker import Worker
from strangler.store.remote.frames import Message
from strangler.store.remote.host import Guest
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.store import SqliteStore
from tests.chaos.policies import one_route
from tests.harness.legacy import Legacy
from tests.harness.stage import Stage
from tests.harness.waiting import eventually
from tests.runtime.test_hub import Ear
from tests.store import builders as make

ROUTE = "submit-claim"
OWNER = "0193f3a0-0000-7000-8000-00000000000b"
KEY = b"k" * 32


class PausedClock(SystemClock):
    """The clock of a machine that may have slept."""

    slept = 0

    def boottime(self) -> int:
        """See `Clock`."""
        return super().boottime() + PausedClock.slept


class HearingHub(Hub):
    """One that keeps what it is told."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.said: list[Message] = []

    def heard(self, guest: Guest, message: Message) -> None:
        """See `Host.heard`."""
        self.said.append(message)
        super().heard(guest, message)


class OneWorker:
    """A worker that serves, and its hub. Another worker is known by name only."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.folder = stage.directory
        self.told: list[str] = []  # lines of the log
        self.legacy: Legacy
        self.worker: Worker
        self._loaded: Loaded

    async def begin(self, route: str = "mode: async") -> None:
        """Start a legacy system, the hub and the worker."""
        self.legacy = await self.stage.legacy()
        policy = self.folder / "routes.yaml"
        policy.write_text(one_route(self.legacy.url, route))
        settings = Settings(store=f"sqlite:///{self.folder}/store.db", workers=2, lease=60.0, drain_timeout=5.0)
        self._given = Given(settings, [policy], {}, KEY, self.folder)
        self._telemetry = Telemetry(Logs(lambda data: self.told.append(data.decode())), version="1", started_at=0)
        self._loaded = read_policy(settings, [policy], {})
        self.store = SqliteStore(
            self.folder / "store.db", choose_library(), AesGcmSealer(KEY), PausedClock(), disk_reserve=0
        )
        await self.open_hub()
        ours, self._supervisor = socket.socketpair()
        self._line = Line(ours)
        self.worker = Worker(self._given, self._telemetry, self._line, OWNER, [])
        self._running = asyncio.create_task(self.worker.run())
        await eventually(lambda: self.hub.serving == 1, what="the worker serves")

    async def open_hub(self) -> None:
        """A store process that is new: it knows what is on disk."""
        self.hub = HearingHub(self.store, PausedClock(), self._telemetry, Latencies(self.store))
        self.hub.following.current = self._loaded
        self.hub.gates.load(self._loaded.table.routes)
        path = Path(self._given.socket)
        path.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(self.hub.guest, str(path))

    async def close_hub(self) -> None:
        """The store process is gone."""
        self._server.close()
        for guest in list(self.hub.guests):
            guest.close()
        await eventually(lambda: not self.worker._store.link.up, what="the worker has seen that")

    def other(self) -> Ear:
        """Another worker, which keeps what it is told."""
        return Ear(self.hub, "other")

    async def accepted(self, script: str = "") -> Process:
        """A process that is due, on disk, and of which no worker was told; ``script``: what becomes of its call."""
        now = PausedClock().now()
        promise = self._loaded.table.routes[ROUTE].promise
        await self.store.save("promise", promise.digest, self._loaded.promises[promise.digest])
        request = make.request(headers=((b"Host", b"claims.example"), (b"X-Legacy", script.encode())))
        accept = make.accept(make.draft(now, promise=promise.digest), request=request)
        return await self.commit(accept)

    async def postponed(self) -> Process:
        """A process that is due in a moment, on disk, and of which no worker was told."""
        now = PausedClock().now()
        claimed = await self.commit(make.claim(await self.accepted(), at=now))
        return await self.commit(make.postpone(claimed, now + 300, at=now))

    async def commit(self, commit: Commit) -> Process:
        """Have something on disk of which no worker was told."""
        assert commit.change is not None
        assert isinstance(await self.store.commit(commit), Committed)
        return commit.change.process

    async def said(self, kind: str) -> None:
        """Wait until the worker says so from now on."""
        before = len(self.hub.said)
        await eventually(lambda: any(said[0] == kind for said in self.hub.said[before:]), what=f"it says {kind!r}")

    async def called(self, number: int = 1) -> None:
        """Wait until so many requests have come to the legacy system."""
        await eventually(lambda: self.calls() == number, what="the legacy system is called")

    def calls(self) -> int:
        """How many requests have come to the legacy system."""
        return sum(line["method"] == "POST" for line in self.legacy.lines())

    def sleep(self) -> None:
        """The machine slept until the leases had run out, and the hub has seen that first."""
        PausedClock.slept += 3600 * 1_000_000_000
        self.hub.look_at_leases()

    async def wake(self) -> None:
        """The worker has seen it, too."""
        await self.worker._lease.renew()

    async def end(self) -> None:
        """Nothing of it is left."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._server.close()
        for guest in list(self.hub.guests):
            guest.close()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._line.end)
        loop.remove_signal_handler(signal.SIGTERM)
        self._line.close()
        self._supervisor.close()
        await self.hub._tasks.end()
        self.hub.gates.close()
        await self.store.close()


@pytest.fixture
async def one_worker(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OneWorker]:
    """A worker that has yet to begin."""
    monkeypatch.setattr("strangler.runtime.worker.SystemClock", PausedClock)
    monkeypatch.setattr(PausedClock, "slept", 0)
    made = OneWorker(stage)
    yield made
    await made.end()
