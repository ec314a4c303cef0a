"""How a client's connection ends: its last answer arrives, whatever it still sends, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from strangler.domain.exchange import Answer, Request
from tests.front.raw import PATIENCE
from tests.front.scene import Scene

BIG = 20_000_000
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % BIG
OURS = b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /ours HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


async def test_what_nobody_reads_any_more_is_taken_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.front.connection.LINGER", 600.0)
    async with Scene() as scene:
        client = await scene.send(POST)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"x" * BIG)
        left = -1
        while left != (left := client.writer.transport.get_write_buffer_size()):
            for _ in range(200):
                await asyncio.sleep(0)
        upstream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        assert (await client.reply()).body == b"big"
        async with asyncio.timeout(PATIENCE):
            while client.writer.transport.get_write_buffer_size():
                await asyncio.sleep(0)
        assert await client.to_end() == b""


async def test_a_client_that_goes_on_for_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.front.connection.LINGER", 0.1)
    async with Scene() as scene:
        client = await scene.send(b"nonsense\r\n\r\n")
        assert (await client.reply()).status == 400
        async with asyncio.timeout(PATIENCE):
            await scene.front.drained()


async def test_a_client_that_does_not_read_its_last_answer_is_closed() -> None:
    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"x" * BIG)
        client = await scene.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(LAST)
        await client.drain()
        while not scene.seen:
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await scene.front.drained()


async def test_a_handler_has_more_time_than_a_head() -> None:
    go = asyncio.Event()

    async def waits(request: Request) -> Answer:
        await go.wait()
        return Answer(204)

    async with Scene(settings={"head_timeout": 0.1}) as scene:
        scene.ours[b"/ours"] = waits
        patient = await scene.send(OURS)
        while not scene.seen:
            await asyncio.sleep(0)
        slow = await scene.send(OURS[:1])
        assert (await slow.reply()).status == 408
        go.set()
        assert (await patient.reply()).status == 204


async def test_a_client_that_sends_its_end_and_does_not_read_is_closed() -> None:
    unsent = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        (connection,) = scene.front._desk.connections
        while not connection._transport.get_write_buffer_size():  # type: ignore[attr-defined]
            yield b"x" * 16_384
        unsent.set()
        await asyncio.Event().wait()

    async def streams(request: Request) -> Answer:
        return Answer(200, [], pieces())

    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
        scene.ours[b"/ours"] = streams
        client = await scene.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(OURS)
        await unsent.wait()
        client.half_close()
        async with asyncio.timeout(PATIENCE):
            await scene.front.drained()


async def test_nothing_is_begun_for_a_client_that_has_left() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"x" * BIG)
        client = await scene.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(OURS + b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
        client.half_close()
        while not scene.seen:
            await asyncio.sleep(0)
        (connection,) = scene.front._desk.connections
        async with asyncio.timeout(PATIENCE):
            while not connection._transport.is_closing():  # type: ignore[attr-defined]
                await asyncio.sleep(0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.reply()).body) == BIG
        assert await client.to_end() == b""
        assert [request.path for request in scene.seen] == [b"/ours"]
