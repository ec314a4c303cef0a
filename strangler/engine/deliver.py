"""Delivering: what is due is sent, lane by lane, and what comes of it is committed.

One place in a whole server delivers. What is being sent when it is killed is still due in the store, and is sent again:
at least once. The end of what a receiver took is committed behind the next call; what is under way, or not on disk yet,
is bounded by `IN_HAND`. A commit hands its deliveries over, as far as they wait for nothing and there is room; what
else there is, the store knows: a signal that is lost costs delay, and nothing else. No lane waits for another.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from strangler.domain.delivery import FINAL_STATES, Delivery, DeliveryState, alone, lane_of
from strangler.domain.errors import StoreUnavailable
from strangler.domain.process import Process
from strangler.domain.transitions import Change
from strangler.engine.callback_message import Messages
from strangler.engine.delivery_lanes import IN_HAND, DeliveryLane, Ready, reaches
from strangler.engine.delivery_pauses import Pauses, held
from strangler.engine.instrument import Instrument
from strangler.engine.receptions import Attempt, alive, peace, step_of, taken
from strangler.engine.wakes import Wakes
from strangler.policy.receivers import Receiver
from strangler.ports import (
    CallbackSender,
    Clock,
    Commit,
    Deliveries,
    DeliveryStep,
    DeliveryTotal,
    Ids,
    Ours,
    ProcessStore,
    ReceiverPause,
    Stale,
)

_STORE_BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_AFTER_DEFECT = 30_000  # milliseconds until what a defect of ours kept from being sent is tried again
_LOOK_EVERY = 5.0  # seconds between two looks at all lanes
_AT_ONCE = 2000  # callbacks under way in all lanes: callers may name many origins, and each takes a file descriptor …
_OF_ONE_LANE = _AT_ONCE // 2  # … and no lane takes them all


class DeliveryMeans(NamedTuple):
    """What delivering works with."""

    store: ProcessStore
    deliveries: Deliveries
    sender: CallbackSender
    clock: Clock
    ids: Ids
    instrument: Instrument
    receivers: Callable[[], Mapping[str, Receiver]]  # of today's policy, by name
    messages: Messages


class Deliverer:
    """Sends. Nothing is sent before `begin`."""

    def __init__(self, means: DeliveryMeans) -> None:
        self._means = means
        self._lanes: dict[str, DeliveryLane] = {}
        self._pauses = Pauses(means.deliveries, means.clock, means.instrument, self.commit, self.busy)
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
                lane = self._lane(name)
                lane.timed = True
                self.told((name,))

    async def drain(self, seconds: float) -> int:
        """Begin nothing more, and end what is under way; after so many seconds it is cut off, and stays due.

        Returns how many were cut off.
        """
        self._going = False
        self._wakes.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        cut_off = [*self._tasks]
        for task in cut_off:
            task.cancel()
        await asyncio.gather(*cut_off, return_exceptions=True)
        return len(cut_off)

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

    async def resume(self, receiver: str, url: str | None, who: str) -> bool:
        """Send again, what was held first, although it may have asked for peace; False: it was not paused.

        Raises:
            StoreUnavailable: it is still paused, or some of it is still held: ask again.
        """
        known, released = await self._pauses.resume(receiver, url, who)
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
            self._lane(name).not_before = 0
            self.told((name,))

    def busy(self, delivery: Delivery) -> bool:
        """Whether a delivery is being sent, or its end is on its way to the disk: that is for its attempt to say."""
        lane = self._lanes.get(delivery.lane)
        return lane is not None and lane.in_hand(delivery)

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

    # Lanes.

    def _lane(self, name: str) -> DeliveryLane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = DeliveryLane(name)
            lane.timed = True
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
        if not self._going or not (lane.ready or lane.unknown) or lane.name in self._crowded:
            return
        receiver = self._means.receivers().get(lane.receiver)
        if receiver is None or not reaches(receiver, lane.name):
            # Nothing is lost: it waits for a policy that knows the receiver again.
            lane.drop_ready()
            lane.unknown = True
            if not lane.warned:
                lane.warned = True
                self._means.instrument.note("receiver_unknown", "warning", receiver=lane.receiver, lane=lane.name)
            return
        if lane.not_before > self._means.clock.now():
            self._wake(lane, lane.not_before)
            return
        while lane.room(min(receiver.concurrency, _OF_ONE_LANE)):
            if not lane.ready:
                if lane.unknown and not lane.stocking:
                    lane.begin_stocking()
                    self._spawn(self._stock(lane))
                return
            if self._full:
                self._crowded[lane.name] = lane  # an empty one might be forgotten, and stand here for another
                return
            if receiver.rate is not None and (later := lane.pass_at(receiver.rate, self._means.clock.now())):
                self._wake(lane, later)
                return
            ready = lane.take()
            self._calls += 1
            self._in_hand += 1
            self._spawn(self._deliver(lane, receiver, ready))

    async def _stock(self, lane: DeliveryLane) -> None:
        """Fill a lane from the store, and see when the next one falls due."""
        now, wanted = self._means.clock.now(), lane.wanted
        due: Sequence[Delivery] = ()
        processes: Mapping[str, Process] = {}
        try:
            due = await self._means.deliveries.due(lane.name, now, wanted)
            processes = await self._means.deliveries.processes({one.process_id for one in lane.news(due)})
            if lane.timed and len(due) < wanted:
                lane.timed = False
                later = (await self._means.deliveries.next_due(now)).get(lane.name)
                if later is not None:
                    self._wake(lane, later)
        except StoreUnavailable:
            self._wake(lane, now + 1000)
        except Exception as error:
            self._means.instrument.failed("deliver", error)
            self._wake(lane, now + _AFTER_DEFECT)
        finally:
            lane.unknown = lane.unknown or len(due) >= wanted
            lane.stock(due, processes)
        self._pump(lane)

    async def _deliver(self, lane: DeliveryLane, receiver: Receiver, ready: Ready) -> None:
        delivery = ready.delivery
        try:
            await self._send(lane, receiver, ready)
        except StoreUnavailable:
            self._wake(lane, self._means.clock.now() + 1000)
        except Exception as error:
            # A defect of ours must not take the lane with it; the delivery is still due.
            self._means.instrument.failed("deliver", error)
            self._wake(lane, self._means.clock.now() + _AFTER_DEFECT)
        finally:
            lane.settled(delivery)
            self._in_hand -= 1
            self._hung_up(lane, delivery)

    def _hung_up(self, lane: DeliveryLane, delivery: Delivery) -> None:
        """The call for a delivery is over, now or before: another one may begin."""
        self._calls -= lane.hung_up(delivery)
        while self._crowded and not self._full:
            self._pump(self._crowded.popitem(last=False)[1])
        self._pump(lane)

    @property
    def _full(self) -> bool:
        """Whether all lanes together have no room for one more call."""
        return self._calls >= _AT_ONCE or self._in_hand >= IN_HAND * _AT_ONCE

    async def _send(self, lane: DeliveryLane, receiver: Receiver, ready: Ready) -> None:
        means, delivery = self._means, ready.delivery
        paused = self._pauses.of(delivery)
        if paused is not None:
            await self.commit(held(delivery, paused, means.clock.now()))
            return
        began_at = means.clock.now()
        message = await means.messages.of(receiver, delivery, ready.told, began_at)
        if message is None:
            return  # it was forgotten meanwhile
        reception = await means.sender.send(receiver, message)
        spare = lane.spare() if isinstance(reception, Ours) else 0
        chance = 0.0 if taken(reception) else means.ids.chance()
        attempt = Attempt(receiver, began_at, reception, chance, spare, message.traceparent)
        self._observe(lane, attempt)
        if taken(reception):
            # The rest is ours to do: the next call does not wait for the disk.
            self._hung_up(lane, delivery)
        commit = await self._concluded(delivery, attempt)
        if commit is not None and commit.delivery is not None:
            await self._follow(lane, commit.delivery, attempt)

    async def _concluded(self, delivery: Delivery, attempt: Attempt) -> Commit | None:
        """Commit what came of an attempt, however long the store takes. None: somebody else has settled it."""
        while True:
            commit = step_of(delivery, attempt, self._means.clock.now())
            if await self.commit(commit):
                return commit
            found = await self._means.deliveries.log(delivery[:3])
            if found is None or found[0].state is not DeliveryState.PENDING:
                self._means.instrument.note("delivery_settled_twice", "warning", delivery=delivery.id)
                return None
            delivery = found[0]

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
        wait = attempt.spare or peace(attempt)
        if wait:
            lane.not_before = max(lane.not_before, now + wait)

    async def _follow(self, lane: DeliveryLane, step: DeliveryStep, attempt: Attempt) -> None:
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
        if step.pauses is not None:
            await self._pauses.paused(step.pauses)

    async def _resettle(self) -> None:
        try:
            self.told(await self._pauses.resettle())
        except StoreUnavailable as error:
            self._means.instrument.note("deliveries_wait", "warning", reason=str(error))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
