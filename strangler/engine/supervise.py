"""Supervision: what falls to nobody is found by looking at the state of the store, again and again.

Not a job among jobs that could itself be lost: a loop that asks for orphans (under way, but their worker's lease is
over), for what is overdue, and for what is past its retention.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeVar

from strangler.domain.errors import StoreUnavailable
from strangler.domain.process import Process, State
from strangler.domain.steps import Doubt
from strangler.engine.conclude import Concluder
from strangler.engine.means import Means
from strangler.policy.probe import NOT_ASKED

T = TypeVar("T")

_BATCH = 100
_ORPHANS = 500
_LOOK_EVERY = 1.0  # seconds
_SWEEP_EVERY = 1.0  # a look at four indexes where nothing has lapsed
_SWEEP_BATCH = 5000


class Executes(Protocol):
    """Who claims what is due: the `Executor` of a worker, or all of them."""

    async def restock(self) -> None:
        """Learn from the store what waits."""
        ...

    def wake(self, route: str, due_at: int) -> None:
        """Something of a route falls due at an instant."""
        ...


class Supervisor:
    """Watches over the processes of the store."""

    def __init__(self, means: Means, executor: Executes, concluder: Concluder) -> None:
        self._means = means
        self._executor = executor
        self._concluder = concluder

    async def recover(self) -> None:
        """At start: take the lease, settle what the last incarnation left under way, and learn what waits."""
        await self._means.lease.renew()
        while await self._settle_orphans():
            pass
        await self._executor.restock()

    async def watch(self) -> None:
        """Look for orphans and for what is overdue, for ever."""
        await self._forever(_LOOK_EVERY, self.look)

    async def sweep(self) -> None:
        """Forget what is past its retention, in small batches, for ever."""
        await self._forever(_SWEEP_EVERY, self._sweep)

    async def look(self) -> None:
        """Settle what is nobody's, and end what is overdue.

        Raises:
            StoreUnavailable: the rest is found by the next look.
        """
        if self._means.lease.holds():
            # A worker that has just thawed would take its own calls for orphans; it renews its lease first.
            await self._settle_orphans()
        now = self._means.clock.now()
        for process in await self._means.upkeep.overdue(now, _BATCH):
            # A pause is known here before the store knows it.
            if self._means.pauses.over_at(process, now) <= now:
                await self._guarded(self._concluder.overdue(process))
        await self._give_up_questions()

    async def _give_up_questions(self) -> None:
        """What is in doubt and of a route that is gone is asked about by nobody: a person has to find out."""
        upkeep, now = self._means.upkeep, self._means.clock.now()
        for route, due_at in (await upkeep.next_due(0)).items():
            if due_at <= now and self._means.route_of(route) is None:
                for process in await upkeep.due(route, now, _BATCH):
                    if process.state is State.IN_DOUBT:
                        await self._guarded(self._concluder.asked(process, Doubt(NOT_ASKED, settling=False)))

    async def _settle_orphans(self) -> bool:
        """Settle a batch of orphans; False: there was none that could be settled."""
        clock = self._means.clock
        orphans = await self._means.upkeep.orphans(clock.boot_id, clock.boottime(), _ORPHANS)
        # All at once, so that they share their commits: after a crash with many calls in flight nothing starts before.
        settled = await asyncio.gather(*[self._guarded(self._recover(process)) for process in orphans])
        for after in settled:
            if isinstance(after, Process) and after.state is State.WAITING and after.due_at is not None:
                self._executor.wake(after.route, after.due_at)
        count = sum(after is not False for after in settled)
        if count:
            self._means.instrument.note("recovered", "warning", processes=count)
        return count > 0

    async def _recover(self, orphan: Process) -> Process | None:
        route = self._means.route_of(orphan.route)
        return await self._concluder.recover(orphan, route.call if route is not None else None)

    async def _guarded(self, work: Awaitable[T]) -> T | Literal[False]:
        """What it came to; False: nothing, by a defect of ours, which must not keep the others from their turn."""
        try:
            return await work
        except StoreUnavailable:
            raise
        except Exception as error:
            self._means.instrument.failed("supervise", error)
            return False

    async def _sweep(self) -> None:
        swept = _SWEEP_BATCH
        while swept >= _SWEEP_BATCH:
            swept = await self._means.upkeep.sweep(self._means.clock.now(), _SWEEP_BATCH)

    async def _forever(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except StoreUnavailable as error:
                self._means.instrument.note("supervision_waits", "warning", reason=str(error))
            except Exception as error:
                # A defect in one look must not end all later ones.
                self._means.instrument.failed("supervise", error)
