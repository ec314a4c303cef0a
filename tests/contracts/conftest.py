"""One server for all clients: what it answers them with is the same, however they follow it."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterator

import pytest

from tests.harness.legacy import Legacy
from tests.harness.server import Server


def policy(upstream: str) -> str:
    """The same route in both contracts, quick enough for nobody to see it run."""
    return textwrap.dedent(f"""
        upstreams:
          legacy: {{url: "{upstream}", timeout: 10s}}
        route_defaults:
          upstream: legacy
          mode: async
        routes:
          - name: azure
            match: {{path: "/azure/*", methods: [POST, PUT, DELETE]}}
            process: {{contract: azure, resource: /operations}}
          - name: native
            match: {{path: "/native/*", methods: [POST]}}
    """)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in front of a legacy system that does what `X-Legacy` says."""
    directory = tmp_path_factory.mktemp("contracts")
    legacy = Legacy(directory)
    server = Server(directory, policy(legacy.url))

    async def start() -> None:
        await legacy.start()
        await server.start()

    async def end() -> None:
        await server.kill()
        await legacy.kill()

    try:
        asyncio.run(start())
        yield server
    finally:
        asyncio.run(end())
