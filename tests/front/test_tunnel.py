"""Upgraded connections: bytes both ways as they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web

from strangler.front.connection import ClientConnection
from strangler.front.tunnel import Tunnel
from strangler.policy.upstreams import Forward
from tests.front.raw import End
from tests.front.scene import Scene

SILENT = Forward(x_forwarded=False, forwarded=False, via=False)
ASK = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n"
)


async def tunnel(scene: Scene, early: bytes = b"") -> tuple[End, End]:
    client = await scene.send(ASK + b"\r\n" + early)
    upstream = await scene.legacy.accept()
    await upstream.head()
    upstream.send(SWITCH)
    assert (await client.head()).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    return client, upstream


async def test_the_upgrade_goes_through_and_bytes_flow_both_ways() -> None:
    async with Scene(forward=SILENT) as scene:
        client = await scene.send(ASK + b"\r\nearly")
        upstream = await scene.legacy.accept()
        received = await upstream.head()
        assert set(received.split(b"\r\n")) == {
            b"GET /ws HTTP/1.1",
            b"Host: h",
            b"Sec-WebSocket-Key: k",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
        }
        upstream.send(SWITCH.replace(b"Sec-", b"Transfer-Encoding: chunked\r\nSec-") + b"hello")
        switched = await client.head()
        assert set(switched.split(b"\r\n")) == {
            b"HTTP/1.1 101 Switching Protocols",
            b"Sec-WebSocket-Accept: a",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
        }
        assert await client.exactly(5) == b"hello"
        assert await upstream.exactly(5) == b"early"
        for data in (b"\x00\xff" * 1000, b"GET / HTTP/1.1\r\n\r\n"):
            client.send(data)
            assert await upstream.exactly(len(data)) == data
            upstream.send(data)
            assert await client.exactly(len(data)) == data


async def test_each_half_is_closed_on_its_own() -> None:
    async with Scene() as scene:
        client, upstream = await tunnel(scene)
        client.half_close()
        assert await upstream.to_end() == b""
        upstream.send(b"still here")
        assert await client.exactly(10) == b"still here"
        upstream.close()
        assert await client.to_end() == b""
        await scene.told.until_passed(1)
        assert scene.told.passed == [("default", 101)]


async def test_the_upstreams_half_is_closed_on_its_own() -> None:
    async with Scene() as scene:
        client, upstream = await tunnel(scene)
        upstream.half_close()
        assert await client.to_end() == b""
        client.send(b"still here")
        assert await upstream.exactly(10) == b"still here"
        client.half_close()
        assert await upstream.to_end() == b""
        await scene.told.until_passed(1)


async def test_a_reset_on_one_side_is_seen_on_the_other() -> None:
    async with Scene() as scene:
        client, upstream = await tunnel(scene)
        upstream.reset()
        with pytest.raises(ConnectionError):
            await client.to_end()
        client, upstream = await tunnel(scene)
        client.reset()
        await upstream.gone()
        await scene.told.until_passed(2)


async def test_an_idle_tunnel_is_closed() -> None:
    async with Scene(tunnel_timeout=0.1) as scene:
        client, upstream = await tunnel(scene)
        await client.gone()
        await upstream.gone()


@pytest.mark.parametrize("upwards", [True, False])
async def test_a_tunnel_waits_for_a_slow_reader(upwards: bool) -> None:
    async with Scene() as scene:
        client, upstream = await tunnel(scene)
        writer, reader = (client, upstream) if upwards else (upstream, client)
        reader.writer.transport.pause_reading()  # type: ignore[attr-defined]
        size = 50_000_000
        writer.send(b"x" * size)
        left = -1
        while left != (left := writer.writer.transport.get_write_buffer_size()):
            for _ in range(200):
                await asyncio.sleep(0)
        assert left > size // 2
        reader.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await reader.exactly(size)) == size


async def test_however_much_was_sent_ahead_of_an_upgrade_it_and_what_follows_goes_through() -> None:
    async with Scene() as scene:
        early = b"x" * 200_000
        client, upstream = await tunnel(scene, early)
        assert await upstream.exactly(len(early)) == early
        client.send(b"more")
        assert await upstream.exactly(4) == b"more"


async def test_tunnels_do_not_count_as_connections() -> None:
    async with Scene(max_connections=1, queue_timeout=0.1) as scene:
        await tunnel(scene)
        await tunnel(scene)
        client = await scene.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await client.reply()).status == 204


async def test_a_declined_upgrade_is_an_ordinary_reply() -> None:
    async with Scene() as scene:
        client = await scene.send(ASK + b"\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        reply = await client.reply()
        assert (reply.status, reply.body, reply.field("Connection")) == (403, b"no", None)


async def test_what_was_sent_ahead_of_a_declined_upgrade_is_no_request() -> None:
    async with Scene() as scene:
        client = await scene.send(ASK + b"\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        assert (await client.reply()).field("Connection") == b"close"
        await client.gone()
        assert len(scene.seen) == 1


@pytest.mark.parametrize(
    "ask",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
    ],
)
async def test_an_upgrade_that_is_not_tunnelled_is_not_asked_for(ask: bytes) -> None:
    async with Scene(upgrade=("websocket", "h2c")) as scene:
        client = await scene.send(ask)
        upstream = await scene.legacy.accept()
        assert b"pgrade" not in await upstream.head()
        upstream.send(SWITCH)
        assert (await client.reply()).status == 502


@pytest.mark.parametrize(
    "switch",
    [
        SWITCH.replace(b"websocket", b"other"),
        SWITCH.replace(b"Upgrade: websocket\r\n", b""),
        SWITCH.replace(b"Connection: upgrade\r\n", b""),
        SWITCH.replace(b"Connection: upgrade", b"Connection: keep-alive"),
    ],
)
async def test_a_101_to_another_protocol_than_asked_for_is_502(switch: bytes) -> None:
    async with Scene() as scene:
        client = await scene.send(ASK + b"\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(switch)
        assert (await client.reply()).status == 502
        await upstream.gone()
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await client.reply()).status == 204


async def test_a_websocket_client_and_server_speak_through_it() -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data == "bye":
                await socket.close(code=4321)
            else:
                await socket.send_str(message.data)
        return socket

    application = web.Application()
    application.router.add_get("/ws", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with Scene(port=port) as scene, ClientSession() as session:
            url = "ws://{}:{}/ws".format(*scene.address)
            async with session.ws_connect(url, protocols=["chat"], compress=15, max_msg_size=0) as socket:
                assert socket.protocol == "chat"
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
                big = bytes(range(256)) * 12_000
                await socket.send_bytes(big)
                assert await socket.receive_bytes() == big
                await socket.send_str("bye")
                assert (await socket.receive()).type is WSMsgType.CLOSE
                assert socket.close_code == 4321
    finally:
        await runner.cleanup()


async def test_a_tunnel_whose_last_bytes_found_the_client_slow_stays_open() -> None:
    async with Scene(settings={"tick": 0.02}) as scene:
        client, upstream = await tunnel(scene)
        (connection,) = scene.front._desk.connections
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        size = 0
        while not connection.congested:
            upstream.send(b"x" * 100_000)
            size += 100_000
            await asyncio.sleep(0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await client.exactly(size)) == size
        assert not connection.congested
        assert connection.deadline > connection.desk.soon + 60, "it may be silent for an hour"
        upstream.send(b"later")
        assert await client.exactly(5) == b"later"


async def test_what_comes_along_with_the_101_and_is_not_read_lets_the_upstream_wait() -> None:
    async with Scene() as scene:
        client = await scene.send(ASK + b"\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        (connection,) = scene.front._desk.connections
        connection._transport = Full(connection)  # type: ignore[assignment]
        upstream.send(SWITCH)
        assert (await client.head()).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        exchange = connection._exchange
        assert isinstance(exchange, Tunnel)
        assert not exchange._link._transport.is_reading()  # type: ignore[attr-defined]
        connection.resume_writing()
        assert exchange._link._transport.is_reading()  # type: ignore[attr-defined]
        client.close()


class Full:
    """A transport whose buffer is full after each write."""

    def __init__(self, connection: ClientConnection) -> None:
        self._transport, self._connection = connection._transport, connection

    def write(self, data: bytes) -> None:
        self._transport.write(data)
        self._connection.pause_writing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
