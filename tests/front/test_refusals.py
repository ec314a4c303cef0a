"""What can be read in two ways, or not at all, is refused: nothing of it goes upstream, the connection is closed."""

from __future__ import annotations

import asyncio
import json

import pytest

from strangler.domain.exchange import Answer
from strangler.domain.problem import problem
from tests.front.raw import PATIENCE
from tests.front.scene import Scene

G = b"GET / HTTP/1.1\r\nHost: h\r\n"
P = b"POST / HTTP/1.1\r\nHost: h\r\n"
C = P + b"Transfer-Encoding: chunked\r\n\r\n"

HOSTILE: list[tuple[str, bytes, int, str]] = [
    ("two equal lengths", P + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, "bad-request"),
    ("two lengths", P + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, "bad-request"),
    ("a list of lengths", P + b"Content-Length: 5, 5\r\n\r\nhello", 400, "bad-request"),
    ("a signed length", P + b"Content-Length: +5\r\n\r\nhello", 400, "bad-request"),
    ("a negative length", P + b"Content-Length: -1\r\n\r\n", 400, "bad-request"),
    ("a hexadecimal length", P + b"Content-Length: 0x5\r\n\r\nhello", 400, "bad-request"),
    ("no length", P + b"Content-Length:\r\n\r\n", 400, "bad-request"),
    ("an endless length", P + b"Content-Length: 99999999999999999999\r\n\r\n", 400, "bad-request"),
    ("digits of another script", P + b"Content-Length: \xd9\xa5\r\n\r\nhello", 400, "bad-request"),
    ("length and chunked", P + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
    ("chunked and length", P + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, "bad-request"),
    ("chunked twice", P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad-request"),
    ("chunked, chunked", P + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 400, "bad-request"),
    ("chunked and a comma", P + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400, "bad-request"),
    ("no coding", P + b"Transfer-Encoding:\r\n\r\n", 400, "bad-request"),
    ("gzip, chunked", P + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "not-implemented"),
    ("chunked, identity", P + b"Transfer-Encoding: chunked, identity\r\n\r\n", 400, "bad-request"),
    ("identity", P + b"Transfer-Encoding: identity\r\n\r\n", 400, "bad-request"),
    ("xchunked", P + b"Transfer-Encoding: xchunked\r\n\r\n", 400, "bad-request"),
    ("a hidden coding", P + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400, "bad-request"),
    ("a coding in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
    ("a space before the colon", P + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
    ("a tab before the colon", G + b"X-A\t: b\r\n\r\n", 400, "bad-request"),
    ("a folded line", G + b"X-A: b\r\n c\r\n\r\n", 400, "bad-request"),
    ("a folded line by tab", G + b"X-A: b\r\n\tContent-Length: 5\r\n\r\n", 400, "bad-request"),
    ("a folded first line", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400, "bad-request"),
    ("a bare LF after a field", b"GET / HTTP/1.1\r\nHost: h\nX-A: b\r\n\r\n", 400, "bad-request"),
    ("bare LFs only", b"GET / HTTP/1.1\nHost: h\n\n", 400, "bad-request"),
    ("a bare LF at the end", b"GET / HTTP/1.1\r\nHost: h\r\n\n", 400, "bad-request"),
    ("a bare CR in a value", G + b"X-A: b\rContent-Length: 5\r\n\r\n", 400, "bad-request"),
    ("a bare CR in the line", b"GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("NUL in a value", G + b"X-A: b\x00c\r\n\r\n", 400, "bad-request"),
    ("a control character", G + b"X-A: b\x01c\r\n\r\n", 400, "bad-request"),
    ("DEL in a value", G + b"X-A: b\x7fc\r\n\r\n", 400, "bad-request"),
    ("NUL in a name", G + b"X-\x00A: b\r\n\r\n", 400, "bad-request"),
    ("a name with octets over 127", G + b"X-\xe9: b\r\n\r\n", 400, "bad-request"),
    ("no name", G + b": b\r\n\r\n", 400, "bad-request"),
    ("no colon", G + b"X-A\r\n\r\n", 400, "bad-request"),
    ("a known name, no colon", G + b"Accept\r\n\r\n", 400, "bad-request"),
    ("NUL in the target", b"GET /a\x00b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("a space in the target", b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("a fragment in the target", b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("a tab between", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("no target", b"GET HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400, "bad-request"),
    ("a method that is none", b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("a target without slash", b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("an asterisk for GET", b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("another host in the target", b"GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("another port in the target", b"GET http://h:443/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("user information in the target", b"GET http://h@other/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("user information, and no Host", b"GET http://h@other/ HTTP/1.0\r\n\r\n", 400, "bad-request"),
    ("a target of OPTIONS without slash", b"OPTIONS a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("a scheme that is not HTTP", b"GET file://h/etc HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400, "bad-request"),
    ("two Hosts", G + b"Host: h\r\n\r\n", 400, "bad-request"),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad-request"),
    ("a Host with a path", b"GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", 400, "bad-request"),
    ("a Host with a user", b"GET / HTTP/1.1\r\nHost: a@h\r\n\r\n", 400, "bad-request"),
    ("a Host with a space", b"GET / HTTP/1.1\r\nHost: h x\r\n\r\n", 400, "bad-request"),
    ("a Host with a wild port", b"GET / HTTP/1.1\r\nHost: h:8x\r\n\r\n", 400, "bad-request"),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "version-not-supported"),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version-not-supported"),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505, "version-not-supported"),
    ("HTTP/1.10", b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("http/1.1", b"GET / http/1.1\r\nHost: h\r\n\r\n", 400, "bad-request"),
    ("CONNECT", b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 501, "not-implemented"),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "method-not-allowed"),
    ("an unknown expectation", P + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417, "expectation-failed"),
    (
        "framing before expectation",
        P + b"Expect: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        400,
        "bad-request",
    ),
    ("a loop", G + b"Via: 1.1 other, 1.1 strangler\r\n\r\n", 508, "loop-detected"),
    ("a loop by HTTP/1.0", G + b"Via: 1.0 strangler, 1.1 other\r\n\r\n", 508, "loop-detected"),
    ("a loop with a comment", G + b"Via: HTTP/1.1 strangler (x)\r\n\r\n", 508, "loop-detected"),
    ("a chunk size that is none", C + b"xyz\r\n\r\n", 400, "bad-request"),
    ("a chunk size with 0x", C + b"0x5\r\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("a signed chunk size", C + b"+5\r\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("a chunk size with spaces", C + b"5 \r\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("an empty chunk size", C + b"\r\n0\r\n\r\n", 400, "bad-request"),
    ("a chunk size that overflows", C + b"fffffffffffffffff\r\n", 400, "bad-request"),
    ("a chunk size ended by LF", C + b"5\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("a bare CR in a chunk size", C + b"5\r;\r\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("a bare LF in an extension", C + b"5;a\nb\r\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("NUL in an extension", C + b"5;a\x00\r\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("a chunk that is too long", C + b"5\r\nhello!\r\n0\r\n\r\n", 400, "bad-request"),
    ("a chunk ended by LF", C + b"5\r\nhello\n0\r\n\r\n", 400, "bad-request"),
    ("a chunk that is too long and has no end", C + b"5\r\nhello!", 400, "bad-request"),
    ("a chunk size that is none and has no end", C + b"5 ", 400, "bad-request"),
    ("an extension of 1,025 bytes", C + b"5;" + b"a" * 1024 + b"\r\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("a long extension", C + b"5;" + b"a" * 1100 + b"\r\nhello\r\n0\r\n\r\n", 400, "bad-request"),
    ("an extension without end", C + b"5;" + b"a" * 9000, 400, "bad-request"),
    ("many extensions", C + b"1;aaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 60 + b"0\r\n\r\n", 400, "bad-request"),
    ("a trailer that is none", C + b"0\r\nX A: b\r\n\r\n", 400, "bad-request"),
    ("a trailer that frames", C + b"0\r\nContent-Length: 5\r\n\r\n", 400, "bad-request"),
    ("a trailer that routes", C + b"0\r\nhost: other\r\n\r\n", 400, "bad-request"),
    ("a folded trailer", C + b"0\r\nX-A: b\r\n c\r\n\r\n", 400, "bad-request"),
    ("trailers without end", C + b"0\r\n" + b"X-A: b\r\n" * 3000, 400, "bad-request"),
    ("a head of 100 kB", G + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n", 431, "head-too-large"),
    ("a head without end", G + b"X-Long: " + b"x" * 100_000, 431, "head-too-large"),
    ("a target without end", b"GET /" + b"x" * 100_000, 414, "target-too-long"),
    ("10,000 fields", G + b"".join(b"X-%d: y\r\n" % i for i in range(10_000)) + b"\r\n", 431, "head-too-large"),
    ("a target of 100 kB", b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "target-too-long"),
]


@pytest.mark.parametrize(("data", "status", "code"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
async def test_it_is_refused_and_nothing_goes_upstream(data: bytes, status: int, code: str) -> None:
    async with Scene() as scene:
        client = await scene.send(data)
        reply = await client.reply()
        assert (reply.status, json.loads(reply.body)["code"]) == (status, code)
        assert reply.field("Content-Type") == b"application/problem+json"
        assert reply.field("Strangler-Source") == b"proxy"
        assert reply.field("Connection") == b"close"
        assert reply.field("Date") is not None
        await client.gone()
        assert scene.seen == []
        assert scene.legacy.accepted == 0


async def test_what_follows_a_refused_request_is_never_read_as_another() -> None:
    async with Scene() as scene:
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        client = await scene.send(P + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled)
        assert (await client.reply()).status == 400
        assert await client.to_end() == b""
        assert scene.seen == []


async def test_a_refusal_after_a_head_request_has_a_body() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"x")
        client = await scene.send(b"HEAD /ours HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n\r\n")
        assert (await client.reply(to_head=True)).status == 200
        assert json.loads((await client.reply()).body)["code"] == "bad-request"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", 400),
        (b"\r\nHEAD / HTTP/1.1\r\n\r\n", 400),
        (b"HEAD / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n", 417),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\nVia: 1.1 strangler\r\n\r\n", 508),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"HEAD /" + b"x" * 100_000, 414),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\n", 408),
        (b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\nHEAD / HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_a_refused_head_request_gets_the_head_of_the_refusal_alone(data: bytes, status: int) -> None:
    async with Scene(settings={"head_timeout": 0.1 if status == 408 else 60.0}) as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"x")
        client = await scene.send(data)
        if b"/ours" in data:
            assert (await client.reply()).status == 200
        reply = await client.reply(to_head=True)
        assert (reply.status, reply.field("Content-Type")) == (status, b"application/problem+json")
        assert await client.to_end() == b""


async def test_an_empty_line_after_a_request_is_no_begin_of_another() -> None:
    async with Scene(settings={"head_timeout": 0.1, "keepalive": 0.3}) as scene:
        scene.ours[b"/ours"] = Answer(200, [], b"x")
        client = await scene.send(b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n\r\n")
        assert (await client.reply()).status == 200
        assert await client.to_end() == b""


async def test_trace_says_what_is_allowed() -> None:
    async with Scene() as scene:
        client = await scene.send(b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"GET" in ((await client.reply()).field("Allow") or b"")


@pytest.mark.parametrize(
    ("request_line", "fields"),
    [
        (b"GET /nowhere HTTP/1.1", b"X-Correlation-ID: c-1\r\n"),
        (b"GET /nowhere HTTP/1.1", b"X-Request-ID: c-1\r\n"),
        (b"GET / HTTP/1.1", b"X-Correlation-ID: c-1\r\nVia: 1.1 strangler\r\n"),
    ],
)
async def test_a_refusal_is_told_by_the_clients_correlation_id(request_line: bytes, fields: bytes) -> None:
    async with Scene() as scene:
        scene.ours[b"/nowhere"] = problem("no-route", "nobody")
        client = await scene.send(request_line + b"\r\nHost: h\r\n" + fields + b"\r\n")
        reply = await client.reply()
        assert (reply.field("X-Correlation-ID"), json.loads(reply.body)["correlationId"]) == (b"c-1", "c-1")


@pytest.mark.parametrize(
    ("data", "status", "instance"),
    [
        (b"POST /a?b HTTP/1.1\r\nHost: h\r\nExpect: more\r\n", 417, "/a"),
        (b"TRACE /a HTTP/1.1\r\nHost: h\r\n", 405, "/a"),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n", 501, None),
        (b"GET http://user:password@h/a?b HTTP/1.1\r\nHost: other\r\n", 400, "/a"),
        (b"GET http://other HTTP/1.1\r\nHost: h\r\n", 400, None),
    ],
)
async def test_what_is_refused_by_its_head_is_told_by_path_and_correlation_id(
    data: bytes, status: int, instance: str | None
) -> None:
    async with Scene() as scene:
        reply = await (await scene.send(data + b"X-Correlation-ID: c-1\r\n\r\n")).reply()
        document = json.loads(reply.body)
        assert (reply.status, document["correlationId"], document.get("instance")) == (status, "c-1", instance)
        assert b"password" not in reply.body


@pytest.mark.parametrize(
    ("data", "line", "detail"),
    [
        (b"GET /nowhere?a HTTP/1.1\r\nHost: h\r\n\r\n", ("GET", b"/nowhere", "", 404, "no-route"), ""),
        (
            b"GET /x?a HTTP/1.1\r\nHost: h\r\nVia: 1.1 strangler\r\n\r\n",
            ("GET", b"/x", "", 508, "loop-detected"),
            "The request has been here before.",
        ),
        (b"GET /x?a HTTP/1.1\r\n\r\n", ("", b"/x", "", 400, "bad-request"), "Host is missing."),
        (b"nonsense\r\n\r\n", ("", b"", "", 400, "bad-request"), "The request line is not well formed."),
        (
            b"GET http://user:s3cret@example.org/a HTTP/1.1\r\nHost: example.org\r\n\r\n",
            ("", b"/a", "", 400, "bad-request"),
            "The request target names another host than Host does.",
        ),
    ],
)
@pytest.mark.parametrize("access_log", ["all", "recorded", "none"])
async def test_what_the_front_refuses_has_a_line_of_the_log(
    data: bytes, line: tuple[str, bytes, str, int, str], detail: str, access_log: str
) -> None:
    async with Scene() as scene:
        scene.told.access_log = access_log
        scene.ours[b"/nowhere"] = problem("no-route", "nobody")
        client = await scene.send(data)
        reply = await client.reply()
        assert (reply.status, b"s3cret" in reply.body) == (line[3], False)
        assert (scene.told.lines, scene.told.details) == (([], []) if access_log == "none" else ([line], [detail]))


async def test_a_head_that_comes_too_slowly_is_408() -> None:
    async with Scene(settings={"head_timeout": 0.1}) as scene:
        client = await scene.send(b"GET / HTTP/1.1\r\nHost: h\r\n")
        reply = await client.reply()
        assert (reply.status, json.loads(reply.body)["code"]) == (408, "request-timeout")
        await client.gone()


async def test_a_client_that_says_nothing_is_closed_without_a_word() -> None:
    async with Scene(settings={"head_timeout": 0.1}) as scene:
        client = await scene.client()
        assert await client.to_end() == b""


async def test_a_slow_head_gets_no_more_time_for_each_byte() -> None:
    async with Scene(settings={"head_timeout": 0.3}) as scene:
        client = await scene.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        answered = asyncio.ensure_future(client.reply())
        while not answered.done():
            client.send(b"x")
            await asyncio.sleep(0)
        assert (await answered).status == 408


async def test_a_body_that_stops_coming_is_408_and_the_upstream_call_is_aborted() -> None:
    async with Scene(settings={"body_idle_timeout": 0.1}) as scene:
        scene.told.access_log = "all"
        client = await scene.send(P + b"Content-Length: 10\r\n\r\nhello")
        upstream = await scene.legacy.accept()
        await upstream.until(b"hello")
        reply = await client.reply()
        assert scene.told.details == ["The body of the request took too long to arrive."]
        assert (reply.status, json.loads(reply.body)["code"]) == (408, "request-timeout")
        await upstream.gone()
        await client.gone()


async def test_more_clients_than_allowed_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.front.connection.LINGER", 600.0)  # they are not waited for
    async with Scene(settings={"max_clients": 1}) as scene:
        first = await scene.client()
        second = await scene.client()
        reply = await second.reply()
        assert (reply.status, json.loads(reply.body)["code"]) == (503, "overloaded")
        assert reply.field("Retry-After") == b"1"
        assert scene.told.refusals == [("", "overloaded")]
        await second.gone()
        async with asyncio.timeout(PATIENCE):
            while scene.front.connections > 1:
                await asyncio.sleep(0)
        first.send(G + b"\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await first.reply()).status == 204


async def test_bad_chunks_after_the_head_has_gone_upstream_abort_the_call() -> None:
    async with Scene() as scene:
        client = await scene.send(C + b"5\r\nhello\r\n")
        upstream = await scene.legacy.accept()
        await upstream.until(b"hello\r\n")
        client.send(b"zz\r\n")
        assert (await client.reply()).status == 400
        await upstream.gone()
        await client.gone()
