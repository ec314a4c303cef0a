"""One worker of several: all rooms of a request, over a store in the hands of the store process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from strangler.config.load import Loaded, Sources
from strangler.config.located import PolicyErrors
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.domain.transitions import Change
from strangler.engine.lanes import Lanes
from strangler.engine.lease import LeaseKeeper
from strangler.engine.pauses import Pauses
from strangler.engine.signals import Signals
from strangler.operations.application import Phase
from strangler.operations.telemetry import Telemetry
from strangler.operations.totals import snapshot
from strangler.runtime import control
from strangler.runtime.child import Given
from strangler.runtime.collector import calm_collector
from strangler.runtime.control import Line
from strangler.runtime.gates import ToldGate, ToldLimiter
from strangler.runtime.memory import Memory
from strangler.runtime.policies import PolicyInForce, read_policy
from strangler.runtime.rooms import Frame, Rooms
from strangler.runtime.slots import LentSlots
from strangler.runtime.tasks import Tasks
from strangler.store.open import store_path
from strangler.store.remote.frames import Message
from strangler.store.remote.store import RemoteStore
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.library import choose_library
from strangler.store.standing import unpacked_mode

_LINGER = 1.0  # seconds for the first request of who has just connected to a worker that goes
_AGAIN = 1.0  # seconds until the store is asked again what is due, where it could not say
_COUNT_EVERY = 1.0  # seconds: a worker that is killed takes no more than this of its counts along


class ToldLanes(Lanes):
    """Lanes whose queues are counted elsewhere, over all workers."""

    def observe(self, change: Change) -> None:
        """See `Lanes.observe`: it comes back as news."""

    def told(self, queues: Mapping[str, tuple[int, int]]) -> None:
        """What waits, by route: processes, and bytes of their bodies."""
        for route, (waiting, size) in queues.items():
            lane = self.of(route)
            lane.waiting, lane.waiting_bytes = waiting, size


class Worker:
    """Made on a running loop.

    Args:
        line: to the supervisor.
        owner: a new UUID each start: of its lease.
        listeners: sockets that the supervisor has bound.

    Raises:
        OperatorError: the store cannot be read.
    """

    def __init__(
        self, given: Given, telemetry: Telemetry, line: Line, owner: str, listeners: Sequence[socket.socket]
    ) -> None:
        settings = given.settings
        path = store_path(settings.store)
        assert path is not None, "a store in memory is one worker's own"
        assert given.identity_key is not None, "the store was opened with it"
        self._given = given
        self._telemetry = telemetry
        self._line = line
        self._listeners = list(listeners)
        self._owner = owner
        self._phase: Phase = "starting"
        self._shut = False  # an operator said that nothing new is taken
        self._asked = asyncio.Event()
        self._leave = asyncio.Event()  # no worker has a call under way any more
        self._in_force = asyncio.Event()
        self._tasks = Tasks(telemetry)
        self._prepared: dict[int, Loaded] = {}
        self._unfit: str | None = None
        clock = SystemClock()
        self._lanes, self._signals = ToldLanes(), Signals()
        self._store = RemoteStore(
            path,
            choose_library(),
            AesGcmSealer(given.identity_key),
            given.socket,
            hello=self._hello,
            on_message=self._heard,
            on_down=lambda: telemetry.note("store_process_away", "error"),
        )
        self._slots = LentSlots(
            settings.workers, self._store.link.tell, self._running, self._more_slots, self._ask_to_look
        )
        self._lease = LeaseKeeper(owner, settings.lease, self._store, clock, telemetry, self._new_term)
        self._policies = PolicyInForce(self._store, telemetry, clock, self._policy_changed)
        pauses = Pauses()
        self._memory = Memory(settings.memory_limit, telemetry)
        self._short_of_memory: str | None = None  # as it was told
        self._gate = ToldGate(pauses, clock, self._store.link.tell, self._has_circuit, self._gate_opened)
        self._rooms = Rooms(
            Frame(
                settings=settings,
                store=self._store,
                identity_key=given.identity_key,
                telemetry=telemetry,
                clock=clock,
                lease=self._lease,
                policies=self._policies,
                lanes=self._lanes,
                signals=self._signals,
                phase=lambda: "draining" if self._shut else self._phase,
                pauses=pauses,
                gate=self._gate,
                limiter=ToldLimiter(self._store.link.ask),
                memory=self._memory,
                slots=self._slots,
            )
        )

    async def run(self) -> None:
        """Serve until the supervisor, or SIGTERM to this worker alone, says that it is over.

        Raises:
            OperatorError: the policy in force does not load here, or a certificate cannot be used.
            StoreUnavailable: the store can be neither read nor written.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._asked.set)
        control.listen(self._line, self._told)
        try:
            await self._begin()
            await self._asked.wait()
            over_at = time.monotonic() + self._rooms.drain_timeout()
            if self._leaves_alone:
                # What is postponed here from now on is woken by the others, and what was lent is of use to them.
                self._store.link.tell("leaving")
                self._gate.give_back()
                # It alone goes, and another one comes: whoever is awake takes what is new, here nothing is refused.
                self._rooms.stop_listening()
                # Whoever has just connected is about to ask, and would be cut off as idle.
                await asyncio.gather(asyncio.sleep(_LINGER), self._rooms.end_calls())
            else:
                await self._rooms.end_calls()
            self._line.tell(drained=True)
            await self._end_answers(over_at)
        finally:
            await self._close()

    @property
    def _leaves_alone(self) -> bool:
        """Whether this worker ends, and the others do not."""
        return self._asked.is_set() and self._phase == "serving"

    async def _end_answers(self, over_at: float) -> None:
        """Whoever waits here may wait for a call of another worker: all end together, or each in its own time."""
        if self._phase == "draining":
            await self._leave.wait()
        else:
            waiting = asyncio.ensure_future(self._rooms.end_answers(self._rooms.drain_timeout()))
            leaving = asyncio.ensure_future(self._leave.wait())
            await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
            for task in (waiting, leaving):
                task.cancel()
        self._rooms.end_waits()
        await self._rooms.end_answers(over_at - time.monotonic())

    async def _begin(self) -> None:
        await self._in_force.wait()
        if self._unfit is not None:
            raise OperatorError(self._unfit)
        await self._rooms.latencies.load()
        await self._lease.renew()
        await self._rooms.executor.restock()
        calm_collector()
        await self._rooms.listen_on(self._listeners)
        self._tasks.start(self._lease.keep())
        self._tasks.start(self._count())
        if self._phase == "starting":  # else it is to drain already
            self._phase = "serving"
        self._store.link.tell("serving")
        self._line.tell(ready=True)
        self._telemetry.note("worker_serves", worker=self._owner, pid=os.getpid())

    # What is said to this worker.

    def _told(self, message: dict[str, Any]) -> None:
        """By the supervisor."""
        match message:
            case {"do": "drain"}:
                self._phase = "draining"
                self._asked.set()
            case {"do": "leave"}:
                self._leave.set()

    def _heard(self, message: Message) -> None:
        """By the store process."""
        match message:
            case ("news", signals, queues, due):
                for process_id, sequence in signals:
                    self._signals.hear(process_id, sequence)
                self._lanes.told(queues)
                for route in due:
                    self._rooms.executor.look(route)
            case ("lend", route, number):
                self._slots.lend(route, number)
            case ("recall", route):
                self._slots.recall(route)
            case ("held",):
                self._slots.heard()
            case ("health", reason):
                self._store.refuses(reason)
            case ("missed",):
                self._tasks.start(self._catch_up())
            case ("intake", shut):
                self._shut = shut
            case ("restock",):
                self._tasks.start(self._restock())
            case ("gate" | "gates" | "trial", *_):
                self._gate.heard(message)
            case ("orders", orders):
                self._policies.put_over([unpacked_mode(order) for order in orders], self._rooms.switch)
            case ("prepare", number, revision, files, contents):
                self._tasks.start(self._prepare(number, revision, Sources(tuple(files), contents)))
            case ("switch", number, prepared):
                self._switch(number, prepared)
            case ("count",):
                self._tell_counts()

    async def _catch_up(self) -> None:
        """News was lost: whoever waits looks again, and so does whoever calls."""
        self._signals.hear_all()
        await self._restock()

    async def _restock(self) -> None:
        """What is due, or falls due, and nobody has told or will tell here, is looked up."""
        while self._phase == "serving":
            try:
                await self._rooms.executor.restock()
                return
            except StoreUnavailable as error:
                self._telemetry.note("supervision_waits", "warning", reason=str(error))
            await asyncio.sleep(_AGAIN)  # nobody says it twice

    async def _prepare(self, number: int, revision: str, sources: Sources) -> None:
        given = self._given
        reasons: list[str] = []
        try:
            await self._policies.recollect()
            loaded = await asyncio.to_thread(read_policy, given.settings, given.paths, given.environ, sources)
        except PolicyErrors as error:
            reasons = [str(finding) for finding in error.findings]
        except StoreUnavailable as error:
            reasons = [f"promises cannot be read: {error}"]
        else:
            if loaded.table.revision != revision:
                reasons = ["a secret has changed while the policy was read; ask again"]
            self._prepared = {number: loaded}
        if reasons and self._phase == "starting":
            self._unfit = "\n".join(reasons)
            self._in_force.set()
        self._store.link.tell("prepared", number, reasons)

    def _switch(self, number: int, prepared: int) -> None:
        loaded = self._prepared.pop(prepared, None)
        if loaded is not None:
            self._policies.put_in_force(loaded, self._rooms.switch)
            self._in_force.set()
        self._store.link.tell("switched", number, loaded is not None)

    # What this worker says.

    def _hello(self) -> list[Message]:
        self._gate.restart()
        self._short_of_memory = None
        if self._phase == "serving":
            # The store may have been away for long: the lease is renewed before it runs out.
            self._tasks.start(self._renew())
        hello: list[Message] = [("hello", self._owner, self._revision(), self._slots.greet())]
        if self._shut:
            hello.append(("shut",))
        if self._phase == "serving":
            hello.append(("serving",))
        if self._leaves_alone:
            hello.append(("leaving",))
        return hello

    def _new_term(self) -> None:
        """The lease ran out, or begins: what was lent before it is lent no longer."""
        self._gate.give_back()
        self._store.link.tell("hold", self._revision(), self._slots.restart())
        self._want_share()
        # What was asked for while it had run out was not heard.
        self._tasks.start(self._restock())

    def _revision(self) -> str:
        return self._policies.loaded.table.revision if self._policies.loaded is not None else ""

    async def _renew(self) -> None:
        try:
            await self._lease.renew()
        except StoreUnavailable as error:
            self._telemetry.note("lease_not_renewed", "error", reason=str(error))
        self._want_share()
        # What only the earlier store process knew, or had yet to tell, nobody is going to be told.
        await self._catch_up()

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_EVERY)
            self._tell_counts()
            self._tell_memory()

    def _tell_memory(self) -> None:
        reason = self._memory.refusal()
        if (reason is None) != (self._short_of_memory is None):
            self._store.link.tell("memory", reason)
            self._short_of_memory = reason

    def _tell_counts(self) -> None:
        self._store.link.tell("counted", tuple(snapshot(self._telemetry.counts)))

    # Slots.

    def _running(self, route: str) -> int:
        return self._lanes.of(route).running

    def _more_slots(self, route: str) -> None:
        self._rooms.executor.pump_all()

    def _has_circuit(self, name: str) -> bool:
        route = self._policies.route_of(name)
        return route is not None and route.call.circuit is not None

    def _gate_opened(self, route: str) -> None:
        self._rooms.executor.look(route)

    async def _ask_to_look(self, process_id: str) -> bool:
        alone: bool = await self._store.link.ask("call", "begin_look", (self._owner, process_id))
        return alone

    def _policy_changed(self) -> None:
        self._rooms.executor.pump_all()
        self._want_share()

    def _want_share(self) -> None:
        """An even share of all slots in advance, so that a first call need not ask. Where there are fewer of them than
        workers, they go to whoever needs one."""
        for route in self._policies.routes():
            if route.records:
                share = route.call.concurrency // self._given.settings.workers
                if self._slots.held(route.name, route.call.concurrency) < share:
                    self._slots.want(route.name, route.call.concurrency, share)

    async def _close(self) -> None:
        await self._tasks.end()
        self._tell_counts()
        await self._rooms.close()
        await self._store.close()
