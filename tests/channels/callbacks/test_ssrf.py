"""Nothing private is connected to: watched below everything that parses, at the call by which Python connects."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from aiohttp.resolver import ThreadedResolver

from strangler.channels.callbacks.gate import MOST_ADDRESSES, TRAIL, GatedConnector, JudgingResolver, Trail
from strangler.channels.callbacks.lookup import SystemLookup
from strangler.channels.callbacks.sender import HttpCallbackSender
from strangler.policy.callback_url import AllowedOrigin
from strangler.ports import Answered, Forbidden, Unreached
from tests.channels.callbacks.scene import OK, Named, RawReceiver, a_message, a_receiver, anywhere, listening
from tests.channels.callbacks.spellings import ADDRESSES, LOOPBACK, PRIVATE, PUBLIC

_SPIES: list[tuple[list[str], bool]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not _SPIES or arguments[0].family not in (socket.AF_INET, socket.AF_INET6):
        return
    if arguments[0].type == socket.SOCK_STREAM:  # and not a question to a name server
        made, stop = _SPIES[-1]
        made.append(arguments[1][0])
        if stop:
            raise OSError(errno.ENETUNREACH, "stopped")


sys.addaudithook(_watch)  # cannot be taken away again; without spies it does nothing


@contextmanager
def connections(*, stop: bool = False) -> Iterator[list[str]]:
    """The addresses that are connected to meanwhile, by anybody in this process; ``stop``: before a packet leaves."""
    made: list[str] = []
    _SPIES.append((made, stop))
    try:
        yield made
    finally:
        _SPIES.pop()


@asynccontextmanager
async def inner_service() -> AsyncIterator[list[RawReceiver]]:
    """What listens on this machine only, by IPv4 and, where there is one, IPv6; on one port."""
    async with listening() as one:
        try:
            probe = socket.create_server(("::1", one.port), family=socket.AF_INET6)
        except OSError:
            yield [one]
            return
        other = RawReceiver([OK])
        server = await asyncio.start_server(other.serve, sock=probe)
        other.port = one.port
        yield [one, other]
        server.close()


async def test_the_watch_sees_a_connection_that_is_allowed() -> None:
    sender = HttpCallbackSender()
    async with inner_service() as there:
        url = f"http://127.0.0.1:{there[0].port}/"
        with connections() as made:
            assert isinstance(await sender.send(a_receiver(url), a_message(url)), Answered)
    assert made == ["127.0.0.1"]
    await sender.close()


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_no_spelling_of_a_host_reaches_anything_private(scheme: Any) -> None:
    sender = HttpCallbackSender()
    reached = []
    async with inner_service() as there:
        port = there[0].port
        receiver = a_receiver(None, allow=anywhere(port, scheme), networks=())
        with connections() as made:
            for host in (*LOOPBACK, *PRIVATE):
                for url in (f"{scheme}://{host}:{port}/", f"{scheme}:{host}:{port}/", f"//{host}:{port}/"):
                    found = await sender.send(receiver, a_message(url))
                    # A bad name is not looked up, and so not "unreached" either.
                    if not isinstance(found, Forbidden):
                        reached.append((url, found))
        assert [one.connections for one in there] == [0] * len(there)
    assert reached == []
    assert made == []
    assert len(LOOPBACK) + len(PRIVATE) > 180
    await sender.close()


async def test_the_same_spellings_reach_nothing_where_a_kinder_parser_stands_before_the_gate() -> None:
    """aiohttp and the C library read numbers and percent signs in their own ways; the gate is below them."""
    reached = []
    async with inner_service() as there:
        port = there[0].port
        connector = GatedConnector(JudgingResolver(SystemLookup()))
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            with connections() as made:
                for host in (*LOOPBACK, *PRIVATE):
                    if "example" in host or "*" in host:
                        continue  # no name leaves this machine
                    trail = Trail((), plain=False)
                    token = TRAIL.set(trail)
                    try:
                        async with session.post(f"http://{host}:{port}/", allow_redirects=False) as response:
                            reached.append((host, response.status))
                    except (aiohttp.ClientError, OSError, ValueError):
                        pass
                    TRAIL.reset(token)
        assert [one.connections for one in there] == [0] * len(there)
    assert reached == []
    assert made == []


async def test_the_socket_is_judged_even_if_the_resolver_lets_everything_through() -> None:
    async with inner_service() as there:
        connector = GatedConnector(ThreadedResolver())
        async with aiohttp.ClientSession(connector=connector) as session:
            with connections() as made:
                for host in ("localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"):
                    trail = Trail((), plain=False)
                    token = TRAIL.set(trail)
                    with pytest.raises(aiohttp.ClientConnectorError):
                        await session.post(f"http://{host}:{there[0].port}/")
                    TRAIL.reset(token)
                    assert trail.refused is not None
                    assert trail.refused.endswith("a loopback address")
    assert made == []


async def test_without_a_trail_nobody_connects() -> None:
    async with inner_service() as there:
        connector = GatedConnector(JudgingResolver(SystemLookup()))
        async with aiohttp.ClientSession(connector=connector) as session:
            for host in ("localhost", "127.0.0.1"):
                with connections() as made, pytest.raises(LookupError):
                    await session.post(f"http://{host}:{there[0].port}/")
                assert made == []


async def test_no_name_leads_to_an_address_that_is_not_public() -> None:
    names = {f"n{index}.example": [address] for index, address in enumerate(ADDRESSES)}
    sender = HttpCallbackSender(Named(names))
    reached = []
    async with inner_service() as there:
        port = there[0].port
        receiver = a_receiver(None, allow=(AllowedOrigin("https", "*.example", port),), networks=())
        with connections() as made:
            for name, (address,) in names.items():
                found = await sender.send(receiver, a_message(f"https://{name}:{port}/"))
                if not isinstance(found, Forbidden) or not found.reason.startswith(f"{address} is "):
                    reached.append((address, found))
    assert reached == []
    assert made == []
    await sender.close()


async def test_every_network_there_is_still_opens_no_metadata_and_nothing_that_is_nobody() -> None:
    closed = {
        *("169.254.169.254", "169.254.169.253", "169.254.170.2", "169.254.170.23", "100.100.100.200"),
        *("168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "0.0.0.0", "::"),
        *("224.0.0.0", "239.255.255.255", "255.255.255.255", "ff01::1", "ff02::1", "ff0e::1", "ffff::1"),
        *("::ffff:169.254.169.254",),
    }
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    sender = HttpCallbackSender(Named({f"n{i}.example": [address] for i, address in enumerate(sorted(closed))}))
    receiver = a_receiver(None, allow=anywhere(), networks=everything)
    with connections() as made:
        for index in range(len(closed)):
            assert isinstance(await sender.send(receiver, a_message(f"https://n{index}.example/")), Forbidden)
        for host in ("169.254.169.254", "[fd00:ec2::254]", "[64:ff9b::169.254.169.254]", "[2002:a9fe:a9fe::]"):
            assert isinstance(await sender.send(receiver, a_message(f"https://{host}/")), Forbidden)
    assert made == []
    await sender.close()


async def test_public_addresses_are_called_and_only_they() -> None:
    sender = HttpCallbackSender(Named({f"n{i}.example": [address] for i, address in enumerate(PUBLIC)}))
    receiver = a_receiver(None, allow=anywhere(), networks=())

    with connections(stop=True) as made:
        for index in range(len(PUBLIC)):
            found = await sender.send(receiver, a_message(f"https://n{index}.example/"))
            assert isinstance(found, Unreached), found
            assert found.address == PUBLIC[index]
    assert list(dict.fromkeys(made)) == PUBLIC
    await sender.close()


async def test_of_several_addresses_only_those_are_tried_that_may_be_called() -> None:
    addresses = ["127.0.0.1", "10.0.0.1", "::1", "127.0.0.3", "169.254.169.254"]
    sender = HttpCallbackSender(Named({"hooks.example": addresses}))
    opened = (ip_network("127.0.0.3/32"),)
    async with inner_service() as inner, listening(host="127.0.0.3") as there:
        url = f"http://hooks.example:{there.port}/"
        receiver = a_receiver(url, networks=opened)
        with connections() as made:
            found = await sender.send(receiver, a_message(url))
            inside = a_message(f"http://hooks.example:{inner[0].port}/")
            nobody = await sender.send(replace(receiver, name="b", url=inside.url), inside)
    assert isinstance(found, Answered)
    assert found.address == "127.0.0.3"
    assert isinstance(nobody, Unreached)
    assert set(made) == {"127.0.0.3"}
    assert inner[0].connections == 0
    await sender.close()


async def test_private_addresses_do_not_crowd_out_the_one_that_may_be_called() -> None:
    sender = HttpCallbackSender(Named({"hooks.example": [f"10.0.0.{number}" for number in range(20)] + ["127.0.0.3"]}))
    async with listening(host="127.0.0.3") as there:
        url = f"http://hooks.example:{there.port}/"
        found = await sender.send(a_receiver(url, networks=(ip_network("127.0.0.3/32"),)), a_message(url))
    assert isinstance(found, Answered)
    await sender.close()


async def test_of_a_name_with_many_addresses_not_all_are_tried() -> None:
    addresses = [f"127.0.1.{number}" for number in range(200)]
    sender = HttpCallbackSender(Named({"hooks.example": addresses}))
    with connections(stop=True) as made:
        url = "https://hooks.example/"
        assert isinstance(await sender.send(a_receiver(url), a_message(url)), Unreached)
    assert set(made) == set(addresses[:MOST_ADDRESSES])
    await sender.close()


async def test_a_name_that_changes_its_mind_is_asked_once_for_each_connection() -> None:
    names: dict[str, list[str]] = {"hooks.example": ["127.0.0.3"]}
    lookup = Named(names)
    sender = HttpCallbackSender(lookup)
    once = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with inner_service() as inner, listening(once, host="127.0.0.3") as there:
        url = f"http://hooks.example:{there.port}/"
        receiver = a_receiver(url, networks=(ip_network("127.0.0.3/32"),))
        with connections() as made:
            assert isinstance(await sender.send(receiver, a_message(url)), Answered)
            names["hooks.example"] = ["127.0.0.1"]
            found = await sender.send(receiver, a_message(url))
    assert found == Forbidden(reason="127.0.0.1 is a loopback address")
    assert made == ["127.0.0.3"]
    assert lookup.asked == ["hooks.example", "hooks.example"]
    assert inner[0].connections == 0
    await sender.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300])
@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data/", "//127.0.0.1/", "https://localhost/"])
async def test_a_redirect_leads_nowhere(status: int, target: str) -> None:
    answer = f"HTTP/1.1 {status} There\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    sender = HttpCallbackSender()
    async with listening(answer, host="127.0.0.3") as there:
        url = f"http://127.0.0.3:{there.port}/"
        with connections() as made:
            found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Answered)
    assert found.status == status
    assert made == ["127.0.0.3"]
    await sender.close()
