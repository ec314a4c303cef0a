"""Names whose server changes its mind: a real one, over UDP, and inner services that must never be reached."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from strangler.channels.callbacks.sender import HttpCallbackSender
from strangler.policy.callback_url import AllowedOrigin
from strangler.ports import Answered, Forbidden, Ours, Reception, Unreached
from tests.channels.callbacks.name_server import NO_NAME, SERVER_FAILURE, A, Answer, DnsLookup, name_server
from tests.channels.callbacks.scene import OK, RawReceiver, a_message, a_receiver, listening
from tests.channels.callbacks.test_ssrf import connections
from tests.harness.waiting import free_port

OPENED = (ip_network("127.0.0.3/32"),)  # stands for what may be called; the rest of loopback is the inner service
GOOD, INNER = "127.0.0.3", "127.0.0.1"
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def told(sender: HttpCallbackSender, there: RawReceiver, name: str, times: int) -> list[Reception]:
    """What came of telling a name so many times."""
    url = f"http://{name}:{there.port}/"
    receiver = a_receiver(None, allow=(AllowedOrigin("http", "*.example", there.port),), networks=OPENED, timeout=5.0)
    return [await sender.send(receiver, a_message(url)) for _ in range(times)]


def first_good(name: str, count: int) -> Answer:
    """Good for whoever checks, the inner service for whoever then connects."""
    return [GOOD] if count == 0 else [INNER]


def alternating(name: str, count: int) -> Answer:
    return [INNER] if count % 2 else [GOOD]


def both(name: str, count: int) -> Answer:
    return [INNER, GOOD, "10.0.0.1", "::1"]


async def test_one_connection_is_one_question_and_goes_to_what_was_answered() -> None:
    async with (
        name_server(first_good) as names,
        listening(OK, host=GOOD, port=free_port()) as there,
        listening(port=there.port) as inner,
    ):
        sender = HttpCallbackSender(DnsLookup(names))
        with connections() as made:
            (found,) = await told(sender, there, "hooks.example", 1)
        assert isinstance(found, Answered)
        assert found.address == GOOD
        assert [kind for _, kind in names.asked].count(A) == 1
        assert made == [GOOD]
        assert inner.connections == 0
        await sender.close()


@pytest.mark.parametrize("script", [first_good, alternating, both])
async def test_however_a_name_turns_the_inner_service_is_never_connected_to(script: object) -> None:
    async with (
        name_server(script) as names,  # type: ignore[arg-type]
        listening(CLOSING, host=GOOD, port=free_port()) as there,
        listening(port=there.port) as inner,
    ):
        sender = HttpCallbackSender(DnsLookup(names))
        with connections() as made:
            found = await told(sender, there, "hooks.example", 20)
        answered = [each for each in found if isinstance(each, Answered)]
        assert {each.address for each in answered} == {GOOD}
        assert all(isinstance(each, Answered | Forbidden) for each in found)
        assert len(answered) == {"first_good": 1, "alternating": 10, "both": 20}[script.__name__]  # type: ignore[attr-defined]
        assert set(made) == {GOOD}
        assert inner.connections == 0
        await sender.close()


async def test_an_alias_of_an_inner_name_is_judged_by_its_address() -> None:
    def script(name: str, count: int) -> Answer:
        return ["=metadata.internal"] if name == "hooks.example" else ["169.254.169.254", "fd00:ec2::254"]

    async with name_server(script) as names, listening(host=GOOD) as there:
        sender = HttpCallbackSender(DnsLookup(names))
        with connections() as made:
            (found,) = await told(sender, there, "hooks.example", 1)
        assert found == Forbidden(reason="169.254.169.254 is where a cloud tells machines their secrets")
        assert made == []
        await sender.close()


async def test_a_name_that_is_not_there_and_a_server_that_fails() -> None:
    def script(name: str, count: int) -> Answer:
        return NO_NAME if name == "gone.example" else SERVER_FAILURE

    async with name_server(script) as names, listening(host=GOOD) as there:
        sender = HttpCallbackSender(DnsLookup(names))
        (gone,) = await told(sender, there, "gone.example", 1)
        (failing,) = await told(sender, there, "failing.example", 1)
        assert isinstance(gone, Unreached)
        assert isinstance(failing, Ours)
        await sender.close()
