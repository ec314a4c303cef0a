"""Answers of ours: framed by the front, in one piece or in many, for readers of any speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from strangler.domain.exchange import Answer, Header, Request
from strangler.domain.last_piece import LastPiece
from strangler.front.response import respond
from tests.front.scene import Scene

G = b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n"


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


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
        (b"HEAD /ours HTTP/1.1", Answer(200, [], b"", as_it_came=True), b"HTTP/1.1 200 OK", b""),
        (b"GET /ours HTTP/1.1", Answer(204), b"HTTP/1.1 204 No Content", b""),
        (
            b"GET /ours HTTP/1.1",
            Answer(204, [(b"Content-Length", b"0"), (b"X-A", b"1")], b"", as_it_came=True),
            b"HTTP/1.1 204 No Content\r\nX-A: 1",
            b"",
        ),
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
        (
            b"GET /ours HTTP/1.1",
            Answer(304, [(b"Content-Length", b"77")], b""),
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77",
            b"",
        ),
        (
            b"GET /ours HTTP/1.1",
            Answer(200, [(b"Content-Length", b"3"), (b"Content-Length", b"3")], b"abc"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 3",
            b"abc",
        ),
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
        assert received.lower().count(b"content-length") == head.lower().count(b"content-length")
        assert rest.startswith(body + b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("as_it_came", [False, True])
def test_an_answer_has_a_date_of_its_own_or_ours_but_what_came_without_one_goes_without(as_it_came: bool) -> None:
    def dates(*headers: Header) -> list[bytes]:
        answer = Answer(200, list(headers), b"", as_it_came=as_it_came)
        head = respond(answer, to_head=False, old=False, keep=True, date=b"now").head
        return [line for line in head.split(b"\r\n") if line.startswith(b"Date")]

    assert dates((b"Date", b"then")) == [b"Date: then"]
    assert dates() == ([] if as_it_came else [b"Date: now"])


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_by_its_status_is_written_without_one(status: int) -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(status, [], pieces(b"abc"))
        scene.ours[b"/last"] = Answer(200, [], b"last")
        client = await scene.send(G + G.replace(b"ours", b"last"))
        assert (await client.reply()).status == status
        last = await client.reply()
        assert last.head.startswith(b"HTTP/1.1 200 ")
        assert last.body == b"last"


async def test_a_client_of_old_is_told_that_its_connection_stays() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"abc")
        client = await scene.client()
        for _ in range(2):
            client.send(b"GET /ours HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
            reply = await client.reply()
            assert (reply.body, reply.field("Connection")) == (b"abc", b"keep-alive")


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
