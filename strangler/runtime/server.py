"""One server in one OS process: all rooms put together, started, drained and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from strangler.config.load import Loaded
from strangler.config.settings import Settings
from strangler.config.system import SystemClock
from strangler.domain.errors import StoreUnavailable
from strangler.engine.gates import Gatekeeper
from strangler.engine.lanes import Lanes
from strangler.engine.latencies import Latencies
from strangler.engine.lease import LeaseKeeper
from strangler.engine.limits import Buckets
from strangler.engine.pauses import Pauses
from strangler.engine.signals import Signals
from strangler.engine.supervise import Supervisor
from strangler.operations.application import Operations, Phase
from strangler.operations.telemetry import Telemetry
from strangler.runtime import desk
from strangler.runtime.intake import Intake
from strangler.runtime.listeners import bind_path, blaming, close
from strangler.runtime.memory import Memory
from strangler.runtime.policies import Policies
from strangler.runtime.review import Review
from strangler.runtime.rooms import Frame, Rooms
from strangler.runtime.standing import StandingOrders
from strangler.runtime.tasks import Tasks, watch_refusal
from strangler.runtime.telling import Telling
from strangler.store import Store
from strangler.store.known_key import require_known

_SAVE_EVERY = 60.0  # seconds between two savings of the latency sketches


class Server:
    """One worker with everything in it."""

    def __init__(
        self,
        settings: Settings,
        paths: Sequence[Path],
        environ: Mapping[str, str],
        store: Store,
        identity_key: bytes,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._store = store
        self._identity_key = identity_key
        self._telemetry = telemetry
        self._phase: Phase = "starting"
        self._tasks = Tasks(telemetry)
        self._ops_bound: list[socket.socket] = []  # where operations listen by a name in the file system
        self._intake = Intake()
        clock = SystemClock()
        self._lanes = Lanes()
        self._lease = LeaseKeeper(str(uuid.uuid4()), settings.lease, store, clock, telemetry)
        self.policies = Policies(
            settings,
            paths,
            environ,
            store,
            telemetry,
            clock,
            self._policy_changed,
        )
        pauses = Pauses()
        self._memory = Memory(settings.memory_limit, telemetry)
        self._gates = Gatekeeper(store, pauses, clock, telemetry, self._gate_changed)
        self._orders = StandingOrders(store, self._gates, self.policies, clock, telemetry)
        self._telling = Telling(store, self.policies, clock, pauses, telemetry)
        self._rooms = Rooms(self._frame(clock, pauses))
        self._supervisor = Supervisor(self._rooms.means, self._rooms.executor, self._rooms.concluder)
        self._review = Review(
            store, self._rooms.notifier, clock, pauses, self._rooms.executor.wake, self._gates, self._telling, telemetry
        )
        self._pass, self._operations = self._desk(clock, pauses)
        telemetry.watch_wal(store.wal_size)
        telemetry.watch_standing(self._orders.readings)
        telemetry.watch_memory(lambda: int(self._memory.refusal() is not None))

    def _frame(self, clock: SystemClock, pauses: Pauses) -> Frame:
        return Frame(
            settings=self._settings,
            store=self._store,
            identity_key=self._identity_key,
            telemetry=self._telemetry,
            clock=clock,
            lease=self._lease,
            policies=self.policies,
            lanes=self._lanes,
            signals=Signals(),
            phase=self._current_phase,
            pauses=pauses,
            gate=self._gates,
            limiter=Buckets(clock),
            memory=self._memory,
            deliver=self._telling.deliverer.raised,
        )

    def _desk(self, clock: SystemClock, pauses: Pauses) -> tuple[desk.Pass, Operations]:
        """What operators are served with, and the token of this machine's command line."""
        reach = desk.Reach(
            store=self._store,
            clock=clock,
            pauses=pauses,
            policies=self.policies,
            queues=lambda: self._lanes.readings(clock.now()),
            notifier=self._rooms.notifier,
            executes=self._rooms.executor,
            orders=self._orders,
            intake=self._intake,
            phase=self._current_phase,
            review=self._review,
            telling=self._telling,
        )
        return desk.opened(reach, self._settings, self._telemetry, self._degraded)

    @property
    def started(self) -> bool:
        """Whether it has begun to serve."""
        return self._phase != "starting"

    async def start(self, loaded: Loaded) -> None:
        """Take the addresses, recover what an earlier run left, then serve whoever waits there.

        Raises:
            OperatorError: an address cannot be listened on, or the store was written under another identity key.
            StoreUnavailable: the store can be neither read nor written.
        """
        await require_known(self._store, self._store.location, self._identity_key)
        await self._operations_listen()
        self._rooms.bind()
        await self._rooms.latencies.load()
        await self._orders.begin()
        await self.policies.begin(loaded, self._rooms.switch)
        self._telemetry.seed(await self._store.census())
        await self._supervisor.recover()
        await self._telling.begin()
        await self._rooms.listen()
        for work in (
            self._lease.keep(),
            self._supervisor.watch(),
            self._supervisor.sweep(),
            self._telling.deliverer.watch(),
            save_latencies(self._rooms.latencies, self._telemetry),
            watch_refusal(self._store, self._telemetry.store_refuses),
            self.policies.watch(),
            *self._review.works(self._settings.reconcile_every),
        ):
            self._tasks.start(work)
        self._phase = "serving"

    async def drain(self) -> None:
        """Take no new work, end what is under way, give back what was not sent; then close everything."""
        self._phase = "draining"
        over_at = time.monotonic() + self._rooms.drain_timeout()
        await self._rooms.end_calls()
        self._rooms.end_waits()
        await asyncio.gather(self._rooms.end_answers(over_at - time.monotonic()), self._telling.drain())
        await self.close()

    async def close(self) -> None:
        """End, without waiting for anybody."""
        self._orders.close()
        await self._tasks.end()
        await self._review.close()
        with contextlib.suppress(StoreUnavailable):
            await self._rooms.latencies.save()
        await self._rooms.close()
        await self._telling.close()
        await self._store.close()
        close(self._ops_bound)
        self._ops_bound = []
        await self._operations.stop()
        self._pass.forget()

    def _policy_changed(self) -> None:
        self._gates.load({route.name: route for route in self.policies.routes()})
        self._rooms.executor.pump_all()
        self._telling.deliverer.policy_changed()

    def _gate_changed(self, route: str) -> None:
        if self._gates.shut(route) is None:
            self._rooms.executor.look(route)

    def _current_phase(self) -> Phase:
        return "draining" if self._intake.shut and self._phase == "serving" else self._phase

    def _degraded(self) -> Mapping[str, str]:
        reason = self._store.refusal()
        degraded = dict(self._orders.degraded(self._telemetry.waiting()))
        if (memory := self._memory.refusal()) is not None:
            degraded["memory"] = memory
        return {**degraded, "store": reason} if reason is not None else degraded

    async def _operations_listen(self) -> None:
        ops = self._settings.ops
        with blaming(ops, "--ops"):
            if ops.path:
                self._ops_bound = [bind_path(ops.path)]
                await self._operations.start_on(self._ops_bound[0].dup())
            else:
                await self._operations.start(ops.host, ops.port)
        address = self._operations.addresses[-1]
        self._pass.write(address)
        self._telemetry.note("operations_listen", address=address)


async def save_latencies(latencies: Latencies, telemetry: Telemetry) -> None:
    """Keep what was learnt, every minute, for ever."""
    while True:
        await asyncio.sleep(_SAVE_EVERY)
        try:
            await latencies.save()
        except StoreUnavailable as error:
            telemetry.note("latencies_not_saved", "warning", reason=str(error))
