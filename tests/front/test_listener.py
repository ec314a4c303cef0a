"""Listening, TLS, keep-alive, draining and closing."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from pathlib import Path

import pytest

from strangler.domain.exchange import Answer
from strangler.front.connection import ClientConnection
from strangler.policy.upstreams import Tls
from tests.front.certificates import Authority, server_context
from tests.front.raw import End, RawUpstream
from tests.front.scene import Scene, Waits
from tests.harness.waiting import free_port

G = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OURS = b"GET /ours HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_request_bears_who_sent_it_and_where_it_came_in() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = Answer(204)
        client = await scene.send(OURS)
        await client.reply()
        peer = scene.seen[0].peer
        assert (peer.address, peer.tls, peer.tls_subject) == ("127.0.0.1", False, None)
        assert peer.port == client.writer.get_extra_info("sockname")[1]
        assert peer.local == "{}:{}".format(*scene.address)


async def test_who_connected_to_a_bound_socket_before_anybody_served_it_is_served() -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    early = socket.create_connection(bound.getsockname())
    async with Scene(bound=bound) as scene:
        client = End(*await asyncio.open_connection(sock=early))
        scene.ours[b"/ours"] = Answer(204)
        client.send(OURS)
        assert (await client.reply()).status == 204
        client.close()


async def test_a_unix_socket_is_listened_on(tmp_path: Path) -> None:
    path = str(tmp_path / "front")
    async with Scene() as scene:
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(path)
        assert await scene.front.listen(bound) == (path, 0)
        reader, writer = await asyncio.open_unix_connection(path)
        client = End(reader, writer)
        client.send(G)
        upstream = await scene.legacy.accept()
        assert b"X-Forwarded-For: unknown" in await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).status == 200
        client.close()


async def test_a_defect_in_one_deadline_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    overdue, defects = ClientConnection.overdue, [ZeroDivisionError()]

    def broken_once(connection: ClientConnection) -> None:
        if defects:
            connection.deadline = math.inf
            raise defects.pop()
        overdue(connection)

    monkeypatch.setattr(ClientConnection, "overdue", broken_once)
    async with Scene(settings={"head_timeout": 0.05}) as scene:
        clients = [await scene.client() for _ in range(3)]
        for client in clients:
            await client.to_end()
        assert [type(failure) for failure in scene.told.failures] == [ZeroDivisionError]
        scene.told.failures.clear()


async def test_a_bound_socket_is_listened_on() -> None:
    async with Scene() as scene:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        address = await scene.front.listen(bound)
        assert address == bound.getsockname()
        reader, writer = await asyncio.open_connection(*address)
        scene.ours[b"/ours"] = Answer(204)
        client = End(reader, writer)
        client.send(OURS)
        assert (await client.reply()).status == 204
        client.close()


async def test_tls_and_the_subject_of_a_client_certificate(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(*authority.issue("broker-a"))
    async with Scene(tls=server_context(authority, client_ca=True)) as scene:
        client = await scene.client(ssl=context, server_hostname="localhost")
        client.send(G)
        upstream = await scene.legacy.accept()
        assert b"X-Forwarded-Proto: https" in await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).body == b"ok"
        peer = scene.seen[0].peer
        assert (peer.tls, peer.tls_subject) == (True, r"CN=broker-a,O=Broker\, Inc.")


async def test_a_big_body_goes_through_tls(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.ca)
    async with Scene(tls=server_context(authority)) as scene:
        client = await scene.client(ssl=context, server_hostname="localhost")
        size = 5_000_000
        client.send(
            b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
        )
        upstream = await scene.legacy.accept()
        await upstream.head()
        assert len(await upstream.exactly(size)) == size
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"y" * size)
        assert (await client.reply()).body == b"y" * size
        assert await client.to_end() == b""


async def test_the_upstream_is_verified_and_gets_our_certificate(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("strangler")
    stranger = Authority(tmp_path, "Another Authority")
    async with RawUpstream(tls=server_context(authority, client_ca=True)) as legacy:
        way = {"scheme": "https", "host": "localhost", "port": legacy.port}
        async with Scene(**way, tls_=Tls(ca=authority.ca, cert=certificate, key=key)) as scene:
            client = await scene.send(G)
            upstream = await legacy.accept()
            await upstream.head()
            subject = upstream.writer.get_extra_info("peercert")["subject"]
            assert (("commonName", "strangler"),) in subject
            upstream.send(OK)
            assert (await client.reply()).body == b"ok"
        async with Scene(**way, tls_=Tls(ca=stranger.ca, cert=certificate, key=key)) as scene:
            scene.told.access_log = "all"
            assert (await (await scene.send(G)).reply()).status == 502
            assert scene.told.details[0].startswith("the certificate of the upstream is not taken: ")
        async with Scene(**way, tls_=Tls(ca=authority.ca, server_name="other", cert=certificate, key=key)) as scene:
            assert (await (await scene.send(G)).reply()).status == 502
        async with Scene(**way, tls_=Tls(verify=False, cert=certificate, key=key)) as scene:
            client = await scene.send(G)
            upstream = await legacy.accept()
            await upstream.head()
            upstream.send(OK)
            assert (await client.reply()).status == 200


@pytest.mark.parametrize("named", ["the root", "one that the root signed"])
async def test_certificates_of_a_house_are_taken_by_every_python(named: str, tmp_path: Path) -> None:
    root = Authority(tmp_path, "Root", terse=True)
    authority = root if named == "the root" else Authority(tmp_path, "Legacy Systems", by=root, terse=True)
    async with RawUpstream(tls=server_context(authority)) as legacy:
        way = {"scheme": "https", "host": "localhost", "port": legacy.port}
        async with Scene(**way, tls_=Tls(ca=authority.ca)) as scene:
            client = await scene.send(G)
            upstream = await legacy.accept()
            await upstream.head()
            upstream.send(OK)
            assert (await client.reply()).body == b"ok"


async def test_what_tls_cannot_close_by_half_is_closed_whole(authority: Authority) -> None:
    ask = G.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    async with RawUpstream(tls=server_context(authority)) as legacy:
        way = {"scheme": "https", "host": "localhost", "port": legacy.port}
        async with Scene(**way, tls_=Tls(ca=authority.ca)) as scene:
            client = await scene.send(ask)
            upstream = await legacy.accept()
            await upstream.head()
            upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
            assert (await client.head()).startswith(b"HTTP/1.1 101 ")
            client.half_close()
            assert await upstream.to_end() == b""
            assert await client.to_end() == b""
            assert scene.told.passed == [("default", 101)]


async def test_an_upstream_behind_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "legacy")
    async with RawUpstream(path=path) as legacy, Scene(scheme="unix", socket_path=path, host="") as scene:
        client = await scene.send(G)
        upstream = await legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).status == 200


async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Scene(host="legacy.test") as scene:
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", free_port()))
        alive = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", scene.legacy.port))
        asked: list[object] = []

        async def addresses(host: str, port: int) -> list[object]:
            asked.append(host)
            return [dead, dead, alive]

        monkeypatch.setattr("strangler.upstream.dial.resolve", addresses)
        client = await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(OK)
        assert (await client.reply()).status == 200
        assert asked == ["legacy.test"]


async def test_an_idle_connection_is_closed_after_keepalive() -> None:
    async with Scene(settings={"keepalive": 0.1}) as scene:
        scene.ours[b"/ours"] = Answer(204)
        client = await scene.send(OURS)
        assert (await client.reply()).status == 204
        assert await client.to_end() == b""


async def test_draining_ends_what_is_under_way_and_closes_each_connection_after_it() -> None:
    async with Scene() as scene:
        idle, busy = await scene.client(), await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        scene.front.drain()
        assert await idle.to_end() == b""
        late = await scene.client()
        scene.ours[b"/ours"] = Answer(204)
        late.send(OURS)
        assert (await late.reply()).field("Connection") == b"close"
        scene.front.stop_listening()
        drained = asyncio.ensure_future(scene.front.drained())
        upstream.send(OK)
        reply = await busy.reply()
        assert (reply.body, reply.field("Connection")) == (b"ok", b"close")
        assert await busy.to_end() == b""
        await asyncio.wait_for(drained, 5)
        with pytest.raises(OSError):
            await scene.client()


async def test_closing_ends_everything_at_once() -> None:
    async with Scene() as scene:
        scene.ours[b"/ours"] = waits = Waits()
        ours, through = await scene.send(OURS), await scene.send(G)
        upstream = await scene.legacy.accept()
        await upstream.head()
        await waits.waiting.wait()
        assert scene.front.connections == 2
        await scene.front.close()
        await ours.gone()
        await through.gone()
        await upstream.gone()
        assert waits.cancelled.is_set()


async def test_a_defect_in_directing_is_500_and_told() -> None:
    async with Scene() as scene:
        scene.front._desk.direct = lambda request: 1 / 0  # type: ignore[assignment, return-value]
        client = await scene.send(G)
        assert (await client.reply()).status == 500
        assert [type(error) for error in scene.told.failures] == [ZeroDivisionError]
        scene.told.failures.clear()
