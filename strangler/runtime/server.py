"""One server: all rooms put together, started, drained and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from strangler.config.load import Loaded
from strangler.config.settings import Settings
from strangler.config.system import SystemClock, SystemIds
from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.domain.exchange import Request
from strangler.engine.accept import Acceptor
from strangler.engine.commands import Commands
from strangler.engine.conclude import Concluder
from strangler.engine.execute import Executor
from strangler.engine.lanes import Lanes
from strangler.engine.latencies import Latencies
from strangler.engine.lease import LeaseKeeper
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Outcomes
from strangler.engine.queries import Queries
from strangler.engine.signals import Signals
from strangler.engine.streams import Streams
from strangler.engine.supervise import Supervisor
from strangler.front.listener import Front
from strangler.front.settings import Settings as FrontSettings
from strangler.gateway.acceptance import Recording
from strangler.gateway.cors import Cors
from strangler.gateway.resources import Resources
from strangler.gateway.switch import Switch
from strangler.gateway.urls import Site, public_base
from strangler.operations.application import Health, Operations, Phase
from strangler.operations.telemetry import Telemetry
from strangler.policy.model import Route
from strangler.policy.trust import TrustedNetworks
from strangler.runtime.policies import Policies
from strangler.store import Store
from strangler.upstream import Caller, Connections

_SAVE_EVERY = 60.0  # seconds between two savings of the latency sketches
_DRAIN_MARGIN = 5.0
_LAST_ANSWERS = 5.0  # seconds for what clients still read when all calls have ended


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
        self._telemetry = telemetry
        self._phase: Phase = "starting"
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = SystemClock()
        trusted = TrustedNetworks(settings.trust_forwarded)
        self._lanes = Lanes()
        self._latencies = Latencies(store)
        self._connections = Connections(max_head=settings.max_head)
        self._caller = Caller(max_head=settings.max_head)
        self._lease = LeaseKeeper(str(uuid.uuid4()), settings.lease, store, self._clock, telemetry)
        signals, outcomes = Signals(), Outcomes()
        notifier = Notifier(self._lanes, outcomes, signals, self._latencies, telemetry)
        self.policies = Policies(paths, environ, settings.lease, store, telemetry, self._policy_changed)
        means = Means(
            store=store,
            bodies=store,
            upkeep=store,
            health=store,
            upstream=self._caller,
            clock=self._clock,
            ids=SystemIds(),
            instrument=telemetry,
            lease=self._lease,
            route_of=self.policies.route_of,
            promise_of=self.policies.promise_of,
        )
        concluder = Concluder(means, notifier)
        self._executor = Executor(means, self._lanes, outcomes, concluder, notifier)
        self._supervisor = Supervisor(means, self._executor, concluder)
        self._site = Site(settings.public_url, trusted, ())
        acceptor = Acceptor(
            means,
            self._lanes,
            self._executor,
            notifier,
            identity_key=identity_key,
            trusted=trusted.peer,
            draining=lambda: self._phase == "draining",
        )
        recording = Recording(
            acceptor,
            store,
            store,
            signals,
            outcomes,
            self._latencies,
            self._clock,
            telemetry,
            self._base_of,
            self.policies.promise_of,
            identity_key,
        )
        self._streams, cors = Streams(store, signals), Cors()
        resources = Resources(
            Queries(store, signals),
            Commands(store, notifier, self._clock),
            store,
            self._latencies,
            self._clock,
            telemetry,
            promise_of=self.policies.promise_of,
            promises_of=self.policies.promises_of,
            identity_key=identity_key,
            streams=self._streams,
            cors=cors,
        )
        self._switch = Switch(recording, resources.respond, cors, telemetry)
        self._front = Front(self._switch.direct, self._connections, telemetry, front_settings(settings, trusted))
        self._operations = Operations(
            telemetry, Health(lambda: self._phase, self._degraded), self.policies.reload, settings.ops_host
        )
        telemetry.watch_queues(lambda: self._lanes.readings(self._clock.now()))
        telemetry.watch_wal(store.wal_size)
        telemetry.watch_streams(resources.open_streams)

    async def start(self, loaded: Loaded) -> None:
        """Recover what an earlier run left, then listen.

        Raises:
            OSError: an address cannot be listened on.
            StoreUnavailable: the store can be neither read nor written.
        """
        await self._operations_listen()
        await self._latencies.load()
        await self.policies.begin(loaded, self._switch)
        self._telemetry.seed(await self._store.census())
        await self._supervisor.recover()
        await self._front_listen()
        for work in (
            self._lease.keep(),
            self._supervisor.watch(),
            self._supervisor.sweep(),
            self._save_latencies(),
            self.policies.watch(),
        ):
            self._spawn(work)
        self._phase = "serving"

    async def drain(self) -> None:
        """Take no new work, end what is under way, give back what was not sent; then close everything."""
        self._phase = "draining"
        self._telemetry.note("draining", timeout=self._drain_timeout())
        given_up = await self._executor.drain(self._drain_timeout())
        if given_up:
            self._telemetry.note("drained_with_doubt", "warning", calls=given_up)
        self._streams.end()
        self._front.drain()
        self._front.stop_listening()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_ANSWERS):
                await self._front.drained()
        await self.close()

    async def close(self) -> None:
        """End, without waiting for anybody."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._front.close()
        with contextlib.suppress(StoreUnavailable):
            await self._latencies.save()
            await self._lease.resign()
        self._connections.close()
        self._caller.close()
        await self._store.close()
        await self._operations.stop()

    def _base_of(self, request: Request, route: Route) -> str:
        return public_base(request, self._site, route_url=route.public_url, hosts=route.match.hosts)

    def _policy_changed(self) -> None:
        self._executor.pump_all()

    def _degraded(self) -> Mapping[str, str]:
        reason = self._store.refusal()
        self._telemetry.store_refuses(reason)
        return {"store": reason} if reason is not None else {}

    def _drain_timeout(self) -> float:
        """What was set, else time enough for the longest call that a route allows."""
        if self._settings.drain_timeout is not None:
            return self._settings.drain_timeout
        loaded = self.policies.loaded
        routes = loaded.table.routes.values() if loaded is not None else ()
        return max((route.call.timeout for route in routes), default=0.0) + _DRAIN_MARGIN

    async def _operations_listen(self) -> None:
        ops = self._settings.ops
        if ops.path:
            await self._operations.start_unix(ops.path)
        else:
            await self._operations.start(ops.host, ops.port)
        self._telemetry.note("operations_listen", address=self._operations.addresses[-1])

    async def _front_listen(self) -> None:
        tls = server_tls(self._settings)
        listens: list[str] = []
        for address in self._settings.listen:
            if address.path:
                await self._front.listen(unix=address.path)
                self._telemetry.note("listen", address=str(address))
                continue
            host, port = await self._front.listen(address.host, address.port, tls=tls)
            listens.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            self._telemetry.note("listen", address=listens[-1], tls=tls is not None)
        self._site = self._site._replace(listens=tuple(listens))

    async def _save_latencies(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_EVERY)
            try:
                await self._latencies.save()
            except StoreUnavailable as error:
                self._telemetry.note("latencies_not_saved", "warning", reason=str(error))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))


def front_settings(settings: Settings, trusted: TrustedNetworks) -> FrontSettings:
    """The part of the settings that is about clients."""
    return FrontSettings(
        head_timeout=settings.head_timeout,
        body_idle_timeout=settings.body_idle_timeout,
        keepalive=settings.keepalive,
        max_head=settings.max_head,
        max_clients=settings.max_clients,
        trusted=trusted,
    )


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS of the public listener; None: it speaks plainly.

    Raises:
        OperatorError: a certificate or key cannot be used.
    """
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise OperatorError(f"--tls-cert {settings.tls_cert}: {error}") from error
    return context
