"""Recorded calls: sent once, and told exactly what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, Body, Fault, FaultKind, Header, Headers, Hindrance
from strangler.policy.upstreams import Tls, Upstream
from strangler.ports import Outgoing
from strangler.upstream import Caller
from strangler.upstream.call import Call
from strangler.upstream.dial import Dialer
from strangler.upstream.link import UpstreamLink
from tests.front.raw import PATIENCE, End, RawUpstream
from tests.harness.waiting import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST: Header = (b"Host", b"legacy")


class Sink:
    """Keeps what it is fed."""

    def __init__(self, on_write: Callable[[], Awaitable[None]] | None = None) -> None:
        self.heads: list[tuple[int, bytes, Headers]] = []
        self.body = bytearray()
        self._on_write = on_write

    def head(self, status: int, reason: bytes, headers: Headers) -> None:
        assert self.body == b""
        self.heads.append((status, reason, list(headers)))

    async def write(self, data: bytes) -> None:
        assert len(self.heads) == 1
        assert data
        if self._on_write is not None:
            await self._on_write()
        self.body += data


class Store(Sink):
    """Keeps a reply only when it is told to, and has a request of which it cannot read the second chunk then."""

    def __init__(self) -> None:
        super().__init__(self._may_keep)
        self.keeping = asyncio.Event()
        self.go_on = asyncio.Event()
        self.fail = asyncio.Event()
        self.failed = asyncio.Event()
        self.request = Outgoing("POST", b"/", (HOST,), Body(CHUNK_SIZE + 1, b"", None), self._read_chunk)

    async def fail_and_keep(self) -> None:
        """Let the second chunk fail, and only then the reply be kept."""
        self.fail.set()
        await self.failed.wait()
        self.go_on.set()

    async def _may_keep(self) -> None:
        self.keeping.set()
        await self.go_on.wait()

    async def _read_chunk(self, index: int) -> bytes:
        if index == 0:
            return b"begin"
        await self.fail.wait()
        self.failed.set()
        raise StoreUnavailable("disk")


class World:
    """A caller and a raw upstream."""

    def __init__(self, legacy: RawUpstream) -> None:
        self.legacy = legacy
        self.caller = Caller(max_head=64 * 1024)
        self.asked = 0
        self.allowed = True

    def upstream(self, **changes: Any) -> Upstream:
        return Upstream(
            **{
                "name": "legacy",
                "scheme": "http",
                "host": "127.0.0.1",
                "port": self.legacy.port,
                "keepalive": 3600.0,  # so that a connection that ends was closed for another reason
                **changes,
            }
        )

    def may_send(self) -> bool:
        self.asked += 1
        return self.allowed

    def call(
        self,
        request: Outgoing,
        sink: Sink,
        *,
        timeout: float = PATIENCE,
        fresh: bool = False,
        **changes: Any,
    ) -> asyncio.Task[Fault | None]:
        upstream = self.upstream(**changes)
        call = self.caller.call(upstream, request, sink, timeout=timeout, may_send=self.may_send, fresh=fresh)
        return asyncio.get_running_loop().create_task(call)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with RawUpstream() as legacy:
        world = World(legacy)
        yield world
        world.caller.close()


def outgoing(
    method: str = "POST", data: bytes = b"hello", headers: tuple[Header, ...] = (HOST,), target: bytes = b"/claims?x"
) -> Outgoing:
    async def read_chunk(index: int) -> bytes:
        raise AssertionError

    return Outgoing(method, target, headers, Body(len(data), hashlib.sha256(data).digest(), data), read_chunk)


def in_chunks(data: bytes, fail_at: int | None = None, error: Exception | None = None) -> Outgoing:
    async def read_chunk(index: int) -> bytes:
        await asyncio.sleep(0)
        if index == fail_at and error is not None:
            raise error
        return data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]

    return Outgoing("POST", b"/", (HOST,), Body(len(data), b"", None), read_chunk)


async def test_a_request_goes_out_as_it_is_with_its_length_and_the_reply_comes_back(world: World) -> None:
    sink = Sink()
    headers = (HOST, (b"X-A", b"caf\xe9"), (b"x-a", b""))
    call = world.call(outgoing(headers=headers), sink)
    upstream = await world.legacy.accept()
    expected = b"POST /claims?x HTTP/1.1\r\nHost: legacy\r\nX-A: caf\xe9\r\nx-a: \r\nContent-Length: 5\r\n\r\nhello"
    assert await upstream.exactly(len(expected)) == expected
    upstream.send(
        b"HTTP/1.1 201 Angelegt \xfc\r\nContent-Length: 3\r\nX-B: 1\r\nConnection: X-C\r\nX-C: 2\r\nx-b:2\r\n\r\nabc"
    )
    assert await call is None
    assert sink.heads == [(201, b"Angelegt \xfc", [(b"Content-Length", b"3"), (b"X-B", b"1"), (b"x-b", b"2")])]
    assert sink.body == b"abc"
    assert world.asked == 1


@pytest.mark.parametrize(
    ("method", "data", "length"),
    [("GET", b"", None), ("DELETE", b"", None), ("POST", b"", b"0"), ("PUT", b"", b"0"), ("GET", b"x", b"1")],
)
async def test_an_empty_body_has_a_length_where_a_server_expects_one(
    world: World, method: str, data: bytes, length: bytes | None
) -> None:
    call = world.call(outgoing(method, data), Sink())
    upstream = await world.legacy.accept()
    head = await upstream.head()
    assert (b"Content-Length: %b" % length in head) if length is not None else (b"Content-Length" not in head)
    upstream.send(OK)
    assert await call is None


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n" + OK, b"ok"),
    ],
)
@pytest.mark.parametrize("split", [False, True])
async def test_replies_of_every_framing_are_whole_and_the_connection_is_used_again(
    world: World, reply: bytes, body: bytes, split: bool
) -> None:
    upstream: End | None = None
    for _ in range(2):
        sink = Sink()
        call = world.call(outgoing(), sink)
        upstream = upstream or await world.legacy.accept()
        await upstream.until(b"hello")
        for part in [reply[at : at + 1] for at in range(len(reply))] if split else [reply]:
            upstream.send(part)
            await asyncio.sleep(0)
        assert await call is None
        assert sink.body == body
        assert len(sink.heads) == 1
        assert not any(name.lower() == b"transfer-encoding" for name, _ in sink.heads[0][2])
    assert world.legacy.accepted == 1


async def test_a_reply_that_ends_with_its_connection_is_whole(world: World) -> None:
    sink = Sink()
    call = world.call(outgoing(), sink)
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    upstream.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")
    upstream.close()
    assert await call is None
    assert sink.body == b"all of it"


async def test_the_reply_to_head_has_no_body(world: World) -> None:
    sink = Sink()
    call = world.call(outgoing("HEAD", b""), sink)
    upstream = await world.legacy.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    assert await call is None
    assert (sink.body, sink.heads[0][2]) == (b"", [(b"Content-Length", b"1234")])


@pytest.mark.parametrize("size", [CHUNK_SIZE + 1, 2 * CHUNK_SIZE, 9 * CHUNK_SIZE + 3])
async def test_a_body_in_chunks_is_read_as_it_is_sent(world: World, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    call = world.call(in_chunks(data), Sink())
    upstream = await world.legacy.accept()
    assert b"Content-Length: %d" % len(data) in await upstream.head()
    assert await upstream.exactly(len(data)) == data
    upstream.send(OK)
    assert await call is None
    await answered(world, upstream)


@pytest.mark.parametrize(("readable", "kind"), [(0, FaultKind.NOT_SENT), (1, FaultKind.INTERRUPTED)])
async def test_a_body_that_the_store_cannot_read_is_our_fault(world: World, readable: int, kind: FaultKind) -> None:
    async def read_chunk(index: int) -> bytes:
        if index < readable:
            return b"x" * CHUNK_SIZE
        raise StoreUnavailable("disk")

    request = Outgoing("POST", b"/", (HOST,), Body(2 * CHUNK_SIZE, b"", None), read_chunk)
    why = "the recorded body cannot be read: StoreUnavailable"
    assert await world.call(request, Sink()) == Fault(kind, why, ours=Hindrance.STORE)


async def test_a_big_request_waits_for_a_slow_upstream(world: World) -> None:
    read = 0

    async def read_chunk(index: int) -> bytes:
        nonlocal read
        read += 1
        await asyncio.sleep(0)
        return b"x" * CHUNK_SIZE

    chunks = 400
    request = Outgoing("POST", b"/", (HOST,), Body(chunks * CHUNK_SIZE, b"", None), read_chunk)
    call = world.call(request, Sink())
    upstream = await world.legacy.accept()
    for taken in (10, chunks - 10):
        upstream.writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while before != (before := read):
            for _ in range(200):
                await asyncio.sleep(0)
        assert read < chunks - 100
        upstream.writer.transport.resume_reading()  # type: ignore[attr-defined]
        if taken == 10:
            await upstream.head()
        await upstream.exactly(taken * CHUNK_SIZE)
    upstream.send(OK)
    assert await call is None
    assert read == chunks


async def test_a_big_reply_waits_for_a_slow_sink(world: World) -> None:
    go_on = asyncio.Event()
    sink = Sink(go_on.wait)  # type: ignore[arg-type]
    call = world.call(outgoing(), sink)
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    size = 40_000_000
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    left = -1
    while left != (left := upstream.writer.transport.get_write_buffer_size()):
        for _ in range(200):
            await asyncio.sleep(0)
    assert left > size // 2
    go_on.set()
    assert await call is None
    assert len(sink.body) == size


# What was not sent.


async def test_a_refused_connection_is_not_sent(world: World) -> None:
    fault = await world.call(outgoing(), Sink(), port=free_port())
    assert fault == Fault(FaultKind.NOT_SENT, "the connection to the upstream was refused")
    assert world.asked == 0


@pytest.mark.parametrize("host", ["legacy..example", "x" * 64 + ".example", "legacy\0"])
async def test_a_name_that_cannot_be_looked_up_is_not_sent(world: World, host: str) -> None:
    fault = await world.call(outgoing(), Sink(), host=host)
    assert fault is not None
    assert fault.kind is FaultKind.NOT_SENT
    assert fault.reason.startswith("the name of the upstream ")
    assert world.asked == 0


async def test_a_connection_that_does_not_come_about_is_not_sent(world: World) -> None:
    fault = await world.call(outgoing(), Sink(), scheme="https", connect_timeout=0.1)
    assert fault is not None
    assert (fault.kind, fault.timeout) == (FaultKind.NOT_SENT, True)
    assert world.asked == 0


async def test_a_no_immediately_before_the_first_byte_is_not_sent(world: World) -> None:
    world.allowed = False
    fault = await world.call(outgoing(), Sink())
    assert fault is not None
    assert (fault.kind, fault.timeout, fault.ours) == (FaultKind.NOT_SENT, False, Hindrance.LEASE)
    assert world.asked == 1
    upstream = await world.legacy.accept()
    assert await upstream.to_end() == b""


@pytest.mark.parametrize("error", [StoreUnavailable("disk"), KeyError(0)])
async def test_a_body_that_cannot_be_read_is_not_sent(world: World, error: Exception) -> None:
    fault = await world.call(in_chunks(b"x" * CHUNK_SIZE * 3, fail_at=0, error=error), Sink())
    assert fault is not None
    assert fault.kind is FaultKind.NOT_SENT
    assert world.legacy.accepted == 0


async def test_a_connection_that_is_closed_at_once_is_not_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = Dialer._connect

    async def closed(dialer: Dialer, make: Callable[[], UpstreamLink]) -> UpstreamLink:
        link = await connect(dialer, make)
        link.abort()
        return link

    monkeypatch.setattr(Dialer, "_connect", closed)
    fault = await world.call(outgoing(), Sink())
    assert fault == Fault(FaultKind.NOT_SENT, "the upstream closed the connection as soon as it was open")
    assert world.asked == 0


async def test_a_socket_that_is_not_there_is_not_sent(world: World, tmp_path: Path) -> None:
    fault = await world.call(outgoing(), Sink(), scheme="unix", socket_path=str(tmp_path / "none"))
    assert fault == Fault(FaultKind.NOT_SENT, "no connection to the upstream: No such file or directory")
    assert world.asked == 0


async def test_nothing_is_connected_while_the_certificates_cannot_be_read(world: World, tmp_path: Path) -> None:
    fault = await world.call(outgoing(), Sink(), scheme="https", tls=Tls(ca=str(tmp_path / "nothing.pem")))
    assert fault == Fault(FaultKind.NOT_SENT, "no connection to the upstream: No such file or directory")
    await answered(world)
    assert world.legacy.accepted == 1


async def test_a_call_goes_out_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "legacy")
    async with RawUpstream(path=path) as legacy:
        world = World(legacy)
        await answered(world, scheme="unix", socket_path=path)
        world.caller.close()


# What was interrupted.


async def test_a_body_that_can_no_longer_be_read_is_interrupted(world: World) -> None:
    call = world.call(in_chunks(b"x" * CHUNK_SIZE * 3, fail_at=2, error=StoreUnavailable("disk")), Sink())
    upstream = await world.legacy.accept()
    await upstream.head()
    await upstream.exactly(CHUNK_SIZE * 2)
    fault = await call
    assert fault is not None
    assert fault.kind is FaultKind.INTERRUPTED
    await upstream.gone()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"H",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
async def test_a_reply_cut_short_is_interrupted_and_never_sent_again(world: World, how: str, begin: bytes) -> None:
    sink = Sink()
    call = world.call(outgoing("GET", b""), sink)
    upstream = await world.legacy.accept()
    await upstream.head()
    upstream.send(begin)
    await upstream.drain()
    getattr(upstream, how)()
    fault = await call
    assert fault is not None
    assert (fault.kind, fault.timeout) == (FaultKind.INTERRUPTED, False)
    assert world.legacy.accepted == 1


async def test_a_reply_without_length_that_is_reset_is_interrupted(world: World) -> None:
    arrived = asyncio.Event()

    async def note() -> None:
        arrived.set()

    call = world.call(outgoing(), Sink(note))
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    upstream.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    await arrived.wait()
    upstream.reset()
    fault = await call
    assert fault is not None
    assert fault.kind is FaultKind.INTERRUPTED


@pytest.mark.parametrize(
    "reply",
    [
        b"garbage\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000 + b"\r\n\r\n",
    ],
)
async def test_garbage_is_interrupted_with_a_reason(world: World, reply: bytes) -> None:
    call = world.call(outgoing(), Sink())
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    upstream.send(reply)
    fault = await call
    assert fault is not None
    assert fault.kind is FaultKind.INTERRUPTED
    assert len(fault.reason) > 10
    await upstream.gone()


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
async def test_a_reply_that_is_not_whole_in_time_is_interrupted(world: World, begin: bytes) -> None:
    call = world.call(outgoing(), Sink(), timeout=0.1)
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    upstream.send(begin)
    fault = await call
    assert fault == Fault(FaultKind.INTERRUPTED, "no complete reply within 0.1 s", timeout=True)
    await upstream.gone()


async def test_a_slow_drip_gets_no_more_time_for_each_byte(world: World) -> None:
    call = world.call(outgoing(), Sink(), timeout=0.2)
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    while not call.done():
        upstream.send(b"x")
        await asyncio.sleep(0)
    fault = await call
    assert fault is not None
    assert fault.timeout


async def test_cancelling_a_call_closes_its_connection(world: World) -> None:
    call = world.call(outgoing(), Sink())
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await upstream.gone()


async def test_what_the_sink_raises_is_raised_and_closes_the_connection(world: World) -> None:
    async def fail() -> None:
        raise StoreUnavailable("disk")

    call = world.call(outgoing(), Sink(fail))
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    upstream.send(OK)
    with pytest.raises(StoreUnavailable):
        await call
    await upstream.gone()


async def test_a_reply_that_comes_before_the_request_is_whole_counts_and_closes(world: World) -> None:
    sink = Sink()
    call = world.call(in_chunks(b"x" * CHUNK_SIZE * 200), sink)
    upstream = await world.legacy.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    assert await call is None
    assert (sink.heads[0][0], sink.body) == (413, b"big")
    assert not [one for one in asyncio.all_tasks() if "_send_rest" in repr(one) and not one.cancelling()]
    with contextlib.suppress(ConnectionError):
        await upstream.to_end()
    await answered(world)
    assert world.legacy.accepted == 2


async def test_a_connection_that_never_got_the_whole_request_serves_no_other(world: World) -> None:
    store = Store()
    call = world.call(store.request, store)
    upstream = await world.legacy.accept()
    await upstream.until(b"begin")
    upstream.send(OK)
    await store.keeping.wait()
    await store.fail_and_keep()
    assert await call is None
    assert store.body == b"ok"
    await upstream.gone()
    await answered(world)
    assert world.legacy.accepted == 2


async def test_what_went_wrong_first_is_what_is_told(world: World) -> None:
    store = Store()
    call = world.call(store.request, store)
    upstream = await world.legacy.accept()
    await upstream.until(b"begin")
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    await store.keeping.wait()
    upstream.send(b"garbage\r\n")
    await upstream.gone()
    await store.fail_and_keep()
    fault = await call
    assert fault is not None
    assert fault.reason.startswith("the body of the reply is not well formed")


async def test_a_call_whose_time_is_over_closes_its_connection_while_its_reply_is_being_kept(world: World) -> None:
    store = Store()
    call = world.call(outgoing(), store, timeout=0.1)
    upstream = await world.legacy.accept()
    await upstream.until(b"hello")
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    await upstream.gone()
    assert not call.done()
    store.go_on.set()
    fault = await call
    assert fault is not None
    assert fault.timeout
    assert store.body == b"half"


# Connections.


async def answered(world: World, upstream: End | None = None, **options: Any) -> End:
    call = world.call(outgoing(), Sink(), **options)
    upstream = upstream or await world.legacy.accept()
    await upstream.until(b"hello")
    upstream.send(OK)
    assert await call is None
    return upstream


async def test_a_fresh_call_never_goes_out_on_a_connection_that_has_been_idle(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await answered(world)
    await answered(world, first, fresh=True)  # idle for less than 200 ms
    monkeypatch.setattr("strangler.upstream.caller.FRESH", 0.0)
    await answered(world, fresh=True)
    assert world.legacy.accepted == 2
    monkeypatch.undo()


async def test_an_idle_connection_is_closed_after_keepalive(world: World) -> None:
    first = await answered(world, keepalive=0.05)
    assert await first.to_end() == b""
    await answered(world, keepalive=0.05)
    assert world.legacy.accepted == 2


async def test_a_connection_that_the_upstream_closed_is_not_used_again(world: World) -> None:
    first = await answered(world)
    first.close()
    await first.gone()
    await answered(world)
    assert world.legacy.accepted == 2


async def test_bytes_on_an_idle_connection_close_it(world: World) -> None:
    first = await answered(world)
    first.send(OK)
    await first.gone()
    await answered(world)
    assert world.legacy.accepted == 2


async def test_a_changed_upstream_gets_new_connections(world: World) -> None:
    first = await answered(world)
    await answered(world, timeout=PATIENCE, keepalive=1.5)
    assert await first.to_end() == b""
    assert world.legacy.accepted == 2


async def test_when_all_is_closed_what_is_idle_ends_now_and_the_rest_when_it_comes_back(world: World) -> None:
    calls = [world.call(outgoing(), Sink()) for _ in range(2)]
    ends = [await world.legacy.accept() for _ in calls]
    for end in ends:
        await end.until(b"hello")
    ends[0].send(OK)
    done, (busy,) = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    world.caller.close()
    await ends[0].gone()
    ends[1].send(OK)
    assert await busy is None
    await ends[1].gone()
    await (await answered(world)).gone()


async def test_a_call_that_has_ended_is_forgotten(world: World) -> None:
    await answered(world)
    gc.collect()
    assert [one for one in gc.get_objects() if isinstance(one, Call)] == []


async def test_calls_do_not_wait_for_each_other(world: World) -> None:
    calls = [world.call(outgoing(), Sink(), max_connections=1) for _ in range(5)]
    ends = [await world.legacy.accept() for _ in calls]
    for end in ends:
        await end.until(b"hello")
        end.send(OK)
    assert [await call for call in calls] == [None] * 5
