"""`strangler fsck`: each kind of damage is found, told once, and nothing else is told."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from strangler.cli import main
from strangler.domain.events import chain
from strangler.domain.exchange import CHUNK_SIZE, Body
from strangler.domain.process import Process
from strangler.domain.steps import Cancel
from strangler.ports import Commit, Evidence, OpenException
from strangler.store import Store
from strangler.store.fsck import Finding, Report, latest
from strangler.store.ids import id_bytes
from strangler.store.open import open_ledgers, open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.library import choose_library
from tests.store import builders as make
from tests.store.builders import DAY, NOON, RETAIN, FakeClock, after
from tests.store.test_conformance import done

Processes = dict[str, Process]

LONG = b"0123456789abcdef" * (CHUNK_SIZE // 16) + b"the end"


async def _claimed(store: Store, process: Process | None = None) -> Process:
    return after(await done(store, make.claim(after(await done(store, make.accept(process))))))


async def fill(store: Store) -> Processes:
    """One process in each place that there is."""
    await make.promise(store)
    finished = after(await done(store, make.finish(await _claimed(store, make.keyed("finished")))))
    reviewed = after(await done(store, make.doubt(await _claimed(store))))
    late = after(await done(store, make.finish(await _claimed(store))))
    evidence = Evidence(late.id, 1, "late_reply", NOON, 200, (), b"late")
    await done(store, Commit(None, evidence=evidence, opens=OpenException(late.id, "late_reply", NOON, "late")))
    return {
        "received": after(await done(store, make.accept(make.keyed("received")))),
        "processing": await _claimed(store, make.keyed("processing")),
        "waiting": after(await done(store, make.postpone(await _claimed(store), NOON + 5))),
        "reviewed": reviewed,
        "finished": finished,
        "late": late,
        "cancelled": after(await done(store, make.withdraw(after(await done(store, make.accept())), Cancel()))),
        "large": await _large(store),
        "unkept": await _unkept(store),
    }


async def _large(store: Store) -> Process:
    """A process whose bodies lie in chunks."""
    recorded = Body(len(LONG), hashlib.sha256(LONG).digest(), None)
    process = make.draft(body_size=len(LONG))
    for part in ("request", "reply-1"):
        for number, start in enumerate(range(0, len(LONG), CHUNK_SIZE)):
            await store.write_chunk(process.id, part, number, LONG[start : start + CHUNK_SIZE])
    accepted = await done(store, make.accept(process, request=make.request(body=recorded)))
    claimed = await done(store, make.claim(after(accepted)))
    return after(await done(store, make.finish(after(claimed), answer=make.reply()._replace(body=recorded))))


async def _unkept(store: Store) -> Process:
    """A process whose reply was too large."""
    unkept = make.reply()._replace(body=Body(10**9, b"d" * 32, None, kept=False))
    return after(await done(store, make.finish(await _claimed(store), answer=unkept)))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/strangler.db"


@pytest.fixture
async def processes(url: str, clock: FakeClock) -> Processes:
    """A store with everything in it, closed."""
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    filled = await fill(store)
    await store.close()
    return filled


def tamper(url: str, sql: str, *parameters: Any) -> None:
    connection = choose_library().dbapi.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    assert connection.execute(sql, parameters).rowcount > 0, "nothing was tampered with"
    connection.close()


def findings(url: str, now: int = NOON) -> list[Finding]:
    with open_ledgers(url) as ledgers:
        return list(Report(ledgers, lambda: now))


def found(url: str) -> tuple[str | None, str]:
    """The one finding that there is."""
    (finding,) = findings(url)
    assert finding.advice
    return finding.process_id, finding.wrong


def test_a_sound_store_has_no_finding(url: str, processes: Processes) -> None:
    assert findings(url) == []


async def test_a_store_that_was_swept_has_no_finding(url: str, processes: Processes, clock: FakeClock) -> None:
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    assert await store.sweep(NOON + 2 * RETAIN, 100) > 0
    await store.close()
    assert findings(url) == []


async def test_a_store_in_use_can_be_checked(url: str, processes: Processes, clock: FakeClock) -> None:
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    await done(store, make.accept())
    assert findings(url) == []
    await done(store, make.accept())
    with store.ledgers() as ledgers:
        report = Report(ledgers)
        assert list(report) == []
    assert report.processes == len(processes) + 2
    await store.close()


ROW_DAMAGE = [
    ("finished", "status = 'DENIED'", "status"),
    ("finished", "state = 'rejected'", "state"),
    ("received", "caller = 'somebody else'", "caller"),
    ("processing", "fence = fence + 1", "fence"),
    ("waiting", "due_at = due_at + 1", "due_at"),
    ("finished", "head = zeroblob(32)", "head"),
    ("reviewed", "sequence = sequence + 1", "sequence"),
]


@pytest.mark.parametrize(("name", "change", "field"), ROW_DAMAGE, ids=[change for _, change, _ in ROW_DAMAGE])
def test_a_row_that_is_not_what_its_history_tells_is_found(
    url: str, processes: Processes, name: str, change: str, field: str
) -> None:
    process = processes[name]
    tamper(url, f"UPDATE process SET {change} WHERE id = ?", id_bytes(process.id))
    assert found(url) == (process.id, f"its row is not what its history tells, in {field}")


def test_a_row_that_cannot_be_read_is_found(url: str, processes: Processes) -> None:
    process = processes["finished"]
    tamper(url, "UPDATE process SET state = 'undone' WHERE id = ?", id_bytes(process.id))
    process_id, wrong = found(url)
    assert process_id == process.id
    assert wrong.startswith("its rows cannot be read")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("event SET content = {} WHERE sequence = 2 AND process_id", "event 2 does not continue the hash chain"),
        ("process SET correlation_id = {} WHERE id", "its row is not what its history tells, in correlation_id"),
        ("process SET promise = {} WHERE id", "its promise"),
        ("outbox SET payload = {} WHERE aggregateid", "outbox"),
        ("request SET method = {} WHERE process_id", "its request is \N{REPLACEMENT CHARACTER}"),
    ],
)
async def test_what_is_no_text_any_more_is_found(
    url: str, processes: Processes, clock: FakeClock, change: str, wrong: str
) -> None:
    process = processes["finished"]
    tamper(url, f"UPDATE {change.format('CAST(? AS TEXT)')} = ?", b"\xff{", id_bytes(process.id))
    told = findings(url)
    assert {finding.process_id for finding in told} == {process.id}
    assert any(wrong in finding.wrong for finding in told), told
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    examiner = store.examiner()
    try:
        assert told == [*await examiner.examine_one(process.id)]
    finally:
        await examiner.close()
        await store.close()


@pytest.mark.parametrize("column", ["scope", "key"])
async def test_keys_that_are_no_text_are_gone_through_once(
    url: str, processes: Processes, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.store.sqlite.ledgers._KEYS", 1)
    stranger = make.make_id()
    for name in (b"\x01", b"\xff\xfe", b"\xffz"):
        values = {"scope": b"\xff", "key": b"\xff", column: name}
        tamper(
            url,
            "INSERT INTO idempotency (scope, key, fingerprint, process_id) "
            "VALUES (CAST(? AS TEXT), CAST(? AS TEXT), x'00', ?)",
            *(values["scope"], values["key"], id_bytes(stranger)),
        )
    with open_ledgers(url) as ledgers:
        assert list(ledgers.strays(lambda: NOON)) == [("idempotency", stranger)] * 3


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_event_that_was_edited_is_found(url: str, processes: Processes, number: int) -> None:
    process = processes["finished"]
    tamper(
        url,
        "UPDATE event SET content = replace(content, '\"at\":1', '\"at\":2') WHERE process_id = ? AND sequence = ?",
        id_bytes(process.id),
        number,
    )
    assert found(url) == (
        process.id,
        f"its history is broken: event {number} does not continue the hash chain",
    )


@pytest.mark.parametrize("change", ["version = version + 1", "at = at + 1"])
def test_an_event_that_is_found_where_it_does_not_belong_is_found(url: str, processes: Processes, change: str) -> None:
    # Streams and histories are read by these columns; the chain is over the content alone.
    process = processes["finished"]
    tamper(url, f"UPDATE event SET {change} WHERE process_id = ? AND sequence = 3", id_bytes(process.id))
    wrong = "event 3 is found under another version or instant than it tells"
    assert found(url) == (process.id, f"its history is broken: {wrong}")


def test_an_event_that_was_removed_from_the_middle_is_found(url: str, processes: Processes) -> None:
    process = processes["late"]
    tamper(url, "DELETE FROM event WHERE process_id = ? AND sequence = 2", id_bytes(process.id))
    # What the removed event told the outbox has no event any more: that follows from the same damage.
    assert found(url) == (process.id, "its history is broken: event 2 is missing, 3 stands in its place")


def test_a_history_that_was_cut_off_is_found_and_told_once(url: str, processes: Processes) -> None:
    process = processes["finished"]
    tamper(url, "DELETE FROM event WHERE process_id = ? AND sequence = 3", id_bytes(process.id))
    process_id, wrong = found(url)
    assert process_id == process.id
    assert "head" in wrong


@pytest.mark.parametrize("change", ["state = 'completed'", "due_at = NULL", "state = 'failed', retain_until_at = 5"])
def test_what_follows_from_a_row_that_was_changed_is_not_told_beside_it(
    url: str, processes: Processes, change: str
) -> None:
    process = processes["waiting"]
    tamper(url, f"UPDATE process SET {change} WHERE id = ?", id_bytes(process.id))
    assert findings(url)[0].wrong.startswith("its row is not what its history tells")
    assert [finding.code for finding in findings(url)] == ["row"] if "retain" not in change else ["row", "retention"]


def test_equal_findings_have_equal_digests_and_others_have_others(url: str, processes: Processes) -> None:
    process = processes["finished"]
    digests = []
    for status in ("'DENIED'", "'GRANTED'", "'DENIED'"):
        tamper(url, f"UPDATE process SET status = {status} WHERE id = ?", id_bytes(process.id))
        digests += [finding.seen for finding in findings(url)]
    assert digests[0] == digests[2] != digests[1]


def test_a_last_event_that_was_removed_with_its_outbox_row_is_found(url: str, processes: Processes) -> None:
    process = processes["waiting"]
    tamper(url, "DELETE FROM event WHERE process_id = ? AND sequence = 3", id_bytes(process.id))
    process_id, wrong = found(url)
    assert process_id == process.id
    assert wrong.startswith("its row is not what its history tells, in ")
    assert "head" in wrong


def test_a_history_that_is_gone_is_found(url: str, processes: Processes) -> None:
    process = processes["received"]
    tamper(url, "DELETE FROM event WHERE process_id = ?", id_bytes(process.id))
    assert (process.id, "its history is broken: there is no event") in [found[:2] for found in findings(url)]


def test_a_second_end_is_found_even_if_the_chain_was_mended(url: str, processes: Processes) -> None:
    process = processes["cancelled"]
    content = json.dumps(
        {"id": process.id, "sequence": 3, "version": 2, "at": NOON, "transition": "Finish", "from": "cancelled",
         "to": "completed", "set": {"state": "completed"}}
    )  # fmt: skip
    digest = chain(process.head, content.encode())
    tamper(
        url,
        "INSERT INTO event (process_id, sequence, version, at, content, digest) VALUES (?, 3, 2, ?, ?, ?)",
        *(id_bytes(process.id), NOON, content, bytearray(digest)),
    )
    tamper(url, "UPDATE process SET head = ?, sequence = 3 WHERE id = ?", bytearray(digest), id_bytes(process.id))
    assert found(url) == (process.id, "its history is broken: event 3 follows a final transition")


def test_an_open_process_that_nobody_is_going_to_settle_is_found(url: str, processes: Processes) -> None:
    process = processes["reviewed"]
    tamper(url, "UPDATE exception SET closed_at = 1 WHERE process_id = ?", id_bytes(process.id))
    assert found(url) == (process.id, "it is in_doubt, and nothing and nobody is going to settle it")


BODY_DAMAGE = [
    ("received", "request", "data = CAST('{\"a\": 2}' || char(10) AS BLOB)", "body of its request is not the one"),
    ("received", "request", "data = CAST('{}' AS BLOB)", "body of its request has 2 bytes instead of 9"),
    ("received", "request", "size = 10", "body of its request has 10 bytes on record, its row says 9"),
    ("finished", "reply", "data = zeroblob(12)", "body of its reply is not the one whose digest was recorded"),
    ("finished", "reply", "status = 500", "its reply says 500, its row 201"),
]


@pytest.mark.parametrize(("name", "table", "change", "wrong"), BODY_DAMAGE)
def test_a_body_that_is_not_the_recorded_one_is_found(
    url: str, processes: Processes, name: str, table: str, change: str, wrong: str
) -> None:
    process = processes[name]
    tamper(url, f"UPDATE {table} SET {change} WHERE process_id = ?", id_bytes(process.id))
    process_id, text = found(url)
    assert process_id == process.id
    assert wrong in text


@pytest.mark.parametrize(("part", "of"), [("request", "request"), ("reply-1", "reply")])
def test_a_chunk_that_is_gone_or_changed_is_found(url: str, processes: Processes, part: str, of: str) -> None:
    process = processes["large"]
    place = (id_bytes(process.id), part)
    tamper(url, "UPDATE chunk SET data = zeroblob(7) WHERE process_id = ? AND part = ? AND number = 1", *place)
    assert found(url) == (process.id, f"the body of its {of} is not the one whose digest was recorded")
    tamper(url, "DELETE FROM chunk WHERE process_id = ? AND part = ? AND number = 1", *place)
    assert found(url) == (process.id, f"the body of its {of} lacks its chunk 1")


@pytest.mark.parametrize(("name", "table"), [("received", "request"), ("finished", "reply")])
def test_a_body_that_is_gone_is_found(url: str, processes: Processes, name: str, table: str) -> None:
    process = processes[name]
    tamper(url, f"DELETE FROM {table} WHERE process_id = ?", id_bytes(process.id))
    assert found(url) == (process.id, f"its {table} is missing")


def test_a_public_change_that_is_not_told_is_found(url: str, processes: Processes) -> None:
    process = processes["finished"]
    tamper(url, "DELETE FROM outbox WHERE aggregateid = ? AND type LIKE '%.processing'", id_bytes(process.id))
    assert found(url) == (process.id, "its outbox lacks version 2")


def test_a_public_change_that_is_told_twice_is_found(url: str, processes: Processes) -> None:
    process = processes["finished"]
    tamper(
        url,
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, created_at) "
        "SELECT id, aggregatetype, aggregateid, type, payload, created_at FROM outbox WHERE aggregateid = ? LIMIT 1",
        id_bytes(process.id),
    )
    process_id, wrong = found(url)
    assert process_id == process.id
    assert wrong.startswith("its outbox tells what is not in its history, or twice")


KEY_DAMAGE = [
    ("received", "DELETE FROM idempotency WHERE process_id = ?", "it is not final, and its idempotency key is not on"),
    ("processing", "UPDATE idempotency SET expires_at = 1 WHERE process_id = ?", "its idempotency key may lapse"),
    ("finished", "UPDATE idempotency SET expires_at = NULL WHERE process_id = ?", "its idempotency key never lapses"),
]


@pytest.mark.parametrize(("name", "sql", "wrong"), KEY_DAMAGE)
def test_a_key_that_does_not_agree_with_its_process_is_found(
    url: str, processes: Processes, name: str, sql: str, wrong: str
) -> None:
    process = processes[name]
    tamper(url, sql, id_bytes(process.id))
    process_id, text = found(url)
    assert process_id == process.id
    assert wrong in text


EXPIRES = NOON + 2000 + DAY
"""When the key of the process that has finished lapses."""

LAPSES = [
    ("DELETE FROM idempotency WHERE process_id = ?", f"which lapses at {EXPIRES}, is not on record"),
    ("UPDATE idempotency SET expires_at = 5 WHERE process_id = ?", f"lapses at 5, and not at {EXPIRES}"),
    (
        "UPDATE idempotency SET process_id = zeroblob(16) WHERE process_id = ?",
        f"which lapses at {EXPIRES}, belongs to 00000000-0000-0000-0000-000000000000",
    ),
]


@pytest.mark.parametrize(("sql", "wrong"), LAPSES)
def test_a_key_that_does_not_outlive_its_process_for_its_life_is_found(
    url: str, processes: Processes, sql: str, wrong: str
) -> None:
    process = processes["finished"]
    tamper(url, sql, id_bytes(process.id))
    told = [finding.wrong for finding in findings(url, EXPIRES - 1) if finding.process_id == process.id]
    assert told == [f"it is final, and its idempotency key {wrong}"]


@pytest.mark.parametrize("now", [EXPIRES, EXPIRES + DAY])
def test_a_key_that_has_lapsed_may_be_gone_or_be_somebody_elses(url: str, processes: Processes, now: int) -> None:
    process = processes["finished"]
    tamper(url, "DELETE FROM idempotency WHERE process_id = ?", id_bytes(process.id))
    assert findings(url, now) == []


async def test_a_key_that_was_swept_and_one_that_was_taken_again_are_no_finding(
    url: str, processes: Processes, clock: FakeClock
) -> None:
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    assert await store.sweep(EXPIRES, 1) == 1
    await done(store, make.accept(make.keyed("finished", EXPIRES)))
    await store.close()
    assert findings(url, EXPIRES) == []


async def test_the_clock_of_this_machine_counts_unless_another_is_given(tmp_path: Path) -> None:
    url, long_ago = f"sqlite:///{tmp_path}/long-ago.db", time.time_ns() // 1_000_000 - 2 * DAY
    assert latest() >= long_ago + 2 * DAY + 60_000
    store = open_store(url, AesGcmSealer(b"k" * 32), FakeClock())
    await make.promise(store)
    accepted = after(await done(store, make.accept(make.keyed("k", long_ago))))
    claimed = after(await done(store, make.claim(accepted, at=long_ago)))
    ended = after(await done(store, make.finish(claimed, at=long_ago)))
    await store.close()
    tamper(url, "DELETE FROM idempotency WHERE process_id = ?", id_bytes(ended.id))
    with open_ledgers(url) as ledgers:
        assert list(Report(ledgers)) == []


def test_a_key_that_has_not_lapsed_and_whose_process_is_gone_is_found(url: str, processes: Processes) -> None:
    process = processes["finished"]
    for table in ("process", "event", "request", "reply", "attempt"):
        tamper(
            url, f"DELETE FROM {table} WHERE {'id' if table == 'process' else 'process_id'} = ?", id_bytes(process.id)
        )
    tamper(url, "DELETE FROM outbox WHERE aggregateid = ?", id_bytes(process.id))
    wrong = "the table idempotency has rows of it, but there is no such process"
    assert [finding[:2] for finding in findings(url, EXPIRES - 1)] == [(process.id, wrong)]
    assert findings(url, EXPIRES) == []


def test_a_promise_that_is_gone_or_was_edited_is_found_with_each_of_its_processes(
    url: str, processes: Processes
) -> None:
    for sql in ("UPDATE archive SET text = text || ' '", "DELETE FROM archive"):
        tamper(url, f"{sql} WHERE kind = 'promise' AND name = ?", make.PROMISE)
        assert {finding.process_id for finding in findings(url)} == {process.id for process in processes.values()}
        assert {finding.code for finding in findings(url)} == {"promise"}


TOLD_DAMAGE = [
    "payload = replace(payload, 'APPROVED', 'DENIED')",
    "payload = '{'",
    "created_at = created_at + 1",
    "type = 'ClaimSubmission.failed'",
    "aggregatetype = 'nothing'",
]


@pytest.mark.parametrize("change", TOLD_DAMAGE)
def test_a_public_change_that_is_told_otherwise_is_found(url: str, processes: Processes, change: str) -> None:
    process = processes["finished"]
    tamper(url, f"UPDATE outbox SET {change} WHERE aggregateid = ? AND type LIKE '%.completed'", id_bytes(process.id))
    process_id, wrong = found(url)
    assert process_id == process.id
    assert wrong.startswith("its outbox tells otherwise what its history tells: ClaimSubmission.")


def test_a_public_change_that_another_version_spelled_otherwise_is_the_same(url: str, processes: Processes) -> None:
    tamper(url, "UPDATE outbox SET payload = replace(replace(payload, ',', ', '), 'A', '\\u0041')")
    assert findings(url) == []


ATTEMPT_DAMAGE = [
    ("finished", "DELETE FROM attempt WHERE process_id = ?", "its history tells of 1 attempts, on record are []"),
    ("waiting", "UPDATE attempt SET number = 2 WHERE process_id = ?", "its history tells of 1 attempts"),
    ("waiting", "UPDATE attempt SET fence = 2 WHERE process_id = ?", "its history tells of 1 attempts"),
    ("late", "UPDATE attempt SET outcome = NULL WHERE process_id = ?", "its attempts 1 have no end"),
]


@pytest.mark.parametrize(("name", "sql", "wrong"), ATTEMPT_DAMAGE)
def test_attempts_that_are_not_those_of_the_history_are_found(
    url: str, processes: Processes, name: str, sql: str, wrong: str
) -> None:
    tamper(url, sql, id_bytes(processes[name].id))
    process_id, text = found(url)
    assert process_id == processes[name].id
    assert text.startswith(wrong)


OTHER_DAMAGE = [
    ("waiting", "UPDATE process SET gone = 1 WHERE id = ?", "it is open, and parts of it are marked as forgotten"),
    ("finished", "UPDATE process SET gone = 1 WHERE id = ?", "its bodies are marked as forgotten, and are there"),
    ("received", "UPDATE request SET method = 'PUT' WHERE process_id = ?", "its request is PUT, its row says POST"),
    ("finished", "UPDATE reply SET attempt = 2 WHERE process_id = ?", "its reply is one to attempt 2, kept, which"),
    ("finished", "UPDATE reply SET kept = 0 WHERE process_id = ?", "its reply is one to attempt 1, not kept, which"),
    (
        "finished",
        "UPDATE process SET retain_until_at = retain_until_at - 1 WHERE id = ?",
        f"it will be forgotten at {EXPIRES + RETAIN - 1}, and was to be kept until {EXPIRES + RETAIN}",
    ),
]


@pytest.mark.parametrize(("name", "sql", "wrong"), OTHER_DAMAGE)
def test_what_else_contradicts_the_row_is_found(
    url: str, processes: Processes, name: str, sql: str, wrong: str
) -> None:
    tamper(url, sql, id_bytes(processes[name].id))
    process_id, text = found(url)
    assert process_id == processes[name].id
    assert text.startswith(wrong)


def test_a_key_that_somebody_else_holds_is_found(url: str, processes: Processes) -> None:
    process, thief = processes["received"], processes["processing"]
    tamper(url, "DELETE FROM idempotency WHERE process_id = ?", id_bytes(thief.id))
    tamper(
        url,
        "UPDATE idempotency SET process_id = ? WHERE process_id = ?",
        *(id_bytes(thief.id), id_bytes(process.id)),
    )
    assert {(finding.process_id, finding.wrong) for finding in findings(url)} == {
        (process.id, f"it is not final, and its idempotency key belongs to {thief.id}"),
        (thief.id, "it is not final, and its idempotency key is not on record"),
    }


def test_credentials_that_outlived_their_process_are_found(url: str, processes: Processes) -> None:
    process = processes["finished"]
    tamper(url, "INSERT INTO credential (process_id, sealed) VALUES (?, x'00')", id_bytes(process.id))
    assert found(url) == (process.id, "it is final, and the credentials of its request are still there")


async def test_credentials_that_an_open_process_lost_are_found(url: str, clock: FakeClock) -> None:
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    bearing = after(await done(store, make.accept(make.draft(had_credentials=True))))
    await done(store, make.accept(make.draft(had_credentials=False), request=make.request(credentials=())))
    again = make.draft(had_credentials=True, parent_id=bearing.id)  # tried again without them
    await done(store, make.accept(again, request=make.request(credentials=())))
    await store.close()
    assert findings(url) == []
    tamper(url, "DELETE FROM credential")
    assert found(url) == (bearing.id, "it is open, and the credentials of its request are missing")


async def test_credentials_that_came_from_nowhere_are_found(url: str, clock: FakeClock) -> None:
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    process = after(await done(store, make.accept(make.draft(had_credentials=False))))
    await store.close()
    assert found(url) == (process.id, "its request came without credentials, and some are there")


def test_a_process_that_would_be_kept_for_ever_or_forgotten_too_early_is_found(url: str, processes: Processes) -> None:
    tamper(url, "UPDATE process SET retain_until_at = NULL WHERE id = ?", id_bytes(processes["late"].id))
    assert found(url) == (processes["late"].id, "it is final and will never be forgotten")
    tamper(url, f"UPDATE process SET retain_until_at = {2 * NOON} WHERE id = ?", id_bytes(processes["late"].id))
    tamper(url, "UPDATE process SET retain_until_at = 5 WHERE id = ?", id_bytes(processes["waiting"].id))
    assert found(url) == (processes["waiting"].id, "it is open and will be forgotten")


def stray_keys(url: str) -> list[str]:
    """Processes that do not exist, and hold a key each; in the order of their keys."""
    strangers = [make.make_id() for _ in range(4)]
    for number, stranger in enumerate(strangers):
        tamper(
            url,
            "INSERT INTO idempotency (scope, key, fingerprint, process_id) VALUES (?, ?, x'00', ?)",
            *(f"s{number // 2}", f"k{number % 2}", id_bytes(stranger)),
        )
    return strangers


@pytest.mark.parametrize("step", [1, 2, 3])
def test_all_is_seen_once_in_steps_of_any_size(
    url: str, processes: Processes, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("strangler.store.sqlite.ledgers._STEP", step)
    monkeypatch.setattr("strangler.store.sqlite.ledgers._KEYS", step)
    strangers = stray_keys(url)
    with open_ledgers(url) as ledgers:
        report = Report(ledgers, lambda: NOON)
        assert [finding.process_id for finding in report] == strangers
    assert (report.processes, report.findings) == (len(processes), len(strangers))


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("event", "sequence, version, at, content, digest) VALUES (?, 1, 1, 1, '{}', x'00'"),
        ("request", "method, target, headers, size, digest) VALUES (?, 'GET', x'2f', x'00000000', 0, x'00'"),
        ("exception", "kind, opened_at, detail, subject, route, due_at) VALUES (?, 'in_doubt', 1, '', '', '', 2"),
        ("idempotency", "scope, key, fingerprint) VALUES (?, 's', 'k', x'00'"),
    ],
)
def test_rows_of_a_process_that_does_not_exist_are_found(
    url: str, processes: Processes, table: str, columns: str
) -> None:
    stranger = make.make_id()
    tamper(url, f"INSERT INTO {table} (process_id, {columns})", id_bytes(stranger))
    assert found(url) == (stranger, f"the table {table} has rows of it, but there is no such process")


def test_a_damaged_page_is_found(url: str, processes: Processes, tmp_path: Path) -> None:
    file = tmp_path / "strangler.db"
    connection = choose_library().dbapi.connect(str(file))
    ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'tombstone_until'").fetchall()
    connection.close()
    data = bytearray(file.read_bytes())
    data[(page - 1) * 4096 : (page - 1) * 4096 + 8] = b"\xff" * 8
    file.write_bytes(data)
    damage = [finding for finding in findings(url) if finding.process_id is None]
    assert damage
    assert all("the file is damaged" in finding.wrong for finding in damage)


# ── The command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_says_that_all_is_well(url: str, processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsck", "--store", url]) == 0
    assert capsys.readouterr().out == f"{len(processes)} processes, all is well\n"


def test_the_command_tells_each_finding_and_what_to_do(
    url: str, processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    process = processes["finished"]
    tamper(url, "INSERT INTO credential (process_id, sealed) VALUES (?, x'00')", id_bytes(process.id))
    assert main(["fsck", "--store", url]) == 1
    printed = capsys.readouterr()
    assert process.id in printed.out
    assert "Delete its row" in printed.out
    assert "1 finding" in printed.err


async def test_the_command_checks_a_copy_of_the_files_of_a_running_store(
    url: str, clock: FakeClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    for _ in range(3):
        await done(store, make.accept())
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{tmp_path}/strangler.db{end}", f"{copy}/copy.db{end}")
    await store.close()
    assert main(["fsck", "--store", f"sqlite:///{copy}/copy.db"]) == 0
    assert capsys.readouterr().out == "3 processes, all is well\n"


@pytest.mark.parametrize("store", ["memory:", "sqlite:////nowhere/at/all.db", "postgresql://h/d", "nonsense"])
def test_the_command_refuses_what_is_no_store(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsck", "--store", store]) == 2
    assert capsys.readouterr().err


def test_the_command_refuses_a_database_that_is_not_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "theirs.db"
    connection = choose_library().dbapi.connect(str(file))
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert main(["fsck", "--store", f"sqlite:///{file}"]) == 2
    assert "not a store of strangler" in capsys.readouterr().err


def test_the_command_needs_to_be_told_which_store(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STRANGLER_STORE", raising=False)
    assert main(["fsck"]) == 2
    assert "--store" in capsys.readouterr().err


def test_what_was_forgotten_although_nobody_said_so_is_told(url: str, processes: Processes) -> None:
    process = processes["finished"]
    tamper(url, "UPDATE process SET gone = 2 WHERE id = ?", id_bytes(process.id))
    assert found(url) == (process.id, "its history was forgotten, which it was not to be")
    tamper(url, "UPDATE process SET retain_history = 1 WHERE id = ?", id_bytes(process.id))
    assert found(url) == (process.id, "its history was forgotten, and 3 events are there")


@pytest.mark.parametrize("gone", [2, 7])
def test_an_open_process_whose_history_is_marked_as_forgotten_is_told_once(
    url: str, processes: Processes, gone: int
) -> None:
    process = processes["processing"]
    tamper(url, "UPDATE process SET gone = ? WHERE id = ?", gone, id_bytes(process.id))
    assert found(url) == (process.id, "its history was forgotten, which it was not to be")


def test_an_open_process_has_forgotten_nothing(url: str, processes: Processes) -> None:
    process = processes["processing"]
    tamper(url, "UPDATE process SET gone = 1 WHERE id = ?", id_bytes(process.id))
    tamper(url, "DELETE FROM request WHERE process_id = ?", id_bytes(process.id))
    assert found(url) == (process.id, "its request is missing")
