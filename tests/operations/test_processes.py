"""Finding processes, looking at one, and changing it, over a real server and its sockets."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.ports import Command
from tests.operations.desk_stage import Desk, a_desk
from tests.store import builders as make
from tests.store.builders import after
from tests.store.test_conformance import done

NOBODY = "01a1f000-0000-7000-8000-000000000001"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as desk:
        yield desk


async def found(desk: Desk, **query: Any) -> list[str]:
    told = await desk.get("/processes", **query)
    assert told.status == 200, told.body
    return [process["id"] for process in told.document["processes"]]


async def test_a_process_is_found_by_all_that_people_know_of_it(desk: Desk) -> None:
    body = {"policyNumber": "P-1003"}
    one = await desk.submit(body, X_Client="broker-a", X_Correlation_ID="order-17", Idempotency_Key='"key-1"')
    other = await desk.submit({"policyNumber": "P-7", "answer": 422}, X_Client="broker-b")
    ended, rejected = await desk.settled(one), await desk.settled(other)
    for query, expected in (
        ({}, [other, one]),
        ({"correlationId": "order-17"}, [one]),
        ({"correlationId": rejected["correlationId"]}, [other]),
        ({"idempotencyKey": "key-1"}, [one]),
        ({"idempotencyKey": '"key-1"'}, [one]),  # as it may stand in the header
        ({"reference": "P-1003"}, [one]),
        ({"reference": "policyNumber=P-7"}, [other]),
        ({"reference": "claimNumber=P-7"}, []),
        ({"reference": "claimNumber=C-17"}, [other, one]),
        ({"state": "completed"}, [one]),
        ({"state": "open"}, []),
        ({"state": "rejected,completed"}, [other, one]),
        ({"status": "SETTLED"}, [one]),
        ({"status": "REJECTED"}, [other]),
        ({"route": "submit-claim"}, [other, one]),
        ({"route": "open-claim"}, []),
        ({"caller": "broker-b"}, [other]),
        ({"createdAfter": ended["createdAt"], "createdBefore": rejected["createdAt"], "caller": "broker-a"}, [one]),
        ({"createdBefore": "2020-01-01"}, []),
        ({"text": "x", "createdAfter": "2020-01-01"}, []),
    ):
        assert await found(desk, **query) == expected, query


async def test_pages_go_on_where_the_one_before_ended(desk: Desk) -> None:
    ids = [await desk.submit() for _ in range(5)]
    first = (await desk.get("/processes", limit=2)).document
    second = (await desk.get("/processes", limit=2, cursor=first["cursor"])).document
    third = (await desk.get("/processes", limit=2, cursor=second["cursor"])).document
    assert [one["id"] for page in (first, second, third) for one in page["processes"]] == ids[::-1]
    assert "cursor" not in third


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"state": "done"}, "state: expected one of"),
        ({"limit": "0"}, "limit: expected a whole number from 1 to 200"),
        ({"limit": "201"}, "limit"),
        ({"cursor": "x"}, "cursor: expected the id of a process"),
        ({"createdAfter": "yesterday"}, "createdAfter: expected an RFC 3339 instant"),
        ({"text": "x"}, "give createdAfter"),
        ({"reference": "policyNumber="}, "reference"),
        ({"colour": "red"}, "'colour' is no parameter here; known are: createdAfter"),
        ({"route": ""}, "route: expected 1 to 200 printable characters"),
    ],
)
async def test_a_wish_that_cannot_be_read_is_told(desk: Desk, query: dict[str, str], said: str) -> None:
    told = await desk.get("/processes", **query)
    assert (told.status, told.code) == (400, "bad-request")
    assert said in told.document["detail"]


async def test_one_process_whole(desk: Desk) -> None:
    secret = {"X_Secret": "hidden", "Cookie": "session=1", "X_Client": "broker-a"}
    process_id = await desk.submit({"policyNumber": "P-1", "iban": "DE01"}, **secret)
    whole = await desk.settled(process_id)
    assert (whole["state"], whole["status"], whole["effect"]) == ("completed", "SETTLED", "applied")
    assert whole["references"] == {"policyNumber": "P-1", "claimNumber": "C-17"}
    assert whole["callerName"] == "broker-a"
    assert [event["transition"] for event in whole["history"]] == ["Accept", "Claim", "Finish"]
    assert [(one["number"], one["outcome"], one["status"]) for one in whole["tries"]] == [(1, "completed", 200)]
    headers = {header["name"]: header["value"] for header in whole["request"]["headers"]}
    assert headers["X-Secret"] == "[redacted]"
    assert json.loads(whole["request"]["body"]["text"]) == {"policyNumber": "P-1", "iban": "[redacted]"}
    assert json.loads(whole["reply"]["body"]["text"]) == {"claimNumber": "C-17", "iban": "[redacted]"}
    text = json.dumps(whole)
    assert not {
        word for word in ("session=1", '"me"', "hidden", "DE01", "DE02") if word in text.replace("[redacted]", "")
    }
    assert whole["request"]["credentials"] == "gone"
    assert whole["promise"]["text"]["route"] == "submit-claim"
    reloaded = (await desk.ask("POST", "/-/reload")).document
    assert whole["revision"] == reloaded["revision"][:16]


async def test_credentials_are_said_to_be_there_while_they_are_and_never_shown(desk: Desk) -> None:
    process_id = await desk.submit({"hold": True}, Authorization="Bearer s3cret")
    whole = (await desk.get(f"/processes/{process_id}")).document
    assert whole["request"]["credentials"] == "kept"
    assert "s3cret" not in json.dumps(whole)


@pytest.mark.parametrize(("had", "told"), [(True, "gone"), (False, "none"), (None, "unknown")])
async def test_what_became_of_credentials_is_told_when_a_process_ended(desk: Desk, had: bool | None, told: str) -> None:
    draft = make.draft(had_credentials=had)
    claimed = after(await done(desk.store, make.claim(after(await done(desk.store, make.accept(draft))))))
    await done(desk.store, make.finish(claimed))
    whole = (await desk.get(f"/processes/{draft.id}")).document
    assert whole["request"]["credentials"] == told


async def test_the_deadline_is_shown_as_it_stands_by_now(desk: Desk) -> None:
    assert (await desk.post("/routes/submit-claim/hold")).status == 200
    process_id = await desk.submit()
    first = (await desk.get(f"/processes/{process_id}")).document["deadlineAt"]
    async with asyncio.timeout(20):
        while (await desk.get(f"/processes/{process_id}")).document["deadlineAt"] <= first:
            await asyncio.sleep(0)


async def test_of_a_very_long_history_the_latest_is_shown(desk: Desk) -> None:
    process_id = await desk.submit({"hold": True})
    for number in range(505):
        body = {"status": f"STEP-{number}"}
        assert (await desk.ask("POST", f"/processes/{process_id}/progress", body=body)).status == 200
    whole = (await desk.get(f"/processes/{process_id}")).document
    numbers = [event["sequence"] for event in whole["history"]]
    assert numbers == list(range(whole["earlierEvents"] + 1, whole["earlierEvents"] + 501))
    assert "STEP-504" in [event["set"].get("status") for event in whole["history"]]


async def test_a_client_is_shown_the_references_that_are_public(desk: Desk) -> None:
    process_id = await desk.submit({"policyNumber": "P-1"})
    await desk.settled(process_id)
    url = f"{desk.url}/claim-submissions/{process_id}/status"
    async with desk.session.get(url, headers={"X-Api-Key": "me"}) as answer:
        assert (await answer.json())["references"] == {"claimNumber": "C-17"}


async def test_a_long_body_is_shown_by_its_beginning_and_one_that_is_no_text_as_base64(desk: Desk) -> None:
    long = await desk.submit({"x": "y" * 40_000}, path="/open")
    body = (await desk.settled(long))["request"]["body"]
    assert (body["truncated"], len(body["text"])) == (True, 16 * 1024)
    async with desk.session.post(f"{desk.url}/open", data=b"\xff\x00\xfe") as answer:
        odd = str((await answer.json())["id"])
    assert (await desk.get(f"/processes/{odd}")).document["request"]["body"]["base64"] == "/wD+"


@pytest.mark.parametrize("process_id", [NOBODY, "no-id", "..%2f..", "%00"])
@pytest.mark.parametrize("action", ["", "/cancel", "/retry"])
async def test_what_there_is_not_is_told(desk: Desk, process_id: str, action: str) -> None:
    path = f"/processes/{process_id}{action}"
    told = await (desk.post(path) if action else desk.get(path))
    assert (told.status, told.code) == (404, "no-such-process")


async def test_a_process_that_was_not_sent_is_cancelled(desk: Desk) -> None:
    held = [await desk.submit({"hold": True}) for _ in range(2)]
    waiting = await desk.submit()
    told = await desk.post(f"/processes/{waiting}/cancel", why="the customer withdrew it")
    assert (told.status, told.document["state"], told.document["effect"]) == (200, "cancelled", "none")
    again = await desk.post(f"/processes/{waiting}/cancel")
    assert (again.status, again.document["state"]) == (200, "cancelled")
    refused = await desk.post(f"/processes/{held[0]}/cancel")
    assert (refused.status, refused.code) == (409, "not-cancellable")


async def test_a_process_is_tried_again_as_a_new_one(desk: Desk) -> None:
    body = {"policyNumber": "P-9", "answer": 422}
    first = await desk.submit(body, path="/open")
    await desk.settled(first)
    told = await desk.post(f"/processes/{first}/retry")
    assert told.status == 201
    again = await desk.settled(told.document["id"])
    assert (again["parentId"], again["state"], again["tries"][0]["status"]) == (first, "rejected", 422)
    assert desk.called[0]["body"] == desk.called[1]["body"] == body
    assert again["correlationId"] == (await desk.settled(first))["correlationId"]
    assert "idempotencyKey" not in again


async def test_of_several_who_have_a_process_tried_again_one_is_heard(desk: Desk) -> None:
    first = await desk.submit({"answer": 422}, path="/open")
    route = (await desk.settled(first))["route"]
    await desk.post(f"/routes/{route}/hold")
    told = await asyncio.gather(*(desk.post(f"/processes/{first}/retry", {"force": True}) for _ in range(4)))
    assert sorted(one.status for one in told) == [201, 409, 409, 409]
    [again] = [one.document["id"] for one in told if one.status == 201]
    assert all(again in one.document["detail"] for one in told if one.status == 409)
    assert {one.code for one in told} == {None, "not-retryable"}
    await desk.post(f"/routes/{route}/release")
    await desk.settled(again)
    assert len(desk.called) == 2


async def test_all_tries_of_one_request_stand_in_each_others_way(desk: Desk) -> None:
    first = await desk.submit({"answer": 422}, path="/open")
    route = (await desk.settled(first))["route"]
    second = (await desk.post(f"/processes/{first}/retry")).document["id"]
    await desk.settled(second)
    await desk.post(f"/routes/{route}/hold")
    third = (await desk.post(f"/processes/{first}/retry")).document["id"]
    refused = await desk.post(f"/processes/{second}/retry")
    assert (refused.status, refused.code) == (409, "not-retryable")
    assert third in refused.document["detail"]
    await desk.post(f"/routes/{route}/release")
    await desk.settled(third)
    fourth = await desk.post(f"/processes/{second}/retry")
    assert (fourth.status, fourth.document["parentId"]) == (201, second)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"policyNumber": "P-1"}, "the legacy system did it"),
        ({"answer": 500}, "nobody knows what it did"),
        ({"answer": 422}, "credentials went"),
    ],
)
async def test_what_may_have_been_done_is_tried_again_only_by_who_says_so(
    desk: Desk, body: dict[str, Any], said: str
) -> None:
    process_id = await desk.submit(body)
    await desk.settled(process_id)
    refused = await desk.post(f"/processes/{process_id}/retry")
    assert (refused.status, refused.code) == (409, "not-retryable")
    assert said in refused.document["detail"]
    forced = await desk.post(f"/processes/{process_id}/retry", {"force": True})
    assert (forced.status, forced.document["parentId"]) == (201, process_id)
    await desk.settled(forced.document["id"])
    assert len(desk.called) == 2


async def test_credentials_that_name_no_caller_are_missed_too_and_by_each_that_is_tried_again(desk: Desk) -> None:
    process_id = await desk.submit({"answer": 422}, path="/open", Cookie="session=17")
    for _ in range(2):
        await desk.settled(process_id)
        refused = await desk.post(f"/processes/{process_id}/retry")
        assert (refused.status, refused.code) == (409, "not-retryable")
        assert "its client's credentials went" in refused.document["detail"]
        process_id = (await desk.post(f"/processes/{process_id}/retry", {"force": True})).document["id"]
    await desk.settled(process_id)
    assert ["Cookie" in call["headers"] for call in desk.called] == [True, False, False]


async def test_what_has_not_ended_is_not_tried_again_whoever_says_so(desk: Desk) -> None:
    process_id = await desk.submit({"hold": True})
    told = await desk.post(f"/processes/{process_id}/retry", {"force": True})
    assert (told.status, told.code) == (409, "not-retryable")
    assert "cannot be forced" in told.document["detail"]


async def test_nothing_is_tried_again_while_no_new_work_is_taken(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await desk.submit({"answer": 422}, path="/open")
    await desk.settled(first)
    monkeypatch.setattr(desk.store, "refusal", lambda: "the disk reserve is reached")
    told = await desk.post(f"/processes/{first}/retry")
    assert (told.status, told.code) == (503, "store-unavailable")
    assert "the disk reserve is reached" in told.document["detail"]
    assert (await desk.get("/audit")).document["commands"][0]["outcome"] == "store-unavailable"


async def test_a_long_body_is_tried_again_byte_for_byte(desk: Desk) -> None:
    body = {"x": "y" * 700_000, "answer": 422}
    first = await desk.submit(body, path="/open")
    await desk.settled(first)
    await desk.settled((await desk.post(f"/processes/{first}/retry")).document["id"])
    assert desk.called[1]["body"] == body


async def test_lists_are_taken_away_as_csv_and_as_json_lines(desk: Desk) -> None:
    odd = await desk.submit({"policyNumber": "P-1"}, X_Client="=cmd|'/c calc'!A1", Idempotency_Key='"a,b"')
    ids = [odd, *[await desk.submit(path="/open") for _ in range(3)]]
    await asyncio.gather(*map(desk.settled, ids))
    told = await desk.get("/export/processes", format="jsonl", state="final")
    lines = [json.loads(line) for line in told.body.splitlines()]
    assert [line["id"] for line in lines] == ids[::-1]
    assert lines == (await desk.get("/processes")).document["processes"]
    rows = list(csv.DictReader(io.StringIO((await desk.get("/export/processes")).body.decode())))
    assert [row["id"] for row in rows] == ids[::-1]
    assert rows[-1]["callerName"] == "'=cmd|'/c calc'!A1"
    assert (rows[-1]["idempotencyKey"], rows[-1]["finishedAt"]) == ("a,b", lines[-1]["finishedAt"])
    assert json.loads(rows[-1]["references"]) == {"policyNumber": "P-1", "claimNumber": "C-17"}
    assert (await desk.get("/export/processes", format="xml")).code == "bad-request"


async def test_routes_are_listed_with_what_waits_for_them(desk: Desk) -> None:
    for _ in range(3):
        await desk.submit({"hold": True})
    routes = {route["name"]: route for route in (await desk.get("/routes")).document["routes"]}
    assert list(routes) == ["submit-claim", "open-claim", "plain"]
    claim = routes["submit-claim"]
    assert (claim["mode"], claim["waiting"], claim["running"], claim["records"]) == ("async", 1, 2, True)
    assert (routes["plain"]["mode"], routes["plain"]["records"]) == ("passthrough", False)


async def test_a_drained_instance_takes_nothing_new_and_goes_on_with_what_it_has(desk: Desk) -> None:
    held = await desk.submit({"hold": True})
    told = await desk.post("/drain", why="maintenance")
    assert (told.status, told.document) == (200, {"phase": "draining"})
    assert (await desk.get("/readyz")).status == 503
    async with desk.session.post(f"{desk.url}/claims", json={}, headers={"X-Api-Key": "me"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "draining")
    async with desk.session.get(f"{desk.url}/plain") as answer:
        assert answer.status == 200
    desk.release.set()
    assert (await desk.settled(held))["state"] == "completed"
    assert (await desk.post("/undrain")).document == {"phase": "serving"}
    await desk.settled(await desk.submit())


async def test_every_change_is_on_record_with_who_and_why(desk: Desk) -> None:
    process_id = await desk.submit({"hold": True})
    headers = {"Strangler-Operator": "alice"}
    body = {"why": "a customer asked"}
    await desk.ask("POST", f"/processes/{process_id}/cancel", body=body, token=desk.token, headers=headers)
    await desk.post("/drain", why="maintenance")
    [drain, cancel] = (await desk.get("/audit")).document["commands"]
    assert {**cancel, "at": 0, "endedAt": 0, "number": 0, "detail": ""} == {
        "number": 0,
        "at": 0,
        "who": "command-line (alice)",
        "what": "cancelProcess",
        "subject": f"/processes/{process_id}/cancel",
        "why": "a customer asked",
        "process": process_id,
        "endedAt": 0,
        "outcome": "not-cancellable",
        "detail": "",
    }
    assert (drain["what"], drain["outcome"], drain["why"]) == ("drainInstance", "done", "maintenance")
    assert (await desk.get("/audit", process=process_id)).document["commands"] == [cancel]
    page = (await desk.get("/audit", limit=1)).document
    assert (await desk.get("/audit", limit=1, cursor=page["cursor"])).document["commands"] == [cancel]
    assert (await desk.get("/audit", who="nobody")).document == {"commands": []}


async def test_while_nothing_can_be_recorded_nothing_is_changed_but_an_instance_is_drained(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await desk.submit({"hold": True})
    waiting = await desk.submit()

    async def full(command: Command) -> int:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(desk.store, "begin_command", full)
    told = await desk.post(f"/processes/{waiting}/cancel")
    assert (told.status, told.code) == (503, "store-unavailable")
    assert (await desk.post("/drain")).document == {"phase": "draining"}
    assert (await desk.ask("POST", "/-/reload")).status == 200
    monkeypatch.undo()
    assert (await desk.get("/audit")).document == {"commands": []}
    assert (await desk.get(f"/processes/{waiting}")).document["machineState"] != "cancelled"
    desk.logs.close()
    assert b"the record of drainInstance by command-line" in desk.lines


@pytest.mark.parametrize("wish", ["csv", "jsonl"])
async def test_an_export_that_cannot_begin_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    async def away(*_: Any) -> None:
        raise StoreUnavailable("the disk fails")

    monkeypatch.setattr(desk.store, "search", away)
    told = await desk.get("/export/processes", format=wish)
    assert (told.status, told.code) == (503, "store-unavailable")


NO_LINES = ("", " ", "a\nb", "a\n", "\n", "\x00", "a\x1b[31mb", "a\x7f", "a\x9bb", "\x85")


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"why": 1}, {"why": "x", "more": 1}, b"", b"[]", b"\xff", b'{"why": "x", "why": "y"}', b'{"why": NaN}'),
        *({"why": text} for text in NO_LINES),
    ],
)
async def test_a_change_without_a_reason_is_not_done(desk: Desk, body: Any) -> None:
    told = await desk.ask("POST", "/drain", body=body, token=desk.token)
    assert (told.status, told.code) == (400, "bad-request")
    assert (await desk.get("/readyz")).status == 200
    assert (await desk.get("/audit")).document == {"commands": []}


@pytest.mark.parametrize("text", NO_LINES)
async def test_what_a_person_says_is_text_on_one_line(desk: Desk, text: str) -> None:
    one = await desk.submit({"hold": True})
    for path, body in (
        (f"/processes/{one}/progress", {"status": text}),
        (f"/processes/{one}/progress", {"status": "x", "text": text}),
        ("/exceptions/1/note", {"text": text}),
    ):
        told = await desk.ask("POST", path, body=body, token=desk.token)
        assert (told.status, told.code) == (400, "bad-request"), path
        if text:
            assert told.document["detail"].endswith(": expected text on one line"), path
    said = {"status": " waiting for Zoë 🙂 "}
    assert (await desk.ask("POST", f"/processes/{one}/progress", body=said)).status == 200
