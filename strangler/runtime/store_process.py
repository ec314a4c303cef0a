"""The store process: owns the SQLite file, watches over what is nobody's, and speaks for all workers to operators."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from strangler.config.load import Loaded
from strangler.config.system import SystemClock, SystemIds
from strangler.domain.errors import StoreUnavailable
from strangler.engine.conclude import Concluder
from strangler.engine.latencies import Latencies
from strangler.engine.lease import LeaseKeeper
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Outcomes
from strangler.engine.supervise import Supervisor
from strangler.operations.application import Operations, Phase
from strangler.operations.metrics import Counts
from strangler.operations.telemetry import Telemetry
from strangler.policy.match import Matcher
from strangler.policy.model import Table
from strangler.runtime import control, desk
from strangler.runtime.all_workers import AllWorkers
from strangler.runtime.child import Given
from strangler.runtime.collector import calm_collector
from strangler.runtime.control import Line
from strangler.runtime.hub import Hub
from strangler.runtime.policies import Policies, read_first
from strangler.runtime.review import Review
from strangler.runtime.server import save_latencies
from strangler.runtime.standing import StandingOrders
from strangler.runtime.tasks import Tasks, repeat, watch_refusal
from strangler.runtime.telling import Telling
from strangler.store.known_key import require_known
from strangler.store.open import store_path
from strangler.store.sealing import AesGcmSealer, load_identity_key
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.store import SqliteStore
from strangler.upstream import Caller

_LOOK_EVERY = 0.5  # seconds between two looks at leases
_NANOSECONDS = 1_000_000_000
_SCRAPE = 1.0  # seconds for a worker to say what it counted


class _NoSwitch:
    """No request comes here."""

    def load(self, table: Table, matcher: Matcher, remembered: frozenset[str]) -> None:
        """See `TakesTable.load`."""


class StoreProcess:
    """Made on a running loop.

    Args:
        line: to the supervisor.
        listener: where workers connect.
        ops: where operators connect.
        living: owners of leases that live on, where an earlier store process has died; None: this is the first.

    Raises:
        OperatorError: the policy does not load; the store is another's, is in use, or cannot be opened.
    """

    def __init__(
        self,
        given: Given,
        telemetry: Telemetry,
        line: Line,
        listener: socket.socket,
        ops: socket.socket,
        living: Collection[str] | None,
    ) -> None:
        settings = given.settings
        path = store_path(settings.store)
        assert path is not None, "a store in memory is one worker's own"
        self._given = given
        self._telemetry = telemetry
        self._line = line
        self._listener = listener
        self._ops = ops
        self._restarted = living is not None
        self._found = None if self._restarted else read_first(settings, given.paths, given.environ)
        self._phase: Phase = "starting"
        self._ended = asyncio.Event()
        self._begun = asyncio.Event()
        self._tasks = Tasks(telemetry)
        self._clock = SystemClock()
        self._identity_key = given.identity_key or load_identity_key(settings.identity_key, path)
        self._store = self._opened(path, living or ())
        self._latencies = Latencies(self._store)
        self._hub = Hub(self._store, self._clock, telemetry, self._latencies, living or ())
        self._lease = LeaseKeeper(str(uuid.uuid4()), settings.lease, self._store, self._clock, telemetry)
        self._policies = Policies(
            settings,
            given.paths,
            given.environ,
            self._store,
            telemetry,
            self._clock,
            self._policy_changed,
            self._hub.following,
        )
        self._orders = StandingOrders(
            self._store, self._hub.gates, self._policies, self._clock, telemetry, self._hub.tell_orders
        )
        self._telling = Telling(self._store, self._policies, self._clock, self._hub.pauses, telemetry)
        self._hub.deliver = self._telling.deliverer.made
        notifier = Notifier(
            self._hub.lanes, Outcomes(), self._hub.signals, self._latencies, telemetry, self._telling.deliverer.raised
        )
        self._executes = AllWorkers(self._hub)
        self._supervisor = self._supervision(notifier)
        self._review = self._reviewing(notifier)
        self._pass, self._operations = self._desk(notifier)
        self._watch()

    def _watch(self) -> None:
        telemetry = self._telemetry
        telemetry.watch_queues(lambda: self._hub.lanes.readings(self._clock.now()))
        telemetry.watch_wal(self._store.wal_size)
        telemetry.watch_standing(self._orders.readings)
        telemetry.watch_memory(lambda: sum(reason is not None for reason in self._hub.short_of_memory.values()))

    def _opened(self, path: Path, living: Collection[str]) -> SqliteStore:
        sealer, settings = AesGcmSealer(self._identity_key), self._given.settings
        store = SqliteStore(
            path,
            choose_library(),
            sealer,
            self._clock,
            on_group_commit=self._telemetry.group_commit,
            disk_reserve=settings.disk_reserve,
            living=living,
        )
        self._telemetry.note("store_open", location=store.location, software=store.software, pid=os.getpid())
        return store

    def _desk(self, notifier: Notifier) -> tuple[desk.Pass, Operations]:
        """What operators are served with, and the token of this machine's command line."""
        reach = desk.Reach(
            store=self._store,
            clock=self._clock,
            pauses=self._hub.pauses,
            policies=self._policies,
            queues=self._hub.totals.queues,
            notifier=notifier,
            executes=self._executes,
            orders=self._orders,
            intake=self._hub.intake,
            phase=self._current_phase,
            review=self._review,
            telling=self._telling,
        )
        return desk.opened(reach, self._given.settings, self._telemetry, self._degraded, self._scrape)

    def _reviewing(self, notifier: Notifier) -> Review:
        return Review(
            self._store,
            notifier,
            self._clock,
            self._hub.pauses,
            self._executes.wake,
            self._hub.gates,
            self._telling,
            self._telemetry,
        )

    def _supervision(self, notifier: Notifier) -> Supervisor:
        means = Means(
            store=self._store,
            bodies=self._store,
            upkeep=self._store,
            health=self._store,
            upstream=Caller(max_head=self._given.settings.max_head),
            clock=self._clock,
            ids=SystemIds(),
            instrument=self._telemetry,
            lease=self._lease,
            pauses=self._hub.pauses,
            route_of=self._policies.route_of,
            promise_of=self._policies.promise_of,
        )
        return Supervisor(means, self._executes, Concluder(means, notifier))

    async def run(self) -> None:
        """Serve until the supervisor says that it is over.

        Raises:
            OperatorError: the policy does not load, or the store was written under another identity key.
            StoreUnavailable: the store can be neither read nor written.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)  # the supervisor says when
        # What the supervisor would take away in the end, whoever outlives it does.
        control.listen(self._line, self._heard, lambda: shutil.rmtree(self._given.folder, ignore_errors=True))
        try:
            await require_known(self._store, self._store.location, self._identity_key)
            await self._operations.start_on(self._ops)
            address = self._operations.addresses[-1]
            self._pass.write(address)
            self._telemetry.note("operations_listen", address=address)
            await self._begin()
            # Not `create_unix_server`, which takes the file of a socket away when it is closed (Python 3.13).
            server = await asyncio.get_running_loop().create_server(self._hub.guest, sock=self._listener)
            self._line.tell(ready=True)
            await self._ended.wait()
            server.close()
            await self._telling.drain()
        finally:
            await self._close()

    async def _begin(self) -> None:
        await self._latencies.load()
        loaded = await self._first_policy()
        await self._orders.begin()
        self._hub.tell_orders(self._policies.orders)
        await self._policies.begin(loaded, _NoSwitch())
        self._telemetry.seed(await self._store.census())
        if self._restarted:
            # The workers live, and so do their calls: what is nobody's is looked for when they had the time to say so.
            await self._lease.renew()
            await self._executes.restock()
        else:
            await self._supervisor.recover()
        await self._telling.begin()
        self._hub.expect(self._clock.boottime() + round(self._given.settings.lease * _NANOSECONDS))
        for work in (
            self._lease.keep(),
            self._supervise(),
            self._supervisor.sweep(),
            self._telling.deliverer.watch(),
            repeat(self._hub.look_at_leases, _LOOK_EVERY, "leases", self._telemetry),
            watch_refusal(self._store, self._refuses),
            save_latencies(self._latencies, self._telemetry),
            self._policies.watch(),
            *self._review.works(self._given.settings.reconcile_every),
        ):
            self._tasks.start(work)
        calm_collector()
        self._begun.set()

    def _policy_changed(self) -> None:
        self._hub.gates.load({route.name: route for route in self._policies.routes()})
        self._telling.deliverer.policy_changed()

    async def _first_policy(self) -> Loaded:
        if self._restarted and (loaded := await self._policies.restored()) is not None:
            return loaded
        if self._found is None:
            given = self._given
            self._found = await asyncio.to_thread(read_first, given.settings, given.paths, given.environ)
        return await self._policies.first(self._found)

    async def _supervise(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hub.arrived.wait(), self._given.settings.lease)
        await self._supervisor.watch()

    def _refuses(self, reason: str | None) -> None:
        self._telemetry.store_refuses(reason)
        self._hub.tell_health(reason)

    def _heard(self, message: dict[str, Any]) -> None:
        match message:
            case {"do": "reload"}:
                self._tasks.start(self._reload())
            case {"do": "drain"}:
                self._phase = "draining"
            case {"do": "end"}:
                self._ended.set()
            case {"gone": owner}:
                self._tasks.start(self._gone(owner))

    async def _reload(self) -> None:
        await self._begun.wait()
        await self._policies.reload()

    async def _gone(self, owner: str) -> None:
        """A worker's OS process has ended: what it had under way is settled at once."""
        await self._begun.wait()
        try:
            await self._hub.gone(owner)
            if self._phase != "draining":
                await self._supervisor.look()
        except StoreUnavailable as error:
            self._telemetry.note("supervision_waits", "warning", reason=str(error))
        self._hub.tell_all("restock")

    def _current_phase(self) -> Phase:
        if self._phase == "starting" and (
            self._hub.serving >= self._given.settings.workers or (self._restarted and self._hub.serving)
        ):
            self._phase = "serving"
        if self._phase == "serving":
            return "starting" if not self._hub.serving else "draining" if self._hub.intake.shut else "serving"
        return self._phase

    def _degraded(self) -> Mapping[str, str]:
        degraded = dict(self._orders.degraded(self._telemetry.waiting()))
        if short := [reason for reason in self._hub.short_of_memory.values() if reason is not None]:
            degraded["memory"] = f"{len(short)} of {self._given.settings.workers} workers: {short[0]}"
        if (reason := self._store.refusal()) is not None:
            degraded["store"] = reason
        if self._phase == "serving" and self._hub.serving < self._given.settings.workers:
            degraded["workers"] = f"{self._hub.serving} of {self._given.settings.workers} serve"
        return degraded

    async def _scrape(self) -> Counts:
        await self._hub.scrape(_SCRAPE)
        return self._hub.totals.counts()

    async def _close(self) -> None:
        self._orders.close()
        await self._tasks.end()
        await self._review.close()
        with contextlib.suppress(StoreUnavailable):
            await self._latencies.save()
            await self._lease.resign()
        for guest in list(self._hub.guests):
            guest.close()
        await self._telling.close()
        await self._store.close()
        await self._operations.stop()
        self._pass.forget()
