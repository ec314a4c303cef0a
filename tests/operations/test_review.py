"""The exception queue, settling by hand and reconciliation, over a real server and its sockets."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.operations.desk_stage import Desk, a_desk

NOBODY = "01a1f000-0000-7000-8000-000000000001"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as desk:
        yield desk


async def doubted(desk: Desk) -> tuple[str, int]:
    """A process whose reply was lost, and the number of its exception."""
    process_id = await desk.submit({"hang_up": True})
    assert (await desk.settled(process_id))["state"] == "unconfirmed"
    (entry,) = (await desk.get("/exceptions", process=process_id)).document["exceptions"]
    return process_id, entry["id"]


def tamper(desk: Desk, sql: str, process_id: str) -> None:
    """Write into the store beside the server."""
    connection = sqlite3.connect(desk.folder / "store.db", isolation_level=None)
    assert connection.execute(sql, (bytes.fromhex(process_id.replace("-", "")),)).rowcount == 1
    connection.close()


async def reconciled(desk: Desk, **body: Any) -> dict[str, Any]:
    """The report of a run, once it has ended."""
    started = await desk.post("/reconciliation", body)
    assert started.status == 202, started.body
    async with asyncio.timeout(20):
        while True:
            report: dict[str, Any] = (await desk.get("/reconciliation")).document["report"]
            if report["outcome"] != "running":
                return report
            await asyncio.sleep(0.01)


async def test_a_lost_reply_is_in_the_queue_with_all_that_a_person_needs(desk: Desk) -> None:
    process_id, number = await doubted(desk)
    told = (await desk.get("/exceptions")).document
    assert told["open"]["in_doubt"] == 1
    (entry,) = told["exceptions"]
    assert {name: entry[name] for name in ("id", "kind", "process", "route")} == {
        "id": number,
        "kind": "in_doubt",
        "process": process_id,
        "route": "submit-claim",
    }
    assert entry["openedAt"] < entry["dueAt"]
    whole = (await desk.get(f"/exceptions/{number}")).document
    assert whole["actions"] == ["complete", "reject", "fail", "repeat"]
    assert whole["notes"] == []
    shown = (await desk.get(f"/processes/{process_id}")).document
    assert [one["id"] for one in shown["exceptions"]] == [number]


async def test_people_take_it_write_notes_and_resolve_it_and_all_of_it_is_on_record(desk: Desk) -> None:
    process_id, number = await doubted(desk)
    assert (await desk.post(f"/exceptions/{number}/claim", why=None)).document["owner"]
    await desk.post(f"/exceptions/{number}/note", {"text": "called the claims team"}, why=None)
    assert [one["id"] for one in (await desk.get("/exceptions", owner="nobody")).document["exceptions"]] == []
    await desk.post(f"/exceptions/{number}/release", why="lunch")
    resolved = await desk.post(
        f"/exceptions/{number}/resolve",
        {"action": "complete", "status": "SETTLED", "reason": "see letter", "evidence": "register,\nentry 17"},
        why="the register has it",
    )
    assert resolved.status == 200
    assert (resolved.document["action"], resolved.document["actions"]) == ("complete", [])
    assert [(note["did"], note["text"]) for note in resolved.document["notes"]] == [
        ("claimed", ""),
        ("noted", "called the claims team"),
        ("released", "lunch"),
        ("closed", "the register has it"),
    ]
    process = (await desk.get(f"/processes/{process_id}")).document
    assert (process["state"], process["status"], process["reason"], process["effect"]) == (
        *("completed", "SETTLED"),
        *("see letter", "applied"),
    )
    assert [one["source"] for one in process["evidence"]] == ["operator"]
    audit = (await desk.get("/audit")).document["commands"]
    assert [one["what"] for one in audit] == [
        *("resolveException", "releaseException"),
        *("noteException", "claimException"),
    ]
    assert audit[0]["why"] == "the register has it"
    # It is found by the process that it is about, with what was said; but texts go with the process, not into the log.
    assert (await desk.get("/audit", process=process_id)).document["commands"] == audit
    assert [one.get("given") for one in audit] == [{"action": "complete", "status": "SETTLED"}, None, None, None]
    assert (await desk.get("/exceptions")).document["exceptions"] == []
    closed = (await desk.get("/exceptions", state="closed")).document["exceptions"]
    assert [one["id"] for one in closed] == [number]


async def test_a_client_that_waits_for_its_end_hears_of_it_at_once(desk: Desk) -> None:
    process_id, _ = await doubted(desk)
    waiting = asyncio.ensure_future(
        desk.session.get(
            f"{desk.url}/claim-submissions/{process_id}/status", headers={"X-Api-Key": "me", "Prefer": "wait=20"}
        )
    )
    await asyncio.sleep(0)
    told = await desk.post(f"/processes/{process_id}/resolve", {"as": "rejected"}, why="they never got it")
    assert (told.document["state"], told.document["effect"]) == ("rejected", "none")
    answer = await asyncio.wait_for(waiting, 10)
    assert (await answer.json())["state"] == "rejected"


async def test_a_call_that_surely_did_not_happen_is_made_again(desk: Desk) -> None:
    process_id, number = await doubted(desk)
    told = await desk.post(f"/processes/{process_id}/repeat", why="no trace of it there")
    assert told.document["state"] == "processing"
    assert (await desk.settled(process_id))["state"] == "unconfirmed"
    assert len([one for one in desk.called if one["body"].get("hang_up")]) == 2
    assert (await desk.get(f"/exceptions/{number}")).document["action"] == "repeat"
    (again,) = (await desk.get("/exceptions")).document["exceptions"]
    assert again["id"] != number


async def test_what_is_not_in_doubt_and_what_there_is_not_is_refused(desk: Desk) -> None:
    ended = await desk.submit()
    await desk.settled(ended)
    refused = await desk.post(f"/processes/{ended}/resolve", {"as": "failed"})
    assert (refused.status, refused.code) == (409, "not-resolvable")
    assert (await desk.post(f"/processes/{NOBODY}/resolve", {"as": "failed"})).code == "no-such-process"
    assert (await desk.post(f"/processes/{NOBODY}/repeat")).code == "no-such-process"
    assert (await desk.post(f"/processes/{ended}/resolve", {"as": "cancelled"})).code == "bad-request"
    for number in ("17", "0", "x", "9" * 30):
        assert (await desk.get(f"/exceptions/{number}")).code == "no-such-exception"
        assert (await desk.post(f"/exceptions/{number}/claim", why=None)).code == "no-such-exception"
    for query in ({"kind": "odd"}, {"cursor": "x"}, {"state": "x"}, {"owner": ""}):
        assert (await desk.get("/exceptions", **query)).code == "bad-request"


async def test_a_doubt_is_not_accepted_as_it_is_and_what_is_closed_is_not_closed_again(desk: Desk) -> None:
    _, number = await doubted(desk)
    refused = await desk.post(f"/exceptions/{number}/resolve", {"action": "accept"})
    assert (refused.status, refused.code) == (409, "not-resolvable")
    await desk.post(f"/exceptions/{number}/resolve", {"action": "fail"})
    again = await desk.post(f"/exceptions/{number}/resolve", {"action": "complete"})
    assert (again.status, again.code) == (409, "not-resolvable")
    assert (await desk.post(f"/exceptions/{number}/claim", why=None)).code == "not-resolvable"


async def test_the_queue_comes_in_pages(desk: Desk) -> None:
    numbers = [(await doubted(desk))[1] for _ in range(3)]
    first = (await desk.get("/exceptions", limit=2)).document
    rest = (await desk.get("/exceptions", limit=2, cursor=first["cursor"])).document
    assert [one["id"] for page in (first, rest) for one in page["exceptions"]] == numbers
    assert "cursor" not in rest
    newest = (await desk.get("/exceptions", state="all", limit=2)).document
    older = (await desk.get("/exceptions", state="all", limit=2, cursor=newest["cursor"])).document
    assert [one["id"] for page in (newest, older) for one in page["exceptions"]] == numbers[::-1]


async def test_reconciliation_finds_what_was_tampered_with_while_the_server_works(desk: Desk) -> None:
    assert (await desk.get("/reconciliation")).document == {}
    process_id = await desk.submit()
    await desk.settled(process_id)
    await doubted(desk)
    sound = await reconciled(desk)
    assert (sound["outcome"], sound["processes"], sound["found"]) == ("finished", 2, 0)
    tamper(desk, "UPDATE process SET status = 'DENIED' WHERE id = ?", process_id)
    report = await reconciled(desk, bodies=True)
    assert (report["found"], report["opened"], report["codes"]) == (1, 1, {"row": 1})
    (finding,) = report["findings"]
    assert (finding["process"], finding["standing"]) == (process_id, "opened")
    resolved = await desk.post(f"/exceptions/{finding['exception']}/resolve", {"action": "accept"}, why="our own doing")
    assert resolved.document["closedAt"]
    again = await reconciled(desk)
    assert (again["opened"], again["open"], again["accepted"]) == (0, 0, 1)


async def test_metrics_tell_of_the_queue_and_of_the_runs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await doubted(desk)
    await desk.server._review._counts.look()
    await reconciled(desk)
    text = (await desk.get("/metrics")).body.decode()
    assert 'strangler_exceptions_open{kind="in_doubt"} 1.0' in text
    assert 'strangler_exceptions_open{kind="integrity"} 0.0' in text
    assert 'strangler_reconcile_runs_total{run="finished"} 1.0' in text
    assert "strangler_reconcile_findings 0.0" in text


async def test_who_only_reads_changes_nothing(desk: Desk) -> None:
    _, number = await doubted(desk)
    for path in (f"/exceptions/{number}/claim", "/reconciliation"):
        assert (await desk.ask("POST", path, body={"why": "x"})).status == 401
