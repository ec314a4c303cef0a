"""A body that breaks off, or stops coming, on a real socket: the client is told, and nothing is recorded."""

from __future__ import annotations

import json
from functools import partial

import pytest

from tests.engine.world import ASYNC, World
from tests.front.scene import Scene as FrontScene
from tests.gateway.test_recording import recording_of

POST = b"POST /claims HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"


@pytest.mark.parametrize(
    ("framing", "body", "status", "code"),
    [
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\nzz\r\n", 400, "bad-request"),
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n", 408, "request-timeout"),
        (b"Content-Length: 5", b"{}", 408, "request-timeout"),
    ],
)
async def test_what_does_not_arrive_whole_is_refused_once_and_not_recorded(
    framing: bytes, body: bytes, status: int, code: str
) -> None:
    world = World()
    await world.lease.renew()
    async with FrontScene(settings={"body_idle_timeout": 0.1}) as front:
        front.ours[b"/claims"] = partial(recording_of(world).record, world.route, {}, ASYNC)
        client = await front.send(POST + framing + b"\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue"
        client.send(body)
        reply = await client.reply()
        assert (reply.status, json.loads(reply.body)["code"]) == (status, code)
        assert reply.field("Connection") == b"close"
        await client.gone()
        assert front.told.refusals == []
    told = world.instrument.told
    assert [fact for fact in told if fact[0] == "refused"] == [("refused", (world.route.name, code))]
    assert not {"accepted", "changed"} & {name for name, _ in told}
