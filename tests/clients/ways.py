"""The ways to a server that nobody here wrote: directly, and through strangler."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.harness.child import Child
from tests.harness.server import Server
from tests.harness.waiting import eventually, free_port

UNTOUCHED = """
upstreams:
  real: {{url: "{url}"}}
default: {{upstream: real}}
"""
BESIDE = """
upstreams:
  real: {{url: "{url}"}}
routes:
  - name: submit-claim
    match: {{path: "/claims-of-somebody-else/{{claim}}", methods: [POST, PUT]}}
    upstream: real
    mode: async
  - name: assess
    match: {{path: "/assessments-of-somebody-else/*"}}
    upstream: real
    mode: compat
default: {{upstream: real}}
"""


def needed(*modules: str, programs: Sequence[str] = ()) -> None:
    """Skip the module that calls, and say what is missing."""
    missing = [f"the package {name}" for name in modules if find_spec(name) is None]
    missing += [f"the program {name}" for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}", allow_module_level=True)


class ThirdParty(Child):
    """A server that nobody here wrote; ``{port}`` in its arguments is where it listens."""

    def __init__(
        self, name: str, directory: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, directory / f"{name}.log")
        self.port = free_port()
        self._arguments = [argument.replace("{port}", str(self.port)) for argument in arguments]
        self._environment = environment

    @property
    def url(self) -> str:
        """Base of its listener."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self.spawn(self._arguments, self._environment)
        await eventually(self._listens, within=30, what=f"{self.name} listens")

    def _listens(self) -> bool:
        assert self.running, f"{self.name} ended:\n{self.tail()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Ways:
    """A server, and two stranglers before it: one that records nothing, one that records what is not asked for here."""

    def __init__(self, directory: Path, backend: ThirdParty) -> None:
        self.backend = backend
        self.servers = [
            Server(directory / name, policy.format(url=backend.url), name=name)
            for name, policy in (("untouched", UNTOUCHED), ("beside", BESIDE))
        ]
        self.children = [backend, *self.servers]

    @property
    def direct(self) -> str:
        """The URL of the server itself."""
        return self.backend.url

    @property
    def through(self) -> list[str]:
        """The URLs of strangler."""
        return [server.url for server in self.servers]

    async def open(self) -> None:
        """Start all, and wait until all take work."""
        await asyncio.gather(self.backend.start(), *(server.start() for server in self.servers))

    async def close(self) -> None:
        """End all."""
        for child in self.children:
            await child.kill()


@contextmanager
def standing(directory: Path, backend: ThirdParty) -> Iterator[Ways]:
    """Server and stranglers, for as long as the `with` block."""
    ways = Ways(directory, backend)
    try:
        asyncio.run(ways.open())
        yield ways
    finally:
        asyncio.run(ways.close())
