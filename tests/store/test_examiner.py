"""Looking through a store that is in use: all of it is seen, what is wrong is found, what changes meanwhile is not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.ports import Examiner, Finding
from strangler.store import Store
from strangler.store.ids import id_bytes
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.connection import open_reader
from strangler.store.sqlite.examiner import Examination
from strangler.store.sqlite.library import choose_library
from tests.store import builders as make
from tests.store.builders import FakeClock, after
from tests.store.test_conformance import done
from tests.store.test_fsck import Processes, fill, stray_keys, tamper


@pytest.fixture
async def examiner(store: Store) -> AsyncIterator[Examiner]:
    examiner = store.examiner()
    yield examiner
    await examiner.close()


async def everything(examiner: Examiner, *, bodies: bool = False) -> tuple[int, list[Finding]]:
    """How many processes there were, and what was found."""
    await examiner.total()
    processes, findings, mark = 0, list[Finding](), None
    while True:
        step = await examiner.examine(mark, bodies=bodies)
        processes += step.processes
        findings += step.findings
        mark = step.mark
        if mark is None:
            return processes, findings


@pytest.mark.parametrize("bodies", [False, True])
async def test_a_sound_store_is_seen_whole_and_has_no_finding(store: Store, examiner: Examiner, bodies: bool) -> None:
    filled = await fill(store)
    for _ in range(300):
        await done(store, make.accept())
    assert await examiner.total() == len(filled) + 300
    assert await everything(examiner, bodies=bodies) == (len(filled) + 300, [])


async def test_an_empty_store_is_seen_at_once(store: Store, examiner: Examiner) -> None:
    assert await everything(examiner) == (0, [])
    assert await examiner.examine_one(make.make_id()) == []


async def test_what_is_accepted_and_goes_on_meanwhile_is_no_finding(store: Store, examiner: Examiner) -> None:
    async def traffic() -> None:
        for number in range(100):
            claimed = after(
                await done(store, make.claim(after(await done(store, make.accept(make.keyed(str(number)))))))
            )
            await done(store, make.finish(claimed) if number % 3 else make.doubt(claimed))

    working = asyncio.ensure_future(traffic())
    while not working.done():
        assert (await everything(examiner))[1] == []
    await working


# ── What is wrong, in a file ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/strangler.db"


@pytest.fixture
async def used(url: str, clock: FakeClock) -> AsyncIterator[tuple[Store, Examiner, Processes]]:
    """A store with everything in it, in use, and somebody who looks through it."""
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    processes = await fill(store)
    examiner = store.examiner()
    yield store, examiner, processes
    await examiner.close()
    await store.close()


Used = tuple[Store, Examiner, Processes]


async def test_each_fault_is_found_and_is_the_same_at_a_second_look(url: str, used: Used) -> None:
    _, examiner, processes = used
    stranger = make.make_id()
    tamper(url, "UPDATE process SET status = 'DENIED' WHERE id = ?", id_bytes(processes["finished"].id))
    tamper(url, "DELETE FROM event WHERE process_id = ? AND sequence = 2", id_bytes(processes["late"].id))
    tamper(url, "UPDATE exception SET closed_at = 1 WHERE process_id = ?", id_bytes(processes["reviewed"].id))
    tamper(url, "INSERT INTO credential (process_id, sealed) VALUES (?, x'00')", id_bytes(stranger))
    tamper(url, "INSERT INTO credential (process_id, sealed) VALUES (?, x'00')", b"no id")
    tamper(
        url,
        "INSERT INTO idempotency (scope, key, fingerprint, process_id) VALUES ('s', 'k', x'00', ?)",
        id_bytes(other := make.make_id()),
    )
    _, findings = await everything(examiner)
    assert {(finding.process_id, finding.code, finding.kind) for finding in findings if finding.process_id} >= {
        (processes["finished"].id, "row", "integrity"),
        (processes["late"].id, "history", "integrity"),
        (processes["reviewed"].id, "orphan", "orphan"),
        (stranger, "stray", "integrity"),
        (other, "stray", "integrity"),
    }
    assert len(findings) == 6
    for finding in findings:
        assert finding.process_id is not None
        assert finding in await examiner.examine_one(finding.process_id)


async def test_a_body_is_compared_only_where_that_is_asked_for(url: str, used: Used) -> None:
    _, examiner, processes = used
    process = processes["finished"]
    tamper(url, "UPDATE reply SET data = zeroblob(12) WHERE process_id = ?", id_bytes(process.id))
    assert (await everything(examiner))[1] == []
    (finding,) = (await everything(examiner, bodies=True))[1]
    assert (finding.process_id, finding.code) == (process.id, "reply")
    assert await examiner.examine_one(process.id) == [finding]


async def test_rows_that_cannot_be_read_are_a_finding(url: str, used: Used) -> None:
    _, examiner, processes = used
    tamper(url, "UPDATE process SET state = 'undone' WHERE id = ?", id_bytes(processes["waiting"].id))
    (finding,) = (await everything(examiner))[1]
    assert (finding.process_id, finding.code) == (processes["waiting"].id, "unreadable")


async def test_who_looks_through_is_another_process_and_its_death_is_told(used: Used) -> None:
    _, examiner, _ = used
    await examiner.total()
    child = examiner._child  # type: ignore[attr-defined]
    assert child.pid != os.getpid()
    assert os.getpriority(os.PRIO_PROCESS, child.pid) >= 10
    child.send_signal(signal.SIGKILL)
    await child.wait()
    with pytest.raises(StoreUnavailable):
        await examiner.total()


async def test_a_question_that_cannot_be_answered_is_told_and_the_next_one_is_answered(used: Used) -> None:
    _, examiner, processes = used
    with pytest.raises(StoreUnavailable, match="JSONDecodeError"):
        await examiner.examine("no mark", bodies=False)
    assert await examiner.total() == len(processes)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("bodies", [False, True])
async def test_all_is_seen_once_in_steps_of_any_size(
    url: str, used: Used, monkeypatch: pytest.MonkeyPatch, step: int, bodies: bool
) -> None:
    _, _, processes = used
    for name in ("_STEP", "_STEP_WITH_BODIES", "_KEYS"):
        monkeypatch.setattr(f"strangler.store.sqlite.examiner.{name}", step)
    strangers = stray_keys(url)
    connection = open_reader(Path(url.removeprefix("sqlite:///")), choose_library())
    examination = Examination(connection)
    seen, found, mark = 0, list[str | None](), None
    while True:
        examined = examination.examine(mark, bodies)
        seen += examined.processes
        found += [finding.process_id for finding in examined.findings]
        mark = examined.mark
        if mark is None:
            break
    connection.close()
    assert (seen, found) == (len(processes), strangers)


async def test_an_interrupt_from_the_terminal_does_not_end_who_looks_through(used: Used) -> None:
    _, examiner, processes = used
    await examiner.total()
    examiner._child.send_signal(signal.SIGINT)  # type: ignore[attr-defined]
    assert await examiner.total() == len(processes)


async def test_who_looks_through_and_is_frozen_keeps_nobody_from_ending(
    used: Used, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.store.sqlite.examiner._LEAVE", 0.0)
    _, examiner, _ = used
    await examiner.total()
    child = examiner._child  # type: ignore[attr-defined]
    child.send_signal(signal.SIGSTOP)
    await examiner.close()
    assert child.returncode == -signal.SIGKILL


async def test_a_store_in_which_nothing_is_right_is_told_of_whole(url: str, used: Used) -> None:
    store, examiner, processes = used
    for _ in range(200):
        await done(store, make.accept())
    tamper(url, "UPDATE process SET status = 'DENIED'")
    tamper(url, "DELETE FROM request")
    seen, findings = await everything(examiner)
    assert seen == len(processes) + 200
    assert {code: [finding.code for finding in findings].count(code) for code in ("row", "request")} == {
        "row": seen,
        "request": seen,
    }


@pytest.mark.parametrize("path", [None, "elsewhere"])
async def test_who_looks_through_runs_nothing_that_lies_in_the_folder_that_somebody_is_in(
    used: Used, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    _, examiner, processes = used
    (tmp_path / "orjson.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    if path is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", path)
    assert await examiner.total() == len(processes)
