"""Execution: claim what is due, call, and go on. One task per call.

The commit that claims a process for an attempt is on disk before its first byte leaves; it may be the same commit as
the acceptance, where a slot is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Attempt, Fault, FaultKind, Hindrance, RecordedRequest
from strangler.domain.process import Process, State
from strangler.domain.steps import Claim
from strangler.domain.transitions import apply
from strangler.engine.attempt import AttemptUnderWay, Claimed
from strangler.engine.conclude import WITHOUT_ROUTE, Concluder, ended
from strangler.engine.gates import OpenGate
from strangler.engine.lanes import STOCK, AllSlots, Lane, Lanes
from strangler.engine.look import Looker
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Outcomes
from strangler.engine.probe import Prober
from strangler.engine.uninterrupted import uninterrupted
from strangler.engine.wakes import Wakes
from strangler.policy.interpret import interpret_fault
from strangler.policy.model import Route
from strangler.ports import Commit, Gate, Shut, Slots, Stale, Verdict

_STORE_PAUSE = 1000  # milliseconds until the store is asked again after it could not answer
_AFTER_DEFECT = 30_000  # milliseconds until what a defect of ours kept from being looked after is tried again
_DISK = 0.01  # seconds between two looks whether what was being accepted has begun
_AFTER_CANCEL = 5.0  # seconds for what was cut off, and for replies that are there, to be committed


class Reserved(NamedTuple):
    """A slot for a call that can start at once."""

    term: int  # of the lease under which it is claimed
    trial: int  # see `Gate.enter`


class Executor:
    """The recorded calls of this worker.

    Args:
        slots: how many at once; None: all that a route has.
        gate: whether any may begin; None: nothing is ever held back.
    """

    def __init__(
        self,
        means: Means,
        lanes: Lanes,
        outcomes: Outcomes,
        concluder: Concluder,
        notifier: Notifier,
        slots: Slots | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._means = means
        self._lanes = lanes
        self._outcomes = outcomes
        self._concluder = concluder
        self._notifier = notifier
        self._answers: dict[str, bool | None] = {}  # by process: whether its latest question failed
        self._looker = Looker(means, concluder, self._answers)
        self._prober = Prober(means, concluder)
        self._slots = slots if slots is not None else AllSlots()
        self._gate = gate if gate is not None else OpenGate()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: set[AttemptUnderWay] = set()
        self._reserved = 0  # slots of calls that begin once a commit is on disk
        self._wakes = Wakes(means.clock, self.look)
        self._draining = False
        self._drained = False  # nothing is sent any more, whatever was promised

    # What acceptance asks.

    def shut(self, route: str) -> Shut | None:
        """Why no call of a route begins now; None: the next one may."""
        return self._gate.shut(route)

    def reserve(self, route: Route) -> Reserved | None:
        """Take a slot for a process that is about to be accepted, if it can start at once; then `start` or `release`.

        None: it has to wait.
        """
        lane = self._lanes.of(route.name)
        slots = self._slots.held(route.name, route.call.concurrency)
        if self._draining or not lane.idle_for(slots) or not self._means.lease.holds():
            return None
        trial = self._gate.enter(route.name)
        if trial is None:
            return None
        lane.running += 1
        self._reserved += 1
        return Reserved(self._means.lease.term, trial)

    def release(self, route: str, reserved: Reserved) -> None:
        """A reserved slot is not needed."""
        self._reserved -= 1
        self._freed(self._lanes.of(route), reserved.trial, None)

    def begun(self, process: Process, now: int) -> Attempt:
        """The attempt that a claim begins."""
        return Attempt(process.id, process.tries, process.fence, self._means.lease.owner, now)

    def start(self, claimed: Claimed, reserved: Reserved) -> None:
        """Call for a process that was claimed with its acceptance; its slot is reserved."""
        self._reserved -= 1
        self._spawn(self._run(self._lanes.of(claimed.process.route), claimed, reserved.trial))

    def enqueue(self, process: Process) -> None:
        """A process was accepted and waits for a claim."""
        lane = self._lanes.of(process.route)
        lane.offer(process)
        self._pump(lane)

    # What supervision asks.

    async def restock(self) -> None:
        """Learn from the store what waits. At start."""
        for route, waiting in (await self._means.upkeep.backlog()).items():
            lane = self._lanes.of(route)
            lane.waiting, lane.waiting_bytes = waiting.processes, waiting.body_bytes
            lane.stocked = waiting.processes > 0
        for route, due_at in (await self._means.upkeep.next_due(0)).items():
            self.wake(route, due_at)
        self.pump_all()

    def pump_all(self) -> None:
        """Start whatever can be started: after a start, and after the policy changed."""
        for lane in self._lanes.all():
            self._pump(lane)

    def look(self, route: str) -> None:
        """Something of a route may be due that another worker accepted, or there are more slots than before."""
        lane = self._lanes.of(route)
        lane.stocked = True
        self._pump(lane)

    async def drain(self, timeout: float) -> int:
        """Stop claiming; wait for what is in flight, ``timeout`` seconds at most, and give up the rest.

        Returns how many calls are in doubt by that: they were cut off, or how they ended is not on disk.
        """
        self._draining = True
        self._wakes.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._without_calls()
        self._drained = True
        calls = [*self._calls]
        # A reply that is there is still understood and recorded.
        for task in self._tasks - {call.task for call in calls if call.over}:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_AFTER_CANCEL):
                await self._without_calls()
        for task in list(self._tasks):
            task.cancel()
        return sum([call.cut_off or await self._without_end(call) for call in calls])

    async def _without_calls(self) -> None:
        while self._tasks or self._reserved:
            # What is reserved begins a call as soon as its acceptance is on disk.
            await (asyncio.wait(self._tasks) if self._tasks else asyncio.sleep(_DISK))

    async def _without_end(self, call: AttemptUnderWay) -> bool:
        """Whether who starts next finds a call under way."""
        try:
            process = await self._means.store.process(call.process_id)
        except StoreUnavailable:
            return True  # nobody can say
        return isinstance(process, Process) and process.state is State.PROCESSING

    def wake(self, route: str, due_at: int) -> None:
        """Look for due processes of a route at an instant; of several wishes the earliest counts."""
        self._wakes.at(route, due_at)

    def _pump(self, lane: Lane) -> None:
        if self._draining:
            self._spare(lane.route)
            return
        route = self._means.route_of(lane.route)
        if route is None:
            return  # nobody knows how to reach the upstream: it waits
        slots = self._slots.held(lane.route, route.call.concurrency)
        while lane.running < slots:
            if not lane.ready:
                if lane.stocked:
                    lane.stocked = False
                    self._spawn(self._stock(lane))
                else:
                    self._spare(lane.route)
                return
            trial = self._gate.enter(lane.route)
            if trial is None:
                return  # whoever opens the gate looks again
            process = lane.take()
            lane.running += 1
            act = self._look if process.asked_about else self._claim_and_run
            self._spawn(act(lane, process, trial))
        if lane.wanting:
            self._slots.want(lane.route, route.call.concurrency, lane.wanting)

    def _spare(self, route: str) -> None:
        """What is not used for a route goes to who can."""
        self._slots.spare(route)
        self._gate.spare(route)

    async def _stock(self, lane: Lane) -> None:
        """Fill the lane from the store, and see when the next one falls due."""
        now = self._means.clock.now()
        try:
            due = await self._means.upkeep.due(lane.route, now, STOCK)
            later = (await self._means.upkeep.next_due(now)).get(lane.route)
        except StoreUnavailable:
            self.wake(lane.route, now + _STORE_PAUSE)
            return
        except Exception as error:
            # A defect of ours. Nobody else would look into the lane.
            self._means.instrument.failed("stock", error)
            self.wake(lane.route, now + _AFTER_DEFECT)
            return
        if later is not None:
            self.wake(lane.route, later)
        lane.stock(due, more=len(due) >= STOCK)
        self._pump(lane)

    async def _claim_and_run(self, lane: Lane, process: Process, trial: int) -> None:
        claimed = None
        try:
            claimed = await self._claim(lane, process)
        except Exception as error:
            # A defect of ours. The lane has let go of it, so that nobody else would look.
            self._means.instrument.failed("claim", error)
            self.wake(lane.route, self._means.clock.now() + _AFTER_DEFECT)
        if claimed is None:
            self._freed(lane, trial, None)
        else:
            await self._run(lane, claimed, trial)

    async def _run(self, lane: Lane, claimed: Claimed, trial: int) -> None:
        failed = None
        try:
            failed = await self._call(lane, claimed)
        except Exception as error:
            # A defect of ours must not take the slot with it.
            self._means.instrument.failed("execute", error)
        finally:
            self._freed(lane, trial, failed)

    async def _look(self, lane: Lane, process: Process, trial: int) -> None:
        """Ask the upstream about what it took, or may have. Who is cut off by a drain is asked about by the next
        worker."""
        means = self._means
        route = means.route_of(process.route)
        try:
            if route is None or self._draining:
                return
            if await self._slots.begin_look(process.id):
                try:
                    asks = self._looker if process.state is State.FOLLOWING else self._prober
                    self._wake_for(await asks.look(route, process))
                finally:
                    self._slots.end_look(process.id)
            else:
                # Another worker asks now; or this one is taken for lost, and then nothing else would wake it.
                self.wake(process.route, means.clock.now() + _STORE_PAUSE)
        except StoreUnavailable:
            self.wake(process.route, means.clock.now() + _STORE_PAUSE)
        except Exception as error:
            means.instrument.failed("look", error)
            self.wake(process.route, means.clock.now() + _AFTER_DEFECT)
        finally:
            lane.claimed(process.id)
            self._freed(lane, trial, self._answers.pop(process.id, None))

    def _wake_for(self, after: Process | None) -> None:
        if after is not None and after.due_at is not None:
            self.wake(after.route, after.due_at)

    def _freed(self, lane: Lane, trial: int, failed: bool | None) -> None:
        """A slot is free; what its call says of the upstream, if anything, is told."""
        lane.running -= 1
        self._gate.leave(lane.route, trial, failed)
        self._pump(lane)

    async def _claim(self, lane: Lane, process: Process) -> Claimed | None:
        """Claim a process, on disk; None: somebody else has it, it is over, or the store cannot."""
        means = self._means
        now = means.clock.now()
        term = means.lease.term
        try:
            if not means.lease.holds():  # it could not be sent; a renewal is on its way
                self.wake(lane.route, now + _STORE_PAUSE)
                return None
            if means.pauses.over_at(process, now) <= now:
                await self._concluder.overdue(process)
                return None
            request = await means.store.request(process.id)
            if request is None:
                return None  # it was forgotten meanwhile
            if process.unresolved and await self._concluder.withdrawn(process, request):
                self.wake(lane.route, now)  # if somebody was quicker, it is still due
                return None
            return await self._claimed(process, request, term, now)
        except StoreUnavailable:
            self.wake(lane.route, now + _STORE_PAUSE)  # it is still in the store, and due
            return None
        finally:
            lane.claimed(process.id)

    async def _claimed(self, process: Process, request: RecordedRequest, term: int, now: int) -> Claimed | None:
        """Commit a claim. None: somebody else has it.

        Raises:
            StoreUnavailable: the store cannot.
        """
        change = apply(process, Claim(self._means.lease.owner), now)
        claimed = Claimed(change.process, self.begun(change.process, now), request, term)

        def on_disk(verdict: Verdict) -> bool:
            if isinstance(verdict, Stale):
                self.wake(process.route, now)  # somebody else has it, or told how far it is: the store knows
                return False
            self._notifier.committed(change)
            return True

        commit = asyncio.ensure_future(self._means.store.commit(Commit(change, attempt=claimed.attempt)))
        try:
            return claimed if await uninterrupted(commit, on_disk, stays=True) else None
        except asyncio.CancelledError:
            # The drain is over. If it is on disk, nobody is going to send it.
            if commit.done() and commit.exception() is None and not isinstance(commit.result(), Stale):
                await self._give_back(claimed)
            raise

    async def _call(self, lane: Lane, claimed: Claimed) -> bool | None:
        """Call; what that says of the upstream: whether it is down, or None for nothing."""
        means = self._means
        failed = None
        route = means.route_of(claimed.process.route)
        if route is None or self._drained or (self._draining and claimed.process.promised):
            after = await self._give_back(claimed)
        else:
            started = means.clock.now()
            under_way = AttemptUnderWay(means, self._concluder, self._outcomes, route, claimed)
            self._calls.add(under_way)
            try:
                after = await under_way.run()
            finally:
                self._calls.discard(under_way)
            failed = under_way.failed
            lane.measured((means.clock.now() - started) / 1000)
        self._wake_for(after)
        return failed

    async def _give_back(self, claimed: Claimed) -> Process | None:
        """Nothing was sent, and nothing is going to be: somebody else, or another day, takes it."""
        fault = Fault(FaultKind.NOT_SENT, "given back before it was sent", ours=Hindrance.DRAINING)
        outcome = interpret_fault(fault, WITHOUT_ROUTE)
        attempt = ended(claimed.attempt, self._means.clock.now(), fault, None, outcome)
        try:
            return await self._concluder.conclude(claimed.process, outcome, attempt, WITHOUT_ROUTE)
        except Exception as error:
            # A defect of ours. Once more, because while our lease goes on it is nobody's orphan.
            self._means.instrument.failed("execute", error)
            return await self._concluder.conclude(claimed.process, outcome, attempt, WITHOUT_ROUTE)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
