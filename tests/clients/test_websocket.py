"""The websockets package at both ends: messages, fragments, pings, compression and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

from tests.clients.ways import BESIDE, needed
from tests.harness.stage import Stage

needed("websockets")

from websockets.asyncio.client import ClientConnection, connect  # noqa: E402
from websockets.asyncio.server import ServerConnection, serve  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

LARGE = "Schadensmeldung " * 20_000


class Echo:
    """Sends back what it gets, and remembers how a connection ended."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

    async def __call__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path == "/leave":
            await connection.close(4001, "enough")
        elif connection.request.path == "/fragments":
            message = [part async for part in connection.recv_streaming()]
            await connection.send(part for part in message)
            await connection.send(str(len(message)))
            await connection.wait_closed()
        else:
            with suppress(ConnectionClosed):
                while True:
                    await connection.send(await connection.recv())
        await self.ended.put((connection.close_code, connection.close_reason))


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, int]]:
    async with AsyncExitStack() as stack:
        handler = Echo()
        server = await stack.enter_async_context(
            serve(handler, "127.0.0.1", 0, subprotocols=["claims.v2"], max_size=1 << 24, ping_interval=None)  # type: ignore[list-item]
        )
        yield handler, next(iter(server.sockets)).getsockname()[1]


async def ways(stage: Stage, port: int) -> list[str]:
    server = stage.server(BESIDE.format(url=f"http://127.0.0.1:{port}"))
    await server.start()
    return [f"ws://127.0.0.1:{port}", server.url.replace("http", "ws")]


def opened(url: str, **options: Any) -> connect:
    protocols: Any = ["claims.v1", "claims.v2"]
    return connect(url, max_size=1 << 24, ping_interval=None, proxy=None, subprotocols=protocols, **options)


async def story(url: str, handler: Echo, compression: str | None) -> list[Any]:
    """Everything that one can see of a conversation."""
    seen: list[Any] = []
    async with opened(f"{url}/echo", compression=compression) as one:
        seen += [one.subprotocol, [extension.name for extension in one.protocol.extensions]]
        for said in ("Grüße", b"\x00\xff", "", LARGE):
            await one.send(said)
            seen.append(await one.recv())
        await (await one.ping(b"are you there"))
        await one.close(4000, "done here")
        seen += [one.close_code, one.close_reason, await handler.ended.get()]
    async with opened(f"{url}/fragments", compression=compression) as one:
        await one.send(["a" * 100_000, "b", "", "c" * 7])
        parts = [part async for part in one.recv_streaming()]
        seen += ["".join(map(str, parts)), [len(part) for part in parts], await one.recv()]
    seen.append(await handler.ended.get())
    async with opened(f"{url}/leave", compression=compression) as one:
        seen.append(await left(one))
    seen.append(await handler.ended.get())
    return seen


async def left(connection: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        await connection.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


@pytest.mark.parametrize("compression", ["deflate", pytest.param(None, marks=pytest.mark.slow)])
async def test_a_conversation_is_the_same(stage: Stage, echo: tuple[Echo, int], compression: str | None) -> None:
    handler, port = echo
    direct, through = [await story(url, handler, compression) for url in await ways(stage, port)]
    assert direct[0] == "claims.v2"
    assert direct[1] == (["permessage-deflate"] if compression else [])
    assert direct[5] == LARGE
    assert (4000, "done here") in direct
    assert (4001, "enough") in direct
    assert through == direct


async def test_a_server_that_refuses_the_upgrade_is_heard(stage: Stage, echo: tuple[Echo, int]) -> None:
    _, port = echo
    refusals = []
    for url in await ways(stage, port):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(f"{url}/echo", additional_headers={"Sec-WebSocket-Version": "7"}):
                pass
        refusals.append((refused.value.response.status_code, refused.value.response.body))
    assert refusals[0][0] in (400, 426)
    assert refusals[1] == refusals[0]
