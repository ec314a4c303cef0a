"""Who waits for "100 Continue" is told so by us when the upstream does not, and nobody else is, and nobody later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from strangler.domain.exchange import PassOn, Request
from strangler.front.connection import ClientConnection
from strangler.front.passage import Passage
from tests.front.raw import End
from tests.front.scene import Scene

P = b"POST / HTTP/1.1\r\nHost: h\r\n"
WAITING = P + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (WAITING, True),
        (P + b"Content-Length: 5\r\n\r\n", False),
        (WAITING + b"h", False),
        (WAITING + b"hello", False),
        (P + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", False),
        (P + b"Expect:\r\nContent-Length: 5\r\n\r\nhello", False),
        (WAITING.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
    ],
)
async def test_who_waits_is_told_to_go_on(request_: bytes, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.front.passage.CONTINUE_AFTER", 0.0)
    async with Scene() as scene:
        client = await scene.send(request_)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        if told:
            assert await client.head() == b"HTTP/1.1 100 Continue"
        assert (await client.reply()).status == 200


async def waits(scene: Scene) -> tuple[Passage, End]:
    """A client that waits, and its exchange: it would be told to go on."""
    await scene.send(WAITING)
    upstream = await scene.legacy.accept()
    await upstream.head()
    (connection,) = scene.front._desk.connections
    assert isinstance(connection, ClientConnection)
    passage = connection._exchange
    assert isinstance(passage, Passage)
    assert passage._continue is not None
    return passage, upstream


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda client, upstream: client.send(b"hel"), 0),
        (lambda client, upstream: upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n"), 100),
        (lambda client, upstream: upstream.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"), 417),
        (lambda client, upstream: upstream.send(b"HTTP/1.1 417 No\r\nContent-Length: 9\r\n\r\nhalf"), 417),
        (lambda client, upstream: upstream.close(), 502),
    ],
)
async def test_who_no_longer_waits_is_told_nothing(end: Callable[[End, End], None], status: int) -> None:
    async with Scene() as scene:
        passage, upstream = await waits(scene)
        (client,) = scene._clients
        end(client, upstream)
        if status:
            assert (await client.head()).startswith(b"HTTP/1.1 %d " % status)
        else:
            await upstream.exactly(3)
        assert passage._continue is None


async def test_who_waits_is_told_to_go_on_after_another_interim_reply_too() -> None:
    async with Scene() as scene:
        passage, upstream = await waits(scene)
        (client,) = scene._clients
        upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 103 ")
        assert passage._continue is not None


async def test_an_expectation_that_a_handler_met_says_nothing_of_the_next_request() -> None:
    async def passes_on(request: Request) -> PassOn:
        return PassOn([await request.body.read()])

    async with Scene() as scene:
        scene.ours[b"/ours"] = passes_on
        client = await scene.send(WAITING)
        for target, expects in ((b"/", True), (b"/ours", False), (b"/", True)):
            if target != b"/" or scene.legacy.accepted:
                client.send(WAITING.replace(b" / ", b" %b " % target))
            if not expects:
                assert await client.head() == b"HTTP/1.1 100 Continue"
                client.send(b"hello")
            if not scene.legacy.accepted:
                upstream = await scene.legacy.accept()
            received = await upstream.head()
            assert (b"Expect: 100-continue" in received) is expects
            if expects:
                client.send(b"hello")
            assert await upstream.exactly(5) == b"hello"
            upstream.send(OK)
            assert (await client.reply()).body == b"ok"
