"""What is done to a process from outside: a client withdraws it before it was sent, who knows says how far it is."""

from __future__ import annotations

from strangler.domain.errors import InternalError
from strangler.domain.exchange import Hindrance
from strangler.domain.process import Effect, Process, State, Tombstone
from strangler.domain.steps import Cancel, Finish, Promised, Report, Step
from strangler.domain.transitions import apply
from strangler.engine.apart import Apart
from strangler.engine.conclude import settling
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Settled
from strangler.ports import Clock, Commit, Committed, ProcessStore


class Commands:
    """Commands over processes."""

    def __init__(self, store: ProcessStore, notifier: Notifier, clock: Clock) -> None:
        self._store = store
        self._notifier = notifier
        self._clock = clock
        self._apart = Apart()

    async def cancel(self, process: Process) -> Process | None:
        """Withdraw a process that was not sent. Returns it as it is then: cancelled, or ended otherwise before.

        None: it is with the legacy system, and nothing is promised that cannot be kept.

        Raises:
            StoreUnavailable: the store cannot record it; nothing changed.
        """
        return await self._apart(self._withdraw(process, Cancel()))

    async def forgo(self, process: Process) -> Process | None:
        """As `cancel`, where this server goes away before it sent what nobody was promised: whoever waits for it is
        told that nothing was done, and is going to send it again.

        Raises:
            StoreUnavailable: the store cannot record it; nothing changed.
        """
        return await self._apart(
            self._withdraw(process, Finish(State.FAILED, Effect.NONE, reason=Hindrance.DRAINING.value))
        )

    async def promise(self, process: Process) -> Process:
        """Have it done for whoever repeats the request and is told 202, also where it was promised to nobody so far.
        Returns it as it is then: promised, or ended before.

        Raises:
            StoreUnavailable: the store cannot record it; nothing is promised.
        """
        return await self._apart(self._promise(process))

    async def _promise(self, process: Process) -> Process:
        while not (process.promised or process.final):
            change = apply(process, Promised(), self._clock.now())
            if isinstance(await self._store.commit(Commit(change)), Committed):
                self._notifier.committed(change)
                return change.process
            process = await self._newer(process)
        return process

    async def _withdraw(self, process: Process, step: Step) -> Process | None:
        while not process.final:
            if not process.cancellable:
                return None
            change = apply(process, step, self._clock.now())
            if isinstance(await self._store.commit(settling(change, None, None)), Committed):
                self._notifier.committed(change, Settled(change.process))
                return change.process
            process = await self._newer(process)
        return process

    async def _newer(self, process: Process) -> Process:
        """Somebody was quicker: what has become of it, to be judged anew."""
        found = await self._store.process(process.id)
        if not isinstance(found, Process) or found.sequence == process.sequence:
            raise InternalError(f"{process.id} is stale at {process.sequence} and has not gone on")
        return found

    async def report(self, process_id: str, status: str, reason: str | None) -> Process | Tombstone | None:
        """Say how far a process is, in the domain's words. Returns it as it is then; None: there is none.

        A process that has ended stays as it is, and so does one of which the same was said last.

        Raises:
            StoreUnavailable: the store cannot record it; nothing changed.
        """
        return await self._apart(self._report(process_id, status, reason))

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
            if isinstance(await self._store.commit(Commit(change)), Committed):
                self._notifier.committed(change)
                return change.process
        return found
