"""However bytes are cut into pieces on their way, they mean the same."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from strangler.front.head_buffer import HeadBuffer
from strangler.ports import Failure, Link
from strangler.upstream.link import Home, UpstreamLink
from strangler.wire.body import ChunkedBody, LengthBody, chunk, last_chunk
from strangler.wire.malformed import Malformed
from strangler.wire.reply_head import ReplyHead

CONTENT = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
EXTENSION = st.sampled_from([b"", b";a", b';name="v;x"', b";\t\xff"])
TRAILERS = st.sampled_from([b"", b"X-T: 1\r\n", b"x-a:b\r\nX-B: \xe9 \r\n"])
CUTS = st.lists(st.integers(0, 400), max_size=12)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(at, len(data)) for at in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


def read_chunked(pieces: list[bytes]) -> tuple[bytes, bytes, bytes, bool] | None:
    """Content, rest, trailers and whether it is complete; None where it is refused."""
    body = ChunkedBody(decoding=True)
    content, rest = b"", b""
    try:
        for piece in pieces:
            end = body.feed(piece) if not body.complete else 0
            rest += piece[end:]
            content += body.take()
    except Malformed:
        return None
    return content, rest, body.trailers, body.complete


@given(CONTENT, EXTENSION, TRAILERS, st.binary(max_size=20), CUTS)
def test_a_chunked_body_is_read_alike_however_it_is_cut(
    content: list[bytes], extension: bytes, trailers: bytes, rest: bytes, cuts: list[int]
) -> None:
    framed = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in content)
    stream = framed + last_chunk(trailers) + rest
    assert read_chunked(cut(stream, cuts)) == (b"".join(content), rest, trailers, True)


@given(CONTENT, TRAILERS, st.data())
def test_damage_to_a_chunked_body_is_judged_alike_however_it_is_cut(
    content: list[bytes], trailers: bytes, data: st.DataObject
) -> None:
    stream = bytearray(b"".join(map(chunk, content)) + last_chunk(trailers))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at : at + 1] = data.draw(st.sampled_from([b"", b"\n", b"\r", b"0", b"f", b"-", b" ", b"\x00", b"\r\n"]))
    whole = read_chunked([bytes(stream)])
    assert read_chunked(cut(bytes(stream), data.draw(CUTS))) == whole
    assert read_chunked([bytes([octet]) for octet in stream]) == whole


REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /b?c HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nX-A: b\r\n\r\n\r\n\r\nabc",
    b"PUT /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    b"\r\nHEAD / HTTP/1.0\r\n\r\n",
    b"\r\n\r\n\r\nHEAD /e HTTP/1.1\r\nHost: h\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
]


def read_requests(pieces: list[bytes]) -> list[tuple[str, bytes, list[Any], bytes]]:
    buffer = HeadBuffer(1000)
    seen: list[tuple[str, bytes, list[Any], bytes]] = []
    body: LengthBody | ChunkedBody | None = None
    for piece in pieces:
        buffer.add(piece)
        while buffer:
            if body is not None:
                seen[-1] = (*seen[-1][:3], seen[-1][3] + buffer.feed(body))
                if not body.complete:
                    break
                body = None
                continue
            head = buffer.next()
            if head is None:
                break
            seen.append((head.method, head.target, head.lines.headers(), b""))
            if head.fields.has_body:
                chunked, length = head.fields.chunked, head.fields.content_length
                body = ChunkedBody(decoding=False) if chunked else LengthBody(length or 0)
    assert not buffer
    return seen


@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5), CUTS)
def test_requests_in_a_row_are_told_apart_however_they_are_cut(requests: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(requests)
    expected = read_requests([stream])
    assert len(expected) == len(requests)
    assert read_requests(cut(stream, cuts)) == expected
    assert read_requests([bytes([octet]) for octet in stream]) == expected


@given(st.sampled_from(REQUESTS), st.data())
def test_a_damaged_head_is_judged_alike_however_it_is_cut(request: bytes, data: st.DataObject) -> None:
    damaged = bytearray(request)
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at : at + 1] = data.draw(st.sampled_from([b"\n", b"\r", b" ", b"\x00", b":", b"\xff", b"\r\n", b"\t"]))
    stream = bytes(damaged) + b"\r\n\r\n"

    def verdict(pieces: list[bytes]) -> tuple[str, bytes] | None:
        buffer = HeadBuffer(1000)
        try:
            for piece in pieces:
                buffer.add(piece)
                if (head := buffer.next()) is not None:
                    return head.method, head.target
        except Malformed:
            pass
        return None

    assert verdict(cut(stream, data.draw(CUTS))) == verdict([stream])


class Transport:
    """A transport that only knows whether it is closed."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class Shelf:
    """The home of the one link."""

    def __init__(self) -> None:
        self.back = False

    def returned(self, link: UpstreamLink) -> None:
        self.back = True

    def detached(self, link: UpstreamLink) -> None:
        raise AssertionError

    def gone(self, link: UpstreamLink) -> None:
        raise AssertionError


class Heard:
    """A receiver that remembers."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.interims: list[int] = []
        self.status = 0
        self.block = b""
        self.body = b""
        self.complete = False
        self.failure: Failure | None = None

    def interim(self, head: ReplyHead) -> None:
        self.interims.append(head.status)

    def reply(self, head: ReplyHead, body: bytes, complete: bool) -> None:
        assert not self.status
        self.status, self.block = head.status, head.block
        self.data(body, complete)

    def data(self, data: bytes, complete: bool) -> None:
        assert not self.complete
        self.body += data
        self.complete = complete
        if complete:
            self.link.release()

    def lost(self, failure: Failure | None) -> None:
        self.failure = failure

    def ended(self) -> None:
        raise AssertionError

    def pause_writing(self) -> None:
        raise AssertionError

    def resume_writing(self) -> None:
        raise AssertionError


def hear(pieces: list[bytes], *, decode: bool) -> tuple[object, ...]:
    home = Shelf()
    link = UpstreamLink(cast(Home, home), 10_000)
    transport = Transport()
    link.connection_made(cast(asyncio.BaseTransport, transport))
    heard = Heard(link)
    link.send(b"", heard, to_head=False, decode=decode)
    for piece in pieces:
        if piece and not transport.closed:
            link.data_received(piece)
    failed = heard.failure is not None
    if failed:
        return (failed,)
    return heard.interims, heard.status, heard.block, heard.body, heard.complete


REPLIES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 404\nX-Fold: a\n b\nContent-Length: 4\n\n\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: b\n\nhello\r\n\r\n",
]


@given(st.sampled_from(REPLIES), st.booleans(), CUTS)
def test_a_reply_is_heard_alike_however_it_is_cut(reply: bytes, decode: bool, cuts: list[int]) -> None:
    expected = hear([reply], decode=decode)
    assert len(expected) == 5
    assert hear(cut(reply, cuts), decode=decode) == expected
    assert hear([bytes([octet]) for octet in reply], decode=decode) == expected


@given(st.sampled_from(REPLIES[:3]), st.data())
def test_a_damaged_reply_is_judged_alike_however_it_is_cut(reply: bytes, data: st.DataObject) -> None:
    damaged = bytearray(reply)
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at : at + 1] = data.draw(st.sampled_from([b"\r", b" ", b"\x00", b":", b"9", b"\xff", b"\t"]))
    whole = hear([bytes(damaged)], decode=True)
    assert hear(cut(bytes(damaged), data.draw(CUTS)), decode=True) == whole
