"""What of a head goes through, as raw bytes on both sides."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from strangler.policy.model import Rewrite
from strangler.policy.trust import TrustedNetworks
from strangler.policy.upstreams import Forward
from tests.front.raw import End
from tests.front.scene import Scene

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SILENT = Forward(x_forwarded=False, forwarded=False, via=False)


async def exchange(scene: Scene, request: bytes, reply: bytes = OK) -> tuple[bytes, bytes, End]:
    """The head that the upstream got, the head that the client got, and the client."""
    client = await scene.send(request)
    upstream = await scene.legacy.accept()
    received = await upstream.head()
    upstream.send(reply)
    return received, await client.head(), client


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/a?",
        b"/a?b=c&d",
        b"/%2F%2f/%7E~/%zz",
        b"//a//b",
        b"/a/../b/./c",
        b"/%2e%2e/x",
        b'/a;p=1|{}^`[]\\"<>',
        b"/caf\xc3\xa9/\xff\xfe?\xe9",
        b"/?http://other/",
        b"/a??b?",
    ],
)
async def test_path_and_query_go_on_exactly_as_they_came(target: bytes) -> None:
    async with Scene(forward=SILENT) as scene:
        received, _, _ = await exchange(scene, b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
        assert received == b"GET %b HTTP/1.1\r\nHost: h" % target
        assert scene.seen[0].target == target


async def test_header_order_case_duplicates_and_octets_stay_both_ways() -> None:
    lines = (
        b"hOsT: Example.org:8080\r\nX-B: 1\r\nx-a:2\r\nX-B: 3\r\nX-Latin: caf\xe9\r\nX-Utf: caf\xc3\xa9\r\nX-Empty:\r\n"
        b"Cookie: a=b\r\nCookie: c=d\r\nX-Space:  \t two  \r\nX-Tab: a\tb"
    )
    reply_lines = (
        b"sErVeR: old\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Latin: \xe9\r\nContent-Length: 2\r\nX-Last:  x \t"
    )
    async with Scene(forward=SILENT) as scene:
        received, answered, _ = await exchange(
            scene,
            b"GET / HTTP/1.1\r\n%b\r\n\r\n" % lines,
            b"HTTP/1.1 200 Alles \xfcber\r\n%b\r\n\r\nok" % reply_lines,
        )
        assert received == b"GET / HTTP/1.1\r\n" + lines
        assert answered == b"HTTP/1.1 200 Alles \xfcber\r\n" + reply_lines


@pytest.mark.parametrize("method", [b"GET", b"PURGE", b"PROPFIND", b"FOO", b"get", b"M-SEARCH", b"!#$%&'*+-.^_`|~"])
async def test_any_method_goes_through(method: bytes) -> None:
    async with Scene(forward=SILENT) as scene:
        received, _, _ = await exchange(scene, method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert received.startswith(method + b" / ")


async def test_hop_by_hop_fields_and_nominated_ones_are_dropped_both_ways() -> None:
    async with Scene(forward=SILENT) as scene:
        received, answered, _ = await exchange(
            scene,
            b"GET / HTTP/1.1\r\nConnection:\r\nHost: h\r\nConnection: X-One, keep-alive\r\n"
            b"connection: x-two\r\nX-One: 1\r\nX-Two: 2\r\nx-one: 3\r\nKeep-Alive: timeout=5\r\nTE: gzip\r\n"
            b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nUpgrade: h2c\r\nTrailer: X-T\r\n"
            b"X-Kept: yes\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: X-Three, close\r\nX-Three: 3\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n"
            b"Proxy-Authenticate: Basic\r\nContent-Length: 2\r\nX-Kept: yes\r\n\r\nok",
        )
        assert received == b"GET / HTTP/1.1\r\nHost: h\r\nTrailer: X-T\r\nX-Kept: yes"
        assert answered == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kept: yes"


async def test_of_requests_in_a_row_each_goes_on_with_its_own_fields() -> None:
    usual = b"Host: h\r\nConnection: X-Gone\r\n"
    rows = (b"X-A: 1\r\nX-Gone: 1\r\n", b"X-A: 2\r\n", b"x-gone: 3\r\nX-A: 3\r\n", b"X-A: 2\r\n")
    async with Scene(forward=SILENT) as scene:
        client = await scene.send(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert await client.reply()
        for line in rows:
            client.send(b"GET / HTTP/1.1\r\n%b%b\r\n" % (usual, line))
            kept = next(one for one in line.split(b"\r\n") if one.startswith(b"X-A"))
            assert await upstream.head() == b"GET / HTTP/1.1\r\nHost: h\r\n" + kept
            upstream.send(OK)
            assert await client.reply()
        # What a proxy looks at is looked at anew where it differs.
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: X-A\r\nX-A: 2\r\nX-Gone: 4\r\n\r\n")
        assert await upstream.head() == b"GET / HTTP/1.1\r\nHost: h\r\nX-Gone: 4"


async def test_of_requests_in_a_row_each_goes_on_as_the_policy_says_by_then() -> None:
    request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    async with Scene() as scene:
        client = await scene.send(request)
        upstream = await scene.legacy.accept()
        for changed in ({}, {"host_header": "upstream"}, {"forward": SILENT}):
            for _ in range(4):  # what is the same again and again is not read again
                assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in await upstream.head()
                upstream.send(OK)
                assert await client.reply()
                client.send(request)
            assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in await upstream.head()
            upstream.send(OK)
            assert await client.reply()
            scene.reload(**changed)
            client.send(request)
            if changed:
                upstream = await scene.legacy.accept()
        assert await upstream.head() == b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d" % scene.legacy.port


async def test_of_requests_in_a_row_only_what_is_the_same_to_the_last_byte_goes_as_the_one_before() -> None:
    usual = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
    others = (
        b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /ab HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n",
        b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
    )
    async with Scene(forward=SILENT) as scene:
        client, upstream = await scene.client(), None
        for request in [one for other in others for one in (usual, usual, usual, other, other, other)]:
            client.send(request)
            upstream = upstream or await scene.legacy.accept()
            head, _, body = request.partition(b"\r\n\r\n")
            assert await upstream.head() == head
            assert await upstream.exactly(len(body)) == body
            to_head = request.startswith(b"HEAD")
            upstream.send(OK[:-2] if to_head else OK)
            assert (await client.reply(to_head=to_head)).body == (b"" if to_head else b"ok")


@pytest.mark.parametrize(("first", "second"), [(b"1.1", b"1.0"), (b"1.0", b"1.1")])
async def test_of_requests_in_a_row_each_is_of_its_own_version(first: bytes, second: bytes) -> None:
    said = {b"1.1": None, b"1.0": b"keep-alive"}
    async with Scene() as scene:
        request = b"GET / HTTP/%b\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"
        client = await scene.send(request % first)
        upstream = await scene.legacy.accept()
        for version in (first, second):
            await upstream.head()
            upstream.send(OK)
            assert (await client.reply()).field("Connection") == said[version]
            client.send(request % second)


async def test_of_replies_in_a_row_each_is_read_as_it_is_however_alike_they_begin() -> None:
    usual = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
    rows = (
        (b"GET", usual + b"\r\nab", b"ab"),
        (b"GET", usual + b"\r\ncd", b"cd"),
        (b"HEAD", usual + b"\r\n", b""),
        (b"GET", usual + b"X-A: 1\r\n\r\nef", b"ef"),
        (b"GET", b"HTTP/1.1 100 Continue\r\n\r\n" + usual + b"\r\ngh", b"gh"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + b"i" * 20, b"i" * 20),
        (b"GET", usual + b"\r\njk", b"jk"),
    )
    async with Scene() as scene:
        client = await scene.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert await client.reply()
        for method, sent, body in rows:
            client.send(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
            await upstream.head()
            upstream.send(sent)
            if b" 100 " in sent:
                assert await client.head() == b"HTTP/1.1 100 Continue"
            reply = await client.reply(to_head=method == b"HEAD")
            assert sent.endswith(reply.head + b"\r\n\r\n" + body)
            assert reply.body == body


async def test_connection_cannot_name_away_what_the_request_needs() -> None:
    async with Scene() as scene:
        received, _, _ = await exchange(
            scene,
            b"POST / HTTP/1.1\r\nHost: h\r\n"
            b"Connection: Host, Content-Length, Authorization, Cookie, X-Forwarded-For, Via\r\n"
            b"Authorization: Bearer t\r\nCookie: c=1\r\nContent-Length: 0\r\n\r\n",
        )
        for line in (b"Host: h", b"Authorization: Bearer t", b"Cookie: c=1", b"Content-Length: 0"):
            assert b"\r\n" + line in received
        assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in received
        assert received.endswith(b"\r\nVia: 1.1 strangler")


async def test_what_an_untrusted_peer_says_of_others_is_replaced() -> None:
    async with Scene(forward=Forward(forwarded=True)) as scene:
        received, _, _ = await exchange(
            scene,
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\n"
            b"X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nVia: 1.0 fred\r\n\r\n",
        )
        assert received == (
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
            b'X-Forwarded-Host: h\r\nForwarded: for=127.0.0.1;host="h";proto=http\r\nVia: 1.0 fred, 1.1 strangler'
        )


async def test_via_says_in_which_version_the_request_came() -> None:
    async with Scene() as scene:
        received, _, _ = await exchange(scene, b"GET / HTTP/1.0\r\nHost: h\r\nVia: 1.1 fred\r\n\r\n")
        assert received.endswith(b"\r\nVia: 1.1 fred, 1.0 strangler")


async def test_what_a_trusted_peer_says_is_extended() -> None:
    trusted = TrustedNetworks([ip_network("127.0.0.0/8")])
    async with Scene(settings={"trusted": trusted}, forward=Forward(forwarded=True)) as scene:
        received, _, _ = await exchange(
            scene,
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"
            b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nForwarded: for=1.1.1.1\r\n\r\n",
        )
        assert received == (
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n"
            b'X-Forwarded-Host: public\r\nForwarded: for=1.1.1.1, for=127.0.0.1;host="h";proto=http\r\n'
            b"Via: 1.1 strangler"
        )


async def test_a_host_that_http_1_0_names_in_the_target_alone_goes_along() -> None:
    async with Scene() as scene:
        received, _, _ = await exchange(scene, b"GET http://public.example:81/a?b HTTP/1.0\r\nX-A: b\r\n\r\n")
        assert received == (
            b"GET /a?b HTTP/1.1\r\nX-A: b\r\nHost: public.example:81\r\nX-Forwarded-For: 127.0.0.1\r\n"
            b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: public.example:81\r\nVia: 1.0 strangler"
        )


async def test_of_a_host_that_was_not_named_nothing_is_said() -> None:
    async with Scene(forward=Forward(forwarded=True)) as scene:
        received, _, _ = await exchange(scene, b"GET / HTTP/1.0\r\n\r\n")
        assert received == (
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
            b"Forwarded: for=127.0.0.1;proto=http\r\nVia: 1.0 strangler" % scene.legacy.port
        )


async def test_a_field_that_is_ours_but_for_an_underscore_is_dropped() -> None:
    async with Scene() as scene:
        received, _, _ = await exchange(
            scene,
            b"GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 6.6.6.6\r\nx-forwarded_proto: x\r\nX_Other: kept\r\n\r\n",
        )
        assert b"6.6.6.6" not in received
        assert b"_proto" not in received
        assert b"X_Other: kept" in received


async def test_the_upstreams_host_is_sent_where_the_policy_says_so() -> None:
    async with Scene(host_header="upstream", forward=SILENT) as scene:
        received, _, _ = await exchange(scene, b"GET / HTTP/1.1\r\nHost: public.example\r\nX-A: 1\r\n\r\n")
        assert received == b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-A: 1" % scene.legacy.port


async def test_prefixes_are_taken_off_and_put_before_as_bytes() -> None:
    async with Scene(base_path="/base", forward=SILENT) as scene:
        scene.rewrite = Rewrite(strip_prefix="/api", add_prefix="/v1")
        received, _, _ = await exchange(scene, b"GET /api/%2F//x?/api HTTP/1.1\r\nHost: h\r\n\r\n")
        assert received.startswith(b"GET /base/v1/%2F//x?/api HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("rewrite", "sent"),
    [
        (Rewrite(strip_prefix="/old", add_prefix="/new"), b"/new?a"),
        (Rewrite(strip_prefix="/old"), b"/?a"),
        (Rewrite(add_prefix="/new"), b"/new/old?a"),
    ],
)
async def test_a_path_that_is_all_prefix_becomes_the_other_prefix(rewrite: Rewrite, sent: bytes) -> None:
    async with Scene(forward=SILENT) as scene:
        scene.rewrite = rewrite
        received, _, _ = await exchange(scene, b"GET /old?a HTTP/1.1\r\nHost: h\r\n\r\n")
        assert received.startswith(b"GET %b HTTP/1.1\r\n" % sent)


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        (b"http://h/x?y", b"/x?y"),
        (b"HTTP://H", b"/"),
        (b"http://h?q", b"/?q"),
        (b"https://h//a", b"//a"),
        (b"http://h:80/x", b"/x"),
        (b"https://H:443/x", b"/x"),
        (b"http://h:/x", b"/x"),
    ],
)
async def test_an_absolute_target_is_reduced_to_its_path(target: bytes, origin: bytes) -> None:
    async with Scene(forward=SILENT) as scene:
        received, _, _ = await exchange(scene, b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
        assert received == b"GET %b HTTP/1.1\r\nHost: h" % origin


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        (b"OPTIONS http://h HTTP/1.1\r\nHost: h", b"OPTIONS *"),
        (b"OPTIONS http://h/ HTTP/1.1\r\nHost: h", b"OPTIONS /"),
        (b"OPTIONS http://h?q HTTP/1.1\r\nHost: h", b"OPTIONS /?q"),
        (b"GET http://h/x HTTP/1.0", b"GET /x"),
    ],
)
async def test_an_absolute_target_of_the_server_as_a_whole_or_without_a_host_is_reduced_too(
    line: bytes, origin: bytes
) -> None:
    async with Scene(forward=SILENT) as scene:
        received, _, _ = await exchange(scene, line + b"\r\n\r\n")
        assert received.startswith(origin + b" HTTP/1.1\r\n")


async def test_options_asterisk_goes_through_whatever_the_base_path() -> None:
    async with Scene(forward=SILENT, base_path="/base") as scene:
        received, _, _ = await exchange(scene, b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        assert received.startswith(b"OPTIONS * HTTP/1.1\r\n")


async def test_headers_that_the_policy_adds_are_on_the_reply() -> None:
    async with Scene() as scene:
        scene.add_headers = ((b"Deprecation", b"@1735689600"), (b"X-A", b"b"))
        _, answered, _ = await exchange(scene, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answered == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDeprecation: @1735689600\r\nX-A: b"


async def test_headers_that_the_policy_adds_stand_in_place_of_the_upstreams_and_links_beside_them() -> None:
    reply = (
        b"HTTP/1.1 200 OK\r\ndeprecation: @1\r\nLink: <a>\r\nX-Sunset: 1\r\nSUNSET: x\r\nContent-Length: 2\r\n\r\nok"
    )
    async with Scene() as scene:
        scene.add_headers = ((b"Deprecation", b"@1735689600"), (b"Sunset", b"y"), (b"Link", b"<b>"))
        _, answered, _ = await exchange(scene, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", reply)
        assert answered.split(b"\r\n")[1:] == [
            *(b"Link: <a>", b"X-Sunset: 1", b"Content-Length: 2"),
            *(b"Deprecation: @1735689600", b"Sunset: y", b"Link: <b>"),
        ]


async def test_te_trailers_is_passed_on_because_trailers_are() -> None:
    async with Scene(forward=SILENT) as scene:
        received, _, _ = await exchange(
            scene, b"GET / HTTP/1.1\r\nHost: h\r\nTE: trailers, gzip\r\nConnection: TE\r\n\r\n"
        )
        assert received == b"GET / HTTP/1.1\r\nHost: h\r\nConnection: TE\r\nTE: trailers"


async def test_one_empty_line_before_a_request_is_forgiven() -> None:
    async with Scene(forward=SILENT) as scene:
        received, _, _ = await exchange(scene, b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert received == b"GET / HTTP/1.1\r\nHost: h"


async def test_line_ends_without_cr_and_folded_lines_of_an_old_server_are_made_regular() -> None:
    async with Scene() as scene:
        _, answered, client = await exchange(
            scene,
            b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"HTTP/1.0 200\nServer: old\nX-Long: one\n  two\nContent-Length: 4\n\n\r\n\r\n",
        )
        assert answered == b"HTTP/1.1 200 \r\nServer: old\r\nX-Long: one two\r\nContent-Length: 4"
        assert await client.exactly(4) == b"\r\n\r\n"


@pytest.mark.parametrize(("access_log", "lines"), [("all", 1), ("recorded", 0), ("none", 0)])
async def test_an_exchange_that_passes_through_has_a_line_of_the_log_where_all_have(
    access_log: str, lines: int
) -> None:
    async with Scene() as scene:
        scene.told.access_log = access_log
        await exchange(scene, b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: c-1\r\n\r\n")
        await scene.told.until_passed(1)
        assert scene.told.lines == [("GET", b"/a", "default", 200, "")] * lines
