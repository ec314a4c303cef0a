"""Requests that are ours: bodies that a handler reads, and requests that it passes on."""

from __future__ import annotations

import asyncio

import pytest

from strangler.domain.exchange import (
    Answer,
    BadBody,
    BodyTimeout,
    ClientGone,
    PassOn,
    Request,
)
from strangler.domain.problem import problem
from tests.front.raw import PATIENCE
from tests.front.scene import Scene, Waits

P = b"POST /ours HTTP/1.1\r\nHost: h\r\n"
G = b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def echo(request: Request) -> Answer:
    pieces = []
    while data := await request.body.read():
        pieces.append(data)
    return Answer(200, [(b"Content-Type", b"text/plain")], b"".join(pieces))


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


async def test_broken_framing_reaches_the_handler_which_answers() -> None:
    begun = asyncio.Event()

    async def reads(request: Request) -> Answer:
        try:
            assert await request.body.read() == b"hello"
            begun.set()
            return await echo(request)
        except BadBody as error:
            return problem("bad-request", str(error))

    async with Scene() as scene:
        scene.ours[b"/ours"] = reads
        client = await scene.send(P + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await begun.wait()
        client.send(b"zz\r\n")
        assert (await client.reply()).status == 400
        await client.gone()


async def test_a_body_that_stops_coming_is_told_to_the_handler_which_answers() -> None:
    async def reads(request: Request) -> Answer:
        try:
            return await echo(request)
        except BodyTimeout as error:
            return problem("request-timeout", str(error))

    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
        scene.ours[b"/ours"] = reads
        client = await scene.send(P + b"Content-Length: 10\r\n\r\nhello")
        assert (await client.reply()).status == 408
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
    async with Scene() as scene:
        scene.ours[b"/ours"] = waits = Waits()
        client = await scene.send(G)
        await waits.waiting.wait()
        client.close()
        await asyncio.wait_for(waits.cancelled.wait(), 5)


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
        assert scene.told.refusals == [("ours", "internal-error")]
        scene.told.failures.clear()
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).status == 200


@pytest.mark.parametrize("access_log", ["all", "recorded", "none"])
@pytest.mark.parametrize("error", [KeyError("defect"), BadBody("the handler's to answer")])
async def test_a_handler_that_fails_has_one_line_of_the_log(error: Exception, access_log: str) -> None:
    async def fails(request: Request) -> Answer:
        raise error

    async with Scene() as scene:
        scene.told.access_log = access_log
        scene.ours[b"/ours"] = fails
        assert (await (await scene.send(G)).reply()).status == 500
        line = ("GET", b"/ours", "ours", 500, "internal-error")
        assert scene.told.lines == ([line] if access_log != "none" else [])
        scene.told.failures.clear()


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


async def test_a_body_that_broke_before_anybody_read_it_is_not_passed_on_without_its_broken_part() -> None:
    decided = asyncio.Event()

    async def passes_on(request: Request) -> PassOn:
        await decided.wait()
        return PassOn()

    async with Scene() as scene:
        scene.ours[b"/ours"] = passes_on
        client = await scene.send(P + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        while not scene.seen:
            await asyncio.sleep(0)
        client.send(b"ZZ\r\nlost bytes\r\n3\r\nabc\r\n0\r\n\r\n")
        body = scene.seen[0].body
        async with asyncio.timeout(PATIENCE):
            while body.error is None:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
        decided.set()
        assert (await client.reply()).status == 400
        await client.gone()
        assert scene.legacy.accepted == 0
        assert scene.told.refusals == [("", "bad-request")]


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
