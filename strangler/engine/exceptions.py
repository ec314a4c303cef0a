"""The exception queue for people: who looks after what, and what is done about it. Nothing leaves it silently."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exceptions import ENDS, Action, ExceptionKind, allowed
from strangler.domain.process import Effect, Process
from strangler.engine.pauses import Pauses
from strangler.engine.resolving import Resolution, Resolving, Unsettled
from strangler.ports import Clock, Closing, ExceptionEntry, ExceptionQuery, Exceptions, Note, ProcessStore

Redrive = Callable[[ExceptionEntry, str, str], Awaitable[str | None]]
"""Try a receiver again, by whom and why; why not, or None: it is tried."""


class Standing(NamedTuple):
    """An exception, and what may be done about it right now."""

    entry: ExceptionEntry
    notes: Sequence[Note]
    actions: Sequence[Action]


class Refused(NamedTuple):
    """It was not done."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What is to be done about an exception. The last four are about how its process ended."""

    action: Action
    effect: Effect | None = None
    status: str | None = None
    reason: str | None = None
    evidence: str | None = None


class ExceptionDesk:
    """Where people work through the queue. Every method may raise `StoreUnavailable`."""

    def __init__(
        self,
        exceptions: Exceptions,
        store: ProcessStore,
        resolving: Resolving,
        clock: Clock,
        pauses: Pauses,
        redrive: Redrive,
    ) -> None:
        self._exceptions = exceptions
        self._store = store
        self._resolving = resolving
        self._clock = clock
        self._pauses = pauses
        self._redrive = redrive

    async def page(self, query: ExceptionQuery) -> Sequence[ExceptionEntry]:
        """See `Exceptions.page`."""
        return await self._exceptions.page(query)

    async def counts(self) -> Mapping[ExceptionKind, int]:
        """See `Exceptions.counts`."""
        return await self._exceptions.counts()

    async def one(self, exception_id: int) -> Standing | None:
        """One exception whole; None: there is none."""
        found = await self._exceptions.one(exception_id)
        if found is None:
            return None
        entry, notes = found
        actions = () if entry.closed_at is not None else allowed(entry.kind, await self._of(entry), self._clock.now())
        return Standing(entry, notes, actions)

    async def claim(self, exception_id: int, who: str) -> Standing | Refused | None:
        """Make an exception somebody's."""
        done = await self._exceptions.claim(exception_id, self._clock.now(), who)
        return await self._after(exception_id, done)

    async def release(self, exception_id: int, who: str, why: str) -> Standing | Refused | None:
        """Make an exception nobody's."""
        done = await self._exceptions.release(exception_id, self._clock.now(), who, why)
        return await self._after(exception_id, done)

    async def note(self, exception_id: int, who: str, text: str) -> Standing | Refused | None:
        """Say something of an exception."""
        await self._exceptions.note(exception_id, self._clock.now(), who, text)
        return await self._after(exception_id, done=True)

    async def resolve(self, exception_id: int, remedy: Remedy, who: str, why: str) -> Standing | Refused | None:
        """Do something about an open exception, which closes it; None: there is none."""
        standing = await self.one(exception_id)
        if standing is None:
            return None
        if remedy.action not in standing.actions:
            return _refused(standing)
        entry = standing.entry
        if remedy.action is Action.REPEAT or remedy.action in ENDS:
            assert entry.process_id is not None
            refused = await self._settle(entry.process_id, remedy, who, why)
            return refused if refused is not None else await self.one(exception_id)
        if remedy.action is Action.REDRIVE:
            if (why_not := await self._redrive(entry, who, why)) is not None:
                return Refused(why_not)
            after = await self.one(exception_id)
            if after is None or after.entry.closed_at is not None:
                return after  # with the delivery
        closing = Closing(self._clock.now(), who, remedy.action, why)
        return await self._after(exception_id, await self._exceptions.close(exception_id, closing))

    async def _settle(self, process_id: str, remedy: Remedy, who: str, why: str) -> Refused | None:
        if remedy.action is Action.REPEAT:
            after = await self._resolving.repeat(process_id, who, why)
        else:
            resolution = Resolution(
                state=ENDS[remedy.action],
                effect=remedy.effect,
                status=remedy.status,
                reason=remedy.reason,
                evidence=remedy.evidence,
            )
            after = await self._resolving.end(process_id, resolution, who, why)
        match after:
            case Process():
                return None
            case Unsettled(_, reason):
                return Refused(reason)
            case _:
                return Refused("its process is no longer kept")

    async def _after(self, exception_id: int, done: bool) -> Standing | Refused | None:
        standing = await self.one(exception_id)
        return standing if done or standing is None else _refused(standing)

    async def _of(self, entry: ExceptionEntry) -> Process | None:
        found = await self._store.process(entry.process_id) if entry.process_id is not None else None
        return self._pauses.shown(found, self._clock.now()) if isinstance(found, Process) else None


def _refused(standing: Standing) -> Refused:
    entry = standing.entry
    if entry.closed_at is not None:
        return Refused(f"it was closed by {entry.closed_by} ({entry.action})")
    if entry.owner is not None:
        return Refused(f"it is looked after by {entry.owner}; what may be done: {', '.join(standing.actions)}")
    return Refused(f"what may be done about it: {', '.join(standing.actions)}")


class OpenCounts:
    """How many exceptions are open, as of the last look: for metrics, which do not wait."""

    def __init__(self, exceptions: Exceptions) -> None:
        self._exceptions = exceptions
        self.latest: Mapping[ExceptionKind, int] = {}

    async def look(self) -> None:
        """Count them. What the store cannot tell now stays as it was."""
        try:
            self.latest = await self._exceptions.counts()
        except StoreUnavailable:
            return
