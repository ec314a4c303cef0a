"""Reconciliation: every mismatch becomes an exception, once, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exceptions import Action
from strangler.domain.process import Process
from strangler.domain.steps import Doubt
from strangler.engine import reconcile
from strangler.engine.exceptions import ExceptionDesk, Remedy, Standing
from strangler.engine.reconcile import Reconciler, Report
from strangler.engine.resolving import Resolving
from strangler.ports import Closing, Examined, ExceptionQuery, Finding
from tests.gateway.scene import SENT, Scene, finish

DOUBTED = (*SENT, Doubt("timeout", settling=False))


class Audited(Scene):
    """The scene, with somebody who reconciles."""

    def __init__(self) -> None:
        super().__init__()
        self.reconciler = Reconciler(self.store.examiner, self.store.exceptions, self.clock, self.instrument)
        resolving = Resolving(
            self.store, self.notifier, self.clock, self.pauses, lambda route, due_at: None, lambda route: False
        )

        async def redrive(*_: object) -> str | None:
            return None

        self.desk = ExceptionDesk(self.store.exceptions, self.store, resolving, self.clock, self.pauses, redrive)

    async def run(self, *, bodies: bool = False) -> Report:
        """Reconcile, some time after whatever was before."""
        self.clock.pass_(60)
        self.reconciler.begin(bodies=bodies)
        await self.reconciler.ended()
        report = self.reconciler.latest
        assert report is not None
        return report

    def tamper(self, process: Process, **fields: object) -> None:
        """Write into the row of a process beside the store."""
        entry = self.store._entries[process.id]
        entry.process = entry.process._replace(**fields)  # type: ignore[arg-type]

    async def open(self) -> list[tuple[str | None, str]]:
        return [(entry.process_id, entry.kind) for entry in await self.store.exceptions.page(ExceptionQuery())]


async def test_a_sound_store_opens_nothing_and_the_report_says_what_was_examined() -> None:
    audited = Audited()
    for transitions in ((), SENT, (*SENT, finish()), DOUBTED):
        await audited.process(*transitions)
    before = await audited.open()
    report = await audited.run()
    assert (report.outcome, report.total, report.processes, report.codes) == ("finished", 4, 4, {})
    assert report.ended_at is not None
    assert await audited.open() == before
    assert [values[:4] for name, values in audited.instrument.told if name == "reconciled"] == [
        ("finished", audited.clock.now(), 4, 0)
    ]


async def test_a_mismatch_becomes_an_exception_and_is_not_opened_again_while_it_is_open() -> None:
    audited = Audited()
    process = await audited.process(*SENT, finish())
    audited.tamper(process, status="DENIED")
    report = await audited.run()
    assert (report.codes, report.standings) == ({"row": 1}, {"opened": 1})
    (entry,) = await audited.store.exceptions.page(ExceptionQuery())
    assert (entry.process_id, entry.kind, entry.route) == (process.id, "integrity", "submit-claim")
    assert entry.detail.startswith("its row is not what its history tells, in status. ")
    assert [(told.exception, told.standing) for told in report.findings] == [(entry.id, "opened")]
    again = await audited.run()
    assert again.standings == {"open": 1}
    assert [told.exception for told in again.findings] == [entry.id]
    assert len(await audited.open()) == 1


async def test_what_was_accepted_is_not_opened_again_until_it_is_something_else() -> None:
    audited = Audited()
    process = await audited.process(*SENT, finish())
    audited.tamper(process, status="DENIED")
    await audited.run()
    (entry,) = await audited.store.exceptions.page(ExceptionQuery())
    closed = await audited.desk.resolve(entry.id, Remedy(action=Action.ACCEPT), "ann", "mended by hand in spring")
    assert isinstance(closed, Standing)
    assert (await audited.run()).standings == {"accepted": 1}
    assert await audited.open() == []
    audited.tamper(process, status="GRANTED")
    assert (await audited.run()).standings == {"opened": 1}


async def test_what_is_as_it_should_be_again_is_closed_and_says_so() -> None:
    audited = Audited()
    process = await audited.process(*SENT, finish())
    audited.tamper(process, status="DENIED")
    await audited.run()
    audited.tamper(process, status=None)
    report = await audited.run()
    assert (report.mended, report.codes) == (1, {})
    (entry,) = await audited.store.exceptions.page(ExceptionQuery("closed"))
    assert (entry.closed_by, entry.action) == ("strangler", "mended")
    assert (await audited.run()).mended == 0


async def test_a_process_that_nobody_is_going_to_settle_gets_somebody() -> None:
    audited = Audited()
    process = await audited.process(*DOUBTED)
    (doubt,) = await audited.store.exceptions.page(ExceptionQuery())
    await audited.store.exceptions.close(doubt.id, Closing(5, "nobody", "accept", "by a defect"))
    await audited.run()
    (entry,) = await audited.store.exceptions.page(ExceptionQuery())
    assert (entry.process_id, entry.kind) == (process.id, "orphan")
    report = await audited.run()
    assert (report.codes, report.mended, await audited.open()) == ({}, 0, [(process.id, "orphan")])
    closed = await audited.desk.resolve(entry.id, Remedy(action=Action.COMPLETE), "ann", "it is in the register")
    assert isinstance(closed, Standing)
    assert closed.entry.action == "complete"
    report = await audited.run()
    assert (report.codes, await audited.open()) == ({}, [])


class Scripted:
    """Somebody who finds what the test says, and may think better of it."""

    def __init__(self, findings: Sequence[Finding], again: Callable[[str], Sequence[Finding]] | None = None) -> None:
        self.findings = findings
        self.again = again or (lambda process_id: [one for one in findings if one.process_id == process_id])
        self.marks: list[str | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False
        self.error: Exception | None = None

    async def total(self) -> int:
        return len(self.findings)

    async def examine(self, mark: str | None, *, bodies: bool) -> Examined:
        await self.gate.wait()
        self.marks.append(mark)
        if self.error is not None:
            raise self.error
        start = int(mark or 0)
        rest = start + 2 if start + 2 < len(self.findings) else None
        return Examined(2, self.findings[start : start + 2], None if rest is None else str(rest))

    async def examine_one(self, process_id: str) -> Sequence[Finding]:
        return self.again(process_id)

    async def close(self) -> None:
        self.closed = True


def scripted(examiner: Scripted) -> Audited:
    audited = Audited()
    audited.reconciler = Reconciler(lambda: examiner, audited.store.exceptions, audited.clock, audited.instrument)
    return audited


def a_finding(number: int) -> Finding:
    return Finding(f"{number:08x}-0000-7000-8000-000000000000", "it is wrong", "mend it", "row", f"seen-{number}")


async def test_what_is_gone_at_a_second_look_is_no_finding() -> None:
    findings = [a_finding(number) for number in range(3)]
    examiner = Scripted(findings, lambda process_id: [findings[0]] if process_id == findings[0].process_id else [])
    audited = scripted(examiner)
    report = await audited.run()
    assert (report.processes, report.codes) == (4, {"row": 1})
    assert examiner.marks == [None, "2"]
    assert examiner.closed


async def test_what_concerns_the_whole_store_is_told_too() -> None:
    audited = scripted(Scripted([Finding(None, "the file is damaged", "restore it", "damage", "seen")]))
    await audited.run()
    await audited.run()
    assert await audited.open() == [(None, "integrity")]


async def test_too_much_that_is_wrong_ends_the_run_and_does_not_flood_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "_MOST", 5)
    monkeypatch.setattr(reconcile, "_TOLD", 3)
    audited = scripted(Scripted([a_finding(number) for number in range(20)]))
    report = await audited.run()
    assert (report.outcome, report.codes, len(report.findings)) == ("stopped", {"row": 5}, 3)
    assert report.why is not None
    assert len(await audited.open()) == 5


async def test_one_run_is_under_way_at_a_time_and_tells_how_far_it_is() -> None:
    examiner = Scripted([a_finding(number) for number in range(4)])
    examiner.gate.clear()
    audited = scripted(examiner)
    first, new = audited.reconciler.begin(bodies=False)
    second, again = audited.reconciler.begin(bodies=True)
    assert (new, again, second.number, second.bodies) == (True, False, first.number, False)
    latest = audited.reconciler.latest
    assert latest is not None
    assert latest.outcome == "running"
    examiner.gate.set()
    await audited.reconciler.ended()
    latest = audited.reconciler.latest
    assert latest is not None
    assert (latest.outcome, latest.processes, latest.total) == ("finished", 4, 4)
    assert audited.reconciler.begin(bodies=False)[0].number == first.number + 1
    await audited.reconciler.ended()


async def test_where_the_store_cannot_be_read_the_run_fails_and_says_so_and_the_next_one_is_free_to_begin() -> None:
    examiner = Scripted([])
    examiner.error = StoreUnavailable("the disk is gone")
    audited = scripted(examiner)
    report = await audited.run()
    assert (report.outcome, report.why) == ("failed", "the disk is gone")
    assert examiner.closed
    examiner.error = None
    assert (await audited.run()).outcome == "finished"


async def test_who_closes_gives_up_the_run_under_way() -> None:
    examiner = Scripted([])
    examiner.gate.clear()
    audited = scripted(examiner)
    audited.reconciler.begin(bodies=False)
    await asyncio.sleep(0)
    await audited.reconciler.close()
    assert examiner.closed


async def test_on_a_schedule_it_runs_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    examiner = Scripted([])
    audited = scripted(examiner)
    slept: list[float] = []
    enough = asyncio.Event()
    sleep = asyncio.sleep

    async def no_time(seconds: float) -> None:
        if seconds:  # a step that took no time needs no rest
            slept.append(seconds)
        if len(slept) > 3:
            enough.set()
        await sleep(0)

    monkeypatch.setattr(reconcile.asyncio, "sleep", no_time)
    schedule = asyncio.ensure_future(audited.reconciler.every(3600))
    await enough.wait()
    schedule.cancel()
    await asyncio.wait([schedule])
    await audited.reconciler.close()
    assert slept[:3] == [60, 3600, 3600]
    assert len(examiner.marks) >= 2
