"""What is done to a process from outside: a client withdraws it before it was sent, who knows says how far it is."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from strangler.domain.errors import InternalError
from strangler.domain.process import Process, Tombstone
from strangler.domain.steps import Cancel, Report
from strangler.domain.transitions import Change, apply
from strangler.engine.conclude import settling
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Settled
from strangler.engine.uninterrupted import uninterrupted
from strangler.ports import Clock, Commit, Committed, ProcessStore, Verdict


class Commands:
    """Commands over processes."""

    def __init__(self, store: ProcessStore, notifier: Notifier, clock: Clock) -> None:
        self._store = store
        self._notifier = notifier
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()

    async def cancel(self, process: Process) -> Process | None:
        """Withdraw a process that was not sent. Returns it as it is then: cancelled, or ended otherwise before.

        None: it is with the legacy system, and nothing is promised that cannot be kept.

        Raises:
            StoreUnavailable: the store cannot record it; nothing changed.
        """
        # In a task of its own: a client that hangs up meanwhile must not keep those who wait from being told.
        task = asyncio.get_running_loop().create_task(self._cancel(process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _cancel(self, process: Process) -> Process | None:
        while not process.final:
            if not process.cancellable:
                return None
            change = apply(process, Cancel(), self._clock.now())
            verdict = await uninterrupted(self._store.commit(settling(change, None, None)), partial(self._tell, change))
            if isinstance(verdict, Committed):
                return change.process
            # Somebody was quicker: judge what has become of it.
            found = await self._store.process(process.id)
            if not isinstance(found, Process) or found.sequence == process.sequence:
                raise InternalError(f"{process.id} is stale at {process.sequence} and has not gone on")
            process = found
        return process

    async def report(self, process_id: str, status: str, reason: str | None) -> Process | Tombstone | None:
        """Say how far a process is, in the domain's words. Returns it as it is then; None: there is none.

        A process that has ended stays as it is, and so does one of which the same was said last.

        Raises:
            StoreUnavailable: the store cannot record it; nothing changed.
        """
        task = asyncio.get_running_loop().create_task(self._report(process_id, status, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _report(self, process_id: str, status: str, reason: str | None) -> Process | Tombstone | None:
        seen = -1
        while isinstance(found := await self._store.process(process_id), Process):
            if found.sequence == seen:
                raise InternalError(f"{process_id} is stale at {seen} and has not gone on")
            seen = found.sequence
            if found.final:
                return found
            change = apply(found, Report(status, reason), self._clock.now())
            if not change.outbox:
                return found  # it was said before
            verdict = await uninterrupted(self._store.commit(Commit(change)), partial(self._told, change))
            if isinstance(verdict, Committed):
                return change.process
        return found

    def _told(self, change: Change, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Committed):
            self._notifier.committed(change)
        return verdict

    def _tell(self, change: Change, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Committed):
            self._notifier.committed(change, Settled(change.process))
        return verdict
