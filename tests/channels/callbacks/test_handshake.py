"""The consent of a receiver before it is told anything (CloudEvents HTTP 1.1 Web Hooks)."""

from __future__ import annotations

import pytest

from strangler.channels.callbacks.handshake import LIFE, MOST, Consents
from strangler.channels.callbacks.sender import HttpCallbackSender
from strangler.ports import Answered, Unreached
from tests.channels.callbacks.scene import OK, a_message, a_receiver, anywhere, listening


def consenting(value: str, status: str = "200 OK") -> bytes:
    """An answer to OPTIONS."""
    return f"HTTP/1.1 {status}\r\nWebHook-Allowed-Origin: {value}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("answer", [consenting("public.example"), consenting("*"), consenting("PUBLIC.example")])
async def test_who_consents_is_told_and_not_asked_again(answer: bytes) -> None:
    sender = HttpCallbackSender()
    async with listening(answer, OK) as there:
        url = f"http://127.0.0.1:{there.port}/hooks?a"
        receiver = a_receiver(url, verify="handshake")
        for _ in range(2):
            found = await sender.send(receiver, a_message(url))
            assert isinstance(found, Answered)
            assert (found.status, found.head) == (200, b"ok")
    assert [seen.line.split(" ")[:2] for seen in there.requests] == [
        ["OPTIONS", "/hooks?a"],
        ["POST", "/hooks?a"],
        ["POST", "/hooks?a"],
    ]
    asked = there.requests[0]
    assert asked.headers["webhook-request-origin"] == "public.example"
    assert asked.body == b""
    assert "webhook-signature" not in asked.headers
    await sender.close()


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        consenting("other.example"),
        consenting(""),
        consenting("public.example.evil.example"),
        consenting("https://public.example"),
        b"HTTP/1.1 405 No\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_who_does_not_consent_is_told_nothing(answer: bytes) -> None:
    sender = HttpCallbackSender()
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url, verify="handshake")
        for _ in range(2):
            found = await sender.send(receiver, a_message(url))
            assert isinstance(found, Unreached)
            assert found.address == "127.0.0.1"
            assert "it does not consent to be called" in found.reason
    assert [seen.line.split(" ")[0] for seen in there.requests] == ["OPTIONS", "OPTIONS"]
    await sender.close()


@pytest.mark.parametrize("status", [410, 429, 503])
async def test_what_it_says_of_when_to_come_again_is_passed_on(status: int) -> None:
    answer = f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n".encode()
    sender = HttpCallbackSender()
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url, verify="handshake"), a_message(url))
    assert isinstance(found, Answered)
    assert (found.status, found.retry_after) == (status, 7000)
    assert [seen.line.split(" ")[0] for seen in there.requests] == ["OPTIONS"]
    await sender.close()


async def test_each_url_consents_for_itself() -> None:
    sender = HttpCallbackSender()
    async with listening(consenting("*"), OK, consenting("*"), OK) as there:
        receiver = a_receiver(None, allow=anywhere(there.port, "http"), verify="handshake")
        for path in ("a", "b"):
            found = await sender.send(receiver, a_message(f"http://127.0.0.1:{there.port}/{path}"))
            assert isinstance(found, Answered)
    assert [seen.line.split(" ")[0] for seen in there.requests] == ["OPTIONS", "POST", "OPTIONS", "POST"]
    await sender.close()


def test_a_consent_lapses_and_no_more_than_so_many_are_remembered() -> None:
    consents = Consents()
    consents.remember("a", 100.0)
    assert consents.given("a", 100.0 + LIFE - 1)
    assert not consents.given("a", 100.0 + LIFE)
    assert not consents.given("b", 100.0)
    for index in range(MOST):
        consents.remember(f"url-{index}", 101.0)
    assert not consents.given("a", 101.0)
    assert consents.given("url-0", 101.0)
