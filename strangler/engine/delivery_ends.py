"""What came of attempts, committed: what was taken together with others, what was not taken by itself.

A call that was taken makes room for the next one, which does not wait for the disk. So while some ends are on their way
there, the next ones gather: one commit of the store, and one task here, for all of them. Nothing waits on purpose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from strangler.domain.delivery import Delivery, DeliveryState, Release, apply
from strangler.domain.errors import StoreUnavailable
from strangler.engine.delivery_lanes import DeliveryLane
from strangler.engine.delivery_means import DeliveryMeans
from strangler.engine.delivery_pauses import again
from strangler.engine.receptions import Attempt, commit_of, step_of
from strangler.ports import Commit, Committed, DeliveryStep, Stale, Verdict

_STORE_BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class End(NamedTuple):
    """What an attempt makes of a delivery that its receiver took."""

    lane: DeliveryLane
    attempt: Attempt
    step: DeliveryStep


class Ends:
    """Commits what came of attempts.

    Args:
        spawn: begins a task.
        committed: is told of ends that are on disk.
        alone: does what is to be done with an end that was not committed with others.
    """

    def __init__(
        self,
        means: DeliveryMeans,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        committed: Callable[[Sequence[End]], None],
        alone: Callable[[End], Coroutine[Any, Any, None]],
    ) -> None:
        self._means = means
        self._spawn = spawn
        self._committed = committed
        self._alone = alone
        self._gathered: list[End] = []
        self._committing = False

    def gather(self, lane: DeliveryLane, delivery: Delivery, attempt: Attempt) -> None:
        """Commit what came of an attempt, with what comes while others are on their way to the disk."""
        self._gathered.append(End(lane, attempt, step_of(delivery, attempt, self._means.clock.now())))
        if not self._committing:
            self._committing = True
            self._spawn(self._commit_gathered())

    async def _commit_gathered(self) -> None:
        while self._gathered:
            ends, self._gathered = self._gathered, []
            try:
                await self._together(ends)
            except Exception as error:
                self._means.instrument.failed("deliver", error)
        self._committing = False

    async def _together(self, ends: Sequence[End]) -> None:
        verdicts = [self._begun(Commit(None, delivery=end.step)) for end in ends]
        done: list[End] = []
        try:
            for end, verdict in zip(ends, verdicts, strict=True):
                if await _is_committed(verdict):
                    done.append(end)
                else:
                    self._spawn(self._alone(end))
        finally:
            for verdict in verdicts:
                verdict.cancel()
        self._committed(done)

    def _begun(self, commit: Commit) -> asyncio.Future[Verdict]:
        try:
            return asyncio.ensure_future(self._means.store.commit(commit))
        except Exception as error:
            failed: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def conclude(self, delivery: Delivery, attempt: Attempt) -> DeliveryStep | None:
        """Commit what came of an attempt, however long the store takes. None: somebody else has settled it."""
        means = self._means
        while True:
            now = means.clock.now()
            step = step_of(delivery, attempt, now)
            if await self.commit(commit_of(step, now)):
                return step
            found = await means.deliveries.log(delivery[:3])
            if found is None or found[0].state not in (DeliveryState.PENDING, DeliveryState.HELD):
                means.instrument.note("delivery_settled_twice", "warning", delivery=delivery.id)
                return None
            delivery = found[0]
            if delivery.state is DeliveryState.HELD:
                # It was ready before it was held, and its receiver is called again before it is put back.
                delivery = await self._released(delivery)

    async def _released(self, delivery: Delivery) -> Delivery:
        """What was held, put back; where somebody else was faster, the next commit shows it."""
        now = self._means.clock.now()
        step = DeliveryStep(delivery, apply(delivery, Release(), now), closes=again(now))
        await self.commit(Commit(None, delivery=step))
        return step.after

    async def commit(self, commit: Commit) -> bool:
        """Commit; while the store cannot, try again. False: the delivery is no longer what the step starts from."""
        tries = 0
        while True:
            try:
                return not isinstance(await self._means.store.commit(commit), Stale)
            except StoreUnavailable as error:
                if tries == 0:
                    self._means.instrument.note("delivery_held_back", "error", reason=str(error))
                await asyncio.sleep(_STORE_BACKOFF[min(tries, len(_STORE_BACKOFF) - 1)])
                tries += 1


async def _is_committed(verdict: asyncio.Future[Verdict]) -> bool:
    """Whether a commit was done; why it was not is told to whoever tries it again."""
    try:
        return isinstance(await verdict, Committed)
    except Exception:
        return False
