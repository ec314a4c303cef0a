"""A person settles a process of which nobody knows what it did: says how it ended, or that it surely did not happen.

So it is with one that is still to be sent, once its route is on hold: the legacy system may have done it already."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from strangler.domain.errors import InternalError
from strangler.domain.exceptions import ENDS, Action, may_end, may_repeat
from strangler.domain.exchange import CHUNK_SIZE
from strangler.domain.process import Effect, Process, State, Tombstone
from strangler.domain.steps import Finish, Resume, Transition
from strangler.domain.transitions import apply
from strangler.engine.apart import Apart
from strangler.engine.conclude import settling
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Settled
from strangler.engine.pauses import Pauses
from strangler.ports import Clock, Closing, Committed, Evidence, ProcessStore

_USUAL = {State.COMPLETED: Effect.APPLIED, State.REJECTED: Effect.NONE, State.FAILED: Effect.UNKNOWN}
_ACTION = {state: action for action, state in ENDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a person found out."""

    state: State  # completed, rejected or failed
    effect: Effect | None = None  # None: the usual one: applied, none, unknown
    status: str | None = None  # the domain's word, shown to the client
    reason: str | None = None  # shown to the client
    evidence: str | None = None  # how it is known; not shown to the client


class Unsettled(NamedTuple):
    """It was not done: the process is not, or no longer, one that a person may settle so."""

    process: Process
    why: str


Resolved = Process | Unsettled | Tombstone | None
"""The process after it; what is left of it; or None: there is none."""


class Resolving:
    """Settles processes by a person's word.

    Args:
        pauses: while calls were paused the clock of a deadline stood still.
        wake: look for due processes of a route at an instant.
        held: whether a route is on hold.
    """

    def __init__(
        self,
        store: ProcessStore,
        notifier: Notifier,
        clock: Clock,
        pauses: Pauses,
        wake: Callable[[str, int], None],
        held: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._notifier = notifier
        self._clock = clock
        self._pauses = pauses
        self._wake = wake
        self._held = held
        self._apart = Apart()

    async def end(self, process_id: str, resolution: Resolution, who: str, why: str) -> Resolved:
        """Say how a process ended. What asked for a person is closed by the same commit.

        Raises:
            StoreUnavailable: the store cannot record it; nothing changed.
        """
        finish = Finish(
            resolution.state,
            resolution.effect or _USUAL[resolution.state],
            resolution.status,
            resolution.reason,
        )

        def decide(process: Process) -> Transition | str:
            if may_end(process, resolution.state, held=self._held(process.route)):
                return finish
            if process.state in (State.RECEIVED, State.WAITING):
                return f"it is {process.state}, and will be sent: put its route on hold first"
            return f"it is {process.state}: only what nobody is going to settle is resolved by hand"

        said = {"who": who, "why": why}
        if resolution.evidence is not None:
            said["evidence"] = resolution.evidence
        action = _ACTION[resolution.state]
        return await self._apart(self._do(process_id, decide, said, Closing(0, who, action, why)))

    async def repeat(self, process_id: str, who: str, why: str) -> Resolved:
        """Have the call of a process in doubt made again: it surely did not happen.

        Raises:
            StoreUnavailable: the store cannot record it; nothing changed.
        """

        def decide(process: Process) -> Transition | str:
            now = self._clock.now()
            if may_repeat(self._pauses.shown(process, now), now):
                return Resume(now, absent=not process.repeated)
            if process.state is State.IN_DOUBT and not process.settling:
                return "its deadline has passed: end it, and hand it in anew"
            return f"it is {process.state}: only a call in doubt that waits for a person is repeated by hand"

        after = await self._apart(
            self._do(process_id, decide, {"who": who, "why": why}, Closing(0, who, Action.REPEAT, why))
        )
        if isinstance(after, Process) and after.due_at is not None:
            self._wake(after.route, after.due_at)
        return after

    async def _do(
        self,
        process_id: str,
        decide: Callable[[Process], Transition | str],
        said: dict[str, str],
        closing: Closing,
    ) -> Resolved:
        seen = -1
        while isinstance(found := await self._store.process(process_id), Process):
            if found.sequence == seen:
                raise InternalError(f"{process_id} is stale at {seen} and has not gone on")
            seen = found.sequence
            decided = decide(found)
            if isinstance(decided, str):
                return Unsettled(found, decided)
            now = self._clock.now()
            change = apply(found, decided, now)
            body = json.dumps(said, ensure_ascii=False).encode()[:CHUNK_SIZE]
            evidence = Evidence(process_id, found.tries, "operator", now, None, (), body)
            commit = settling(change, None, None)._replace(evidence=evidence, closes=closing._replace(at=now))
            if isinstance(await self._store.commit(commit), Committed):
                self._notifier.committed(change, Settled(change.process) if change.process.final else None)
                return change.process
            # A late reply, a probe or another person was quicker: judge what has become of it.
        return found
