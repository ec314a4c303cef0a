"""Looking through the store in memory, in the process that has it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from strangler.ports import Examined, Finding
from strangler.store.fsck import check, latest, stray
from strangler.store.ledger import Ledger, Ledgers

_STEP = 50


class MemoryExaminer:
    """See `Examiner`."""

    def __init__(self, ledgers: Ledgers) -> None:
        self._ledgers = ledgers
        self._ids: list[str] = []

    async def total(self) -> int:
        """See `Examiner.total`."""
        self._ids = [ledger.process.id for ledger in self._ledgers.all() if isinstance(ledger, Ledger)]
        return len(self._ids)

    async def examine(self, mark: str | None, *, bodies: bool) -> Examined:
        """See `Examiner.examine`."""
        await asyncio.sleep(0)
        start = int(mark) if mark is not None else 0
        step = self._ids[start : start + _STEP]
        if not step:
            return Examined(0, [stray(*place) for place in self._ledgers.strays(latest)], None)
        found: list[Finding] = []
        for process_id in step:
            found += self._check(process_id, bodies)
        return Examined(len(step), found, str(start + len(step)))

    async def examine_one(self, process_id: str) -> Sequence[Finding]:
        """See `Examiner.examine_one`."""
        strays = [stray(*place) for place in self._ledgers.strays(latest) if place[1] == process_id]
        return [*self._check(process_id, bodies=True), *strays]

    async def close(self) -> None:
        """See `Examiner.close`."""
        self._ids = []

    def _check(self, process_id: str, bodies: bool) -> list[Finding]:
        ledger = self._ledgers.one(process_id)
        return [*check(ledger, self._ledgers.chunk if bodies else None, latest())] if ledger is not None else []
