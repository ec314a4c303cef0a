"""Connections to receivers: what is an answer however it is cut, and which connection is used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast

import pytest
from aiohttp.connector import Connection
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from strangler.channels.callbacks import client
from strangler.channels.callbacks.gate import GatedConnector, Trail
from strangler.channels.callbacks.link import Link
from strangler.channels.callbacks.sender import HttpCallbackSender
from strangler.ports import Answered, Unreached
from strangler.ports.deliveries import HEAD_SIZE
from strangler.wire.malformed import Malformed
from tests.channels.callbacks.scene import OK, a_message, a_receiver, anywhere, listening
from tests.harness.waiting import eventually

ERROR = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
CUTS = st.lists(st.integers(0, 300), max_size=12)
ANSWERS = {
    OK: (200, b"ok", True),
    ERROR: (500, b"", True),
    b"HTTP/1.1 204 No Content\r\n\r\n": (204, b"", True),
    b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK: (200, b"ok", True),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n": (
        200,
        b"abcde",
        True,
    ),
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok": (200, b"ok", False),
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok": (200, b"ok", False),
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end": (200, b"until the end", False),
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok": (200, b"ok", True),
    b"HTTP/1.1 429 Wait\r\nretry-after: 1\r\nRetry-After: \t7 \r\nContent-Length: 0\r\n\r\n": (429, b"", True),
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n": None,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok": None,
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\n\r\n": None,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n": (200, b"", False),
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + OK: None,
    b"220 mail.example ESMTP\r\n": None,
    b"HTTP/1.1 200 OK\r\n": None,  # and then it is closed
}


class FakeConnection:
    """A connection without a socket; it takes note of what is sent, and of its end."""

    def __init__(self) -> None:
        self.transport = self.protocol = self
        self.closed = False
        self.sent = b""

    def set_parser(self, parser: Link, payload: None) -> None:
        """What comes is fed to it."""

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self.sent += data

    def exception(self) -> None:
        """It was closed in peace."""

    def close(self) -> None:
        self.closed = True


async def read(pieces: list[bytes]) -> tuple[int, bytes, bool] | None:
    """Status, first bytes and whether the connection can be used again; None: it is no answer."""
    link = Link(cast(Connection, FakeConnection()), "192.0.2.1")
    exchange = asyncio.ensure_future(link.exchange(b"POST", asyncio.get_running_loop().time() + 60))
    await asyncio.sleep(0)
    for piece in pieces:
        if piece and not exchange.done():
            link.feed_data(piece)
    if not link.reusable:
        link.feed_eof()
    try:
        reply = await exchange
    except (Malformed, ConnectionResetError):
        return None
    return reply.head.status, reply.first, link.reusable


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_the_same_in_one_piece_and_in_pieces_of_one_octet(answer: bytes) -> None:
    assert asyncio.run(read([answer])) == ANSWERS[answer]
    assert asyncio.run(read([bytes([octet]) for octet in answer])) == ANSWERS[answer]


@given(st.sampled_from([*ANSWERS]), CUTS)
def test_an_answer_is_the_same_however_it_is_cut(answer: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(at, len(answer)) for at in cuts), len(answer)]
    assert asyncio.run(read([answer[begin:end] for begin, end in pairwise(edges)])) == ANSWERS[answer]


async def test_a_body_that_breaks_after_its_head_had_come_changes_nothing_but_costs_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert await read([head + b"2\r\nok\r\n", b"nonsense"]) == (200, b"ok", False)
    assert await read([OK, b"HTTP/1.1 200 OK\r\n"]) == (200, b"ok", False)
    assert await read([head + b"%x\r\n" % (2 * HEAD_SIZE), b"x" * HEAD_SIZE]) == (200, b"x" * HEAD_SIZE, False)


async def test_of_several_lines_of_a_field_the_last_one_counts() -> None:
    link = Link(cast(Connection, FakeConnection()), None)
    exchange = asyncio.ensure_future(link.exchange(b"", 1e12))
    await asyncio.sleep(0)
    link.feed_data(
        b"HTTP/1.1 429 Wait\r\nRETRY-after: 1\r\nX-Retry-After: 3\r\nRetry-After: \t7 \r\nContent-Length: 0\r\n\r\n"
    )
    reply = await exchange
    assert (reply.field(b"retry-after"), reply.field(b"retry")) == (b"7", None)


# ── On real sockets ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def sender() -> AsyncIterator[HttpCallbackSender]:
    sender = HttpCallbackSender()
    yield sender
    await sender.close()


async def test_what_comes_unasked_is_never_the_answer_to_the_next_callback(sender: HttpCallbackSender) -> None:
    async with listening(ERROR) as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url)
        assert isinstance(await sender.send(receiver, a_message(url)), Answered)
        there.writers[0].write(OK)
        await eventually(lambda: there.tasks[0] is not None and there.tasks[0].done())
        found = await sender.send(receiver, a_message(url))
    assert isinstance(found, Answered)
    assert found.status == 500
    assert there.connections == 2


async def test_an_answer_that_comes_before_the_request_is_one(sender: HttpCallbackSender) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Full\r\nRetry-After: 7\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    found = await sender.send(a_receiver(url), a_message(url))
    server.close()
    assert isinstance(found, Answered)
    assert (found.status, found.retry_after) == (503, 7000)


async def test_a_connection_that_nobody_needs_is_closed_after_a_while(
    sender: HttpCallbackSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "KEEPALIVE", 0.01)
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"
        assert isinstance(await sender.send(a_receiver(url), a_message(url)), Answered)
        await eventually(lambda: there.tasks[0] is not None and there.tasks[0].done())


async def test_each_origin_has_connections_of_its_own(sender: HttpCallbackSender) -> None:
    async with listening() as one, listening() as other:
        allow: Any = (*anywhere(one.port, "http"), *anywhere(other.port, "http"))
        receiver = a_receiver(None, allow=allow)
        for there in (one, other, one, other):
            assert isinstance(await sender.send(receiver, a_message(f"http://127.0.0.1:{there.port}/")), Answered)
    assert (one.connections, other.connections) == (1, 1)
    assert {seen.headers["host"] for seen in other.requests} == {f"127.0.0.1:{other.port}"}


async def test_silence_on_a_connection_of_an_earlier_call_is_no_reason_to_call_anew(
    sender: HttpCallbackSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[URL] = []
    dial = GatedConnector.dial

    async def counted(connector: GatedConnector, url: URL, name: str | None, trail: Trail) -> Connection:
        dialled.append(url)
        return await dial(connector, url, name, trail)

    monkeypatch.setattr(GatedConnector, "dial", counted)
    async with listening(OK, None) as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url, timeout=0.2)
        await sender.send(receiver, a_message(url))
        found = await sender.send(receiver, a_message(url))
    assert (len(dialled), len(there.requests)) == (1, 2)
    assert isinstance(found, Unreached)
    assert (found.reason, found.address) == ("no answer within 0.2 s", "127.0.0.1")
