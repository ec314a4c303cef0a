"""The real server as an OS process on free ports, with a store that outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from tests.harness.child import ROOT, Child
from tests.harness.waiting import eventually, free_port


class Server(Child):
    """`strangler serve` over one policy file and one store."""

    def __init__(
        self,
        directory: Path,
        policy: str,
        *,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        name: str = "server",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(name, directory / f"{name}.log")
        self.directory = directory
        self.policy = directory / "routes.yaml"
        self.policy.write_text(policy)
        self.store = f"sqlite:///{directory / 'store.db'}"
        self.port = free_port()
        self.ops_port = free_port()
        self.options = list(options)
        self.environment = dict(environment or {})

    @property
    def url(self) -> str:
        """Base of the public listener."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ops_url(self) -> str:
        """Base of the operations listener."""
        return f"http://127.0.0.1:{self.ops_port}"

    def launch(self, **environment: str) -> None:
        """Start it and do not wait; ``environment`` is for this one life only."""
        arguments = ["-m", "strangler", "serve", str(self.policy)]
        arguments += ["--listen", f"127.0.0.1:{self.port}", "--ops", f"127.0.0.1:{self.ops_port}"]
        arguments += ["--store", self.store, *self.options]
        self.spawn(arguments, {"STRANGLER_DISK_RESERVE": "0", **self.environment, **environment})

    async def start(self, *, within: float = 20.0, **environment: str) -> None:
        """Start it and wait until it takes work."""
        self.launch(**environment)
        await self.ready(within)

    async def ready(self, within: float = 20.0) -> None:
        """Wait until ``/readyz`` says 200."""

        async def look() -> bool:
            assert self.running, f"{self.name} ended before it was ready:\n{self.tail()}"
            return await self.readiness() == 200

        await eventually(look, within, f"{self.name} is ready")

    async def readiness(self) -> int | None:
        """The status of ``/readyz``; None while nobody answers."""
        answered = await self.operations("GET", "/readyz")
        return answered[0] if answered is not None else None

    async def operations(self, method: str, path: str) -> tuple[int, str] | None:
        """Status and text of an answer of the operations listener; None while nobody answers."""
        try:
            async with aiohttp.ClientSession() as session:
                async with session.request(method, self.ops_url + path, timeout=aiohttp.ClientTimeout(10)) as reply:
                    return reply.status, await reply.text()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of a metric that bear these labels; 0 where there is none."""
        answered = await self.operations("GET", "/metrics")
        assert answered is not None
        assert answered[0] == 200
        total = 0.0
        for line in answered[1].splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += float(value)
        return total

    async def stop(self, within: float = 30.0) -> int:
        """SIGTERM, and the exit code."""
        if not self.running:
            return await self.ended()
        self.signal(signal.SIGTERM)
        return await self.ended(within)

    def fsck(self) -> subprocess.CompletedProcess[str]:
        """`strangler fsck` on the store."""
        return subprocess.run(
            [sys.executable, "-m", "strangler", "fsck", "--store", self.store],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
