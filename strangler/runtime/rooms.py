"""The rooms that a request goes through in one worker, put together: front, gateway and engine over one store."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

from strangler.config.settings import Settings
from strangler.config.system import SystemClock, SystemIds
from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.domain.exchange import Request, authority
from strangler.domain.transitions import Change
from strangler.engine.accept import Acceptor
from strangler.engine.admission import Admission
from strangler.engine.authorize import Authorizer
from strangler.engine.commands import Commands
from strangler.engine.conclude import Concluder
from strangler.engine.execute import Executor
from strangler.engine.lanes import Lanes
from strangler.engine.latencies import Latencies
from strangler.engine.lease import LeaseKeeper
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.outcomes import Outcomes
from strangler.engine.pauses import Pauses
from strangler.engine.queries import Queries
from strangler.engine.signals import Signals
from strangler.engine.streams import Streams
from strangler.engine.tls import judge_alike
from strangler.engine.verify import Verifier
from strangler.front.listener import Front
from strangler.front.settings import Settings as FrontSettings
from strangler.gateway.acceptance import Recording
from strangler.gateway.cors import Cors
from strangler.gateway.limiting import Limiting
from strangler.gateway.resources import Resources
from strangler.gateway.switch import Switch
from strangler.gateway.urls import Site, public_base
from strangler.operations.application import Phase
from strangler.operations.telemetry import Telemetry
from strangler.policy.model import Route
from strangler.policy.trust import TrustedNetworks
from strangler.ports import Gate, Limiter, Slots
from strangler.runtime.listeners import bind, close
from strangler.runtime.memory import Memory
from strangler.runtime.policies import PolicyInForce
from strangler.store import WorkerStore
from strangler.upstream import Caller, Connections, PublishedKeys

_DRAIN_MARGIN = 5.0
_LAST_ANSWERS = 5.0  # seconds for what clients still read when all calls have ended, at the least


class Frame(NamedTuple):
    """What the rooms stand on, and share with whoever put them together."""

    settings: Settings
    store: WorkerStore
    identity_key: bytes
    telemetry: Telemetry
    clock: SystemClock
    lease: LeaseKeeper
    policies: PolicyInForce
    lanes: Lanes
    signals: Signals
    phase: Callable[[], Phase]
    pauses: Pauses
    gate: Gate
    limiter: Limiter
    memory: Memory
    slots: Slots | None = None  # None: this worker is the only one
    deliver: Callable[[Change], None] = lambda change: None  # told each change that made deliveries


class Rooms:
    """All that stands between a client and the upstream."""

    def __init__(self, frame: Frame) -> None:
        settings, store, telemetry, policies = frame.settings, frame.store, frame.telemetry, frame.policies
        self._frame = frame
        trusted = TrustedNetworks(settings.trust_forwarded)
        self.latencies = Latencies(store)
        self._connections = Connections(max_head=settings.max_head)
        self._caller = Caller(max_head=settings.max_head)
        self._site = Site(settings.public_url, trusted, ())
        self._tls: ssl.SSLContext | None = None
        self._bound: list[socket.socket] = []  # ours: until `stop_listening`, nobody else's
        outcomes = Outcomes()
        notifier = self.notifier = Notifier(
            frame.lanes, outcomes, frame.signals, self.latencies, telemetry, frame.deliver
        )
        self.means = Means(
            store=store,
            bodies=store,
            upkeep=store,
            health=store,
            upstream=self._caller,
            clock=frame.clock,
            ids=SystemIds(),
            instrument=telemetry,
            lease=frame.lease,
            pauses=frame.pauses,
            route_of=policies.route_of,
            promise_of=policies.promise_of,
        )
        self.concluder = Concluder(self.means, notifier)
        self.executor = Executor(self.means, frame.lanes, outcomes, self.concluder, notifier, frame.slots, frame.gate)
        self.commands = Commands(store, notifier, frame.clock)
        self._streams, cors = Streams(store, frame.signals), Cors()
        self._admission = self._made_admission(trusted)
        recording = Recording(
            self._acceptor(notifier, trusted),
            store,
            store,
            frame.signals,
            outcomes,
            self.latencies,
            frame.clock,
            telemetry,
            self._base_of,
            policies.promise_of,
            self.commands.forgo,
            self.commands.promise,
            frame.identity_key,
            frame.pauses,
        )
        resources = self._resources(cors)
        self.switch = Switch(recording, resources.respond, cors, self._admission, telemetry, trusted)
        self._front = Front(self.switch.direct, self._connections, telemetry, front_settings(settings, trusted))
        telemetry.watch_queues(lambda: frame.lanes.readings(frame.clock.now()))
        telemetry.watch_streams(resources.open_streams)

    def _made_admission(self, trusted: TrustedNetworks) -> Admission:
        frame, means = self._frame, self.means
        return Admission(
            Verifier(PublishedKeys(self._caller), frame.clock, frame.telemetry),
            Authorizer(
                self._caller,
                frame.clock,
                means.ids,
                frame.telemetry,
                identity_key=frame.identity_key,
                trusted=trusted.peer,
            ),
            frame.store,
            frame.telemetry,
            frame.policies.route_of,
        )

    def _acceptor(self, notifier: Notifier, trusted: TrustedNetworks) -> Acceptor:
        frame = self._frame
        return Acceptor(
            self.means,
            frame.lanes,
            self.executor,
            notifier,
            self._admission,
            identity_key=frame.identity_key,
            trusted=trusted,
            draining=lambda: frame.phase() == "draining",
            limiter=frame.limiter,
            overloaded=frame.memory.refusal,
            revision=frame.policies.revision,
            receivers=frame.policies.receivers,
        )

    def _resources(self, cors: Cors) -> Resources:
        frame, policies = self._frame, self._frame.policies
        return Resources(
            Queries(frame.store, frame.signals, frame.clock),
            self.commands,
            frame.store,
            self.latencies,
            frame.clock,
            frame.telemetry,
            promise_of=policies.promise_of,
            promises_of=policies.promises_of,
            identity_key=frame.identity_key,
            admission=self._admission,
            limiting=Limiting(
                frame.limiter, policies.route_of, frame.telemetry, frame.identity_key, self._site.trusted
            ),
            pauses=frame.pauses,
            streams=self._streams,
            cors=cors,
        )

    def bind(self) -> None:
        """Take the addresses of the settings, before anything is called: else calls would be cut off, and in doubt.
        From now on nobody else gets them, and clients wait until `listen`.

        Raises:
            OperatorError: an address cannot be listened on, a certificate or key cannot be used.
        """
        self._tls = server_tls(self._frame.settings)
        self._bound = bind(self._frame.settings.listen)

    async def listen(self) -> None:
        """Serve who comes to the addresses that `bind` took."""
        await self._serve_on(self._bound, self._tls)
        for one in self._bound:
            if one.family == socket.AF_UNIX:
                self._frame.telemetry.note("listen", address=f"unix:{one.getsockname()}")
            else:
                address = authority(*one.getsockname()[:2])
                self._frame.telemetry.note("listen", address=address, tls=self._tls is not None)

    async def listen_on(self, listeners: Sequence[socket.socket]) -> None:
        """Listen on sockets that somebody else has bound, and keeps open in another OS process.

        Raises:
            OperatorError: a certificate or key cannot be used.
        """
        await self._serve_on(listeners, server_tls(self._frame.settings))
        for one in listeners:
            one.close()  # the front has it: with that the last of it is closed here

    async def _serve_on(self, listeners: Sequence[socket.socket], tls: ssl.SSLContext | None) -> None:
        listens: list[str] = []
        for listener in listeners:
            if listener.family == socket.AF_UNIX:
                await self._front.listen(listener.dup())
            else:
                listens.append(authority(*await self._front.listen(listener.dup(), tls=tls)))
        self._site = self._site._replace(listens=tuple(listens))

    def stop_listening(self) -> None:
        """Take no more connections, and close each one after its next answer."""
        self._leave_addresses()
        self._front.drain(idle=False)

    async def end_calls(self) -> None:
        """Claim nothing more, end the calls under way, and give back what was not sent."""
        telemetry = self._frame.telemetry
        telemetry.note("draining", timeout=self.drain_timeout())
        given_up = await self.executor.drain(self.drain_timeout())
        if given_up:
            telemetry.note("drained_with_doubt", "warning", calls=given_up)

    def end_waits(self) -> None:
        """Let go whoever waits for a process or follows one: no call of it is going to end here."""
        self._streams.end()
        self._frame.signals.end()

    async def end_answers(self, seconds: float = 0.0) -> None:
        """Take no more connections, end the streams, and serve what is under way to its end; so many seconds at most,
        and a few in any case."""
        self._streams.end()
        self._front.drain()
        self._leave_addresses()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, _LAST_ANSWERS)):
                await self._front.drained()

    async def close(self) -> None:
        """Close all connections, and give the lease back."""
        self._leave_addresses()
        await self._front.close()
        self._admission.close()
        with contextlib.suppress(StoreUnavailable):
            await self._frame.lease.resign()
        self._connections.close()
        self._caller.close()

    def _leave_addresses(self) -> None:
        # Ours as well as those of the front: in the backlog of one that is left open clients would wait for nobody.
        self._front.stop_listening()
        close(self._bound)
        self._bound = []

    def _base_of(self, request: Request, route: Route) -> str:
        return public_base(request, self._site, route_url=route.public_url, hosts=route.match.hosts)

    def drain_timeout(self) -> float:
        """What was set, else time enough for the longest call that a route allows."""
        if self._frame.settings.drain_timeout is not None:
            return self._frame.settings.drain_timeout
        routes = self._frame.policies.routes()
        return max((route.call.timeout for route in routes), default=0.0) + _DRAIN_MARGIN


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
    judge_alike(context)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise OperatorError(f"--tls-cert {settings.tls_cert}: {error}") from error
    return context
