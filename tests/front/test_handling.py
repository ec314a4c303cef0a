"""Requests that are ours: bodies read by a handler, answers framed by the front."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from strangler.domain.exchange import (
    Answer,
    BadBody,
    BodyTimeout,
    Channel,
    ClientGone,
    LastPiece,
    PassOn,
    Request,
    Upgrade,
)
from strangler.domain.problem import problem
from tests.front.scene import Scene

P = b"POST /ours HTTP/1.1\r\nHost: h\r\n"
G = b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def echo(request: Request) -> Answer:
    pieces = []
    while data := await request.body.read():
        pieces.append(data)
    return Answer(200, [(b"Content-Type", b"text/plain")], b"".join(pieces))


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def test_a_handler_reads_a_body_of_any_framing_and_its_answer_is_framed() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = echo
        client = await scene.client()
        for request, expected in (
            (P + b"Content-Length: 5\r\n\r\nhello", b"hello"),
            (P + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n", b"hello"),
            (P + b"Content-Length: 0\r\n\r\n", b""),
            (G, b""),
        ):
            client.send(request)
            reply = await client.reply()
            assert (reply.status, reply.body) == (200, expected)
            assert reply.field("Content-Length") == b"%d" % len(expected)
            assert reply.field("Date") is not None
        assert [request.has_body for request in scene.seen] == [True, True, False, False]
        assert [request.content_length for request in scene.seen] == [5, None, 0, None]
        assert scene.legacy.accepted == 0


async def test_a_body_that_comes_in_pieces_is_read_in_pieces() -> None:
    read: asyncio.Queue[bytes] = asyncio.Queue()

    async def reads(request: Request) -> Answer:
        while data := await request.body.read():
            read.put_nowait(data)
        assert await request.body.read() == b""
        return Answer(204)

    async with Scene() as scene:
        scene.ours[b"/ours"] = reads
        client = await scene.send(P + b"Content-Length: 9\r\n\r\n")
        for piece in (b"one", b"two", b"six"):
            client.send(piece)
            assert await asyncio.wait_for(read.get(), 5) == piece
        assert (await client.reply()).status == 204


async def test_a_client_waits_while_a_handler_does_not_read() -> None:
    go_on = asyncio.Event()
    size = 32 * 1024 * 1024

    async def slow(request: Request) -> Answer:
        await go_on.wait()
        total = 0
        while data := await request.body.read():
            assert len(data) < 2 * 1024 * 1024
            total += len(data)
        return Answer(200, [], b"%d" % total)

    async with Scene() as scene:
        scene.ours[b"/ours"] = slow
        client = await scene.send(P + b"Content-Length: %d\r\n\r\n" % size)
        client.send(b"x" * size)
        left = -1
        while left != (left := client.writer.transport.get_write_buffer_size()):
            for _ in range(200):
                await asyncio.sleep(0)
        assert left > size // 2
        go_on.set()
        assert (await client.reply()).body == b"%d" % size


async def test_100_continue_is_sent_when_the_body_is_first_read() -> None:
    go_on = asyncio.Event()

    async def hesitant(request: Request) -> Answer:
        await go_on.wait()
        return await echo(request)

    async with Scene() as scene:
        scene.ours[b"/ours"] = hesitant
        client = await scene.send(P + b"Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
        go_on.set()
        assert await client.head() == b"HTTP/1.1 100 Continue"
        client.send(b"hello")
        assert (await client.reply()).body == b"hello"


async def test_a_refusal_instead_of_100_continue_closes_the_connection() -> None:
    async def refuses(request: Request) -> Answer:
        return problem("body-too-large", "No.")

    async with Scene() as scene:
        scene.ours[b"/ours"] = refuses
        client = await scene.send(P + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.field("Connection")) == (413, b"close")
        await client.gone()


async def test_no_100_continue_where_the_body_is_there_already() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = echo
        client = await scene.send(P + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        assert (await client.reply()).status == 200


async def test_broken_framing_reaches_the_handler_and_the_client() -> None:
    raised: list[BaseException] = []
    begun = asyncio.Event()

    async def reads(request: Request) -> Answer:
        try:
            assert await request.body.read() == b"hello"
            begun.set()
            return await echo(request)
        except BadBody as error:
            raised.append(error)
            raise

    async with Scene() as scene:
        scene.ours[b"/ours"] = reads
        client = await scene.send(P + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await begun.wait()
        client.send(b"zz\r\n")
        assert (await client.reply()).status == 400
        assert len(raised) == 1
        await client.gone()


async def test_a_body_that_stops_coming_is_408() -> None:
    raised: list[BaseException] = []

    async def reads(request: Request) -> Answer:
        try:
            return await echo(request)
        except BodyTimeout as error:
            raised.append(error)
            raise

    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
        scene.ours[b"/ours"] = reads
        client = await scene.send(P + b"Content-Length: 10\r\n\r\nhello")
        assert (await client.reply()).status == 408
        assert len(raised) == 1
        await client.gone()


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_gone_for_the_handler(leave: str) -> None:
    raised: asyncio.Queue[BaseException] = asyncio.Queue()
    reading = asyncio.Event()

    async def reads(request: Request) -> Answer:
        try:
            await request.body.read()
            reading.set()
            return await echo(request)
        except ClientGone as error:
            raised.put_nowait(error)
            raise

    async with Scene() as scene:
        scene.ours[b"/ours"] = reads
        client = await scene.send(P + b"Content-Length: 10\r\n\r\nhello")
        await reading.wait()
        getattr(client, leave)()
        assert isinstance(await asyncio.wait_for(raised.get(), 5), ClientGone)


async def test_a_client_that_leaves_cancels_a_handler_that_waits() -> None:
    waiting, cancelled = asyncio.Event(), asyncio.Event()

    async def waits(request: Request) -> Answer:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with Scene() as scene:
        scene.ours[b"/ours"] = waits
        client = await scene.send(G)
        await waiting.wait()
        client.close()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_client_that_leaves_cancels_a_handler_that_has_not_read_the_body() -> None:
    waiting, cancelled = asyncio.Event(), asyncio.Event()

    async def waits(request: Request) -> Answer:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(ClientGone):
                await request.body.read()
            cancelled.set()
            raise
        raise AssertionError

    async with Scene() as scene:
        scene.ours[b"/ours"] = waits
        client = await scene.send(P + b"Content-Length: 5\r\n\r\n")
        await waiting.wait()
        client.reset()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_handler_may_use_timeouts_from_its_first_line() -> None:
    async def waits(request: Request) -> Answer:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return Answer(200, [], b"waited")
        raise AssertionError

    async with Scene() as scene:
        scene.ours[b"/ours"] = waits
        client = await scene.send(G)
        assert (await client.reply()).body == b"waited"


async def test_a_handler_that_fails_is_500_and_told() -> None:
    async def fails(request: Request) -> Answer:
        raise KeyError("defect")

    async with Scene() as scene:
        scene.ours[b"/ours"] = fails
        client = await scene.send(G + b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, b"internal-error" in reply.body, b"defect" in reply.body) == (500, True, False)
        assert [type(error) for error in scene.told.failures] == [KeyError]
        scene.told.failures.clear()
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).status == 200


async def test_pipelined_requests_of_ours_are_answered_in_order() -> None:
    async def number(request: Request) -> Answer:
        await asyncio.sleep(0)
        return Answer(200, [], request.query or b"")

    async with Scene() as scene:
        scene.ours[b"/ours"] = number
        scene.ours[b"/now"] = Answer(200, [], b"now")
        request = b"GET /ours?%d HTTP/1.1\r\nHost: h\r\n\r\nGET /now HTTP/1.1\r\nHost: h\r\n\r\n"
        client = await scene.send(b"".join(request % n for n in range(200)))
        for n in range(200):
            assert (await client.reply()).body == b"%d" % n
            assert (await client.reply()).body == b"now"


async def test_a_client_that_reads_no_answers_gets_no_more_of_them() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"x" * 10_000)
        client = await scene.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(G * 50_000)
        before = -1
        while before != (before := len(scene.seen)):
            for _ in range(200):
                await asyncio.sleep(0)
        assert 0 < before < 25_000
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(before + 1000):
            assert (await client.reply()).status == 200


@pytest.mark.parametrize(
    ("request_line", "answer", "head", "body"),
    [
        (b"GET /ours HTTP/1.1", Answer(200, [], b"abc"), b"HTTP/1.1 200 OK\r\nContent-Length: 3", b"abc"),
        (b"HEAD /ours HTTP/1.1", Answer(200, [], b"abc"), b"HTTP/1.1 200 OK\r\nContent-Length: 3", b""),
        (
            b"HEAD /ours HTTP/1.1",
            Answer(200, [(b"Content-Length", b"77")], b""),
            b"HTTP/1.1 200 OK\r\nContent-Length: 77",
            b"",
        ),
        (b"GET /ours HTTP/1.1", Answer(204), b"HTTP/1.1 204 No Content", b""),
        (b"GET /ours HTTP/1.1", Answer(304, [(b"ETag", b"x")]), b"HTTP/1.1 304 Not Modified\r\nETag: x", b""),
        (
            b"GET /ours HTTP/1.1",
            Answer(200, [(b"X-A", b"1"), (b"content-length", b"3"), (b"X-A", b"2")], b"abc", reason=b"Fine"),
            b"HTTP/1.1 200 Fine\r\nX-A: 1\r\ncontent-length: 3\r\nX-A: 2",
            b"abc",
        ),
        (
            b"GET /ours HTTP/1.1",
            Answer(200, [(b"Content-Length", b"9"), (b"Connection", b"x"), (b"Transfer-Encoding", b"chunked")], b"abc"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 3",
            b"abc",
        ),
        (b"GET /ours HTTP/1.1", Answer(599, [], b""), b"HTTP/1.1 599 \r\nContent-Length: 0", b""),
    ],
)
async def test_an_answer_is_framed(request_line: bytes, answer: Answer, head: bytes, body: bytes) -> None:
    answer.headers.append((b"Date", b"then"))
    async with Scene() as scene:
        scene.ours[b"/ours"] = answer
        scene.ours[b"/last"] = Answer(200, [], b"last")
        client = await scene.send(
            request_line + b"\r\nHost: h\r\n\r\nGET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        received, _, rest = (await client.to_end()).partition(b"\r\n\r\n")
        lines = set(received.split(b"\r\n")) - {b"Date: then"}
        assert lines == set(head.split(b"\r\n"))
        assert rest.startswith(body + b"HTTP/1.1 200 OK\r\n")


async def test_an_iterated_answer_is_chunked_or_has_its_length_or_ends_with_the_connection() -> None:
    async with Scene() as scene:
        client = await scene.client()
        scene.ours[b"/ours"] = Answer(200, [], pieces(b"one", b"", b"two"))
        client.send(G)
        reply = await client.reply()
        assert (reply.field("Transfer-Encoding"), reply.body) == (b"chunked", b"onetwo")
        scene.ours[b"/ours"] = Answer(200, [], pieces(b"one", b"two"), length=6)
        client.send(G)
        reply = await client.reply()
        assert (reply.field("Content-Length"), reply.body) == (b"6", b"onetwo")
        scene.ours[b"/ours"] = Answer(200, [], pieces(b"one", b"two"), length=6)
        client.send(b"HEAD" + G[3:])
        assert (await client.reply(to_head=True)).field("Content-Length") == b"6"
        scene.ours[b"/ours"] = Answer(200, [], pieces(b"one", b"two"))
        client.send(b"GET /ours HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        reply = await client.reply()
        assert (reply.field("Transfer-Encoding"), reply.field("Connection"), reply.body) == (None, b"close", b"onetwo")


async def test_the_end_of_an_iterated_answer_is_sent_along_with_its_last_piece() -> None:
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield LastPiece(b"two")
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def answers(request: Request) -> Answer:
        return Answer(200, [], pieces())

    async with Scene() as scene:
        scene.ours[b"/ours"] = answers
        client = await scene.send(b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.reply()).body == b"onetwo"
        assert closed.is_set()
        client.send(b"GET /ours HTTP/1.0\r\nHost: h\r\n\r\n")
        scene.ours[b"/ours"] = Answer(200, [], b"next")
        assert (await client.reply()).body == b"next", "the connection is there for the next one"


@pytest.mark.parametrize("length", [None, 6])
async def test_an_iterated_answer_that_breaks_is_no_clean_end(length: int | None) -> None:
    closed = asyncio.Event()

    async def breaks() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            raise ConnectionError("the upstream broke off")
        finally:
            closed.set()

    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], breaks(), length=length)
        client = await scene.send(G)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reply()
        assert closed.is_set()


@pytest.mark.parametrize("length", [2, 7])
async def test_an_iterated_answer_never_says_another_length_than_it_has(length: int) -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], pieces(b"one", b"two"), length=length)
        client = await scene.send(G)
        await client.head()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.exactly(7)
        assert [type(error) for error in scene.told.failures] == [ValueError]
        scene.told.failures.clear()


async def test_an_iterated_answer_waits_for_a_slow_reader_and_ends_when_it_leaves() -> None:
    produced = 0
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        nonlocal produced
        try:
            while True:
                produced += 1
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], endless())
        client = await scene.send(G)
        await client.head()
        client.reader._limit = 1 << 16  # type: ignore[attr-defined]
        before = -1
        while before != (before := produced):
            for _ in range(200):
                await asyncio.sleep(0)
        assert 0 < produced < 1000
        client.close()
        await asyncio.wait_for(closed.wait(), 5)


async def test_an_iterated_answer_goes_on_when_a_slow_reader_reads() -> None:
    async def many() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b"x" * 65536

    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], many())
        client = await scene.send(G)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(500):
            await asyncio.sleep(0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.reply()).body) == 400 * 65536


async def test_the_answer_to_head_of_unknown_length_has_none() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], pieces(b"one"))
        client = await scene.send(b"HEAD" + G[3:])
        reply = await client.reply(to_head=True)
        assert (reply.field("Content-Length"), reply.field("Transfer-Encoding")) == (None, None)
        scene.ours[b"/ours"] = Answer(200, [], b"next")
        client.send(G)
        assert (await client.reply()).body == b"next"


async def test_a_reader_that_stalls_for_too_long_is_dropped() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.set()

    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
        scene.ours[b"/ours"] = Answer(200, [], endless())
        client = await scene.send(G)
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(closed.wait(), 5)


@pytest.mark.parametrize(
    ("framing", "first", "rest"),
    [
        (b"Content-Length: 10", b"hello", b"world"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n3\r\nwo", b"r\r\n2;x\r\nld\r\n0\r\nX-T: 1\r\n\r\n"),
    ],
)
async def test_what_a_handler_has_read_goes_upstream_before_the_rest(framing: bytes, first: bytes, rest: bytes) -> None:
    async def passes_on(request: Request) -> PassOn:
        return PassOn([await request.body.read()])

    async with Scene() as scene:
        scene.ours[b"/ours"] = passes_on
        client = await scene.send(P + framing + b"\r\n\r\n" + first)
        upstream = await scene.legacy.accept()
        assert b"\r\n" + framing in await upstream.head()
        client.send(rest)
        if b"chunked" in framing:
            assert await upstream.chunks() == b"helloworld"
        else:
            assert await upstream.exactly(10) == b"helloworld"
        upstream.send(OK)
        assert (await client.reply()).status == 200
        await scene.told.until_passed(1)


async def test_trailers_survive_passing_on() -> None:
    async def passes_on(request: Request) -> PassOn:
        read = []
        while data := await request.body.read():
            read.append(data)
        return PassOn(read)

    async with Scene() as scene:
        scene.ours[b"/ours"] = passes_on
        client = await scene.send(P + b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\nX-T: 1\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        expected = b"3\r\none\r\n0\r\nX-T: 1\r\n\r\n"
        assert await upstream.exactly(len(expected)) == expected
        upstream.send(OK)
        assert (await client.reply()).status == 200


async def test_passing_on_without_reading_changes_nothing() -> None:
    async def passes_on(request: Request) -> PassOn:
        return PassOn()

    async with Scene() as scene:
        scene.ours[b"/ours"] = passes_on
        client = await scene.send(P + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        upstream = await scene.legacy.accept()
        assert b"Expect: 100-continue" in await upstream.head()
        upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue"
        client.send(b"hello")
        assert await upstream.exactly(5) == b"hello"
        upstream.send(OK)
        assert (await client.reply()).status == 200
        client.send(G)
        assert (await upstream.head()).startswith(b"GET /ours ")
        upstream.send(OK)
        assert (await client.reply()).status == 200


async def test_passing_on_after_100_continue_asks_for_no_second_one() -> None:
    async def passes_on(request: Request) -> PassOn:
        return PassOn([await request.body.read()])

    async with Scene() as scene:
        scene.ours[b"/ours"] = passes_on
        client = await scene.send(P + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue"
        client.send(b"hello")
        upstream = await scene.legacy.accept()
        assert b"Expect" not in await upstream.head()
        assert await upstream.exactly(5) == b"hello"
        upstream.send(OK)
        assert (await client.reply()).status == 200


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

    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
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
