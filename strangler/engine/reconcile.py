"""Reconciliation: everything in the store is compared with what has to hold of it, and each mismatch becomes an
exception, once.

It goes through the store in short steps beside the traffic. What is found is looked at a second time before it is told;
what is open already, or was accepted as it is, is not opened again; what is as it should be again is closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exceptions import Action, ExceptionKind
from strangler.engine.conclude import NOBODY
from strangler.engine.instrument import Instrument
from strangler.ports import (
    Clock,
    Closing,
    Examiner,
    ExceptionEntry,
    ExceptionQuery,
    Exceptions,
    Finding,
    OpenException,
)

_MOST = 10_000  # findings after which it is a catastrophe, and no list for people
_TOLD = 1_000  # of these are in a report
_PAGE = 100
_BREATH = 0.25  # of the time of a step, after it: others come first, wherever a low priority is not allowed
_FIRST_AFTER = 60.0  # seconds: a server that is restarted often is examined all the same
_MENDABLE: tuple[ExceptionKind, ...] = ("integrity",)  # an orphan has somebody while its exception is open


Outcome = Literal["running", "finished", "stopped", "failed"]
_FAILED: Outcome = "failed"


class Told(NamedTuple):
    """A finding, and what became of it."""

    finding: Finding
    standing: Literal["opened", "open", "accepted"]
    exception: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """One run, as far as it is."""

    number: int
    started_at: int
    bodies: bool
    ended_at: int | None = None
    outcome: Outcome = "running"
    why: str | None = None  # it was stopped, or failed
    total: int = 0  # processes, about
    processes: int = 0  # that were examined
    codes: Mapping[str, int] = field(default_factory=dict)  # findings by what is wrong
    standings: Mapping[str, int] = field(default_factory=dict)  # and by what became of them
    mended: int = 0  # exceptions that were closed, because all is as it should be again
    findings: Sequence[Told] = ()  # the first `_TOLD` of them


class Reconciler:
    """Examines the store, one run at a time.

    Args:
        examiner: somebody to look through the store, for each run.
    """

    def __init__(
        self, examiner: Callable[[], Examiner], exceptions: Exceptions, clock: Clock, instrument: Instrument
    ) -> None:
        self._examiner = examiner
        self._exceptions = exceptions
        self._clock = clock
        self._instrument = instrument
        self._report: Report | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def latest(self) -> Report | None:
        """The run under way, or the last one; None: there was none since the start."""
        return self._report

    def begin(self, *, bodies: bool) -> tuple[Report, bool]:
        """Start a run. Returns it, or the one that is under way, and whether it is new."""
        if self._report is not None and self._task is not None and not self._task.done():
            return self._report, False
        number = self._report.number + 1 if self._report is not None else 1
        self._report = Report(number, self._clock.now(), bodies)
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self._report, True

    async def ended(self) -> None:
        """Wait until no run is under way."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def every(self, seconds: float) -> None:
        """Run again and again, for ever; the first time soon."""
        await asyncio.sleep(min(seconds, _FIRST_AFTER))
        while True:
            self.begin(bodies=False)
            await self.ended()
            await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Give up the run that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        examiner = self._examiner()
        outcome, why = _FAILED, None
        try:
            outcome, why = await self._through(examiner)
        except StoreUnavailable as error:
            why = str(error)
        except Exception as error:
            self._instrument.failed("reconcile", error)
            why = type(error).__name__
        finally:
            await examiner.close()
        self._update(outcome=outcome, why=why, ended_at=self._clock.now())
        report = self._current()
        found = sum(report.codes.values())
        self._instrument.reconciled(outcome, self._clock.now(), report.processes, found, report.standings, why)

    async def _through(self, examiner: Examiner) -> tuple[Outcome, str | None]:
        """Go through all of it. Returns how that ended, and why."""
        self._update(total=await examiner.total())
        report = self._current()
        mark: str | None = None
        while True:
            began = self._clock.boottime()
            step = await examiner.examine(mark, bodies=report.bodies)
            await asyncio.sleep(_BREATH * (self._clock.boottime() - began) / 1e9)
            self._update(processes=self._current().processes + step.processes)
            for finding in step.findings:
                if await _still(examiner, finding):
                    await self._tell(finding)
                if sum(self._current().codes.values()) >= _MOST:
                    return "stopped", f"{_MOST} findings: this is no work for a queue; `strangler fsck` tells all"
            mark = step.mark
            if mark is None:
                await self._mend(examiner)
                return "finished", None

    async def _tell(self, finding: Finding) -> None:
        """Make an exception of a finding, unless it is one, or was accepted."""
        known = [entry for entry in await self._known(finding) if entry.closed_at is None or _accepted(entry)]
        standing: Literal["opened", "open", "accepted"]
        if known:
            standing = "open" if known[0].closed_at is None else "accepted"
        else:
            standing = "opened"
            detail = f"{finding.wrong}. {finding.advice}"
            exception = OpenException(finding.process_id, finding.kind, self._clock.now(), detail, finding.seen)
            await self._exceptions.open(exception)
            known = [*await self._known(finding)]  # the newest first, be it closed again already
            self._instrument.note("finding", "error", process=finding.process_id, code=finding.code)
        report = self._current()
        told = Told(finding, standing, known[0].id if known else None)
        self._update(
            codes=Counter(report.codes) + Counter({finding.code: 1}),
            standings=Counter(report.standings) + Counter({standing: 1}),
            findings=(*report.findings, told) if len(report.findings) < _TOLD else report.findings,
        )

    async def _known(self, finding: Finding) -> Sequence[ExceptionEntry]:
        query = ExceptionQuery("all", (finding.kind,), process_id=finding.process_id, subject=finding.seen)
        return await self._exceptions.page(query)

    async def _mend(self, examiner: Examiner) -> None:
        """Close what an earlier run found, and what is as it should be again."""
        began = self._current().started_at
        query = ExceptionQuery("open", _MENDABLE, limit=_PAGE)
        while page := await self._exceptions.page(query):
            for entry in page:
                if entry.opened_at < began and entry.process_id is not None:
                    found = await examiner.examine_one(entry.process_id)
                    if all(finding.seen != entry.subject for finding in found):
                        closing = Closing(self._clock.now(), NOBODY, "mended", "it is as it should be again")
                        self._update(mended=self._current().mended + await self._exceptions.close(entry.id, closing))
            query = query._replace(after=(page[-1].due_at, page[-1].id))

    def _current(self) -> Report:
        assert self._report is not None
        return self._report

    def _update(self, **fields: object) -> None:
        self._report = replace(self._current(), **fields)  # type: ignore[arg-type]


async def _still(examiner: Examiner, finding: Finding) -> bool:
    """Whether a finding is one at a second look."""
    if finding.process_id is None:
        return True
    again = await examiner.examine_one(finding.process_id)
    return any((one.code, one.seen) == (finding.code, finding.seen) for one in again)


def _accepted(entry: ExceptionEntry) -> bool:
    return entry.action == Action.ACCEPT
