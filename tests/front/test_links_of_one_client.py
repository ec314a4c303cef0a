"""An upstream connection on which NTLM or Negotiate was asked for belongs to one client connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from strangler.front.connection import ClientConnection
from tests.front.raw import End
from tests.front.scene import Scene

G = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_the_link_of_a_negotiated_authentication_belongs_to_its_client() -> None:
    async with Scene() as scene:
        first = await scene.send(b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: NTLM TlRMTVNTUAAB\r\n\r\n")
        pinned = await scene.legacy.accept()
        await pinned.head()
        pinned.send(b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM TlRMTVNTUAAC\r\nContent-Length: 0\r\n\r\n")
        assert (await first.reply()).status == 401
        second = await scene.send(G)
        other = await scene.legacy.accept()
        await other.head()
        other.send(OK)
        assert (await second.reply()).status == 200
        first.send(G)
        assert (await pinned.head()).startswith(b"GET / ")
        pinned.send(OK)
        assert (await first.reply()).status == 200
        assert scene.legacy.accepted == 2
        first.close()
        await pinned.gone()


@pytest.mark.parametrize(
    ("asked", "replied", "own"),
    [
        (b"Authorization: Negotiate YII\r\n", b"", True),
        (b"", b"WWW-Authenticate: Negotiate\r\n", True),
        (b"", b"WWW-Authenticate: Basic\r\nWWW-Authenticate: NTLM\r\n", True),
        (b"Authorization: Basic YII\r\n", b"WWW-Authenticate: Basic\r\n", False),
    ],
)
async def test_a_link_belongs_to_one_client_when_either_side_speaks_of_it(
    asked: bytes, replied: bytes, own: bool
) -> None:
    async with Scene() as scene:
        first = await scene.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + asked + b"\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 401 No\r\n" + replied + b"Content-Length: 0\r\n\r\n")
        assert (await first.reply()).status == 401
        second = await scene.send(G)
        other = await scene.legacy.accept() if own else upstream
        await other.head()
        other.send(OK)
        assert (await second.reply()).status == 200


@pytest.fixture
async def negotiated() -> AsyncIterator[tuple[Scene, End, End]]:
    """A client to which a link belongs, and the other end of that."""
    async with Scene() as scene:
        client = await scene.send(b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Negotiate YII\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).body == b"ok"
        yield scene, client, upstream


async def served_by_another(scene: Scene, client: End) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
    other = await scene.legacy.accept()
    assert (await other.until(b"hello")).startswith(b"POST / ")
    other.send(OK)
    assert (await client.reply()).body == b"ok"


@pytest.mark.parametrize("how", ["close", "reset", "poison"])
async def test_a_client_whose_own_link_has_ended_gets_another(negotiated: tuple[Scene, End, End], how: str) -> None:
    scene, client, upstream = negotiated
    (connection,) = scene.front._desk.connections
    assert isinstance(connection, ClientConnection)
    ((_, link),) = connection.pinned.values()
    if how == "poison":
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    else:
        getattr(upstream, how)()
    while link.reusable:
        await asyncio.sleep(0)
    await served_by_another(scene, client)
    await upstream.gone()


async def test_a_link_of_one_client_leads_no_longer_to_what_the_upstream_was(
    negotiated: tuple[Scene, End, End],
) -> None:
    scene, client, upstream = negotiated
    scene.reload(connect_timeout=1.0)
    await served_by_another(scene, client)
    await upstream.gone()


async def test_a_link_of_one_client_stays_when_its_upstream_is_loaded_again(negotiated: tuple[Scene, End, End]) -> None:
    scene, client, upstream = negotiated
    scene.reload()
    client.send(G)
    await upstream.head()
    upstream.send(OK)
    assert (await client.reply()).body == b"ok"


async def test_a_safe_request_on_a_link_of_its_client_that_turns_out_dead_is_repeated(
    negotiated: tuple[Scene, End, End],
) -> None:
    scene, client, upstream = negotiated
    client.send(b"GET /again HTTP/1.1\r\nHost: h\r\n\r\n")
    await upstream.head()
    upstream.close()
    other = await scene.legacy.accept()
    assert (await other.head()).startswith(b"GET /again ")
    other.send(OK)
    assert (await client.reply()).body == b"ok"
