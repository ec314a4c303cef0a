"""Empty lines before a request: they are skipped, they begin nothing, and there is an end to them."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from strangler.domain.exchange import Answer
from strangler.front.connection import ClientConnection
from strangler.front.head_buffer import HeadBuffer
from strangler.wire.malformed import Malformed
from tests.front.raw import End
from tests.front.scene import Scene

REQUEST = b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n"
MAX_HEAD = 1000


async def answered(scene: Scene) -> tuple[End, ClientConnection]:
    """A client that was answered, and its connection, which is kept."""
    scene.ours[b"/ours"] = Answer(200, [], b"x")
    client = await scene.send(REQUEST)
    assert (await client.reply()).body == b"x"
    (connection,) = scene.front._desk.connections
    assert isinstance(connection, ClientConnection)
    return client, connection


async def arrived(client: End, connection: ClientConnection, data: bytes, *, waits: bool) -> None:
    """Send, until the connection has something that waits for more, or has nothing any more."""
    client.send(data)
    while connection.pipelined() is not waits:
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["overdue", "drain"])
@pytest.mark.parametrize(("first", "rest"), [(b"\r", b"\n"), (b"\r\n\r", b"\n"), (b"\r", b""), (b"\r\n\r", b"")])
async def test_an_empty_line_that_is_cut_begins_no_request(first: bytes, rest: bytes, how: str) -> None:
    async with Scene() as scene:
        client, connection = await answered(scene)
        await arrived(client, connection, first, waits=True)
        if rest:
            await arrived(client, connection, rest, waits=False)
        connection.overdue()  # the first look after an answer: how much of it is left
        getattr(connection, how)()
        assert await client.to_end() == b""
        assert scene.told.refusals == []


async def test_a_request_after_an_empty_line_that_was_cut_is_answered() -> None:
    async with Scene() as scene:
        client, connection = await answered(scene)
        await arrived(client, connection, b"\r", waits=True)
        client.send(b"\n" + REQUEST)
        assert (await client.reply()).body == b"x"


@pytest.mark.parametrize("at", [1, 3, 18, 20, 28, 30])
async def test_a_request_that_was_cut_is_answered(at: int) -> None:
    async with Scene() as scene:
        client, connection = await answered(scene)
        await arrived(client, connection, REQUEST[:at], waits=True)
        client.send(REQUEST[at:])
        assert (await client.reply()).body == b"x"


async def test_what_is_no_empty_line_begins_a_request() -> None:
    async with Scene() as scene:
        client, connection = await answered(scene)
        await arrived(client, connection, b"\r\nG", waits=True)
        connection.overdue()
        assert (await client.reply()).status == 408


async def test_empty_lines_without_end_are_refused() -> None:
    async with Scene(settings={"max_head": MAX_HEAD}) as scene:
        client = await scene.send(b"\r\n" * MAX_HEAD)
        reply = await client.reply()
        assert (reply.status, json.loads(reply.body)["code"]) == (431, "head-too-large")
        await client.gone()
        assert scene.told.refusals == [("", "head-too-large")]


def taken(pieces: list[bytes]) -> int:
    """How many requests come out of them."""
    buffer, count = HeadBuffer(MAX_HEAD), 0
    for piece in pieces:
        buffer.add(piece)
        while buffer.next() is not None:
            count += 1
    return count


def test_a_head_is_as_long_as_it_is_however_much_came_before_it() -> None:
    assert taken([REQUEST * MAX_HEAD + REQUEST[:10], REQUEST[10:]]) == MAX_HEAD + 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 5000])
def test_as_many_empty_lines_as_a_head_may_be_long_precede_each_request(size: int) -> None:
    def cut(data: bytes) -> list[bytes]:
        return [data[at : at + size] for at in range(0, len(data), size)]

    empty = b"\r\n" * (MAX_HEAD // 2)
    assert taken(cut((empty + REQUEST) * 3)) == 3
    with pytest.raises(Malformed) as refused:
        taken(cut(REQUEST + empty + b"\r\n" + REQUEST))
    assert refused.value.code == "head-too-large"


def test_many_empty_lines_are_skipped_at_once() -> None:
    def calls(lines: int) -> int:
        count, before = 0, sys.getprofile()

        def called(*_: object) -> None:
            nonlocal count
            count += 1

        buffer = HeadBuffer(100_000)
        buffer.add(b"\r\n" * lines + REQUEST)
        sys.setprofile(called)
        try:
            head = buffer.next()
        finally:
            sys.setprofile(before)
        assert head is not None
        return count

    assert calls(40_000) < 1000  # and not some for each
