"""An address that cannot be listened on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from strangler.config.settings import Address, Settings
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError
from strangler.domain.process import State
from strangler.operations.logs import Logs
from strangler.operations.telemetry import Telemetry
from strangler.runtime.listeners import bind, close
from strangler.runtime.policies import read_first
from strangler.runtime.server import Server
from strangler.store.ledger import Ledger
from strangler.store.memory import MemoryStore
from strangler.store.open import open_ledgers, open_store
from strangler.store.sealing import AesGcmSealer
from tests.harness.waiting import eventually, free_port
from tests.store import builders as make
from tests.store.test_conformance import done

POLICY = "upstreams: {claims: {url: 'http://127.0.0.1:9'}}\ndefault: {upstream: claims}\n"
RECORDED = """
upstreams: {claims: {url: "http://127.0.0.1:9"}}
routes: [{name: claims, match: {path: /claims}, upstream: claims, mode: async}]
"""


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("flags", [["--listen", "{}"], ["--ops", "{}", "--listen", "127.0.0.1:0"]])
def test_a_start_says_which_address_is_taken(flags: list[str], taken: str, tmp_path: Path) -> None:
    policy = tmp_path / "routes.yaml"
    policy.write_text(POLICY)
    command = [sys.executable, "-m", "strangler", "serve", str(policy), "--store", "memory:", "--ops", "127.0.0.1:0"]
    ended = subprocess.run(
        [*command, *(flag.format(taken) for flag in flags)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"cannot listen on {taken} ({flags[0]}): Address already in use"


@pytest.mark.parametrize("path", ["/nowhere/at-all.sock", "/"])
def test_a_path_that_cannot_be_listened_on_is_named(path: str) -> None:
    with pytest.raises(OperatorError, match=rf"cannot listen on unix:{path} \(--listen\): "):
        bind([Address("", path=path)])


def test_what_is_no_name_of_a_host_is_told() -> None:
    with pytest.raises(OperatorError, match=r"cannot listen on a\.\.b:80 \(--listen\): it is no name of a host"):
        bind([Address("a..b", 80)])


def named(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, tuple[object, ...]]) -> None:
    """Have a name stand for these addresses."""
    found = [(family, socket.SOCK_STREAM, 0, "", address) for family, address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


# A family of addresses that no kernel has stands for IPv6 where there is none of it.
NO_FAMILY = (4242, ("::1", 0, 0, 0))


def test_a_name_with_an_address_that_the_machine_does_not_know_is_listened_on_at_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 192.0.2.1 (RFC 5737) is as ::1 is where IPv6 is switched off: known, and nobody's here.
    named(monkeypatch, NO_FAMILY, (socket.AF_INET, ("192.0.2.1", 0)), (socket.AF_INET, ("127.0.0.1", 0)))
    bound = bind([Address("localhost", 8080)])
    assert [one.getsockname()[0] for one in bound] == ["127.0.0.1"]
    close(bound)


def test_a_name_that_has_no_address_here_cannot_be_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, NO_FAMILY)
    with pytest.raises(
        OperatorError, match=r"cannot listen on localhost:8080 \(--listen\): Address family not supported"
    ):
        bind([Address("localhost", 8080)])


def test_when_one_address_of_a_name_is_taken_none_is_kept(monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    port = free_port()
    named(
        monkeypatch,
        (socket.AF_INET, ("127.0.0.1", port)),
        (socket.AF_INET, ("127.0.0.1", int(taken.rpartition(":")[2]))),
    )
    with pytest.raises(OperatorError, match="Address already in use") as error:
        bind([Address("localhost", 8080)])
    # The error still refers to what failed: whatever is closed by now was closed, and not merely forgotten.
    socket.create_server(("127.0.0.1", port)).close()
    assert error.value.__cause__ is not None


class Recovering(MemoryStore):
    """A store that a start gets no further with until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def census(self) -> Any:
        """What `Store.census` says, when it is let."""
        self.asked.set()
        await self.let.wait()
        return await super().census()


@contextlib.asynccontextmanager
async def starting(tmp_path: Path, listen: str) -> AsyncIterator[tuple[Server, Recovering, asyncio.Task[None]]]:
    """A server that has begun to start, and recovers."""
    policy = tmp_path / "routes.yaml"
    policy.write_text(POLICY)
    at = Address("", path=listen[5:]) if listen.startswith("unix:") else Address(*split(listen))
    settings = Settings(listen=(at,), ops=Address("", path=f"{tmp_path}/ops"), store="memory:")
    telemetry = Telemetry(Logs(lambda data: None), version="0", started_at=0)
    store = Recovering()
    server = Server(settings, [policy], {}, store, b"0123456789abcdef", telemetry)
    found = await server.policies.first(read_first(settings, [policy], {}))
    task = asyncio.create_task(server.start(found))
    try:
        await store.asked.wait()
        yield server, store, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.close()


async def test_while_it_recovers_clients_wait_and_nobody_else_gets_the_address(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with starting(tmp_path, address) as (_, store, started):
        assert not is_free(address)
        reader, writer = await asyncio.open_connection(*split(address))
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        store.let.set()
        await started
        assert (await reader.readline()).startswith(b"HTTP/1.1 502 ")
        writer.close()
        await writer.wait_closed()


async def test_who_ends_while_it_recovers_gives_the_address_back(tmp_path: Path) -> None:
    path = tmp_path / "front"
    async with starting(tmp_path, f"unix:{path}"):
        assert path.exists()
    assert not path.exists()


async def test_a_client_that_comes_during_a_drain_is_refused_while_an_earlier_one_is_answered(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with starting(tmp_path, address) as (server, store, started):
        store.let.set()
        await started
        reader, writer = await asyncio.open_connection(*split(address))
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        drained = asyncio.create_task(server.drain())
        await eventually(lambda: is_free(address))
        assert not drained.done()
        writer.write(b"Host: h\r\n\r\n")
        assert b"HTTP/1.1 502 " in await reader.read()
        writer.close()
        await writer.wait_closed()
        await drained


def answers(path: Path) -> bool:
    """Whether somebody listens at a name."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_a_name_that_somebody_listens_at_is_not_taken_from_him_and_one_that_was_left_is(tmp_path: Path) -> None:
    path = tmp_path / "front"
    first = bind([Address("", path=str(path))])
    with pytest.raises(OperatorError, match=rf"cannot listen on unix:{path} \(--listen\): Address already in use"):
        bind([Address("", path=str(path))])
    assert answers(path)
    first[0].close()  # as a crash does it
    assert path.exists()
    second = bind([Address("", path=str(path))])
    assert answers(path)
    close(second)
    assert not path.exists()


def test_a_name_at_which_as_many_wait_as_may_is_not_taken_either(tmp_path: Path) -> None:
    path = tmp_path / "front"
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as waiting:
        busy.bind(str(path))
        busy.listen(0)
        while True:
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(str(path)) == errno.EAGAIN:
                break
        with pytest.raises(OperatorError, match="Address already in use"):
            bind([Address("", path=str(path))])
        assert path.exists()


def test_a_name_that_is_somebody_elses_by_now_is_left_to_him(tmp_path: Path) -> None:
    path = tmp_path / "front"
    ours = bind([Address("", path=str(path))])
    path.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen()
        close(ours)
        assert answers(path)


async def test_where_operations_listen_by_a_name_the_same_holds(tmp_path: Path) -> None:
    path = tmp_path / "ops"
    async with starting(tmp_path, f"127.0.0.1:{free_port()}"):
        assert answers(path)
        with pytest.raises(OperatorError, match="Address already in use"):
            bind([Address("", path=str(path))])
    assert not path.exists()


def split(address: str) -> tuple[str, int]:
    """Host and port of an address."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def is_free(address: str) -> bool:
    """Whether nobody listens there: then clients are refused."""
    try:
        close(bind([Address(*split(address))]))
    except OperatorError:
        return False
    return True


@pytest.mark.parametrize("wrong", ["address", "certificate"])
async def test_who_cannot_listen_begins_no_call(wrong: str, taken: str, tmp_path: Path) -> None:
    url, key = f"sqlite:///{tmp_path}/store.db", "0123456789abcdef"
    store = open_store(url, AesGcmSealer(key.encode()), SystemClock())
    due = make.draft(route="claims", due_at=0, created_at=0, deadline_at=2**53)
    await done(store, make.accept(due))
    await store.close()
    (tmp_path / "routes.yaml").write_text(RECORDED)
    (tmp_path / "no.pem").write_text("no certificate")
    flags = ["--listen", taken] if wrong == "address" else ["--listen", "127.0.0.1:0", "--tls-cert", "no.pem"]
    command = [sys.executable, "-m", "strangler", "serve", "routes.yaml", "--store", url, "--ops", "127.0.0.1:0"]
    command += ["--identity-key", key, "--disk-reserve", "0B", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    with open_ledgers(url) as ledgers:
        [ledger] = ledgers.all()
    assert isinstance(ledger, Ledger)
    assert (ledger.process.state, ledger.process.tries) == (State.RECEIVED, 0)
