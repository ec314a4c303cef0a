"""The socket of a process: the messages of its stream, the wish to cancel, and how it ends."""

from __future__ import annotations

import asyncio
import json

import pytest
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Answer, Header, Upgrade
from strangler.domain.steps import Cancel, Claim, Doubt
from strangler.gateway.socket import handshake
from strangler.policy.model import AccessPolicy, CorsPolicy
from tests.gateway.following import HANDSHAKE, ask_socket, connect
from tests.gateway.jumping import run
from tests.gateway.scene import ALICE, BOB, SENT, Scene, a_promise, a_request, content, field, finish
from tests.gateway.sharing import shares

CANCEL = '{"type": "cancel"}'


async def test_the_document_as_it_is_then_each_change_then_the_end() -> None:
    scene = Scene()
    process = await scene.process()
    line = await connect(scene, process)
    status = json.loads(await content(await scene.ask("GET", process, "/status", ALICE)))
    assert await line.message() == {"type": "state", "process": status}
    for transition in (Claim("worker-1"), Doubt("timeout", False), finish()):
        process = await scene.goes_on(process, transition)
    seen = [await line.message() for _ in range(3)]
    assert [(one["type"], one["process"]["version"]) for one in seen] == [("state", 2), ("state", 3), ("final", 4)]
    assert await line.closed() == 1000
    assert ("polled", ("submit-claim", "socket")) in scene.instrument.told
    assert not scene.signals.watches
    assert scene.resources.open_streams()["socket"] == 0


async def test_a_process_that_has_ended_is_told_once() -> None:
    scene = Scene()
    line = await connect(scene, await scene.process(*SENT, finish()))
    assert (await line.message())["type"] == "final"
    assert await line.closed() == 1000


async def test_the_handshake_is_that_of_the_specification() -> None:
    scene = Scene()
    upgrade = await ask_socket(scene, await scene.process())
    assert isinstance(upgrade, Upgrade)
    # The example of RFC 6455 section 1.3.
    assert (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in upgrade.headers
    assert not [name for name, _ in upgrade.headers if name.lower() == b"sec-websocket-extensions"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("Upgrade", None, "Upgrade: websocket"),
        ("Upgrade", b"h2c", "Upgrade: websocket"),
        ("Connection", b"keep-alive", "Upgrade: websocket"),
        ("Sec-WebSocket-Version", None, "version"),
        ("Sec-WebSocket-Version", b"8", "version"),
        ("Sec-WebSocket-Key", None, "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Key", b"c2hvcnQ=", "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Key", b"!" * 24, "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Key", b"\xff" * 24, "Sec-WebSocket-Key"),
    ],
)
async def test_what_is_no_handshake_is_refused(name: str, value: bytes | None, said: str) -> None:
    scene = Scene()
    given = [header for header in HANDSHAKE if header[0].decode() != name]
    given += [(name.encode(), value)] if value is not None else []
    answer = await ask_socket(scene, await scene.process(), handshake=tuple(given))
    assert isinstance(answer, Answer)
    document = json.loads(await content(answer))
    assert (answer.status, document["code"]) == (400, "bad-request")
    assert said in document["detail"]
    assert field(answer, "Sec-WebSocket-Version") == ("13" if name.endswith("Version") else None)


@pytest.mark.parametrize(("method", "has_body"), [("POST", False), ("HEAD", False), ("GET", True), ("GET", False)])
def test_a_socket_is_opened_by_a_get_without_a_body(method: str, has_body: bool) -> None:
    request = a_request(method, "/", *HANDSHAKE)
    request.has_body = has_body
    assert isinstance(handshake(request), Answer) is (method != "GET" or has_body)


def test_an_upgrade_of_an_old_client_is_none() -> None:
    request = a_request("GET", "/", *HANDSHAKE)
    request.old = True
    assert isinstance(handshake(request), Answer)


def test_one_of_several_protocols_that_are_asked_for_is_enough() -> None:
    named = (b"Upgrade", b"h2c, WebSocket")
    assert isinstance(handshake(a_request("GET", "/", *(h for h in HANDSHAKE if h[0] != b"Upgrade"), named)), list)


async def test_a_client_may_cancel_and_hears_of_it_as_of_any_change() -> None:
    scene = Scene()
    process = await scene.process()
    line = await connect(scene, process)
    assert "cancel" in (await line.message())["process"]["links"]
    line.say(CANCEL)
    message = await line.message()
    assert (message["type"], message["process"]["state"]) == ("final", "cancelled")
    assert await line.closed() == 1000


async def test_what_stands_in_the_way_of_cancelling_is_told_and_the_socket_stays() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    line = await connect(scene, process)
    await line.message()
    for _ in range(2):
        line.say(CANCEL)
        message = await line.message()
        assert message["type"] == "problem"
        assert (message["problem"]["code"], message["problem"]["status"]) == ("not-cancellable", 409)
    await scene.goes_on(process, finish())
    assert (await line.message())["type"] == "final"
    assert await line.closed() == 1000


async def test_a_store_that_refuses_to_cancel_is_told() -> None:
    scene = Scene()
    line = await connect(scene, await scene.process())
    await line.message()
    scene.store.refuses = lambda commit: True
    line.say(CANCEL)
    assert (await line.message())["problem"]["code"] == "store-unavailable"
    line.hang_up()
    await line.ended()


async def test_who_may_read_and_not_cancel_is_told_so() -> None:
    scene = Scene(a_promise(AccessPolicy(read="anyone")))
    line = await connect(scene, await scene.process(), BOB)
    assert "cancel" not in (await line.message())["process"]["links"]
    line.say(CANCEL)
    assert (await line.message())["problem"]["code"] == "not-cancellable"
    line.hang_up()
    await line.ended()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"binary", 1003),
        ("", 1008),
        ("cancel", 1008),
        ("[]", 1008),
        ('{"type": "subscribe"}', 1008),
        ('{"type": 7}', 1008),
        ("[" * 4000, 1008),
        ("x" * 4096, 1008),
        ("x" * 4097, 1009),
        ("x" * 1_000_000, 1009),
    ],
)
async def test_anything_else_that_a_client_says_ends_the_socket(message: str | bytes, code: int) -> None:
    scene = Scene()
    line = await connect(scene, await scene.process())
    await line.message()
    line.say(message)
    assert await line.closed() == code
    assert not scene.signals.watches


async def test_a_message_may_come_in_pieces() -> None:
    scene = Scene()
    line = await connect(scene, await scene.process())
    await line.message()
    line.send(TextMessage(CANCEL[:5], message_finished=False))
    line.send(Ping(b"between"))
    line.send(TextMessage(CANCEL[5:]))
    assert await line.frame() == Pong(bytearray(b"between"))
    assert (await line.message())["process"]["state"] == "cancelled"
    assert await line.closed() == 1000


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (b"\x83\x80\0\0\0\0", 1002),  # an unknown kind of frame
        (b"\xc1\x80\0\0\0\0", 1002),  # a bit of an extension
        (b"\x81\x82\0\0\0\0\xff\xff", 1007),  # not UTF-8
    ],
)
async def test_a_breach_of_the_protocol_ends_the_socket(data: bytes, code: int) -> None:
    scene = Scene()
    line = await connect(scene, await scene.process())
    await line.message()
    line.send_bytes(data)
    closing = await line.frame()
    assert isinstance(closing, CloseConnection)
    assert closing.code == code
    await line.ended()


async def test_a_client_that_closes_is_answered() -> None:
    scene = Scene()
    line = await connect(scene, await scene.process())
    await line.message()
    line.send(CloseConnection(1000, "enough"))
    closing = await line.frame()
    assert isinstance(closing, CloseConnection)
    assert closing.code == 1000
    await line.ended()
    assert not scene.signals.watches


async def test_a_client_that_is_gone_leaves_nothing_behind() -> None:
    scene = Scene()
    line = await connect(scene, await scene.process())
    await line.message()
    assert scene.resources.open_streams()["socket"] == 1
    assert line.task is not None
    line.task.cancel()
    await asyncio.wait((line.task,))
    assert line.task.cancelled()
    assert not scene.signals.watches
    assert scene.resources.open_streams()["socket"] == 0


def test_a_ping_goes_out_every_20_seconds_and_who_answers_stays() -> None:
    async def follow() -> None:
        scene = Scene()
        process = await scene.process()
        line = await connect(scene, process)
        await line.message()
        begun = asyncio.get_running_loop().time()
        for count in range(1, 6):
            assert isinstance(await line.frame(), Ping)
            assert asyncio.get_running_loop().time() - begun == pytest.approx(20 * count, abs=1)
        await scene.goes_on(process, Cancel())
        assert (await line.message())["type"] == "final"
        assert await line.closed() == 1000

    run(follow())


def test_who_answers_no_ping_is_gone() -> None:
    async def follow() -> None:
        scene = Scene()
        line = await connect(scene, await scene.process())
        line.mute = True
        await line.message()
        assert isinstance(await line.frame(), Ping)
        await line.ended()
        assert not scene.signals.watches

    _, seconds = run(follow())
    assert seconds == pytest.approx(40, abs=2)


def test_who_does_not_answer_the_close_is_left_after_five_seconds() -> None:
    async def follow() -> None:
        scene = Scene()
        line = await connect(scene, await scene.process(*SENT, finish()))
        await line.message()
        assert isinstance(await line.frame(), CloseConnection)
        await line.ended()

    _, seconds = run(follow())
    assert seconds == pytest.approx(5, abs=1)


async def test_a_server_that_goes_away_says_so() -> None:
    scene = Scene()
    line = await connect(scene, await scene.process())
    await line.message()
    scene.streams.end()
    assert await line.closed() == 1001


async def test_a_store_that_cannot_be_read_has_the_client_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    process = await scene.process()
    line = await connect(scene, process)
    await line.message()

    async def refuse(process_id: str) -> None:
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(scene.store, "process", refuse)
    scene.signals.hear(process.id, 100)
    assert await line.closed() == 1013


async def test_a_defect_ends_the_socket_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    process = await scene.process()
    line = await connect(scene, process)
    await line.message()

    async def fail(process_id: str) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(scene.store, "process", fail)
    scene.signals.hear(process.id, 100)
    with pytest.raises(RuntimeError, match="a defect"):
        await line.ended()
    assert not scene.signals.watches


@pytest.mark.parametrize(
    ("headers", "welcome"),
    [
        ((), False),
        (((b"Origin", b"https://evil.example"),), False),
        (((b"Origin", b"null"),), False),
        (((b"Origin", b"https://public.example"),), True),
        (((b"Origin", b"https://app.example"),), True),
        (((b"Origin", b"https://evil.example"), (b"Authorization", b"x")), True),
    ],
)
async def test_a_cookie_opens_a_socket_from_a_page_that_somebody_vouches_for(
    headers: tuple[Header, ...], welcome: bool
) -> None:
    cookie = (b"Cookie", b"sid=1")
    scene = Scene(a_promise(AccessPolicy(identity=("header:Authorization", "cookie:sid"), read="anyone")))
    shares(scene.cors, CorsPolicy(origins=("https://app.example",)))
    process = await scene.process(by=cookie)
    answer = await ask_socket(scene, process, cookie, *headers)
    assert isinstance(answer, Upgrade) is welcome
    assert isinstance(answer, Upgrade) or answer.status == 403
    query = f"?ticket={json.loads(await content(await scene.ask('POST', process, '/ticket', cookie)))['ticket']}"
    assert isinstance(await ask_socket(scene, process, cookie, *headers, query=query), Upgrade), (
        "a ticket needs no page"
    )
