"""What all workers share, beside the store: who is there, what changed, what waits, and the slots of all routes.

Every commit passes here, so this is the one place that can count over all workers and tell each of what the others did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from strangler.domain.delivery import Delivery
from strangler.domain.process import State
from strangler.engine.gates import Gatekeeper
from strangler.engine.latencies import Latencies
from strangler.engine.limits import Buckets
from strangler.engine.pauses import Pauses
from strangler.engine.wakes import LONGEST
from strangler.operations.telemetry import Telemetry
from strangler.operations.totals import Snapshot, Totals
from strangler.policy.standing import ModeOrder
from strangler.ports import Clock, Lease, QueueLimit
from strangler.runtime.following import Following
from strangler.runtime.gates import Counter, gate_message, gates_message, orders_message
from strangler.runtime.intake import Intake
from strangler.runtime.news import CountedLanes, News, ToldSignals
from strangler.runtime.slots import Allotment
from strangler.runtime.tasks import Tasks
from strangler.store.remote.frames import Message
from strangler.store.remote.host import Guest, Host
from strangler.store.remote.messages import Told, unpack_delivery
from strangler.store.sqlite.store import SqliteStore


class Hub(Host):
    """The connected workers, as those who share.

    Args:
        awaited: owners that are somewhere, and have yet to connect.
    """

    def __init__(
        self,
        store: SqliteStore,
        clock: Clock,
        telemetry: Telemetry,
        latencies: Latencies,
        awaited: Iterable[str] = (),
    ) -> None:
        super().__init__(store)
        self._clock = clock
        self._telemetry = telemetry
        self._latencies = latencies
        self._members: dict[str, Guest] = {}
        self._until: dict[str, int] = {}  # end of each lease, on CLOCK_BOOTTIME
        self._departed: set[str] = set()  # owners whose OS process has ended
        self._lapsed: set[str] = set()  # owners that may no longer send, until they say what they hold
        self._serving: set[str] = set()
        self._leaving: set[Guest] = set()  # they wake nothing any more, and are still busy
        self._looks: dict[str, str] = {}  # by process under way in following, the owner that asks about it now
        self._news: dict[Guest, News] = {}
        self._counted: set[str] = set()  # routes whose queue has changed
        self._scheduled = False
        self._scraped: dict[Guest, asyncio.Future[None]] = {}
        self._tasks = Tasks(telemetry)
        self._awaited = set(awaited)
        self.arrived = asyncio.Event()  # set when all who were awaited are there, or gone
        self.lanes = CountedLanes(self._count)
        self.signals = ToldSignals(lambda process_id, sequence: self._spread(process_id, sequence, None))
        self.totals = Totals(telemetry.counts)
        self.allotment = Allotment(self._tell, self._awaited)
        self.following = Following(self._present, telemetry)
        self.pauses = Pauses()
        self.gates = Gatekeeper(store, self.pauses, clock, telemetry, self._gate_changed)
        self._orders: Message = orders_message(())
        self.short_of_memory: dict[str, str | None] = {}  # by owner, why it takes no new work
        self.intake = Intake(lambda shut: self.tell_all("intake", shut))
        self.deliver: Callable[[Delivery, bool], None] = lambda delivery, by_itself: None  # see `Deliverer.made`
        self.calls["begin_look"] = self._begin_look
        self.calls["take"] = Counter(Buckets(clock)).take
        self._arrive("")

    @property
    def serving(self) -> int:
        """How many workers serve clients."""
        return len(self._serving)

    # What the store's end of a connection says.

    async def renew(self, lease: Lease) -> int | None:
        """See `Host.renew`. Whether a term is over is decided by one reading of the clock, here and by the worker."""
        if lease.owner in self._departed:
            return None  # said by one who is gone, and read only now
        await super().renew(lease)
        if lease.owner in self._departed:
            return None
        now = self._clock.boottime()
        if (until := self._until.get(lease.owner)) is not None and until <= now:
            # It is about to say what it holds: what it was lent until then would come on top.
            self._lapse(lease.owner)
        self._until[lease.owner] = lease.until
        return now

    def let_in(self, told: Told, within: QueueLimit) -> bool:
        """See `Host.let_in`."""
        lane = self.lanes.of(told.route)
        there = lane.waiting + lane.coming < within.processes
        if there and lane.waiting_bytes + lane.coming_bytes + told.body_size <= within.bytes:
            lane.expect(1, told.body_size)
            return True
        return False

    def came(self, told: Told) -> None:
        """See `Host.came`."""
        self.lanes.of(told.route).expect(-1, told.body_size)

    def committed(self, guest: Guest, told: Told) -> None:
        """See `Host.committed`."""
        if told.waits:
            self.lanes.count(told.route, told.waits, told.body_size)
        before = (State(told.before), told.before_settling) if told.before is not None else None
        self._telemetry.moved(told.route, before, (State(told.state), told.settling))
        if told.seconds is not None:
            self._latencies.observe(told.route, told.seconds)
        self._spread(told.process_id, told.sequence, guest)
        for parts in told.deliveries:
            self.deliver(*unpack_delivery(parts))
        if told.due_at is None:
            return
        if told.waits == 1 and told.due_at <= self._clock.now():
            self.due(told.route, guest)
        elif guest in self._leaving:
            self.wake(told.route, told.due_at)

    def failed(self, where: str, error: Exception) -> None:
        """See `Host.failed`."""
        self._telemetry.failed(where, error)

    def heard(self, guest: Guest, message: Message) -> None:
        """See `Host.heard`."""
        match message:
            case ("hello", name, revision, held) if name not in self._departed:
                self._welcome(guest, name, revision, held)
            case ("shut",):
                self.intake.drain()  # as an earlier process here was told
            case ("called", route, trial, failed):
                self.gates.leave(route, trial, failed)
            case ("prepared" | "switched", number, answer):
                self.following.answered(number, answer)
            case _ if self._members.get(guest.owner) is guest:
                self._heard_member(guest, message)
            # Else it is said of one who is gone, and read only now: whatever it took would never be given back.

    def _heard_member(self, guest: Guest, message: Message) -> None:
        owner = guest.owner
        match message:
            case ("hold", revision, held):
                self._lapsed.discard(owner)
                guest.tell("held")  # before anything is lent: all that was lent earlier is back
                self._hold(guest, revision, held)
            case ("want", route, concurrency, number) if owner not in self._lapsed:
                self.allotment.want(owner, route, concurrency, number)
            case ("give_back", route, number) if owner not in self._lapsed:
                self.allotment.give_back(owner, route, number)
            case ("end_look", process_id) if self._looks.get(process_id) == owner:
                del self._looks[process_id]
            case ("trial", route) if owner not in self._lapsed:
                if trial := self.gates.enter(route, owner):
                    guest.tell("trial", route, trial)
            case ("memory", reason):
                self.short_of_memory[owner] = reason
            case ("serving",):
                self._serving.add(owner)
            case ("leaving",):
                self._leaving.add(guest)
                # What it postponed so far, the others find in the store.
                self.tell_all("restock")
            case ("counted", counted):
                self._heard_counts(guest, Snapshot._make(counted))

    def caught_up(self, guest: Guest) -> None:
        """See `Host.caught_up`."""
        if guest.missed:
            guest.missed = False
            guest.tell("missed")
            guest.tell("news", [], self._queues(), [])

    def left(self, guest: Guest) -> None:
        """See `Host.left`: the connection is gone; whether its worker is, says the supervisor."""
        self._news.pop(guest, None)
        self._leaving.discard(guest)
        self.following.left(guest)
        self._scrape_done(guest)
        if self._members.get(guest.owner) is guest:
            del self._members[guest.owner]
            self.short_of_memory.pop(guest.owner, None)
            self._serving.discard(guest.owner)

    # What the supervisor and the clock say.

    async def gone(self, owner: str) -> None:
        """The OS process of a worker has ended: its lease is void, and its slots are free.

        Raises:
            StoreUnavailable: its lease runs out by itself then.
        """
        self._departed.add(owner)
        self._forget(owner)
        self._until.pop(owner, None)
        self._lapsed.discard(owner)
        self.totals.departed(owner)
        await self.store.resign(owner)

    def expect(self, until: int) -> None:
        """Whoever is awaited may not come, being frozen: no lease of theirs that is not renewed lasts any longer."""
        for owner in self._awaited:
            self._until.setdefault(owner, until)

    def look_at_leases(self) -> None:
        """Give up the workers whose lease has run out: they can no longer send."""
        now = self._clock.boottime()
        for owner, until in self._until.items():
            if until < now:
                self._lapse(owner)

    # What is told.

    def due(self, route: str, but: Guest | None = None) -> None:
        """Something of a route is due; ``but`` knows."""
        for guest in self._members.values():
            if guest is not but:
                self._news_for(guest).due.add(route)

    def wake(self, route: str, due_at: int) -> None:
        """Something of a route falls due at an instant, and no worker knows."""
        seconds, loop = max(0.0, (due_at - self._clock.now()) / 1000), asyncio.get_running_loop()
        if seconds > LONGEST:
            loop.call_later(LONGEST, self.wake, route, due_at)
        else:
            loop.call_later(seconds, self.due, route)

    def tell_all(self, *message: Any) -> None:
        """Say something to every worker."""
        for guest in self._members.values():
            guest.tell(*message)

    def tell_health(self, reason: str | None) -> None:
        """Whether new work may be recorded."""
        self.tell_all("health", reason)

    def tell_orders(self, orders: Sequence[ModeOrder]) -> None:
        """The modes that were ordered for a while."""
        self._orders = orders_message(orders)
        self.tell_all(*self._orders)

    async def scrape(self, seconds: float) -> None:
        """Have all workers say what they counted; who does not within so many seconds is taken by its last word."""
        asked = []
        for guest in self._present():
            if guest not in self._scraped:
                self._scraped[guest] = asyncio.get_running_loop().create_future()
                guest.tell("count")
            asked.append(self._scraped[guest])
        if asked:
            await asyncio.wait(asked, timeout=seconds)

    # Inside.

    def _present(self) -> list[Guest]:
        return [guest for owner, guest in self._members.items() if owner not in self._lapsed]

    def _tell(self, owner: str, *message: Any) -> None:
        guest = self._members.get(owner)
        if guest is not None:
            guest.tell(*message)

    def _welcome(self, guest: Guest, owner: str, revision: str, held: list[tuple[str, int, int]]) -> None:
        guest.owner = owner
        self._members[owner] = guest
        self._lapsed.discard(owner)
        self._end_looks(owner)  # that they ended may have been lost with an earlier connection
        self._arrive(owner)
        guest.tell("health", self.store.refusal())
        if self.intake.shut:
            guest.tell("intake", True)
        guest.tell(*self._orders)
        guest.tell(*gates_message(self.gates, self.pauses))
        guest.tell("news", [], self._queues(), [])
        self._hold(guest, revision, held)

    def _hold(self, guest: Guest, revision: str, held: list[tuple[str, int, int]]) -> None:
        self.following.runs(guest, revision)
        self.allotment.hold(guest.owner, held, behind=True)
        self._tasks.start(self._bring(guest))

    async def _bring(self, guest: Guest) -> None:
        """Have a worker run what is in force, and only then call for what others have accepted under it."""
        try:
            await self.following.bring(guest)
        finally:
            if self._members.get(guest.owner) is guest:
                self.allotment.ready(guest.owner)

    def _arrive(self, owner: str) -> None:
        self._awaited.discard(owner)
        if not self._awaited:
            self.arrived.set()

    def _lapse(self, owner: str) -> None:
        if owner not in self._lapsed:
            self._lapsed.add(owner)
            self._telemetry.note("worker_lapsed", "warning", worker=owner)
            self._take_back(owner)
            # What it postponed is woken by nobody else.
            self.tell_all("restock")

    def _forget(self, owner: str) -> None:
        self._arrive(owner)
        guest = self._members.pop(owner, None)
        if guest is not None:
            self._news.pop(guest, None)
        self._serving.discard(owner)
        self.short_of_memory.pop(owner, None)
        self._take_back(owner)

    def _take_back(self, owner: str) -> None:
        self.allotment.leave(owner)
        self.gates.left(owner)
        self._end_looks(owner)

    def _end_looks(self, owner: str) -> None:
        self._looks = {process_id: other for process_id, other in self._looks.items() if other != owner}

    async def _begin_look(self, owner: str, process_id: str) -> bool:
        may_look = owner in self._members and owner not in self._lapsed
        return may_look and self._looks.setdefault(process_id, owner) == owner

    def _gate_changed(self, route: str) -> None:
        self.tell_all(*gate_message(route, self.gates, self.pauses))

    def _heard_counts(self, guest: Guest, counted: Snapshot) -> None:
        self.totals.heard(guest.owner, counted)
        self._scrape_done(guest)

    def _scrape_done(self, guest: Guest) -> None:
        future = self._scraped.pop(guest, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _queues(self) -> Mapping[str, tuple[int, int]]:
        return {lane.route: (lane.waiting, lane.waiting_bytes) for lane in self.lanes.all()}

    def _count(self, route: str) -> None:
        self._counted.add(route)
        self._schedule()

    def _spread(self, process_id: str, sequence: int, but: Guest | None) -> None:
        for guest in self._members.values():
            if guest is not but:
                self._news_for(guest).signals.append((process_id, sequence))

    def _news_for(self, guest: Guest) -> News:
        news = self._news.get(guest)
        if news is None:
            news = self._news[guest] = News()
            self._schedule()
        return news

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._tell_news)

    def _tell_news(self) -> None:
        self._scheduled = False
        counted, self._counted = self._counted, set()
        all_news, self._news = self._news, {}
        queues = {route: (lane.waiting, lane.waiting_bytes) for route in counted for lane in (self.lanes.of(route),)}
        for guest in self._members.values():
            news = all_news.get(guest)
            if guest.slow:
                guest.missed = True  # a signal that is lost costs delay, not truth
            elif queues or news is not None:
                signals, due = (news.signals, sorted(news.due)) if news is not None else ([], [])
                guest.tell("news", signals, queues, due)
