"""Heads are checked, searched and cut as blocks; taken line by line, as the RFCs tell it, they come out the same."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from strangler.domain.exchange import Peer
from strangler.front.client_head import client_head
from strangler.front.upstream_head import upstream_fields
from strangler.policy.forwarding import forwarding_fields
from strangler.policy.upstreams import Forward, Upstream
from strangler.wire.body import ChunkedBody, last_chunk
from strangler.wire.fields import cut
from strangler.wire.malformed import Malformed
from strangler.wire.reply_head import ReplyHead, find_reply_head
from strangler.wire.request_head import FieldLines, RequestFields, find_noted

NAMES = (
    *("Connection", "Keep-Alive", "Proxy-Connection", "TE", "Transfer-Encoding", "Upgrade", "Content-Length", "Host"),
    *("X-Forwarded-For", "X-Forwarded-Host", "x_forwarded_for", "X-Forwarded_Proto", "Forwarded", "Via", "Expect"),
    *(
        "Authorization",
        "WWW-Authenticate",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Cookie",
        "X-A",
        "X_A",
        "Accept",
    ),
    *("T", "Te-", "Hosts", "Content-Lengt", "Trailer", "x-forwarded-forx"),
)
VALUES = (
    *(
        b"",
        b"1",
        b"12",
        b"keep-alive",
        b"close",
        b"Close, TE",
        b"x-a",
        b"x_forwarded_for, TE",
        b"upgrade, X-A",
        b"chunked",
    ),
    *(
        b"trailers",
        b"websocket",
        b"h2c, WebSocket",
        b"100-continue",
        b"a: b",
        b"Host: x",
        b"\xff \t\xe9",
        b"NTLM",
        b"h:80",
    ),
)
SPACE = st.sampled_from([b"", b" ", b"\t", b" \t "])
PLAIN = Upstream(name="u", scheme="http", host="u", port=81)
UPSTREAMS = (
    PLAIN,
    Upstream(name="u", scheme="http", host="u", port=80, host_header="upstream", upgrade=()),
    Upstream(name="u", scheme="http", host="u", forward=Forward(x_forwarded=False, forwarded=True, via=False)),
)
PEER = Peer("192.0.2.7", 1)
HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"upgrade",
}
KEPT = {b"host", b"content-length", b"authorization", b"cookie", b"expect", b"x-forwarded-for", b"x-forwarded-host"} | {
    *(b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-prefix", b"forwarded", b"via", b"transfer-encoding")
}
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@st.composite
def lines(draw: st.DrawFn) -> list[bytes]:
    made = []
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=8)):
        spelled = draw(st.sampled_from([name, name.lower(), name.upper()])).encode()
        made.append(spelled + b":" + draw(SPACE) + draw(st.sampled_from(VALUES)) + draw(SPACE))
    return made


def parsed(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip(b" \t")


def items(values: list[bytes]) -> list[bytes]:
    return [item for value in values for part in value.lower().split(b",") if (item := part.strip(b" \t"))]


def of(fields: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in fields if name.lower() == wanted]


def block(of_lines: list[bytes]) -> bytes:
    return b"\r\n" + b"".join(line + b"\r\n" for line in of_lines)


def upstream_lines(given: list[bytes], upstream: Upstream, *, old: bool, trusted: bool) -> list[bytes]:
    """What goes upstream of a request that is not refused."""
    fields = [parsed(line) for line in given]
    forward = upstream.forward
    ours = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"} if forward.x_forwarded else set()
    ours |= ({b"forwarded"} if forward.forwarded else set()) | ({b"via"} if forward.via else set())
    options = set(items(of(fields, b"connection")))
    out = []
    for line, (name, _) in zip(given, fields, strict=True):
        key = name.lower()
        if key in HOP or key.replace(b"_", b"-") in ours or (key == b"expect" and old):
            continue
        if key in options and key not in KEPT:
            continue
        out.append(b"Host: u" if key == b"host" and upstream.host_header == "upstream" else line)
    hosts = of(fields, b"host")
    authority = b"u:81" if upstream is PLAIN else b"u" if upstream.port else b"u:0"
    out += [] if hosts else [b"Host: " + authority]
    earlier = {name: b", ".join(of(fields, name)) for name in ours if of(fields, name)}
    host = hosts[0] if hosts else b""
    out += [b"%b: %b" % field for field in forwarding_fields(earlier, host, PEER, forward, trusted=trusted, old=old)]
    asked = set(items(of(fields, b"upgrade"))) & ({b"websocket"} if upstream.upgrade else set())
    bodiless = not of(fields, b"transfer-encoding") and not any(map(int, of(fields, b"content-length")))
    if asked and b"upgrade" in options and not old and bodiless:
        out += [b"Connection: Upgrade", b"Upgrade: websocket"]
    elif b"trailers" in items(of(fields, b"te")):
        out += [b"Connection: TE", b"TE: trailers"]
    return out


@given(lines(), st.sampled_from(UPSTREAMS), st.booleans(), st.booleans())
@example([b"Host: h", b"Connection: x-a", b"Connection: x-a", b"X-A: 1", b"x-a:2"], PLAIN, False, False)
@example([b"Via: a", b"Host: h", b"VIA: b", b"Via: a", b"Via: a"], PLAIN, False, True)
def test_a_request_goes_upstream_as_line_by_line(
    of_lines: list[bytes], upstream: Upstream, old: bool, trusted: bool
) -> None:
    try:
        fields = RequestFields(find_noted(block(of_lines)), old=old)
    except Malformed:
        return
    lines = FieldLines(block(of_lines))
    assert lines.headers() == [parsed(line) for line in of_lines]
    out = upstream_fields(fields, upstream, PEER, trusted=trusted).of(lines)
    assert out == block(upstream_lines(of_lines, upstream, old=old, trusted=trusted)) + b"\r\n"


OTHERS = st.sampled_from(
    [b"X-A: 1", b"x-a:2", b"X_A: 3", b"Cookie: a=b", b"Cookie: Host: x", b"T: x", b"Te-: 1", b"Trailer:"]
)


@given(lines(), st.lists(st.tuples(st.integers(0, 9), OTHERS), max_size=6), st.sampled_from(UPSTREAMS), st.booleans())
@example([b"Host: h", b"X-A: 1", b"Connection: x-a"], [(0, b"x-a:2"), (3, b"T: x")], PLAIN, False)
def test_requests_that_say_the_same_go_upstream_alike_whatever_else_they_say(
    of_lines: list[bytes], others: list[tuple[int, bytes]], upstream: Upstream, old: bool
) -> None:
    try:
        fields = RequestFields(find_noted(block(of_lines)), old=old)
    except Malformed:
        return
    another = [line for line in of_lines if find_noted(block([line]))]
    for position, line in others:
        another.insert(position, line)
    assert find_noted(block(another)) == fields.found
    made = upstream_fields(fields, upstream, PEER, trusted=False)
    for sent in (of_lines, another, of_lines):
        out = made.of(FieldLines(block(sent)))
        assert out == block(upstream_lines(sent, upstream, old=old, trusted=False)) + b"\r\n"


def client_lines(given: list[bytes], status: int, *, old: bool, keep: bool) -> list[bytes]:
    """What a client gets of a reply that is not refused."""
    fields = [parsed(line) for line in given]
    options = set(items(of(fields, b"connection"))) - KEPT - HOP
    dropped = (HOP - {b"proxy-authorization"}) | options | ({b"transfer-encoding"} if old or status == 204 else set())
    dropped |= {b"content-length"} if status == 204 else set()
    out = [line for line, (name, _) in zip(given, fields, strict=True) if name.lower() not in dropped]
    return out + ([] if keep and not old else [b"Connection: keep-alive" if keep else b"Connection: close"])


@given(lines(), st.sampled_from([200, 204, 304, 404]), st.booleans(), st.booleans())
@example(
    [b"Content-Length: 1", b"Keep-Alive: 1", b"Keep-Alive: 1", b"Connection: close, X_A", b"X_A: 1"], 200, False, True
)
def test_a_reply_goes_to_the_client_as_line_by_line(of_lines: list[bytes], status: int, old: bool, keep: bool) -> None:
    head = b"HTTP/1.1 %d Fine\x20so" % status + block(of_lines) + b"\r\n"
    try:
        found = find_reply_head(head + b"rest")
    except Malformed:
        return
    assert found is not None
    reply, end = found
    assert end == len(head)
    assert isinstance(reply, ReplyHead)
    assert reply.headers == [parsed(line) for line in of_lines]
    expected = b"HTTP/1.1 %d Fine so" % status + block(client_lines(of_lines, status, old=old, keep=keep)) + b"\r\n"
    assert client_head(reply, old=old, keep=keep) == expected


def test_a_line_that_begins_as_another_one_is_not_cut_for_it() -> None:
    assert cut(block([b"A: 11", b"A: 1", b"B: A: 1", b"A: 1"]), [b"\r\nA: 1", b"\r\nA: 1"]) == block(
        [b"A: 11", b"B: A: 1"]
    )


def sound(line: bytes) -> bool:
    name, colon, value = line.partition(b":")
    return bool(colon and TOKEN.fullmatch(name)) and not any((o < 32 and o != 9) or o == 127 for o in value)


@given(
    st.lists(
        st.binary(max_size=6) | st.sampled_from([b"A:b", b"A :b", b" A:b", b"A:\tb ", b"A", b":", b"a\r:b"]), max_size=4
    )
)
def test_a_block_is_sound_where_each_of_its_lines_is(of_lines: list[bytes]) -> None:
    body = ChunkedBody(decoding=False)
    trailers = b"".join(line + b"\r\n" for line in of_lines)
    try:
        body.feed(last_chunk(trailers))
        taken = body.complete and body.trailers == trailers
    except Malformed:
        taken = False
    assert taken == all(map(sound, of_lines))
