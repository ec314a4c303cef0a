"""The stage of a test: a legacy system, servers and clients, all ended with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.harness.child import Child
from tests.harness.client import Client
from tests.harness.fault_proxy import FaultProxy
from tests.harness.legacy import Legacy
from tests.harness.server import Server


class Stage:
    """Starts what a test needs, and ends all of it."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.directory = directory
        self.children: list[Child] = []
        self._stack = stack

    def keep(self, child: Child) -> None:
        """End a child with the test, and show its output if the test fails."""
        self.children.append(child)
        self._stack.push_async_callback(child.kill)

    async def legacy(self) -> Legacy:
        """A legacy system that listens."""
        legacy = Legacy(self.directory)
        self.keep(legacy)
        await legacy.start()
        return legacy

    def server(
        self,
        policy: str,
        *,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        name: str = "server",
    ) -> Server:
        """A server that has yet to be started."""
        server = Server(self.directory, policy, options=options, environment=environment, name=name)
        self.keep(server)
        return server

    async def client(self, server: Server, caller: str | None = "alice") -> Client:
        """A client of a server."""
        return await self._stack.enter_async_context(Client(server.url, caller))

    async def fault_proxy(self, target_port: int) -> FaultProxy:
        """A relay that listens."""
        proxy = FaultProxy(target_port)
        await proxy.start()
        self._stack.push_async_callback(proxy.stop)
        return proxy


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """The stage of one test."""
    async with AsyncExitStack() as stack:
        yield Stage(tmp_path, stack)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the last lines of what the OS processes of a failed test said into its report."""
    report = yield
    if report.failed and report.when == "call":
        for standing in getattr(item, "funcargs", {}).values():
            for child in getattr(standing, "children", ()):
                report.sections.append((f"output of {child.name} ({child.log})", child.tail()))
    return report
