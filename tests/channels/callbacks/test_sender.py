"""What arrives at a receiver, and what comes back, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks.webhooks import Webhook

from strangler.channels.callbacks.gate import GatedConnector
from strangler.channels.callbacks.sender import HttpCallbackSender
from strangler.policy.receivers import SigningKey
from strangler.policy.upstreams import Tls
from strangler.ports import Answered, Forbidden, Ours, Unreached
from strangler.ports.deliveries import HEAD_SIZE
from tests.channels.callbacks.scene import LOOPBACK, OK, SECRET, SHOWN, Named, a_message, a_receiver, listening
from tests.front.certificates import Authority
from tests.harness.waiting import eventually, free_port


@pytest.fixture
async def sender() -> AsyncIterator[HttpCallbackSender]:
    sender = HttpCallbackSender()
    yield sender
    await sender.close()


async def test_a_callback_arrives_as_it_was_made_and_its_answer_comes_back(sender: HttpCallbackSender) -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/hooks/%2F..//a?b=%20c&b"
        found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Answered)
    assert (found.status, found.head, found.address, found.retry_after) == (200, b"ok", "127.0.0.1", None)
    (seen,) = there.requests
    assert seen.line == "POST /hooks/%2F..//a?b=%20c&b HTTP/1.1"
    assert seen.body == a_message(url).body
    assert {name for name, _ in seen.fields} == {
        *("Host", "Content-Type", "Content-Length", "User-Agent", "Accept", "Accept-Encoding", "X-Correlation-ID"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
        *("ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time"),
    }
    assert seen.headers["host"] == f"127.0.0.1:{there.port}"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["webhook-timestamp"] == "1795255200"
    assert seen.headers["x-correlation-id"] == "c-1"


async def test_receivers_verify_it_with_their_library_whichever_secret_they_have(sender: HttpCallbackSender) -> None:
    now = int(time.time() * 1000)
    old = bytes(range(40))
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url, secrets=(SigningKey(SECRET), SigningKey(old)))
        await sender.send(receiver, a_message(url, attempt_at=now))
    (seen,) = there.requests
    for secret in (SHOWN, old):
        assert Webhook(secret).verify(seen.body, seen.headers)["type"] == "ClaimSubmission.completed"


async def test_each_attempt_is_signed_anew_under_the_same_id(sender: HttpCallbackSender) -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url)
        for at in (1_795_255_200_000, 1_795_255_205_000):
            await sender.send(receiver, a_message(url, attempt_at=at))
    first, second = (seen.headers for seen in there.requests)
    assert first["webhook-id"] == second["webhook-id"] == "msg_0195"
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    assert first["webhook-signature"] != second["webhook-signature"]
    assert there.connections == 1


async def test_the_sdk_of_cloudevents_reads_it(sender: HttpCallbackSender) -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"
        message = a_message(url, type="Claim.completed", source="https://p.example/ä b", subject='a"%b')
        await sender.send(a_receiver(url), message)
    (seen,) = there.requests
    event = from_http_event(HTTPMessage(headers=dict(seen.headers), body=seen.body))
    assert event.get_specversion() == "1.0"
    assert event.get_id() == seen.headers["webhook-id"]
    assert event.get_type() == "Claim.completed"
    assert event.get_source() == "https://p.example/ä b"
    assert event.get_subject() == 'a"%b'
    assert event.get_datacontenttype() == "application/json"
    instant = event.get_time()
    assert instant is not None
    assert instant.isoformat() == "2026-11-21T10:00:00+00:00"
    assert event.get_data() == json.loads(seen.body)


async def test_the_trace_goes_along_and_nothing_can_end_a_line(sender: HttpCallbackSender) -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"
        message = a_message(
            url, correlation_id="a\r\nX-Evil: 1\xe9\x00", traceparent="00-abc-def-01", tracestate="vendor=1"
        )
        await sender.send(a_receiver(url), message)
    (seen,) = there.requests
    assert seen.headers["traceparent"] == "00-abc-def-01"
    assert seen.headers["tracestate"] == "vendor=1"
    assert seen.headers["x-correlation-id"] == "a??X-Evil: 1??"
    assert "x-evil" not in seen.headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_never_followed(sender: HttpCallbackSender, status: int) -> None:
    async with listening() as inner:
        target = f"http://127.0.0.1:{inner.port}/latest/meta-data"
        answer = f"HTTP/1.1 {status} There\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        async with listening(answer) as there:
            url = f"http://127.0.0.1:{there.port}/"
            found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Answered)
    assert found.status == status
    assert inner.connections == 0


async def test_no_cookie_is_kept(sender: HttpCallbackSender) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url)
        for _ in range(2):
            await sender.send(receiver, a_message(url))
    assert all("cookie" not in seen.headers for seen in there.requests)


async def test_a_proxy_of_the_environment_is_not_asked(
    sender: HttpCallbackSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening() as proxy, listening() as there:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        url = f"http://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Answered)
    assert (proxy.connections, there.connections) == (0, 1)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", 120_000),
        ("0", 0),
        ("Sat, 21 Nov 2026 10:01:00 GMT", 59_877),
        ("Sat, 21 Nov 2026 09:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
    ],
)
async def test_how_long_it_wants_to_be_left_alone(sender: HttpCallbackSender, value: str, wait: int | None) -> None:
    answer = f"HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\nContent-Length: 4\r\n\r\nbusy".encode()
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Answered)
    assert (found.status, found.retry_after, found.head) == (503, wait, b"busy")


async def test_of_a_body_without_end_only_the_first_bytes_are_read(sender: HttpCallbackSender) -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000
    async with listening(endless) as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url)
        for _ in range(2):
            found = await sender.send(receiver, a_message(url))
            assert isinstance(found, Answered)
            assert (found.status, found.head) == (200, b"x" * HEAD_SIZE)
    assert there.connections == 2


async def test_a_body_that_is_longer_but_all_there_costs_no_connection(sender: HttpCallbackSender) -> None:
    async with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 1500\r\n\r\n" + b"x" * 1500) as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url)
        for _ in range(2):
            found = await sender.send(receiver, a_message(url))
            assert isinstance(found, Answered)
            assert found.head == b"x" * HEAD_SIZE
    assert there.connections == 1


async def test_a_packed_body_stays_packed(sender: HttpCallbackSender) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8b\x08\x00\x00"
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Answered)
    assert found.head == b"\x1f\x8b\x08\x00\x00"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\npart",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
    ],
)
async def test_once_the_head_has_come_the_rest_changes_nothing(sender: HttpCallbackSender, answer: bytes) -> None:
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Answered)
    assert 200 <= found.status < 300


async def test_a_body_that_never_ends_does_not_turn_an_answer_into_none(sender: HttpCallbackSender) -> None:
    async with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart") as there:
        url = f"http://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url, timeout=1.0), a_message(url))
    assert isinstance(found, Answered)
    assert (found.status, found.head) == (200, b"part")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "it closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "what it answered is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "what it answered is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\n", "what it answered is not HTTP"),
    ],
)
async def test_what_is_no_answer(sender: HttpCallbackSender, answer: bytes, reason: str) -> None:
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Unreached)
    assert (found.reason, found.address) == (reason, "127.0.0.1")


async def test_silence_ends_with_the_timeout(sender: HttpCallbackSender) -> None:
    async with listening(None) as there:
        url = f"http://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url, timeout=0.05), a_message(url))
    assert isinstance(found, Unreached)
    assert (found.reason, found.address) == ("no answer within 0.05 s", "127.0.0.1")


async def test_nobody_listens(sender: HttpCallbackSender) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Unreached)
    assert (found.reason, found.address) == ("no connection: Connection refused", "127.0.0.1")


async def test_a_connection_that_died_while_it_was_idle_costs_no_attempt(sender: HttpCallbackSender) -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"
        receiver = a_receiver(url)
        assert isinstance(await sender.send(receiver, a_message(url)), Answered)
        # It ends the connection at the moment in which the next request comes.
        there.answers = [b"", OK]
        found = await sender.send(receiver, a_message(url))
    assert isinstance(found, Answered)
    assert [seen.headers["webhook-id"] for seen in there.requests] == ["msg_0195"] * 3
    assert there.connections == 2


async def test_receivers_share_no_connection(sender: HttpCallbackSender) -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"
        for name in ("one", "other"):
            await sender.send(a_receiver(url, name=name), a_message(url))
    assert there.connections == 2


async def test_a_policy_that_was_loaded_anew_counts_from_the_next_call_on(sender: HttpCallbackSender) -> None:
    async with listening(None, OK) as there:
        url = f"http://127.0.0.1:{there.port}/"
        before = a_receiver(url, timeout=0.2)
        under_way = asyncio.create_task(sender.send(before, a_message(url)))
        await there.came.wait()
        after = replace(before, secrets=(SigningKey(bytes(24)),))
        assert isinstance(await sender.send(after, a_message(url)), Answered)
        assert isinstance(await under_way, Unreached)
    first, second = there.requests
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


async def test_a_url_that_todays_policy_does_not_have_is_not_called(sender: HttpCallbackSender) -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/other"
        found = await sender.send(a_receiver(f"http://127.0.0.1:{there.port}/"), a_message(url))
    assert found == Forbidden(reason=f"the receiver broker does not take http://127.0.0.1:{there.port} today")
    assert there.connections == 0


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def server_side(authority: Authority, name: str = "localhost", client_ca: str | None = None) -> ssl.SSLContext:
    """How a receiver speaks TLS; with ``client_ca`` it wants a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(name))
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_over_tls_a_name_is_verified_and_a_plain_name_reaches_its_address(authority: Authority) -> None:
    lookup = Named({"localhost": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    sender = HttpCallbackSender(lookup)
    async with listening(tls=server_side(authority)) as there:
        url = f"https://localhost:{there.port}/"
        found = await sender.send(a_receiver(url, tls=Tls(ca=authority.ca)), a_message(url))
        assert isinstance(found, Answered)
        assert found.address == "127.0.0.1"
        other = f"https://other.example:{there.port}/"
        refused = await sender.send(a_receiver(other, name="b", tls=Tls(ca=authority.ca)), a_message(other))
        assert isinstance(refused, Unreached)
        assert "its certificate is refused: Hostname mismatch" in refused.reason
        named = a_receiver(other, name="c", tls=Tls(ca=authority.ca, server_name="localhost"))
        assert isinstance(await sender.send(named, a_message(other)), Answered)
        unverified = a_receiver(other, name="d", tls=Tls(verify=False))
        assert isinstance(await sender.send(unverified, a_message(other)), Answered)
        stranger = await sender.send(a_receiver(url, name="e"), a_message(url))
        assert isinstance(stranger, Unreached)
        assert "its certificate is refused: " in stranger.reason
    await sender.close()


async def test_mutual_tls_shows_our_certificate(sender: HttpCallbackSender, authority: Authority) -> None:
    cert, key = authority.issue("strangler")
    async with listening(tls=server_side(authority, "mutual", authority.ca)) as there:
        url = f"https://127.0.0.1:{there.port}/"
        found = await sender.send(a_receiver(url, tls=Tls(ca=authority.ca, cert=cert, key=key)), a_message(url))
        assert isinstance(found, Answered)
        (writer,) = there.writers
        subject = dict(pair for group in writer.get_extra_info("peercert")["subject"] for pair in group)
        assert subject["commonName"] == "strangler"
        without = await sender.send(a_receiver(url, name="b", tls=Tls(ca=authority.ca)), a_message(url))
        assert isinstance(without, Unreached)
        assert len(there.requests) == 1


async def test_tls_with_who_speaks_none(sender: HttpCallbackSender) -> None:
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as there:
        url = f"https://127.0.0.1:{there.port}/"
        task = asyncio.create_task(sender.send(a_receiver(url), a_message(url)))
        (writer,) = await eventually(lambda: there.writers)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        found = await task
    assert isinstance(found, Unreached)
    assert found.reason.startswith("TLS failed: ")


# ── Faults of our own ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "x"), Ours, "no name server answered"),
        (socket.gaierror(socket.EAI_MEMORY, "x"), Ours, "no name server answered"),
        (OSError(errno.EMFILE, "x"), Ours, "no name server could be asked: Too many open files"),
        (socket.gaierror(socket.EAI_NONAME, "x"), Unreached, "its name has no address"),
        (socket.gaierror(socket.EAI_FAIL, "x"), Unreached, "its name has no address"),
    ],
)
async def test_a_name_that_is_not_found_is_the_receivers_fault_and_a_silent_name_server_is_not(
    fault: OSError, kind: type, reason: str
) -> None:
    sender = HttpCallbackSender(Named({"hooks.example": fault}))
    url = "https://hooks.example/"
    found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, kind)
    assert found.reason == reason
    await sender.close()


async def test_a_name_server_that_never_answers_is_our_fault() -> None:
    class Silent:
        async def addresses(self, host: str, port: int) -> list[str]:
            await asyncio.get_running_loop().create_future()
            return []

    sender = HttpCallbackSender(Silent())
    url = "https://hooks.example/"
    found = await sender.send(a_receiver(url, timeout=0.05), a_message(url))
    assert isinstance(found, Ours)
    assert found.reason == "no name server told its address within 0.05 s"
    await sender.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, Ours),
        (errno.ENFILE, Ours),
        (errno.ENOBUFS, Ours),
        (errno.EAFNOSUPPORT, Unreached),
    ],
)
async def test_when_no_socket_can_be_made_it_is_no_attempt(
    sender: HttpCallbackSender, monkeypatch: pytest.MonkeyPatch, number: int, kind: type
) -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"

        def none_left(*_: object, **__: object) -> socket.socket:
            raise OSError(number, "x")

        with monkeypatch.context() as patch:
            patch.setattr("strangler.channels.callbacks.gate.socket.socket", none_left)
            found = await sender.send(a_receiver(url), a_message(url))
        assert isinstance(found, kind)
        assert isinstance(await sender.send(a_receiver(url), a_message(url)), Answered)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EADDRNOTAVAIL, Ours),
        (errno.ENETDOWN, Ours),
        (errno.EPERM, Ours),
        (errno.ENOBUFS, Ours),
        (errno.ENETUNREACH, Unreached),
        (errno.EHOSTUNREACH, Unreached),
        (errno.ETIMEDOUT, Unreached),
    ],
)
async def test_whose_fault_it_is_that_a_connection_is_not_made(
    sender: HttpCallbackSender, monkeypatch: pytest.MonkeyPatch, number: int, kind: type
) -> None:
    async def failing(*_: object) -> None:
        raise OSError(number, "x")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", failing)
    url = "http://127.0.0.1:9/"
    found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, kind)
    assert found.reason == f"no connection: {os.strerror(number)}"


async def test_a_certificate_of_ours_that_cannot_be_read_is_our_fault(
    sender: HttpCallbackSender, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("")
    url = "https://127.0.0.1/"
    for tls in (Tls(ca=str(tmp_path / "none.pem")), Tls(ca=str(tmp_path / "empty.pem"))):
        found = await sender.send(a_receiver(url, tls=tls), a_message(url))
        assert isinstance(found, Ours)
        assert found.reason.startswith("a certificate or key for this receiver cannot be used: ")


async def test_what_nobody_thought_of_is_told_by_its_name_and_costs_no_attempt(
    sender: HttpCallbackSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(GatedConnector, "connect", broken)
    url = "http://127.0.0.1/"
    found = await sender.send(a_receiver(url), a_message(url))
    assert isinstance(found, Ours)
    assert found.reason == "a fault of our own: KeyError"


async def test_a_cancellation_goes_through(sender: HttpCallbackSender) -> None:
    async with listening(None) as there:
        url = f"http://127.0.0.1:{there.port}/"
        task = asyncio.create_task(sender.send(a_receiver(url), a_message(url)))
        await there.came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_plain_http_goes_nowhere_but_into_networks() -> None:
    sender = HttpCallbackSender(Named({"inside.example": ["127.0.0.1"], "outside.example": ["93.184.216.34"]}))
    async with listening() as there:
        inside = f"http://inside.example:{there.port}/"
        assert isinstance(await sender.send(a_receiver(inside, networks=LOOPBACK), a_message(inside)), Answered)
        outside = f"http://outside.example:{there.port}/"
        found = await sender.send(a_receiver(outside, name="b", networks=LOOPBACK), a_message(outside))
    assert found == Forbidden(reason="93.184.216.34 is outside of `networks`, and plain http is for these only")
    await sender.close()
