"""A real third-party service behind every mode."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.httpbin import Httpbin
from tests.harness.client import Client, Reply
from tests.harness.server import Server

pytestmark = pytest.mark.slow

POLICY = """
upstreams:
  httpbin: {{url: "{url}"}}
route_defaults:
  upstream: httpbin
routes:
  - name: deferred
    match: {{path: "/async/*"}}
    mode: async
    rewrite: {{strip_prefix: /async}}
  - name: patient
    match: {{path: "/patient/*"}}
    mode: async
    wait: 3s
    rewrite: {{strip_prefix: /patient}}
  - name: compatible
    match: {{path: "/compat/*"}}
    mode: compat
    rewrite: {{strip_prefix: /compat}}
default: {{upstream: httpbin}}
"""

PATHS = [
    "/bytes/4096?seed=7",
    "/status/418",
    "/status/404",
    "/json",
    "/encoding/utf8",
    "/image/png",
    "/response-headers?X-Twice=a&X-Twice=b",
    "/range/2048",
    "/html",
    "/redirect-to?url=/get&status_code=302",
    "/cookies/set?a=b",
]
OF_THE_CONNECTION = {"date", "connection", "keep-alive", "transfer-encoding", "server"}


class House:
    """The service and the server before it, for all tests of this module; each test is a caller of its own."""

    def __init__(self, directory: Path) -> None:
        self.httpbin = Httpbin(directory)
        self.server = Server(directory, POLICY.format(url=self.httpbin.url))
        self.children = [self.httpbin, self.server]

    async def open(self) -> None:
        await self.httpbin.start()
        await self.server.start()

    async def close(self) -> None:
        for child in self.children:
            await child.kill()


class Room(NamedTuple):
    """The server, and clients of it and of the service itself."""

    server: Server
    client: Client
    direct: Client


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    try:
        asyncio.run(house.open())
        yield house
    finally:
        asyncio.run(house.close())


@pytest.fixture
async def room(house: House, request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    caller = re.sub(r"[^a-z0-9]+", "-", request.node.name)
    async with Client(house.server.url, caller) as client, Client(house.httpbin.url, caller) as direct:
        yield Room(house.server, client, direct)


def end_to_end(reply: Reply) -> list[tuple[str, str]]:
    """The headers that a proxy has no business with."""
    return [(name, value) for name, value in reply.headers.items() if name.lower() not in OF_THE_CONNECTION]


def without(headers: list[tuple[str, str]], *names: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in names]


async def test_what_passes_through_is_what_the_service_says(room: Room) -> None:
    for path in PATHS:
        ours, theirs = await room.client.request("GET", path), await room.direct.request("GET", path)
        assert (ours.status, ours.body) == (theirs.status, theirs.body), path
        assert end_to_end(ours) == end_to_end(theirs), path


async def test_a_client_that_waits_gets_the_same_status_headers_and_bytes(room: Room) -> None:
    for path in PATHS:
        ours, theirs = await room.client.request("GET", f"/compat{path}"), await room.direct.request("GET", path)
        assert (ours.status, ours.body) == (theirs.status, theirs.body), path
        assert without(end_to_end(ours), "strangler-process") == end_to_end(theirs), path
        assert ours.headers["Strangler-Process"].startswith(room.server.url)


async def test_the_result_of_a_process_is_the_bytes_of_the_service(room: Room) -> None:
    for path in PATHS:
        accepted = await room.client.submit(f"/async{path}", path, method="GET")
        assert accepted.status == 202, path
        document = await room.client.settled(accepted.json()["id"])
        theirs = await room.direct.request("GET", path)
        result = await room.client.request("GET", document["links"]["result"])
        assert (result.status, result.body) == (theirs.status, theirs.body), path
        assert result.headers.get("Content-Type") == theirs.headers.get("Content-Type")
        assert document["state"] == ("rejected" if theirs.status in (404, 418) else "completed")
        assert "Set-Cookie" not in result.headers
        assert result.headers["Cache-Control"] == "private, no-store"


async def test_a_stream_arrives_whole_in_every_mode(room: Room) -> None:
    through = await room.client.request("GET", "/stream/20")
    waited = await room.client.request("GET", "/compat/stream/20")
    document = await room.client.settled(
        (await room.client.request("GET", "/async/stream/20")).json()["id"],
    )
    kept = await room.client.request("GET", document["links"]["result"])
    for reply in (through, waited, kept):
        assert reply.body.count(b"\n") == 20


async def test_a_slow_call_is_a_process_that_one_can_follow_to_its_result(room: Room) -> None:
    accepted = await room.client.request("POST", "/async/delay/3", body={"claim": 17})
    assert accepted.status == 202
    location = accepted.headers["Location"]
    running = await room.client.request("GET", location)
    assert running.status == 202
    early = await room.client.request("GET", f"{location}/result")
    assert (early.status, early.code) == (404, "result-not-ready")
    document = await room.client.settled(accepted.json()["id"])
    assert (document["state"], document["effect"]) == ("completed", "applied")
    ended = await room.client.request("GET", location)
    assert (ended.status, ended.headers["Location"]) == (303, f"{location}/result")
    result = await room.client.request("GET", ended.headers["Location"])
    assert json.loads(result.json()["data"]) == {"claim": 17}
    history = (await room.client.request("GET", document["links"]["history"])).json()
    assert "completed" in str(history)


@pytest.mark.parametrize(
    ("path", "prefer", "status", "applied"),
    [
        ("/async/delay/1", None, 202, None),
        ("/async/delay/1", "respond-async", 202, "respond-async"),
        ("/async/delay/3", "respond-async, wait=1", 202, "respond-async"),
        ("/async/anything", "respond-async, wait=5", 200, None),
        ("/async/anything", "wait=5", 200, None),
        ("/patient/anything", None, 200, None),
        ("/patient/delay/6", None, 202, None),
        ("/patient/anything", "respond-async", 202, "respond-async"),
        ("/compat/delay/1", None, 200, None),
        ("/compat/delay/1", "respond-async", 202, "respond-async"),
        ("/compat/delay/3", "respond-async, wait=1", 202, "respond-async"),
        ("/compat/delay/2", "wait=1", 200, None),
        ("/delay/1", "respond-async", 200, None),
    ],
)
async def test_every_row_of_the_table_of_preferences(
    room: Room, path: str, prefer: str | None, status: int, applied: str | None
) -> None:
    headers = {"Prefer": prefer} if prefer else {}
    reply = await room.client.request("POST", path, body={"a": 1}, headers=headers)
    assert reply.status == status
    if applied is not None:
        assert applied in reply.headers["Preference-Applied"]
    if status == 202:
        document = await room.client.settled(reply.json()["id"])
        assert document["state"] == "completed"


async def test_an_honoured_preference_does_not_go_upstream_and_one_of_a_passthrough_does(room: Room) -> None:
    prefer = {"Prefer": "respond-async, return=minimal"}
    accepted = await room.client.request("POST", "/async/anything", body={}, headers=prefer)
    document = await room.client.settled(accepted.json()["id"])
    seen = (await room.client.request("GET", document["links"]["result"])).json()["headers"]
    assert seen.get("Prefer") == "return=minimal"
    through = await room.client.request("POST", "/anything", body={}, headers=prefer)
    assert through.json()["headers"]["Prefer"] == "respond-async, return=minimal"


async def test_the_service_sees_the_request_as_the_client_made_it(room: Room) -> None:
    target = "/anything/a%2Fb//c?x=1&x=2&empty=&y=%C3%A4"
    body = {"text": "Grüße", "n": 1.50}
    direct = (await room.direct.request("POST", target, body=body)).json()
    through = (await room.client.request("POST", target, body=body)).json()
    waited = (await room.client.request("POST", f"/compat{target}", body=body)).json()
    accepted = await room.client.request("POST", f"/async{target}", body=body)
    document = await room.client.settled(accepted.json()["id"])
    deferred = (await room.client.request("GET", document["links"]["result"])).json()
    for seen in (through, waited, deferred):
        for member in ("args", "data", "files", "form", "json", "method"):
            assert seen[member] == direct[member], member
        assert seen["headers"]["X-Api-Key"] == room.client.caller
        assert seen["headers"]["Content-Type"] == "application/json"


async def test_a_large_answer_and_a_large_request_arrive_whole(room: Room) -> None:
    document = b'{"padding": "' + b"x" * 3_000_000 + b'"}'
    for prefix in ("", "/compat", "/patient"):
        reply = await room.client.request(
            "POST", f"{prefix}/anything", body=document, headers={"Content-Type": "application/json"}
        )
        if reply.status == 202:
            settled = await room.client.settled(reply.json()["id"])
            reply = await room.client.request("GET", settled["links"]["result"])
        assert reply.status == 200
        assert len(reply.json()["json"]["padding"]) == 3_000_000


async def test_a_repeat_with_the_same_key_is_the_same_process_and_another_request_is_refused(room: Room) -> None:
    first = await room.client.request("POST", "/async/delay/1", body={"a": 1}, headers={"Idempotency-Key": '"k-1"'})
    again = await room.client.request("POST", "/async/delay/1", body={"a": 1}, headers={"Idempotency-Key": "k-1"})
    assert again.status == 202
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    await room.client.settled(first.json()["id"])
    late = await room.client.request("POST", "/async/delay/1", body={"a": 1}, headers={"Idempotency-Key": "k-1"})
    assert (late.status, late.headers["Location"]) == (202, first.headers["Location"])
    other = await room.client.request("POST", "/async/delay/1", body={"a": 2}, headers={"Idempotency-Key": "k-1"})
    assert (other.status, other.code) == (422, "idempotency-key-reused")
    assert len(await room.client.all_processes()) == 1


async def test_a_waiting_repeat_joins_the_first_and_both_get_the_same_bytes(room: Room) -> None:
    headers = {"Idempotency-Key": "k-2"}
    replies = await asyncio.gather(
        *[room.client.request("POST", "/compat/delay/1", body={"a": 1}, headers=headers) for _ in range(5)]
    )
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert sum("Idempotency-Replayed" in reply.headers for reply in replies) == 4
    assert len(await room.client.all_processes()) == 1


async def test_what_the_service_answers_decides_the_state(room: Room) -> None:
    expected = {
        "200": ("completed", "applied"),
        "201": ("completed", "applied"),
        "302": ("completed", "applied"),
        "400": ("rejected", "none"),
        "409": ("rejected", "none"),
        "500": ("failed", "unknown"),
        "502": ("unconfirmed", "unknown"),
        "504": ("unconfirmed", "unknown"),
    }
    for status, end in expected.items():
        accepted = await room.client.request("POST", f"/async/status/{status}", body={})
        document = await room.client.settled(accepted.json()["id"])
        assert (document["state"], document["effect"]) == end, status
