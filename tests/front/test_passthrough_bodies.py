"""Bodies both ways: framing kept, nothing decompressed, nothing piled up, and connections kept where they can be."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc

import pytest

from strangler.domain.exchange import Answer
from strangler.policy.upstreams import Forward
from tests.front.raw import End
from tests.front.scene import Scene

SILENT = Forward(x_forwarded=False, forwarded=False, via=False)
G = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_body_with_a_length_keeps_it_and_stays_compressed() -> None:
    body = gzip.compress(b"hello" * 100)
    async with Scene(forward=SILENT) as scene:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: %d" % len(body)
        client = await scene.send(head + b"\r\n\r\n" + body)
        upstream = await scene.legacy.accept()
        assert await upstream.head() == head
        assert await upstream.exactly(len(body)) == body
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (await client.reply()).body == body


async def test_chunks_extensions_and_trailers_go_through_as_they_came() -> None:
    extension = b";name=" + b"v" * 1018  # as long as all of them may be
    chunked = b"5%b\r\nhello\r\n000a\r\n0123456789\r\n0\r\nX-Trailer: t\r\nx-other:u\r\n\r\n" % extension
    async with Scene(forward=SILENT) as scene:
        head = b"POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: Chunked\r\nTrailer: X-Trailer"
        client = await scene.send(head + b"\r\n\r\n" + chunked)
        upstream = await scene.legacy.accept()
        assert await upstream.head() == head
        assert await upstream.exactly(len(chunked)) == chunked
        reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n" + chunked
        upstream.send(reply)
        assert await client.exactly(len(reply)) == reply


async def test_both_connections_are_kept_for_the_next_request() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        for _ in range(3):
            await upstream.head()
            upstream.send(OK)
            assert (await client.reply()).body == b"ok"
            client.send(G)
        assert scene.legacy.accepted == 1
        client.close()
        await upstream.head()
        await upstream.gone()
        assert scene.told.passed == [*[("default", 200)] * 3, ("default", 499)]


async def test_what_is_over_is_counted_once() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).body == b"ok"
        client.close()
        await scene.front.drained()
        assert scene.told.passed == [("default", 200)]


async def test_what_comes_with_the_end_of_a_body_is_the_next_request() -> None:
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        client.send(b"hello" + G)
        assert await upstream.exactly(5) == b"hello"
        upstream.send(OK)
        assert (await client.reply()).body == b"ok"
        assert (await upstream.head()).startswith(b"GET / ")
        upstream.send(OK)
        assert (await client.reply()).body == b"ok"


async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    async with Scene() as scene:
        client = await scene.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(5)))
        upstream = await scene.legacy.accept()
        for number in range(5):
            assert (await upstream.head()).startswith(b"GET /%d " % number)
            assert len(scene.seen) == number + 1
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        for number in range(5):
            assert (await client.reply()).body == b"%d" % number


async def test_a_post_and_a_pipelined_get_behind_it_are_told_apart() -> None:
    async with Scene(forward=SILENT) as scene:
        client = await scene.send(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + G
        )
        upstream = await scene.legacy.accept()
        await upstream.head()
        assert await upstream.exactly(11) == b"1\r\nx\r\n0\r\n\r\n"
        upstream.send(OK)
        assert await upstream.head() == b"GET / HTTP/1.1\r\nHost: h"
        upstream.send(OK)
        assert [(await client.reply()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 1234\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_reply_without_a_body_ends_with_its_head(reply: bytes) -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        for _ in range(2):
            await upstream.head()
            upstream.send(reply)
            assert await client.exactly(len(reply)) == reply
            client.send(G)


@pytest.mark.parametrize("framing", [b"Content-Length: 1234", b"Transfer-Encoding: chunked", b"X-None: 1"])
async def test_the_reply_to_head_keeps_its_fields_and_has_no_body(framing: bytes) -> None:
    async with Scene() as scene:
        client = await scene.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream = await scene.legacy.accept()
        reply = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"
        for _ in range(2):
            await upstream.head()
            upstream.send(reply)
            assert await client.exactly(len(reply)) == reply
            client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert scene.legacy.accepted == 1


async def test_a_range_is_the_upstreams_business() -> None:
    async with Scene(forward=SILENT) as scene:
        request = b"GET / HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\nIf-Range: x"
        client = await scene.send(request + b"\r\n\r\n")
        upstream = await scene.legacy.accept()
        assert await upstream.head() == request
        reply = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok"
        upstream.send(reply)
        assert await client.exactly(len(reply)) == reply


async def test_a_reply_that_ends_with_its_connection_ends_the_clients_too() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\none")
        assert await client.head() == b"HTTP/1.1 200 OK\r\nX-A: b\r\nConnection: close"
        upstream.send(b"two")
        upstream.close()
        assert await client.to_end() == b"onetwo"


@pytest.mark.parametrize("field", [b"Expect: 100-continue", b"Expect: whatever", b"Connection: keep-alive"])
async def test_a_client_of_http_1_0_gets_no_chunks_and_no_interim_replies(field: bytes) -> None:
    async with Scene() as scene:
        client = await scene.send(b"GET / HTTP/1.0\r\n" + field + b"\r\n\r\n")
        upstream = await scene.legacy.accept()
        received = await upstream.head()
        assert received.startswith(b"GET / HTTP/1.1\r\n")
        assert b"Host: 127.0.0.1:%d" % scene.legacy.port in received
        assert b"Expect" not in received
        upstream.send(
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
        )
        assert await client.head() == b"HTTP/1.1 200 OK\r\nConnection: close"
        upstream.send(b"3\r\ntwo\r\n0\r\nX-T: 1\r\n\r\n")
        assert await client.to_end() == b"onetwo"


async def test_a_client_of_http_1_0_may_keep_its_connection() -> None:
    async with Scene() as scene:
        client = await scene.send(b"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
        upstream = await scene.legacy.accept()
        for _ in range(2):
            await upstream.head()
            upstream.send(OK)
            assert (await client.reply()).field("Connection") == b"keep-alive"
            client.send(b"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")


async def test_a_client_that_asks_for_it_is_closed_after_the_reply() -> None:
    async with Scene() as scene:
        client = await scene.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).field("Connection") == b"close"
        assert await client.to_end() == b""


async def test_interim_replies_come_through() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
        upstream.send(hint)
        assert await client.exactly(len(hint)) == hint
        upstream.send(hint + b"HTTP/1.1 102 Processing\r\nConnection: close\r\n\r\n" + OK)
        assert await client.exactly(len(hint)) == hint
        assert await client.head() == b"HTTP/1.1 102 Processing"
        assert (await client.reply()).body == b"ok"


async def test_an_expectation_is_met_by_the_upstream() -> None:
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        upstream = await scene.legacy.accept()
        assert b"Expect: 100-continue" in await upstream.head()
        upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue"
        client.send(b"hello")
        assert await upstream.exactly(5) == b"hello"
        upstream.send(OK)
        assert (await client.reply()).status == 200


async def test_an_expectation_that_the_upstream_ignores_is_met_by_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.front.passage.CONTINUE_AFTER", 0.05)
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        assert await client.head() == b"HTTP/1.1 100 Continue"
        client.send(b"hello")
        assert await upstream.exactly(5) == b"hello"
        upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        assert (await client.reply()).status == 200


async def test_a_client_that_does_not_wait_for_100_continue_gets_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.front.passage.CONTINUE_AFTER", 0.2)
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        client.send(b"hello")
        assert await upstream.exactly(5) == b"hello"
        upstream.send(OK)
        assert (await client.reply()).status == 200


async def test_an_expectation_that_the_upstream_declines_ends_the_connection() -> None:
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.field("Connection")) == (417, b"close")
        await upstream.gone()
        await client.gone()


async def test_a_reply_that_comes_before_the_body_is_read_goes_out_at_once() -> None:
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nbegin")
        upstream = await scene.legacy.accept()
        await upstream.until(b"begin")
        upstream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        reply = await client.reply()
        assert (reply.status, reply.body, reply.field("Connection")) == (413, b"big", b"close")
        await upstream.gone()
        client.send(b"x" * 995)
        await client.gone()


async def test_a_reply_may_begin_while_the_body_still_goes_on() -> None:
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
        for piece in (b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"):
            client.send(piece)
            assert await upstream.exactly(len(piece)) == piece
            upstream.send(piece)
            assert await client.exactly(len(piece)) == piece
        await client.gone()


async def test_bad_chunks_after_the_reply_has_begun_break_it_off() -> None:
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.head()
        client.send(b"zz\r\n")
        await upstream.gone()
        await client.gone()


async def test_what_is_sent_behind_a_request_under_way_is_bounded() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"x")
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        ours = b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n"
        count = 400_000
        client.send(ours * count)
        left = -1
        while left != (left := client.writer.transport.get_write_buffer_size()):
            for _ in range(200):
                await asyncio.sleep(0)
        assert left > len(ours) * count // 4
        upstream.send(OK)
        assert (await client.reply()).status == 200
        for _ in range(1000):
            assert (await client.reply()).body == b"x"


BIG = 64 * 1024 * 1024
SPARE = 8 * 1024 * 1024


async def pour(end: End, size: int) -> None:
    block = b"x" * 65536
    for _ in range(size // len(block)):
        end.send(block)
        await end.writer.drain()


async def swallow(end: End, size: int) -> None:
    while size:
        data = await end.reader.read(min(size, 1 << 18))
        assert data
        size -= len(data)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_big_body_takes_no_memory_even_when_the_reader_stalls(direction: str) -> None:
    async with Scene() as scene:
        length = b"Content-Length: %d\r\n\r\n" % BIG
        client = await scene.client()
        if direction == "up":
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\n" + length)
            upstream = await scene.legacy.accept()
            await upstream.head()
            source, sink = client, upstream
        else:
            client.send(G)
            upstream = await scene.legacy.accept()
            await upstream.head()
            upstream.send(b"HTTP/1.1 200 OK\r\n" + length)
            await client.head()
            source, sink = upstream, client
        sink.reader._limit = 1 << 16  # type: ignore[attr-defined]  # or the test itself would pile it up
        tracemalloc.start()
        try:
            pouring = asyncio.ensure_future(pour(source, BIG))
            before = -1
            while before != (before := source.writer.transport.get_write_buffer_size()) or not before:
                for _ in range(100):
                    await asyncio.sleep(0)  # until nothing moves any more: the sink does not read
            assert not pouring.done()
            await asyncio.gather(pouring, swallow(sink, BIG))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < SPARE
        if direction == "up":
            upstream.send(OK)
            assert (await client.reply()).status == 200
        assert scene.told.passed == [("default", 200)] or direction == "down"


async def test_a_client_that_leaves_takes_the_upstream_call_with_it() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        client.close()
        await upstream.gone()
        await scene.told.until_passed(1)
        assert scene.told.passed == [("default", 499)]


async def test_a_client_that_leaves_in_the_middle_of_its_body_takes_the_upstream_call_with_it() -> None:
    async with Scene() as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
        upstream = await scene.legacy.accept()
        await upstream.until(b"hello")
        client.reset()
        await upstream.gone()


async def test_bytes_behind_a_reply_are_never_taken_for_the_next_one() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        assert (await client.reply()).body == b"ok"
        await upstream.gone()
        client.send(G)
        second = await scene.legacy.accept()
        await second.head()
        second.send(OK)
        assert (await client.reply()).body == b"ok"


async def test_bytes_on_an_idle_link_close_it() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).body == b"ok"
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        await upstream.gone()
        client.send(G)
        second = await scene.legacy.accept()
        await second.head()
        second.send(OK)
        assert (await client.reply()).body == b"ok"
