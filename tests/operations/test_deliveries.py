"""Deliveries and receivers as operators see them: over the operations API, and from the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.cli import main
from tests.channels.callbacks.scene import OK, SHOWN, RawReceiver, listening
from tests.operations.desk_stage import Desk, a_desk

POLICY = """
upstreams:
  legacy: {{{{url: "{{legacy}}", timeout: 1s}}}}
receivers:
  broker-a:
    url: "http://127.0.0.1:{port}/hook"
    networks: [127.0.0.1/32]
    secrets: ["{secret}"]
    attempts: 1
  partners:
    allow: ["http://127.0.0.1:{port}"]
    networks: [127.0.0.1/32]
    secrets: ["{secret}"]
routes:
  - name: submit-claim
    match: {{{{path: /claims, methods: [POST]}}}}
    upstream: legacy
    mode: async
    access: {{{{identity: ["header:X-Api-Key"]}}}}
    callbacks: {{{{receivers: [broker-a, partners], header: X-Callback-Url}}}}
"""
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n"
SICK = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 7\r\n\r\n\xff is it"


@pytest.fixture
async def receiver() -> AsyncIterator[RawReceiver]:
    async with listening(OK) as receiver:
        yield receiver


@pytest.fixture
async def desk(tmp_path: Path, receiver: RawReceiver) -> AsyncIterator[Desk]:
    policy = POLICY.format(port=receiver.port, secret=SHOWN)
    async with a_desk(tmp_path, policy, public_url="https://public.example") as desk:
        yield desk


async def deliveries(desk: Desk, state: str, number: int = 1, **query: Any) -> list[dict[str, Any]]:
    """So many deliveries in a state, as soon as they are there."""
    async with asyncio.timeout(20):
        while True:
            found = (await desk.get("/deliveries", state=state, **query)).document["deliveries"]
            if len(found) == number:
                return list(found)
            await asyncio.sleep(0.01)


async def a_dead_letter(desk: Desk, receiver: RawReceiver) -> dict[str, Any]:
    receiver.answers = [SICK]
    await desk.submit()
    (dead,) = await deliveries(desk, "dead")
    receiver.answers = [OK]
    return dead


async def strangler(desk: Desk, *arguments: str) -> int:
    """The command line, at the server's machine."""
    return await asyncio.to_thread(main, [*arguments, "--ops", desk.ops, "--store", desk.store_url])


async def test_what_was_told_and_what_was_answered_is_one_look_away(desk: Desk) -> None:
    process_id = await desk.submit()
    (told,) = await deliveries(desk, "delivered", process=process_id)
    assert (told["receiver"], told["told"], told["process"]) == ("broker-a", "completed", process_id)
    whole = (await desk.get(f"/deliveries/{told['id']}")).document
    (line,) = whole["log"]
    assert (line["outcome"], line["status"], line["text"], line["address"]) == ("delivered", 200, "ok", "127.0.0.1")
    # Who has only the id of the process sees it there.
    assert (await desk.get(f"/processes/{process_id}")).document["deliveries"] == [whole]


async def test_the_log_of_a_dead_letter_says_why_and_what_is_no_text_is_said_otherwise(
    desk: Desk, receiver: RawReceiver
) -> None:
    dead = await a_dead_letter(desk, receiver)
    assert dead["reason"] == "it answered 500"
    (line,) = (await desk.get(f"/deliveries/{dead['id']}")).document["log"]
    assert (line["status"], line["base64"]) == (500, "/yBpcyBpdA==")


async def test_pages_of_deliveries_go_on_where_the_one_before_ended(desk: Desk) -> None:
    ids = [await desk.submit() for _ in range(3)]
    await deliveries(desk, "delivered", 3)
    first = (await desk.get("/deliveries", limit=2)).document
    second = (await desk.get("/deliveries", limit=2, cursor=first["cursor"])).document
    assert [one["process"] for page in (first, second) for one in page["deliveries"]] == ids[::-1]
    assert "cursor" not in second


async def test_deliveries_are_found_by_receiver_url_and_time(desk: Desk, receiver: RawReceiver) -> None:
    url = f"http://127.0.0.1:{receiver.port}/named"
    process_id = await desk.submit(X_Callback_Url=url)
    await deliveries(desk, "delivered", 2)
    for query, number in (
        ({"receiver": "partners"}, 1),
        ({"url": url}, 1),
        ({"url": "https://other.example/"}, 0),
        ({"process": process_id}, 2),
        ({"createdAfter": "2020-01-01"}, 2),
        ({"createdBefore": "2020-01-01"}, 0),
        ({"state": "dead,held"}, 0),
        ({"state": "dead,delivered", "receiver": "broker-a"}, 1),
    ):
        assert len((await desk.get("/deliveries", **query)).document["deliveries"]) == number, query


@pytest.mark.parametrize(
    "query", [{"state": "lost"}, {"cursor": "x"}, {"receiver": ""}, {"process": "7"}, {"limit": 0}]
)
async def test_a_wish_about_deliveries_that_cannot_be_read_is_told(desk: Desk, query: dict[str, Any]) -> None:
    told = await desk.get("/deliveries", **query)
    assert (told.status, told.code) == (400, "bad-request")


async def test_of_what_does_not_exist_there_is_nothing_to_see_or_to_send(desk: Desk) -> None:
    for name in ("x", "2026-11-23", "01a1f000-0000-7000-8000-000000000001-1-0"):
        assert (await desk.get(f"/deliveries/{name}")).code == "no-such-delivery"
        assert (await desk.post(f"/deliveries/{name}/redrive")).code == "no-such-delivery"
    for verb in ("pause", "resume"):
        assert (await desk.post(f"/receivers/nobody/{verb}")).code == "no-such-receiver"
    assert (await desk.post("/deliveries/redrive", {"receiver": "nobody"})).code == "no-such-receiver"
    for name in ("broker-a", "partners"):
        paused = await desk.post(f"/receivers/{name}/pause", {"url": "https://nobody.example/told"})
        assert (paused.status, paused.code) == (400, "bad-request")


async def test_one_url_is_paused_as_it_is_called_however_it_is_written(desk: Desk, receiver: RawReceiver) -> None:
    url = f"http://127.0.0.1:{receiver.port}/named"
    await desk.post("/receivers/partners/pause", {"url": url.replace("http:", "HTTP:")})
    await desk.submit(X_Callback_Url=url)
    (held,) = await deliveries(desk, "held")
    assert (held["receiver"], held["url"]) == ("partners", url)
    told = await desk.post("/receivers/partners/resume", {"url": f"{url}/mistyped"})
    assert (told.status, told.document["wasPaused"]) == (200, False)
    told = await desk.post("/receivers/partners/resume", {"url": url})
    assert (told.document["wasPaused"], told.document["pauses"]) == (True, [])
    await deliveries(desk, "delivered", 2)


async def test_a_dead_letter_is_sent_again_by_a_command_and_leaves_the_queue(desk: Desk, receiver: RawReceiver) -> None:
    dead = await a_dead_letter(desk, receiver)
    assert (await desk.get("/exceptions")).document["open"]["dead_delivery"] == 1
    back = await desk.post(f"/deliveries/{dead['id']}/redrive", why="they are back")
    assert back.document["state"] == "pending"
    (told,) = await deliveries(desk, "delivered")
    assert (told["id"], told["tries"]) == (dead["id"], 2)
    assert (await desk.get("/exceptions")).document["open"].get("dead_delivery", 0) == 0
    (command, *_) = (await desk.get("/audit", what="redriveDelivery")).document["commands"]
    assert (command["why"], command["outcome"]) == ("they are back", "done")
    assert (await desk.get("/audit", process=dead["process"])).document["commands"] == [command]


async def test_many_are_sent_again_by_a_filter_and_never_all_by_mistake(desk: Desk, receiver: RawReceiver) -> None:
    await a_dead_letter(desk, receiver)
    assert (await desk.post("/deliveries/redrive")).code == "bad-request"
    assert (await desk.post("/deliveries/redrive", {"state": ["dead"]})).code == "bad-request"
    assert (await desk.post("/deliveries/redrive", {"createdAfter": "yesterday"})).code == "bad-request"
    assert (await desk.post("/deliveries/redrive", {"receiver": "partners"})).document == {"redriven": 0}
    assert (await desk.post("/deliveries/redrive", {"createdAfter": "2020-01-01"})).document == {"redriven": 1}
    await deliveries(desk, "delivered")
    again = {"receiver": "broker-a", "state": ["delivered"]}
    assert (await desk.post("/deliveries/redrive", again)).document == {"redriven": 1}
    async with asyncio.timeout(20):
        while len(receiver.requests) < 3:
            await asyncio.sleep(0.01)


async def test_a_receiver_is_paused_and_resumed_and_nothing_is_dropped(desk: Desk, receiver: RawReceiver) -> None:
    paused = (await desk.post("/receivers/broker-a/pause", why="they move house")).document
    (pause,) = paused["pauses"]
    assert (pause["why"], paused["known"]) == ("they move house", True)
    await desk.submit()
    (held,) = await deliveries(desk, "held")
    assert held["reason"] == "paused: they move house"
    listed = {one["name"]: one for one in (await desk.get("/receivers")).document["receivers"]}
    assert listed["broker-a"]["held"] == 1
    assert listed["partners"]["allow"] == [f"http://127.0.0.1:{receiver.port}"]
    assert receiver.requests == []
    resumed = (await desk.post("/receivers/broker-a/resume")).document
    assert resumed["pauses"] == []
    await deliveries(desk, "delivered")
    assert len(receiver.requests) == 1


async def test_a_receiver_that_asked_for_peace_is_seen_to_rest_until_somebody_ends_it(
    desk: Desk, receiver: RawReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answers = [BUSY]
    await desk.submit()
    await deliveries(desk, "dead")
    (seen,) = [one for one in (await desk.get("/receivers")).document["receivers"] if "restsUntilAt" in one]
    assert seen["name"] == "broker-a"
    assert await strangler(desk, "receivers", "list") == 0
    assert "rests until" in capsys.readouterr().out
    assert "restsUntilAt" not in (await desk.post("/receivers/broker-a/resume")).document
    assert await strangler(desk, "receivers", "resume", "broker-a", "--why", "again") == 0
    assert "broker-a was not paused" in capsys.readouterr().err


# ── The command line ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_command_line_shows_deliveries_and_every_attempt(
    desk: Desk, receiver: RawReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = await a_dead_letter(desk, receiver)
    assert await strangler(desk, "deliveries", "list", "--since", "1d", "--state", "dead") == 0
    out = capsys.readouterr().out
    assert dead["id"] in out
    assert "it answered 500" in out
    assert await strangler(desk, "deliveries", "show", dead["id"]) == 0
    out = capsys.readouterr().out
    assert "127.0.0.1" in out
    assert "refused" in out
    assert await strangler(desk, "processes", "show", dead["process"]) == 0
    assert "refused" in capsys.readouterr().out
    assert await strangler(desk, "deliveries", "list", "--limit", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["cursor"] == dead["id"]
    assert await strangler(desk, "deliveries", "show", dead["id"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["log"][0]["status"] == 500
    assert await strangler(desk, "deliveries", "show", "nothing") == 1


async def test_the_command_line_sends_again_one_or_many(
    desk: Desk, receiver: RawReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = await a_dead_letter(desk, receiver)
    assert await strangler(desk, "deliveries", "redrive", dead["id"], "--why", "back") == 0
    assert f"{dead['id']}: pending" in capsys.readouterr().out
    await deliveries(desk, "delivered")
    many = ["deliveries", "redrive", "--receiver", "broker-a", "--state", "delivered", "--why", "again"]
    assert await strangler(desk, *many) == 0
    assert "1 put back" in capsys.readouterr().out
    assert await strangler(desk, "deliveries", "redrive", "--why", "what?") == 2
    assert await strangler(desk, "deliveries", "redrive", dead["id"], "--since", "1d", "--why", "both") == 2


async def test_the_command_line_pauses_and_resumes(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert await strangler(desk, "receivers", "pause", "broker-a", "--why", "they move house") == 0
    assert "they move house" in capsys.readouterr().out
    assert await strangler(desk, "receivers", "list") == 0
    out = capsys.readouterr().out
    assert "broker-a" in out
    assert "partners" in out
    assert await strangler(desk, "receivers", "resume", "broker-a", "--why", "done", "--json") == 0
    assert json.loads(capsys.readouterr().out)["pauses"] == []
    assert await strangler(desk, "receivers", "pause", "nobody", "--why", "x") == 1
