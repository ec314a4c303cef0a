"""What a client gets when the upstream fails, and what is done again (almost nothing)."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from tests.front.raw import PATIENCE, End
from tests.front.scene import Scene
from tests.harness.waiting import free_port

G = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
P = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
H = b"HTTP/1.1 200 OK\r\n"


async def refusal(client: End) -> tuple[int, str]:
    reply = await client.reply()
    assert reply.field("Strangler-Source") == b"proxy"
    assert b"127.0.0.1" not in reply.body
    return reply.status, json.loads(reply.body)["code"]


async def test_a_refused_connection_is_502_and_the_client_may_go_on() -> None:
    async with Scene(port=free_port()) as scene:
        client = await scene.send(P + G)
        assert await refusal(client) == (502, "upstream-unreachable")
        assert await refusal(client) == (502, "upstream-unreachable")
        assert scene.told.passed == [("default", 502)] * 2


async def test_the_log_says_why_and_the_client_only_that() -> None:
    async with Scene(port=free_port()) as scene:
        scene.told.access_log = "all"
        assert await refusal(await scene.send(G)) == (502, "upstream-unreachable")
        assert scene.told.details == ["the connection to the upstream was refused"]


async def test_the_log_says_why_a_reply_was_cut_off_and_nothing_where_all_is_well() -> None:
    async with Scene() as scene:
        scene.told.access_log = "all"
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).status == 200
        client.send(P)
        await upstream.head()
        upstream.send(H + b"Content-Length: 9\r\n\r\nhalf")
        upstream.close()
        await scene.told.until_passed(2)
        assert scene.told.details == ["", "the upstream closed the connection before its reply was complete"]


async def test_a_name_that_does_not_resolve_is_502() -> None:
    async with Scene(host="no-such-host.invalid", connect_timeout=5.0) as scene:
        assert await refusal(await scene.send(G)) == (502, "upstream-unreachable")


async def test_a_server_without_tls_is_502() -> None:
    async with Scene(scheme="https") as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.exactly(1)
        upstream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert await refusal(client) == (502, "upstream-unreachable")


async def test_a_connection_that_does_not_come_about_in_time_is_504() -> None:
    async with Scene(scheme="https", connect_timeout=0.1) as scene:
        assert await refusal(await scene.send(G)) == (504, "upstream-timeout")


@pytest.mark.parametrize(
    "reply",
    [
        b"garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        H + b"X A: b\r\n\r\n",
        H + b"X-A: b\x00\r\n\r\n",
        H + b"X-A: b\rc\r\n\r\n",
        H + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        H + b"Content-Length: x\r\n\r\n",
        H + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        H + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        H + b"X-Long: " + b"x" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_garbage_is_502_and_is_not_shown(reply: bytes) -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(reply)
        assert await refusal(client) == (502, "upstream-failed")
        await upstream.gone()
        client.send(G)
        again = await scene.legacy.accept()
        await again.head()
        again.send(OK)
        assert (await client.reply()).status == 200


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200", H + b"Content-Le", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_an_upstream_that_goes_before_its_head_is_whole_is_502(how: str, begin: bytes) -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(begin)
        await upstream.drain()
        if begin.endswith(b"\r\n\r\n"):
            await client.head()
        getattr(upstream, how)()
        assert await refusal(client) == (502, "upstream-failed")
        assert scene.legacy.accepted == 1


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
async def test_a_reply_cut_short_is_cut_short_for_the_client(how: str, framing: bytes) -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(H + framing + b"\r\n\r\n5\r\nhello\r\n"[: 12 if b"chunked" in framing else 9])
        await client.until(b"5\r\nhe")
        getattr(upstream, how)()
        with contextlib.suppress(ConnectionError):
            assert b"0\r\n\r\n" not in await client.to_end()
        assert scene.told.passed == [("default", 200)]


async def test_a_reply_without_length_that_is_reset_is_reset_for_the_client() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(H + b"\r\nhello")
        await client.until(b"hello")
        upstream.reset()
        with pytest.raises(ConnectionError):
            await client.to_end()


async def test_bad_chunks_from_upstream_are_no_clean_end() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(H + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await client.until(b"hello\r\n")
        upstream.send(b"nonsense\r\n0\r\n\r\n")
        await upstream.gone()
        await client.gone()


async def test_an_upstream_that_does_not_answer_in_time_is_504() -> None:
    async with Scene(first_byte_timeout=0.1) as scene:
        client = await scene.send(P)
        upstream = await scene.legacy.accept()
        await upstream.until(b"hello")
        assert await refusal(client) == (504, "upstream-timeout")
        await upstream.gone()


async def test_interim_replies_do_not_put_off_the_timeout() -> None:
    async with Scene(first_byte_timeout=0.2) as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        gone = asyncio.ensure_future(upstream.gone())
        while not gone.done():
            upstream.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0)
        await client.until(b"HTTP/1.1 504 ")


async def test_an_upstream_that_does_not_read_a_body_in_time_is_504() -> None:
    async with Scene(idle_timeout=0.1) as scene:
        client = await scene.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n")
        upstream = await scene.legacy.accept()
        upstream.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"x" * 50_000_000)
        reply = await client.reply()
        assert reply.status == 504


async def test_a_reply_that_stalls_is_broken_off() -> None:
    async with Scene(idle_timeout=0.1) as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        scene.told.access_log = "all"
        upstream.send(H + b"Content-Length: 10\r\n\r\nhello")
        await client.until(b"hello")
        await upstream.gone()
        await client.gone()
        assert (scene.told.passed, scene.told.details) == ([("default", 200)], ["nothing moved for too long"])


async def test_a_client_that_does_not_read_is_broken_off() -> None:
    async with Scene(idle_timeout=0.1) as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        upstream.send(H + b"Content-Length: 50000000\r\n\r\n" + b"x" * 50_000_000)
        await upstream.gone()
        await scene.told.until_passed(1)


async def test_a_reply_that_moves_has_time_again() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(H + b"Transfer-Encoding: chunked\r\n\r\n")
        await client.head()
        (connection,) = scene.front._desk.connections
        before = connection.deadline
        async with asyncio.timeout(PATIENCE):
            while connection.deadline == before:
                upstream.send(b"1\r\nx\r\n")
                await client.exactly(6)


async def test_a_client_that_leaves_without_having_read_takes_the_upstream_call_with_it() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        upstream.send(H + b"Content-Length: 50000000\r\n\r\n" + b"x" * 50_000_000)
        await client.drain()
        client.half_close()
        await upstream.gone()


async def warm(scene: Scene) -> tuple[End, End]:
    """A client, and an upstream connection that has served it once."""
    client = await scene.send(G)
    upstream = await scene.legacy.accept()
    await upstream.head()
    upstream.send(OK)
    await client.reply()
    return client, upstream


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
async def test_a_safe_request_on_a_connection_that_turns_out_dead_is_repeated_once(method: bytes) -> None:
    async with Scene() as scene:
        client, first = await warm(scene)
        client.send(method + b" /again HTTP/1.1\r\nHost: h\r\n\r\n")
        await first.head()
        first.close()
        second = await scene.legacy.accept()
        assert (await second.head()).startswith(method + b" /again ")
        second.close()
        reply = await client.reply(to_head=method == b"HEAD")
        assert reply.status == 502
        assert scene.legacy.accepted == 2


@pytest.mark.parametrize(
    "request_",
    [
        P,
        b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
    ],
)
async def test_any_other_request_is_sent_once(request_: bytes) -> None:
    async with Scene() as scene:
        client, first = await warm(scene)
        client.send(request_)
        await first.head()
        first.close()
        assert await refusal(client) == (502, "upstream-failed")
        assert scene.legacy.accepted == 1


async def test_nothing_is_repeated_after_a_byte_of_the_reply() -> None:
    async with Scene() as scene:
        client, first = await warm(scene)
        client.send(G)
        await first.head()
        first.send(b"H")
        await first.drain()
        first.close()
        assert await refusal(client) == (502, "upstream-failed")
        assert scene.legacy.accepted == 1


async def test_nothing_is_repeated_on_a_new_connection() -> None:
    async with Scene() as scene:
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.close()
        assert await refusal(client) == (502, "upstream-failed")
        assert scene.legacy.accepted == 1


async def test_without_a_free_connection_a_request_waits_and_then_gets_503() -> None:
    async with Scene(max_connections=1, queue_timeout=0.1) as scene:
        first = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        second = await scene.send(b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n")
        reply = await second.reply()
        assert (reply.status, json.loads(reply.body)["code"]) == (503, "overloaded")
        assert reply.field("Retry-After") is not None
        upstream.send(OK)
        assert (await first.reply()).status == 200
        first.send(b"GET /third HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await upstream.head()).startswith(b"GET /third ")


async def test_a_request_that_waits_gets_the_connection_that_becomes_free() -> None:
    async with Scene(max_connections=1) as scene:
        first = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        second = await scene.send(b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n")
        while len(scene.seen) < 2:
            await asyncio.sleep(0)
        upstream.send(OK)
        assert (await first.reply()).status == 200
        assert (await upstream.head()).startswith(b"GET /second ")
        upstream.send(OK)
        assert (await second.reply()).status == 200
        assert scene.legacy.accepted == 1


async def test_a_client_that_leaves_the_queue_is_not_served() -> None:
    async with Scene(max_connections=1) as scene:
        first = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        second = await scene.send(b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n")
        while len(scene.seen) < 2:
            await asyncio.sleep(0)
        second.close()
        await scene.told.until_passed(1)
        upstream.send(OK)
        assert (await first.reply()).status == 200
        first.send(b"GET /third HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await upstream.head()).startswith(b"GET /third ")


@pytest.mark.parametrize(
    ("last", "closes"),
    [
        (H + b"Connection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\npoison", False),
        (H + b"\r\nuntil the end", True),
    ],
)
async def test_who_waits_gets_no_connection_that_has_served_for_the_last_time(last: bytes, closes: bool) -> None:
    async with Scene(max_connections=1) as scene:
        client, upstream = await warm(scene)
        client.send(G)
        await upstream.head()
        second = await scene.send(P)
        while len(scene.seen) < 3:
            await asyncio.sleep(0)
        upstream.send(last)
        if closes:
            upstream.close()
        other = await scene.legacy.accept()
        await other.until(b"hello")
        other.send(OK)
        assert (await second.reply()).status == 200
