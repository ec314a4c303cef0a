"""Upgraded connections: a channel for its handler until one of both ends it."""

from __future__ import annotations

import asyncio
import contextlib

from strangler.domain.exchange import (
    Channel,
    Request,
    Upgrade,
)
from tests.front.scene import Scene

ASK = b"GET /ours HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
MORE_THAN_IS_BUFFERED = b"x" * (24 << 20)  # by two sockets of loopback


async def test_an_upgraded_connection_is_a_channel_for_its_handler() -> None:
    async def shout(channel: Channel) -> None:
        while data := await channel.read():
            await channel.write(data.upper())
        await channel.write(b"bye")

    async def upgrades(request: Request) -> Upgrade:
        return Upgrade(b"websocket", [(b"Sec-WebSocket-Accept", b"x"), (b"Connection", b"close")], shout)

    async with Scene() as scene:
        scene.ours[b"/ours"] = upgrades
        client = await scene.send(ASK + b"early")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n")
        assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket" in head
        assert await client.exactly(5) == b"EARLY"
        client.send(b"later")
        assert await client.exactly(5) == b"LATER"
        client.half_close()
        assert await client.to_end() == b"bye"


async def test_a_channel_that_hangs_up_reads_nothing_more() -> None:
    async def hangs_up(channel: Channel) -> None:
        reading = asyncio.ensure_future(channel.read())
        await asyncio.sleep(0)
        channel.hang_up()
        assert await reading == b""
        assert await channel.read() == b""
        await channel.write(b"bye")

    async def upgrades(request: Request) -> Upgrade:
        return Upgrade(b"websocket", [], hangs_up)

    async with Scene() as scene:
        scene.ours[b"/ours"] = upgrades
        client = await scene.send(ASK)
        await client.head()
        client.send(b"x" * 100_000)
        assert await client.to_end() == b"bye"


async def test_a_conversation_ends_when_its_client_is_gone() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def waits(channel: Channel) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def upgrades(request: Request) -> Upgrade:
        return Upgrade(b"websocket", [], waits)

    async with Scene() as scene:
        scene.ours[b"/ours"] = upgrades
        client = await scene.send(ASK)
        await begun.wait()
        client.reset()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_channel_drops_a_client_that_reads_nothing_for_too_long() -> None:
    cancelled = asyncio.Event()

    async def floods(channel: Channel) -> None:
        try:
            while True:
                await channel.write(b"x" * 65536)
        finally:
            cancelled.set()

    async def upgrades(request: Request) -> Upgrade:
        return Upgrade(b"websocket", [], floods)

    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
        scene.ours[b"/ours"] = upgrades
        client = await scene.send(ASK)
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_channel_drops_a_client_that_sends_but_reads_nothing() -> None:
    cancelled, news = asyncio.Event(), asyncio.Event()

    async def tells_and_listens(channel: Channel) -> None:
        telling = asyncio.ensure_future(channel.write(MORE_THAN_IS_BUFFERED))
        try:
            while await channel.read():
                news.set()
        finally:
            telling.cancel()
            cancelled.set()

    async def upgrades(request: Request) -> Upgrade:
        return Upgrade(b"websocket", [], tells_and_listens)

    async with Scene(settings={"body_idle_timeout": 0.5}) as scene:
        scene.ours[b"/ours"] = upgrades
        client = await scene.send(ASK)
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"still here")
        await asyncio.wait_for(news.wait(), 5)
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_channel_waits_for_a_slow_reader() -> None:
    told: list[int] = []

    async def tells(channel: Channel) -> None:
        for number in range(400):
            await channel.write(b"x" * 65536)
            told.append(number)

    async def upgrades(request: Request) -> Upgrade:
        return Upgrade(b"websocket", [], tells)

    async with Scene() as scene:
        scene.ours[b"/ours"] = upgrades
        client = await scene.send(ASK)
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(500):
            await asyncio.sleep(0)
        assert 0 < len(told) < 400
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await client.to_end()) == 400 * 65536


async def test_all_who_write_to_a_slow_reader_go_on_when_there_is_room() -> None:
    waiting = asyncio.Event()

    async def two_tell(channel: Channel) -> None:
        first = asyncio.ensure_future(channel.write(MORE_THAN_IS_BUFFERED))
        given_up = asyncio.ensure_future(channel.write(b"?"))
        second = asyncio.ensure_future(channel.write(b"!"))
        await asyncio.sleep(0)
        assert not any(writing.done() for writing in (first, given_up, second))
        given_up.cancel()
        waiting.set()
        await asyncio.gather(first, second)
        assert given_up.cancelled()

    async def upgrades(request: Request) -> Upgrade:
        return Upgrade(b"websocket", [], two_tell)

    async with Scene() as scene:
        scene.ours[b"/ours"] = upgrades
        client = await scene.send(ASK)
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(waiting.wait(), 5)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await client.to_end())[len(MORE_THAN_IS_BUFFERED) :] == b"?!"


async def test_a_conversation_that_fails_is_told_and_broken_off() -> None:
    async def fails(channel: Channel) -> None:
        raise KeyError("defect")

    async def upgrades(request: Request) -> Upgrade:
        return Upgrade(b"websocket", [], fails)

    async with Scene() as scene:
        scene.ours[b"/ours"] = upgrades
        client = await scene.send(ASK)
        with contextlib.suppress(ConnectionError):
            await client.to_end()
        assert [type(error) for error in scene.told.failures] == [KeyError]
        scene.told.failures.clear()
