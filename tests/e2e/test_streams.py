"""Streams and sockets of the real server, followed by independent clients: httpx-sse and websockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.harness.client import Client
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually

POLICY = """
upstreams:
  legacy: {{url: "{url}", timeout: 30s}}
routes:
  - name: submit-claim
    match: {{path: /claims, methods: [POST]}}
    upstream: legacy
    mode: async
    call: {{concurrency: 1}}
    cors: {{origins: ["https://app.example"]}}
  - name: assess
    match: {{path: /assessments, methods: [POST]}}
    upstream: legacy
    mode: async
"""
ALICE = {"X-Api-Key": "alice"}


class Place:
    """One server with a legacy system behind it, and somebody who submits."""

    def __init__(self, server: Server, legacy: Legacy, client: Client, http: httpx.AsyncClient) -> None:
        self.server = server
        self.legacy = legacy
        self.client = client
        self.http = http

    async def submit(self, marker: str, script: str = "", path: str = "/claims") -> dict[str, Any]:
        reply = await self.client.submit(path, marker, script=script)
        assert reply.status == 202, reply.body
        document: dict[str, Any] = reply.json()
        return document

    @contextlib.asynccontextmanager
    async def follow(self, url: str, last: str | None = None) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
        headers = ALICE if last is None else {**ALICE, "Last-Event-ID": last}
        async with aconnect_sse(self.http, "GET", url, headers=headers) as source:
            yield (event async for event in source.aiter_sse() if event.data)

    async def restart(self) -> None:
        """As after a power cut."""
        await self.server.kill()
        await self.server.start()

    async def in_doubt(self, document: dict[str, Any]) -> None:
        await self.client.settled(document["id"])


@pytest.fixture
async def place(stage: Stage) -> AsyncIterator[Place]:
    legacy = await stage.legacy()
    server = stage.server(POLICY.format(url=legacy.url), options=["--access-log", "all", "--drain-timeout", "0s"])
    await server.start()
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:
        yield Place(server, legacy, await stage.client(server), http)


def versions(events: list[ServerSentEvent]) -> list[int]:
    return [event.json()["version"] for event in events]


async def test_a_stream_is_followed_to_its_end(place: Place) -> None:
    document = await place.submit("one", "do=hold")
    seen: list[ServerSentEvent] = []
    async with place.follow(document["links"]["events"]) as events:
        async for event in events:
            if not seen:
                assert event.retry == 3000
                await eventually(lambda: place.legacy.received("one"))
                assert await place.server.metric("strangler_open_streams", kind="events") == 1
                await place.legacy.release()
            seen.append(event)
    assert versions(seen) in ([1, 2, 3], [2, 3])
    assert [event.id for event in seen] == [str(version) for version in versions(seen)]
    assert [event.event for event in seen] == ["state"] * (len(seen) - 1) + ["final"]
    status = await place.client.status(document["id"])
    assert seen[-1].json() == status
    assert await place.server.metric("strangler_polls_total", route="submit-claim", resource="events") == 1
    await eventually(lambda: _none_open(place.server))


async def _none_open(server: Server) -> bool:
    return await server.metric("strangler_open_streams") == 0


@pytest.mark.slow
async def test_a_stream_goes_on_after_a_cut_and_a_crash_with_no_gap_and_no_repeat(place: Place) -> None:
    await place.submit("first", "do=hold")
    await eventually(lambda: place.legacy.received("first"))
    document = await place.submit("second", "delay=0.2")
    url = document["links"]["events"]
    async with place.follow(url) as events:
        first = await anext(events)
        assert (first.id, first.json()["state"]) == ("1", "received")
    await eventually(lambda: _none_open(place.server))
    await place.restart()
    # The first one is in doubt now, and the second one is sent.
    async with place.follow(url, last=first.id) as events:
        second = await anext(events)
    async with place.follow(url, last=second.id) as events:
        rest = [event async for event in events]
    assert versions([first, second, *rest]) == [1, 2, 3]
    assert rest[-1].event == "final"
    await place.restart()
    assert (await place.http.get(url, headers={**ALICE, "Last-Event-ID": "3"})).status_code == 204
    async with place.follow(url, last="1") as events:
        assert versions([event async for event in events]) == [2, 3]


@pytest.mark.slow
async def test_followers_are_cut_by_a_crash_and_find_their_way_back(place: Place) -> None:
    await place.submit("first", "do=hold")
    await eventually(lambda: place.legacy.received("first"))
    documents = [await place.submit(f"p{number}") for number in range(10)]

    async def follow(url: str) -> list[int]:
        seen: list[int] = []
        last: str | None = None
        async with asyncio.timeout(60):
            while True:
                try:
                    async with place.follow(url, last) as events:
                        async for event in events:
                            last = event.id
                            seen.append(event.json()["version"])
                            if event.event == "final":
                                return seen
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)

    following = [asyncio.ensure_future(follow(document["links"]["events"])) for document in documents]
    await eventually(lambda: _open(place.server, 10))
    await place.restart()
    assert await asyncio.gather(*following) == [[1, 2, 3]] * 10


async def _open(server: Server, count: int) -> bool:
    return await server.metric("strangler_open_streams") == count


@pytest.mark.slow
async def test_the_stream_of_all_goes_on_after_a_crash(place: Place) -> None:
    held = await place.submit("held", "do=hold")
    await eventually(lambda: place.legacy.received("held"))
    seen: list[tuple[str, int]] = []
    async with place.follow("/processes/events") as events:
        event = await anext(events)
        assert event.json()["id"] == held["id"]
        quick = await place.submit("quick", path="/assessments")
        while event.json()["state"] != "completed":
            event = await anext(events)
            seen.append((event.json()["id"], event.json()["version"]))
    assert seen == [(quick["id"], 1), (quick["id"], 2), (quick["id"], 3)]
    meanwhile = await place.submit("meanwhile", path="/assessments")
    await place.client.settled(meanwhile["id"])
    await place.restart()
    await place.client.settled(held["id"])
    after: list[tuple[str, int]] = []
    async with place.follow("/processes/events", last=event.id) as events:
        while len(after) < 4:
            event = await anext(events)
            after.append((event.json()["id"], event.json()["version"]))
    assert after == [*((meanwhile["id"], version) for version in (1, 2, 3)), (held["id"], 3)]


async def test_a_socket_is_followed_to_its_end(place: Place) -> None:
    document = await place.submit("one", "do=hold")
    async with connect(document["links"]["socket"], additional_headers=ALICE) as socket:
        seen = [json.loads(await socket.recv())]
        await eventually(lambda: place.legacy.received("one"))
        assert await place.server.metric("strangler_open_streams", kind="socket") == 1
        await place.legacy.release()
        seen += [json.loads(message) async for message in socket]
        assert socket.close_code == 1000
    assert [message["process"]["version"] for message in seen] in ([1, 2, 3], [2, 3])
    assert seen[-1] == {"type": "final", "process": await place.client.status(document["id"])}
    await eventually(lambda: _none_open(place.server))


@pytest.mark.slow
async def test_a_socket_cancels_what_was_not_sent(place: Place) -> None:
    first = await place.submit("first", "do=hold")
    await eventually(lambda: place.legacy.received("first"))
    second = await place.submit("second")
    async with connect(first["links"]["socket"], additional_headers=ALICE) as socket:
        await socket.recv()
        await socket.send('{"type": "cancel"}')
        assert json.loads(await socket.recv())["problem"]["code"] == "not-cancellable"
    async with connect(second["links"]["socket"], additional_headers=ALICE) as socket:
        assert "cancel" in json.loads(await socket.recv())["process"]["links"]
        await socket.send('{"type": "cancel"}')
        message = json.loads(await socket.recv())
        assert (message["type"], message["process"]["state"]) == ("final", "cancelled")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1000
    assert place.legacy.received("second") == 0


@pytest.mark.slow
async def test_a_client_that_says_too_much_is_closed(place: Place) -> None:
    document = await place.submit("one", "do=hold")
    async with connect(document["links"]["socket"], additional_headers=ALICE) as socket:
        await socket.recv()
        await socket.send("x" * 1_000_000)
        await socket.wait_closed()
        assert socket.close_code == 1009


@pytest.mark.slow
async def test_a_ticket_opens_streams_without_a_header_and_is_never_logged(place: Place) -> None:
    document = await place.submit("one", "do=hold")
    await eventually(lambda: place.legacy.received("one"))
    url = f"{document['links']['self']}/ticket"
    assert (await place.http.post(url)).status_code == 404
    ticket = (await place.http.post(url, headers=ALICE)).json()
    with pytest.raises(InvalidStatus):
        async with connect(document["links"]["socket"]):
            pass
    async with connect(ticket["socket"]) as socket:
        assert json.loads(await socket.recv())["process"]["id"] == document["id"]
        await place.restart()
        await socket.wait_closed()
    await place.client.settled(document["id"])
    async with aconnect_sse(place.http, "GET", ticket["events"]) as source:
        async for event in source.aiter_sse():
            assert event.json()["state"] == "unconfirmed"
            break
    assert (await place.http.get(ticket["events"].replace("/events?", "/status?"))).status_code == 404
    assert await place.server.stop() == 0
    log = place.server.log.read_text()
    assert f"/{document['id']}/events" in log, "its use is logged"
    assert ticket["ticket"] not in log
    assert ticket["ticket"][:20] not in log


@pytest.mark.slow
async def test_a_server_that_drains_says_goodbye(place: Place) -> None:
    document = await place.submit("one", "do=hold")
    await eventually(lambda: place.legacy.received("one"))
    async with place.follow(document["links"]["events"]) as events:
        async with connect(document["links"]["socket"], additional_headers=ALICE) as socket:
            await socket.recv()
            stopping = asyncio.ensure_future(place.server.stop())
            seen = [event async for event in events]
            told = [json.loads(message) async for message in socket]
            assert socket.close_code == 1001
    assert await stopping == 0
    # Its end is orderly, and what was in flight is in doubt: the last that its followers hear.
    assert versions(seen) == [2, 3]
    assert [message["process"]["state"] for message in told] == ["unconfirmed"]


async def test_pages_of_another_origin_may_use_it_all(place: Place) -> None:
    origin = {"Origin": "https://app.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "prefer,x-api-key"}
    preflight = await place.http.request("OPTIONS", "/claims", headers=asked)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, "https://app.example")
    elsewhere = await place.http.request("OPTIONS", "/assessments", headers=asked)
    assert elsewhere.status_code == 404, "no route takes OPTIONS there, and nobody answers for it"
    accepted = await place.http.post("/claims", json={}, headers={**ALICE, **origin})
    assert accepted.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Location" in accepted.headers["Access-Control-Expose-Headers"]
    document = accepted.json()
    await place.client.settled(document["id"])
    for link in ("status", "result", "history", "events"):
        reply = await place.http.get(document["links"][link], headers={**ALICE, **origin})
        assert reply.headers.get_list("Access-Control-Allow-Origin") == ["https://app.example"]
    assert (await place.http.get("/claims", headers=origin)).headers.get("Access-Control-Allow-Origin") is None


@pytest.mark.slow
async def test_streams_are_followed_on_any_of_several_workers(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(POLICY.format(url=legacy.url), options=["--workers", "2"])
    await server.start()
    async with httpx.AsyncClient(base_url=server.url, timeout=30, limits=httpx.Limits(max_connections=100)) as http:
        place = Place(server, legacy, await stage.client(server), http)
        documents = [await place.submit(f"p{number}", "do=hold", path="/assessments") for number in range(20)]
        await eventually(lambda: legacy.received() == 20)

        async def follow(url: str) -> list[int]:
            async with place.follow(url) as events:
                return versions([event async for event in events])

        async def follow_all() -> list[tuple[str, int]]:
            seen: dict[tuple[str, int], int] = {}
            async with place.follow("/processes/events") as events:
                while len(seen) < 40:
                    event = await anext(events)
                    change = (event.json()["id"], event.json()["version"])
                    seen[change] = seen.get(change, 0) + 1
            assert set(seen.values()) == {1}
            return sorted(seen)

        async with asyncio.timeout(60):
            everything = asyncio.ensure_future(follow_all())
            following = [asyncio.ensure_future(follow(document["links"]["events"])) for document in documents]
            await eventually(lambda: _open(server, 21))
            await legacy.release()
            assert await asyncio.gather(*following) == [[2, 3]] * 20
            assert await everything == sorted((one["id"], version) for one in documents for version in (2, 3))
    assert await server.stop() == 0
