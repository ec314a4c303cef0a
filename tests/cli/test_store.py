"""`strangler store`: what fills a store, making room in it, and a copy of it; with a server over it, and without."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.cli import main
from strangler.cli.store import people
from strangler.domain.errors import StoreUnavailable
from strangler.ports.desk import AuditQuery
from strangler.store.fsck import Report
from strangler.store.open import open_ledgers, open_store
from strangler.store.retention import Part
from strangler.store.sealing import KEY_BYTES, AesGcmSealer
from strangler.store.sqlite.store import SqliteStore
from tests.operations.desk_stage import POLICY, Desk, a_desk
from tests.store.builders import FakeClock, accept, draft, promise

Capture = pytest.CaptureFixture[str]


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.delenv("STRANGLER_OPS", raising=False)
    monkeypatch.delenv("STRANGLER_OPS_TOKEN", raising=False)
    async with a_desk(tmp_path) as desk:
        yield desk


async def said(capture: Capture, *words: str) -> tuple[int, str]:
    capture.readouterr()
    code = await asyncio.to_thread(main, [*words])
    shown = capture.readouterr()
    return code, shown.out + shown.err


async def document(capture: Capture, *words: str) -> Any:
    _, text = await said(capture, *words, "--json")
    return json.loads(text)


async def completed(desk: Desk, policy_number: str) -> str:
    process_id = await desk.submit({"policyNumber": policy_number})
    assert (await desk.settled(process_id))["state"] == "completed"
    return process_id


async def opened(url: str) -> None:
    """Leave an open process in a store, of a route that the policy does not have."""
    clock = FakeClock()
    store = open_store(url, AesGcmSealer(bytes(KEY_BYTES)), clock)
    await promise(store)
    await store.commit(accept(draft(clock.now(), route="left")))
    await store.close()


def shed(url: str) -> int:
    """How many processes lost their bodies, in a sound store."""
    with open_ledgers(url) as ledgers:
        assert [*Report(ledgers)] == []
        return sum(Part.BODIES in ledger.gone for ledger in ledgers.all())


async def test_usage_says_what_fills_it_beside_the_server(desk: Desk, capsys: Capture) -> None:
    for number in range(3):
        await completed(desk, f"claim-{number}")
    found = await document(capsys, "store", "usage", "--store", desk.store_url)
    tables = {row["table"]: row for row in found["tables"]}
    assert (tables["process"]["rows"], tables["reply"]["rows"]) == (3, 3)
    assert tables["event"]["bytes"] > tables["event"]["rows"] * 100
    (route,) = found["routes"]
    assert (route["route"], route["processes"], route["ended"]) == ("submit-claim", 3, 3)
    assert route["bodyBytes"] == route["sheddableBytes"] == found["sheddableBytes"] > 0
    assert [age["upTo"] for age in found["ages"]] == ["1d"]
    assert found["file"]["bytes"] > 0
    code, text = await said(capsys, "store", "usage", "--store", desk.store_url)
    assert code == 0
    assert "submit-claim" in text
    assert "could be shed" in text


async def test_shed_goes_through_the_server_that_owns_the_store(desk: Desk, capsys: Capture) -> None:
    processes = [await completed(desk, f"claim-{number}") for number in range(3)]
    command = ("store", "shed", "--free", "1B", "--store", desk.store_url)
    found = await document(capsys, *command, "--dry-run")
    assert (found["processes"], found["dryRun"], shed(desk.store_url)) == (1, True, 0)
    found = await document(capsys, *command, "--why", "the disk is full")
    assert (found["processes"], shed(desk.store_url)) == (1, 1)
    code, text = await said(capsys, "store", "shed", "--free", "1GiB", "--why", "more", "--store", desk.store_url)
    assert code == 1
    assert "2 processes lost their bodies" in text
    assert "there is no more to forget" in text
    assert shed(desk.store_url) == len(processes)
    commands = (await desk.get("/audit", what="shedBodies")).document["commands"]
    assert [one["why"] for one in commands] == ["more", "the disk is full"]
    assert commands[1]["detail"].startswith("1 processes")


async def test_shed_opens_the_store_itself_where_no_server_runs(tmp_path: Path, capsys: Capture) -> None:
    async with a_desk(tmp_path) as desk:
        for number in range(2):
            await completed(desk, f"claim-{number}")
        url = desk.store_url
    assert (await document(capsys, "store", "shed", "--free", "1B", "--dry-run", "--store", url))["processes"] == 1
    assert shed(url) == 0
    assert (await said(capsys, "store", "shed", "--free", "1B", "--why", "x", "--store", url))[0] == 0
    assert shed(url) == 1
    async with a_desk(tmp_path) as desk:
        (command,) = (await desk.get("/audit")).document["commands"]
        assert (command["what"], command["subject"], command["why"]) == ("shedBodies", "/store/shed", "x")
        assert command["who"].partition(" (")[0] == "command-line"
        assert command["outcome"] == "done"
        assert command["detail"].startswith("1 processes")


async def test_shed_without_a_server_that_fails_is_on_record(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    async with a_desk(tmp_path):
        pass

    async def full(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(SqliteStore, "shed", full)
    code, text = await said(capsys, "store", "shed", "--free", "1B", "--why", "x", "--store", url)
    assert code != 0
    assert "the disk is full" in text
    async with a_desk(tmp_path) as desk:
        (command,) = (await desk.get("/audit")).document["commands"]
        assert (command["outcome"], command["detail"]) == ("store-unavailable", "the disk is full")


async def test_a_store_that_nobody_serves_is_put_on_hold_where_processes_are_open(
    tmp_path: Path, capsys: Capture
) -> None:
    async with a_desk(tmp_path) as desk:
        await completed(desk, "claim")
        url = desk.store_url
        code, text = await said(capsys, "store", "hold", "--why", "x", "--store", url)
        assert (code, "is in use" in text, "routes hold" in text) == (2, True, True)
    code, text = await said(capsys, "store", "hold", "--why", "x", "--store", url)
    assert (code, text) == (0, "no process is open: there is nothing to hold\n")
    await opened(url)
    assert await said(capsys, "store", "hold", "--why", "x", "--store", url) == (0, "left: on hold, 1 open\n")
    assert await said(capsys, "store", "hold", "--why", "y", "--store", url) == (0, "left: on hold already, 1 open\n")
    store = open_store(url, AesGcmSealer(bytes(KEY_BYTES)), FakeClock())
    (order,), (pause,) = await store.orders(), await store.pauses()
    assert (order.route, order.why, pause.route, pause.ended_at) == ("left", "x", "left", None)
    (kept,) = await store.commands(AuditQuery(limit=10))
    assert (kept.command.what, kept.command.why, kept.outcome, kept.detail) == ("holdRoutes", "x", "done", "left")
    await store.close()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["hold", "--why", "x"], "there is no such store"),
        (["hold", "--why", "a\x1b[31mb"], "--why: expected text on one line"),
        (["shed", "--free", "much", "--why", "x"], "--free: expected a size"),
        (["shed", "--free", "1GiB"], "--why: say why"),
        (["shed", "--free", "1GiB", "--why", "a\x1b[31mb"], "--why: expected text on one line"),
        (["shed", "--free", "1GiB", "--why", "\udcff"], "--why: expected text on one line"),
        (["shed", "--free", "1GiB", "--why", "x"], "there is no such store"),
        (["usage"], "there is no such file"),
        (["backup", "copy.db"], "there is no such file"),
    ],
)
async def test_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = await said(capsys, "store", *words)
    assert code == 2
    assert text in told


async def test_a_backup_is_a_store_of_its_own_with_the_key_beside_it(desk: Desk, capsys: Capture) -> None:
    process = await completed(desk, "claim-1")
    (desk.folder / "store.db.identity-key").write_bytes(b"k" * 32)
    copy = desk.folder / "copy.db"
    code, text = await said(capsys, "store", "backup", str(copy), "--store", desk.store_url)
    assert code == 0, text
    await completed(desk, "claim-2")
    with open_ledgers(f"sqlite:///{copy}") as ledgers:
        assert [*Report(ledgers)] == []
        assert [ledger.process.id for ledger in ledgers.all()] == [process]
    assert (desk.folder / "copy.db.identity-key").read_bytes() == b"k" * 32
    for name in ("copy.db", "copy.db.identity-key"):
        assert (desk.folder / name).stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in desk.folder.glob("copy*")) == ["copy.db", "copy.db.identity-key"]
    code, text = await said(capsys, "store", "backup", str(copy), "--store", desk.store_url)
    assert code == 2
    assert "a backup replaces nothing" in text


async def test_a_key_that_lies_elsewhere_is_not_forgotten(desk: Desk, capsys: Capture) -> None:
    code, text = await said(capsys, "store", "backup", str(desk.folder / "copy.db"), "--store", desk.store_url)
    assert code == 0
    assert "keep the key of --identity-key with the copy" in text


def test_sizes_are_shown_as_people_read_them() -> None:
    assert [people(size) for size in (0, 1023, 1024, 5 * 1024**3, 1024**5)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 GiB",
        "1024.0 TiB",
    ]


async def test_an_operator_still_sees_what_became_of_a_process_whose_parts_are_gone(tmp_path: Path) -> None:
    kept = "      type: ClaimSubmission\n      retain_bodies: 1s\n      retain_history: 1s\n"
    async with a_desk(tmp_path, POLICY.replace("      type: ClaimSubmission\n", kept)) as desk:
        process_id = await completed(desk, "claim-1")
        with desk.store.ledgers() as ledgers:
            ledger = ledgers.one(process_id)
        assert ledger is not None
        assert ledger.retain_until_at is not None
        await desk.store.sweep(ledger.retain_until_at - 1, 100)
        seen = (await desk.get(f"/processes/{process_id}")).document
        assert (seen["state"], seen["history"]) == ("completed", [])
        assert "reply" not in seen
        again = await desk.post(f"/processes/{process_id}/retry", {"force": True})
        assert (again.status, again.code) == (409, "not-retryable")
        assert "no longer kept" in again.document["detail"]


async def test_a_backup_that_cannot_be_written_is_an_operators_error(desk: Desk, capsys: Capture) -> None:
    copy = desk.folder / "nowhere" / "copy.db"
    code, text = await said(capsys, "store", "backup", str(copy), "--store", desk.store_url)
    assert (code, "No such file or directory" in text) == (2, True)


@pytest.mark.parametrize("error", [errno.EEXIST, errno.EPERM])
async def test_a_file_that_came_meanwhile_is_not_replaced_by_a_backup(
    desk: Desk, capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    copy = desk.folder / "copy.db"

    def refused(*_: object) -> None:
        copy.write_text("somebody else's")
        raise OSError(error, "no link")

    monkeypatch.setattr("strangler.store.sqlite.copying.os.link", refused)
    code, text = await said(capsys, "store", "backup", str(copy), "--store", desk.store_url)
    assert (code, f"{copy}: no link" in text) == (2, True)
    assert copy.read_text() == "somebody else's"
    assert [path.name for path in desk.folder.glob("copy*")] == ["copy.db"]


async def test_a_disk_that_takes_no_copy_leaves_none_behind(
    desk: Desk, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EIO, "no link")

    monkeypatch.setattr("strangler.store.sqlite.copying.os.link", refused)
    code, text = await said(capsys, "store", "backup", str(desk.folder / "copy.db"), "--store", desk.store_url)
    assert (code, "no link" in text) == (2, True)
    assert [*desk.folder.glob("copy*")] == []


async def test_a_copy_gets_its_name_also_where_there_are_no_hard_links(
    desk: Desk, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr("strangler.store.sqlite.copying.os.link", refused)
    copy = desk.folder / "copy.db"
    assert (await said(capsys, "store", "backup", str(copy), "--store", desk.store_url))[0] == 0
    assert [path.name for path in desk.folder.glob("copy*")] == ["copy.db"]
