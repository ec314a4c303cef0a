"""How a client's connection ends: its last answer arrives, whatever it still sends, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import ssl
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from strangler.domain.exchange import Answer, Request
from strangler.front import Settings
from strangler.front.connection import LINGER
from tests.front.certificates import Authority, server_context
from tests.front.raw import PATIENCE, End
from tests.front.scene import Scene

BIG = 20_000_000
PIECE = 20_000
HELD = 1_000_000  # more than a client's kernel takes that reads nothing, less than ours does
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % BIG
OURS = b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /ours HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
EARLY = b"POST /ours HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel"

# How a client may have to be told no more than what was written, and seconds for which it may take nothing of it.
UNSENT = pytest.mark.parametrize(
    ("request_", "leaves", "patience"),
    [
        pytest.param(OURS, False, Settings().keepalive, id="idle"),
        pytest.param(LAST, False, Settings().body_idle_timeout, id="last"),
        pytest.param(EARLY, False, LINGER, id="early"),
        pytest.param(OURS, True, Settings().body_idle_timeout, id="half closed"),
    ],
)


async def until_unsent(scene: Scene) -> AsyncIterator[bytes]:
    """Pieces for the one client, until one of them is not taken."""
    (connection,) = scene.front._desk.connections
    while not connection._transport.get_write_buffer_size():  # type: ignore[attr-defined]
        yield b"x" * 16_384


async def secured(step: Callable[[], Any]) -> Any:
    """What a step over TLS gives when it need not wait any more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return step()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                await asyncio.sleep(0)


class ByHand(Scene):
    """One whose clock stands still: the test says what time it is."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(settings={"tick": 3600.0}, tls=tls)
        self.ours[b"/ours"] = Answer(200, [], b"x" * BIG)

    def look(self, seconds: float) -> None:
        """Nothing happens for so long after the deadlines began that were set last, and then the sweep is made."""
        self.front._desk.sweep(self.front._desk.soon + seconds)

    @property
    def unsent(self) -> int:
        """Bytes for all clients."""
        return sum(one._transport.get_write_buffer_size() for one in self.front._desk.connections)  # type: ignore[attr-defined]

    @property
    def untaken(self) -> int:
        """The same, with what the kernel holds of it."""
        held = 0
        for one in self.front._desk.connections:
            connected = one._transport.get_extra_info("socket")  # type: ignore[attr-defined]
            held += struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        return self.unsent + held

    async def until_full(self) -> None:
        """Until the one client has to make room, all is written to it, or it is gone."""
        for one in list(self.front._desk.connections):
            async with asyncio.timeout(PATIENCE):
                while one._exchange is not None and not one.congested:  # type: ignore[attr-defined]
                    await asyncio.sleep(0)

    async def read_slowly(self, client: End, patience: float) -> bytes:
        """The body that a client gets which takes, in nearly all of its patience, as little as can be taken."""
        descriptor = client.writer.get_extra_info("socket").fileno()  # of a transport that reads nothing
        got, stood_still = bytearray(), 0
        await self.until_full()
        while unsent := self.unsent:
            self.look(patience + 1)
            untaken = self.untaken
            async with asyncio.timeout(PATIENCE):
                while self.untaken == untaken:
                    with contextlib.suppress(BlockingIOError):
                        got += os.read(descriptor, PIECE)
                    await asyncio.sleep(0)
            stood_still += self.unsent == unsent
            await self.until_full()
        assert stood_still, "every step is one that the transport sees as well"
        head, _, body = bytes(got).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        return body + await client.exactly(BIG - len(body))

    async def answered(self, request: bytes, *, leaves: bool) -> End:
        """A client to which all of an answer is written, and which has read nothing."""
        client = await self.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(request)
        while not self.seen:
            await asyncio.sleep(0)
        (connection,) = self.front._desk.connections
        if leaves:
            client.half_close()
            while not connection._transport.is_closing():  # type: ignore[attr-defined]
                await asyncio.sleep(0)
        return client


@UNSENT
async def test_an_answer_arrives_whole_however_slowly_it_is_read(
    request_: bytes, leaves: bool, patience: float
) -> None:
    async with ByHand() as scene:
        client = await scene.answered(request_, leaves=leaves)
        assert await scene.read_slowly(client, patience) == b"x" * BIG


async def test_an_answer_in_pieces_arrives_whole_however_slowly_it_is_read() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BIG // PIECE):
            yield b"x" * PIECE

    async with ByHand() as scene:
        scene.ours[b"/ours"] = Answer(200, [], pieces(), length=BIG)
        client = await scene.answered(OURS, leaves=False)
        assert await scene.read_slowly(client, Settings().body_idle_timeout) == b"x" * BIG


async def test_what_passes_through_arrives_whole_however_slowly_it_is_read() -> None:
    async with ByHand() as scene:
        client = await scene.answered(OURS.replace(b"/ours", b"/"), leaves=False)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG + b"x" * BIG)
        assert await scene.read_slowly(client, scene.way.upstream.idle_timeout) == b"x" * BIG


async def test_over_tls_an_answer_is_not_cut_off_while_some_of_it_is_taken(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.ca)
    async with ByHand(tls=server_context(authority)) as scene:
        plain = socket.create_connection(scene.address)
        plain.setblocking(False)
        with context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False) as client:
            await secured(client.do_handshake)
            client.send(LAST)
            while not scene.seen:
                await asyncio.sleep(0)
            await scene.until_full()
            got, looks = 0, 0
            while scene.front.connections and (untaken := scene.untaken):
                scene.look(Settings().body_idle_timeout + 1)
                looks += 1
                async with asyncio.timeout(PATIENCE):
                    while scene.front.connections and scene.untaken == untaken:
                        with contextlib.suppress(ssl.SSLWantReadError):
                            got += len(client.recv(PIECE))
                        await asyncio.sleep(0)
            assert looks > 2
            while got < BIG:
                piece = await secured(partial(client.recv, BIG))
                assert piece, "it was cut off"
                got += len(piece)


async def test_who_takes_nothing_of_what_passes_through_is_cut_off() -> None:
    async with ByHand() as scene:
        client = await scene.answered(OURS.replace(b"/ours", b"/"), leaves=False)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG + b"x" * BIG)
        await scene.until_full()
        scene.look(1)
        scene.look(scene.way.upstream.idle_timeout + 1)
        async with asyncio.timeout(PATIENCE):
            await scene.front.drained()
        client.writer.transport.abort()


@UNSENT
async def test_who_takes_nothing_for_the_whole_of_its_time_is_cut_off_then(
    request_: bytes, leaves: bool, patience: float
) -> None:
    async with ByHand() as scene:
        client = await scene.answered(request_, leaves=leaves)
        (connection,) = scene.front._desk.connections
        scene.look(1)
        desk = scene.front._desk
        ends_at = desk.soon + patience
        desk.sweep(ends_at - 1)
        assert connection.deadline == ends_at
        desk.sweep(ends_at + 1)
        async with asyncio.timeout(PATIENCE):
            await scene.front.drained()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await client.reader.read(BIG)) < BIG


async def test_who_takes_nothing_of_an_answer_that_the_kernel_holds_has_its_time_once() -> None:
    async with ByHand() as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"x" * HELD)
        client = await scene.answered(OURS, leaves=False)
        await scene.until_full()
        (connection,) = scene.front._desk.connections
        assert scene.untaken
        assert not connection.congested  # type: ignore[attr-defined]
        scene.look(1)
        desk = scene.front._desk
        ends_at = desk.soon + Settings().keepalive
        desk.sweep(ends_at - 1)
        desk.sweep(ends_at + 1)
        async with asyncio.timeout(PATIENCE):
            await scene.front.drained()
        client.writer.transport.abort()


async def test_a_connection_whose_big_answer_is_read_stays_open_for_as_long_as_any_other() -> None:
    async with ByHand() as scene:
        scene.ours[b"/small"] = Answer(204)
        client = await scene.answered(OURS, leaves=False)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.reply()).body) == BIG
        scene.look(1)
        client.send(OURS)
        async with asyncio.timeout(PATIENCE):
            while not scene.unsent:
                await asyncio.sleep(0)
        scene.look(1)
        assert len((await client.reply()).body) == BIG
        client.send(OURS.replace(b"/ours", b"/small"))
        assert (await client.reply()).status == 204
        scene.look(1)
        scene.look(Settings().keepalive + 1)
        assert await client.to_end() == b""


@pytest.mark.parametrize(("unread", "lives"), [(100, False), (HELD, True)])
async def test_what_was_only_on_its_way_at_the_first_look_makes_no_second_idle_life(
    monkeypatch: pytest.MonkeyPatch, unread: int, lives: bool
) -> None:
    """A client far away acknowledges an answer after the first look. Who was slow to read has his time from then on."""
    async with ByHand() as scene:
        scene.ours[b"/small"] = Answer(200, [], b"hello")
        client = await scene.send(OURS.replace(b"/ours", b"/small"))
        assert (await client.reply()).body == b"hello"
        with monkeypatch.context() as kernel:
            kernel.setattr("fcntl.ioctl", lambda *question: unread.to_bytes(4, sys.byteorder))
            scene.look(1)
        scene.look(Settings().keepalive + 1)
        await asyncio.sleep(0)
        assert bool(scene.front._desk.connections) == lives
        client.close()


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
        async for piece in until_unsent(scene):
            yield piece
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


async def test_who_leaves_in_the_middle_of_a_request_and_does_not_read_the_last_answer_is_closed() -> None:
    async def streams(request: Request) -> Answer:
        return Answer(200, [], until_unsent(scene))

    async def reads(request: Request) -> Answer:
        while await request.body.read():
            pass
        return Answer(204)

    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
        scene.ours |= {b"/ours": streams, b"/reads": reads}
        client = await scene.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(OURS + EARLY.replace(b"/ours", b"/reads"))
        while len(scene.seen) < 2:
            await asyncio.sleep(0)
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
