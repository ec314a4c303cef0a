"""What a reply's head says about its body and its connection."""

from __future__ import annotations

import pytest

from strangler.wire.reply_head import CHUNKED, UNTIL_CLOSE, ReplyHead, find_reply_head


def head(data: bytes) -> ReplyHead:
    found = find_reply_head(data + b"\r\n\r\n")
    assert found is not None
    assert found[1] == len(data) + 4
    return found[0]


@pytest.mark.parametrize(
    ("data", "to_head", "framing"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", False, 5),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5 ", False, 5),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", False, 5),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", True, 0),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5", False, 0),
        (b"HTTP/1.1 304 No\r\nContent-Length: 5", False, 0),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED", False, CHUNKED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", True, 0),
        (b"HTTP/1.1 200 OK\r\nX-Content-Length: 5", False, UNTIL_CLOSE),
        (b"HTTP/1.1 200", False, UNTIL_CLOSE),
    ],
)
def test_the_end_of_a_body_is_known_from_its_head(data: bytes, to_head: bool, framing: int) -> None:
    assert head(data).framing(to_head=to_head) == framing


@pytest.mark.parametrize(
    ("data", "persistent"),
    [
        (b"HTTP/1.1 200 OK", True),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive", True),
        (b"HTTP/1.1 200 OK\r\nConnection: x\r\nconnection: Close", False),
        (b"HTTP/1.0 200 OK", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive", True),
    ],
)
def test_a_connection_is_kept_as_the_reply_says(data: bytes, persistent: bool) -> None:
    assert head(data).persistent is persistent


def test_headers_are_there_for_who_wants_them() -> None:
    reply = head(b"HTTP/1.1 200 OK\r\nX-A:  1 \r\nx-a:\r\nSet-Cookie: a=b; Path=/")
    assert reply.headers == [(b"X-A", b"1"), (b"x-a", b""), (b"Set-Cookie", b"a=b; Path=/")]


@pytest.mark.parametrize("scheme", [b"NTLM", b"Negotiate", b"negotiate oYG2", b"ntlm TlRM"])
def test_an_authentication_of_the_connection_is_noticed(scheme: bytes) -> None:
    assert head(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: " + scheme).negotiates
    assert not head(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=NTLM").negotiates
