"""Delivering: what is due is sent, lane by lane, and what comes of it is committed.

One place in a whole server delivers. What is being sent when it is killed is still due in the store, and is sent again:
at least once. The end of what a receiver took is committed behind the next call; what is under way, or not on disk yet,
is bounded by `IN_HAND`. A commit hands its deliveries over, as far as they wait for nothing and there is room; what
else there is, the store knows: a signal that is lost costs delay, and nothing else. No lane waits for another.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from strangler.domain.delivery import FINAL_STATES, Delivery, DeliveryState, alone, lane_of
from strangler.domain.errors import StoreUnavailable
from strangler.domain.process import Process
from strangler.domain.transitions import Change
from strangler.engine.delivery_ends import End, Ends
from strangler.engine.delivery_lanes import IN_HAND, DeliveryLane, Ready, reaches
from strangler.engine.delivery_means import DeliveryMeans
from strangler.engine.delivery_pauses import Pauses, held
from strangler.engine.receptions import Attempt, alive, peace, taken
from strangler.engine.wakes import Wakes
from strangler.policy.receivers import Receiver
from strangler.ports import Commit, DeliveryStep, DeliveryTotal, Ours, ReceiverPause

_AFTER_FAULT = 1_000  # milliseconds until what a fault of the store kept from being sent is tried again
_LOOK_EVERY = 5.0  # seconds between two looks at all lanes: what a defect of ours left lying is tried again then
_AT_ONCE = 2000  # callbacks under way in all lanes: callers may name many origins, and each takes a file descriptor …
_OF_ONE_LANE = _AT_ONCE // 2  # … and no lane takes them all


class Deliverer:
    """Sends. Nothing is sent before `begin`."""

    def __init__(self, means: DeliveryMeans) -> None:
        self._means = means
        self._lanes: dict[str, DeliveryLane] = {}
        self._pauses = Pauses(means.deliveries, means.clock, means.instrument, self.commit, self.busy)
        self._ends = Ends(means, self._spawn, self._committed, self._alone)
        self._wakes = Wakes(means.clock, self._woken)
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._in_hand = 0
        self._crowded: OrderedDict[str, DeliveryLane] = OrderedDict()  # that wait for others, the longest first
        self._going = False
        self.totals: Sequence[DeliveryTotal] = ()
        """What was pending, held and dead at the last look."""

    async def begin(self) -> None:
        """Learn who is paused and what is due, and start.

        Raises:
            StoreUnavailable: nothing was started.
        """
        await self._pauses.load()
        self._going = True
        await self.look()
        # A server that was killed in the middle of pausing, or resuming, goes on with it.
        self._spawn(self._resettle())

    def told(self, lanes: Iterable[str]) -> None:
        """Deliveries were committed, in these lanes."""
        for name in lanes:
            lane = self._lane(name)
            lane.unknown = True
            self._pump(lane)

    def raised(self, change: Change) -> None:
        """A change was committed here that made deliveries."""
        for delivery in change.deliveries:
            self.made(delivery, alone(delivery, change.process), change.process)

    def made(self, delivery: Delivery, by_itself: bool, process: Process | None = None) -> None:
        """A delivery was committed. One that goes by itself, as it waits for no earlier one, is mostly sent without a
        look into the store; ``process`` is the one whose end it tells, where that is at hand."""
        lane = self._lane(delivery.lane)
        if not (self._going and by_itself and lane.offer(Ready(delivery, process))):
            lane.unknown = True
        self._pump(lane)

    def policy_changed(self) -> None:
        """There are other receivers, or they are reached otherwise."""
        for lane in self._lanes.values():
            lane.warned = False
            lane.failures = 0
            self._pump(lane)

    async def watch(self) -> None:
        """Look at all lanes now and then, for ever: what a lost signal, or a defect, left lying is found."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self.look()
            except StoreUnavailable as error:
                self._means.instrument.note("deliveries_wait", "warning", reason=str(error))
            except Exception as error:
                self._means.instrument.failed("deliver", error)

    async def look(self) -> None:
        """Ask the store what there is, in every lane.

        Raises:
            StoreUnavailable: it cannot say.
        """
        now = self._means.clock.now()
        self.totals = await self._means.deliveries.totals()
        next_due = await self._means.deliveries.next_due(-1)
        for name, lane in [*self._lanes.items()]:
            if lane.idle(now) and name not in next_due and name not in self._wakes:
                del self._lanes[name]
        for name, due_at in next_due.items():
            if due_at > now:
                self._wake(self._lane(name), due_at)
            else:
                self._lane(name).timed = True
                self.told((name,))

    async def drain(self, seconds: float) -> int:
        """Begin nothing more, and end what is under way; after so many seconds it is cut off, and stays due.

        Returns how many were cut off.
        """
        self._going = False
        self._wakes.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tasks:  # those that are under way begin others: what was taken is committed
                    await asyncio.wait(self._tasks)
        cut_off, left = self._in_hand, [*self._tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return cut_off

    # What operators do; `redrive` has the rest.

    @property
    def pauses(self) -> Sequence[ReceiverPause]:
        """Who is paused."""
        return self._pauses.all()

    def rests(self) -> Mapping[str, int]:
        """Until when nothing is sent to a receiver, because it asked for peace (`Retry-After`), or a fault of ours is
        waited for; of several lanes the last."""
        now = self._means.clock.now()
        until: dict[str, int] = {}
        for lane in self._lanes.values():
            if lane.not_before > now:
                until[lane.receiver] = max(lane.not_before, until.get(lane.receiver, 0))
        return until

    async def pause(self, pause: ReceiverPause) -> None:
        """Send nothing more to a receiver, or to one URL: what is for it is held. What is on its way arrives.

        Raises:
            StoreUnavailable: it is not paused.
        """
        await self._pauses.pause(pause)

    async def resume(self, receiver: str, url: str | None, who: str, why: str) -> bool:
        """Send again, what was held first, although it may have asked for peace; False: it was not paused.

        Raises:
            StoreUnavailable: it is still paused, or some of it is still held: ask again.
        """
        known, released = await self._pauses.resume(receiver, url, who, why)
        # A receiver with one URL has one lane without origin.
        meant = (receiver, lane_of(receiver, url))
        rested = (
            name for name, lane in self._lanes.items() if lane.receiver == receiver and (url is None or name in meant)
        )
        self.call_again({*released, *rested})
        return known

    def call_again(self, lanes: Iterable[str]) -> None:
        """Look into these lanes at once: whoever asks knows better than a `Retry-After` of earlier."""
        for name in lanes:
            self._lane(name).call_again()
            self.told((name,))

    def busy(self, delivery: Delivery) -> bool:
        """Whether a delivery is being sent, or its end is on its way to the disk: that is for its attempt to say."""
        lane = self._lanes.get(delivery.lane)
        return lane is not None and lane.in_hand(delivery)

    async def commit(self, commit: Commit) -> bool:
        """Commit; while the store cannot, try again. False: the delivery is no longer what the step starts from."""
        return await self._ends.commit(commit)

    # Lanes.

    def _lane(self, name: str) -> DeliveryLane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = DeliveryLane(name)
        return lane

    def _wake(self, lane: DeliveryLane, due_at: int) -> None:
        """Look into a lane at an instant, if not before."""
        if self._wakes.at(lane.name, due_at):
            lane.timed = True  # the later one is not forgotten

    def _woken(self, name: str) -> None:
        lane = self._lane(name)
        lane.unknown = lane.timed = True
        self._pump(lane)

    def _pump(self, lane: DeliveryLane) -> None:
        while (taken_on := self._take(lane)) is not None:
            self._spawn(self._work(lane, *taken_on))

    def _take(self, lane: DeliveryLane) -> tuple[Receiver, Ready] | None:
        """What is to be sent next, and to whom. None: nothing now; what stands in the way has it looked for again."""
        if not self._going or not (lane.ready or lane.unknown) or lane.name in self._crowded:
            return None
        receiver = self._means.receivers().get(lane.receiver)
        if receiver is None or not reaches(receiver, lane.name):
            # Nothing is lost: it waits for a policy that knows the receiver again.
            lane.drop_ready()
            lane.unknown = True
            if not lane.warned:
                lane.warned = True
                self._means.instrument.note("receiver_unknown", "warning", receiver=lane.receiver, lane=lane.name)
            return None
        if lane.not_before > self._means.clock.now():
            self._wake(lane, lane.not_before)
        elif not lane.room(min(receiver.concurrency, _OF_ONE_LANE)):
            pass  # a call that ends, or an end that is on disk, makes some
        elif not lane.ready:
            if not lane.stocking:
                lane.begin_stocking()
                self._spawn(self._stock(lane))
        elif self._full:
            self._crowded[lane.name] = lane  # an empty one might be forgotten, and stand here for another
        elif receiver.rate is not None and (later := lane.pass_at(receiver.rate, self._means.clock.now())):
            self._wake(lane, later)
        else:
            self._calls += 1
            self._in_hand += 1
            return receiver, lane.take()
        return None

    async def _stock(self, lane: DeliveryLane) -> None:
        """Fill a lane from the store, and see when the next one falls due."""
        now, wanted = self._means.clock.now(), lane.wanted
        due: Sequence[Delivery] = ()
        processes: Mapping[str, Process] = {}
        try:
            due = await self._means.deliveries.due(lane.name, now, wanted)
            processes = await self._means.deliveries.processes({one.process_id for one in lane.news(due, now)})
            if lane.timed and len(due) < wanted:
                lane.timed = False
                later = (await self._means.deliveries.next_due(now)).get(lane.name)
                if later is not None:
                    self._wake(lane, later)
        except Exception as error:
            self._went_wrong(lane, error)
        finally:
            lane.unknown = lane.unknown or len(due) >= wanted
            lane.stock(due, processes, now)
        self._pump(lane)

    async def _work(self, lane: DeliveryLane, receiver: Receiver, ready: Ready) -> None:
        """Send one after the other, as long as there is something to send, and room for a call."""
        taken_on: tuple[Receiver, Ready] | None = receiver, ready
        while taken_on is not None:
            await self._deliver(lane, *taken_on)
            taken_on = self._take(lane)

    async def _deliver(self, lane: DeliveryLane, receiver: Receiver, ready: Ready) -> None:
        gathered = False
        try:
            gathered = await self._send(lane, receiver, ready)
        except Exception as error:
            self._went_wrong(lane, error, ready.delivery)
        finally:
            if not gathered:
                self._settled(lane, ready.delivery)
            lane.hung_up()
            self._calls -= 1
            self._let_in()

    def _went_wrong(self, lane: DeliveryLane, error: Exception, delivery: Delivery | None = None) -> None:
        if isinstance(error, StoreUnavailable):
            self._wake(lane, self._means.clock.now() + _AFTER_FAULT)
        else:
            # A defect of ours must not take the lane with it; what was to be sent is still due, and a later look's.
            self._means.instrument.failed("deliver", error)
            if delivery is not None:
                lane.leave_out(delivery, self._means.clock.now())

    def _settled(self, lane: DeliveryLane, delivery: Delivery) -> None:
        lane.settled(delivery)
        self._in_hand -= 1

    def _let_in(self, *lanes: DeliveryLane) -> None:
        """There may be room: for lanes that wait for others, then for these."""
        while self._crowded and not self._full:
            self._pump(self._crowded.popitem(last=False)[1])
        for lane in lanes:
            self._pump(lane)

    @property
    def _full(self) -> bool:
        """Whether all lanes together have no room for one more call."""
        return self._calls >= _AT_ONCE or self._in_hand >= IN_HAND * _AT_ONCE

    async def _send(self, lane: DeliveryLane, receiver: Receiver, ready: Ready) -> bool:
        """One attempt. True: it was taken, and its end is gathered; the next call does not wait for the disk."""
        means, delivery = self._means, ready.delivery
        paused = self._pauses.of(delivery)
        if paused is not None:
            await self.commit(held(delivery, paused, means.clock.now()))
            return False
        began_at = means.clock.now()
        message = await means.messages.of(receiver, delivery, ready.told, began_at)
        if message is None:
            return False  # it was forgotten meanwhile
        reception = await means.sender.send(receiver, message)
        spare = lane.spare() if isinstance(reception, Ours) else 0
        chance = 0.0 if taken(reception) else means.ids.chance()
        attempt = Attempt(receiver, began_at, reception, chance, spare, message.traceparent)
        self._observe(lane, attempt)
        if taken(reception):
            self._ends.gather(lane, delivery, attempt)
            return True
        await self._conclude(lane, delivery, attempt)
        return False

    async def _conclude(self, lane: DeliveryLane, delivery: Delivery, attempt: Attempt) -> None:
        """Commit what came of an attempt, by itself."""
        step = await self._ends.conclude(delivery, attempt)
        if step is not None:
            self._follow(lane, step, attempt)
            if step.pauses is not None:
                await self._pauses.paused(step.pauses)

    def _committed(self, ends: Sequence[End]) -> None:
        for end in ends:
            try:
                self._follow(end.lane, end.step, end.attempt)
            except Exception as error:
                self._went_wrong(end.lane, error)
            self._settled(end.lane, end.step.before)
        self._let_in(*{id(end.lane): end.lane for end in ends}.values())

    async def _alone(self, end: End) -> None:
        """An end was not committed with the others."""
        try:
            await self._conclude(end.lane, end.step.before, end.attempt)
        except Exception as error:
            self._went_wrong(end.lane, error, end.step.before)
        finally:
            self._settled(end.lane, end.step.before)
        self._let_in(end.lane)

    def _observe(self, lane: DeliveryLane, attempt: Attempt) -> None:
        """What an attempt says of its receiver."""
        now = self._means.clock.now()
        well = alive(attempt.reception)
        if well is not None:
            narrow = lane.narrowed
            lane.answered(well)
            if lane.narrowed is not narrow:
                event = "receiver_narrowed" if lane.narrowed else "receiver_widened"
                self._means.instrument.note(event, "warning" if lane.narrowed else "info", lane=lane.name)
                self._pump(lane)
        wait = attempt.spare or peace(attempt)
        if wait:
            lane.not_before = max(lane.not_before, now + wait)

    def _follow(self, lane: DeliveryLane, step: DeliveryStep, attempt: Attempt) -> None:
        """What follows from a step that is on disk."""
        after = step.after
        if step.attempt is not None:
            seconds = None
            if after.state is DeliveryState.DELIVERED and after.ended_at is not None:
                seconds = (after.ended_at - after.created_at) / 1000
            self._means.instrument.delivery_tried(after, step.attempt, seconds, attempt.trace)
        if after.due_at is not None:
            self._wake(lane, after.due_at)
        elif after.told not in FINAL_STATES:
            lane.unknown = True  # a later one of the same process may have waited for it

    async def _resettle(self) -> None:
        try:
            self.told(await self._pauses.resettle())
        except StoreUnavailable as error:
            self._means.instrument.note("deliveries_wait", "warning", reason=str(error))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
