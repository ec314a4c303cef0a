"""The private listener: health, metrics, and the commands of an operator.

Nothing here is for clients. The doors keep out the browser of an operator that was led here by somebody else's page
(`doors`); who may read and who may change is said by the table of endpoints (`api`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

from aiohttp import web

from strangler.domain.exchange import authority
from strangler.operations.api import openapi
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Refusal, Role, Text, Told
from strangler.operations.api.schemas import COUNT, TEXT, a_list, an_object, one_of
from strangler.operations.api.serving import Backing, problem_response, served
from strangler.operations.connection import Connection
from strangler.operations.doors import host_name, host_refusal, origin_refusal
from strangler.operations.metrics import CONTENT_TYPE, Counts, Exposition
from strangler.operations.telemetry import Telemetry

Phase = Literal["starting", "serving", "draining"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SHUTDOWN = 2.0  # seconds for what is being answered when the listener stops


class Reloaded(NamedTuple):
    """All workers have switched to the policy that was read."""

    revision: str
    routes: int
    warnings: Sequence[str] = ()


class ReloadRefused(NamedTuple):
    """The policy did not load; the one in force stays. Each error says ``detail``, and where it is as it can."""

    errors: Sequence[dict[str, str]]


class Health(NamedTuple):
    """Where the state of the server is read."""

    phase: Callable[[], Phase]
    degraded: Callable[[], Mapping[str, str]] = dict  # by name the reason, beside what the telemetry knows


class Operations:
    """The private listener. May be started on several addresses, and is stopped once.

    Args:
        backing: what the frame of all endpoints stands on.
        endpoints: those of the rooms behind it; health, metrics, reload and the OpenAPI document are its own.
        scrape: the counts of all workers; None: those of the telemetry are all there are.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        health: Health,
        reload: Callable[[], Awaitable[Reloaded | ReloadRefused]],
        hosts: Collection[str] = (),
        scrape: Callable[[], Awaitable[Counts]] | None = None,
        *,
        backing: Backing,
        endpoints: Sequence[Endpoint] = (),
    ) -> None:
        self.addresses: list[str] = []  # "host:port", "unix:/path", in the order they were started
        self._telemetry = telemetry
        self._health = health
        self._reload = reload
        self._scrape = scrape
        self._backing = backing
        self.endpoints = (*self._own(), *endpoints)
        self._hosts = frozenset(host_name(host) or host for host in hosts)
        self._runner: web.AppRunner | None = None
        self._listeners: list[asyncio.Server] = []
        telemetry.watch_draining(lambda: health.phase() == "draining")

    async def start(self, host: str, port: int) -> int:
        """Listen on an address; port 0 is any that is free. Returns the port.

        Raises:
            OSError: the address cannot be listened on.
        """
        connect = await self._running()
        listener = await asyncio.get_running_loop().create_server(connect, host, port)
        self._listeners.append(listener)
        # With port 0 a name of two addresses gets two ports; the first is as good as the other.
        bound: int = listener.sockets[0].getsockname()[1]
        self.addresses.append(authority(host, bound))
        return bound

    async def start_on(self, bound: socket.socket) -> None:
        """Listen on a socket that is bound already."""
        connect = await self._running()
        self._listeners.append(await asyncio.get_running_loop().create_server(connect, sock=bound))
        name = bound.getsockname()
        self.addresses.append(f"unix:{name}" if isinstance(name, str) else authority(*name[:2]))

    async def stop(self) -> None:
        """Answer what is being asked, and listen no more."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.addresses.clear()

    def application(self) -> web.Application:
        """All that is served, and the guard before it."""
        application = web.Application(middlewares=[self._guard])
        for endpoint in self.endpoints:
            add = application.router.add_get if endpoint.method == "GET" else application.router.add_post
            add(endpoint.path, served(endpoint, self._backing))
        return application

    async def _running(self) -> Callable[[], Connection]:
        """What makes a connection of each client that comes."""
        if self._runner is None:
            self._runner = web.AppRunner(self.application(), handle_signals=False, shutdown_timeout=_SHUTDOWN)
            await self._runner.setup()
        server, loop = self._runner.server, asyncio.get_running_loop()
        assert server is not None  # as the runner is set up
        # No content coding is taken: what cannot be decoded is no defect, and what can be may be a bomb.
        return lambda: Connection(server, loop=loop, access_log=None, auto_decompress=False)  # type: ignore[arg-type]

    # ── What is served ───────────────────────────────────────────────────────────────────────────────────────────────

    def _own(self) -> tuple[Endpoint, ...]:
        open_ = partial(Endpoint, method="GET", role=Role.ANYONE, group="instance")
        return (
            open_(
                path="/healthz",
                name="isAlive",
                about="200 while the event loop lives.",
                handle=self._healthz,
                answers={200: Answered("It lives", _ALIVE)},
            ),
            open_(
                path="/readyz",
                name="isReady",
                about="200 while it serves, 503 while it is starting or draining; what does not work as it should.",
                handle=self._readyz,
                answers={200: Answered("It serves", _READY), 503: Answered("It is starting or draining", _READY)},
            ),
            open_(
                path="/metrics",
                name="scrape",
                about="The metrics, in the text format of Prometheus.",
                handle=self._metrics,
                answers={200: Answered("The metrics", None, ("text/plain",))},
            ),
            open_(
                path="/openapi.json",
                name="describe",
                about="This document.",
                handle=self._describe,
                answers={200: Answered("An OpenAPI document", {"type": "object"})},
            ),
            Endpoint(
                method="POST",
                path="/-/reload",
                name="reloadPolicy",
                about="Reads the policy anew; answers once all workers have switched.",
                group="instance",
                role=Role.OPERATOR,
                local=True,
                asks_why=False,
                needs_record=False,
                handle=self._reload_policy,
                answers={200: Answered("It is in force", _RELOADED)},
                problems=("policy-invalid",),
            ),
        )

    async def _healthz(self, asked: Asked) -> Told:
        return Done({"status": "alive"})

    async def _readyz(self, asked: Asked) -> Told:
        phase = self._health.phase()
        degraded = {**self._telemetry.degraded(), **self._health.degraded()}
        # Degraded is ready all the same: without us nothing would pass at all.
        return Done({"phase": phase, "degraded": degraded}, 200 if phase == "serving" else 503)

    async def _metrics(self, asked: Asked) -> Told:
        counts, exposition = self._telemetry.counts, self._telemetry.exposition
        if self._scrape is not None:
            counts = await self._scrape()
            exposition = Exposition(counts)
        counts.read()
        # In a thread: making the text of a hundred routes takes tens of milliseconds, which no request should wait.
        return Text(CONTENT_TYPE, await asyncio.to_thread(exposition.render))

    async def _describe(self, asked: Asked) -> Told:
        return Done(openapi.document(self.endpoints, version=self._telemetry.version))

    async def _reload_policy(self, asked: Asked) -> Told:
        match await self._reload():
            case Reloaded(revision, routes, warnings):
                return Done({"revision": revision, "routes": routes, "warnings": list(warnings)})
            case ReloadRefused(errors):
                return Refusal("policy-invalid", "the policy in force stays", errors)

    # ── What goes before ─────────────────────────────────────────────────────────────────────────────────────────────

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        refusal = host_refusal(self._hosts, request.headers.getall("Host", []), _local_address(request))
        if refusal is None and request.method not in _SAFE:
            refusal = origin_refusal(
                request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site"), request.headers.get("Host")
            )
        if refusal is not None:
            return problem_response("forbidden", refusal, instance=request.rel_url.raw_path)
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods)).encode()
            return problem_response(
                "method-not-allowed", "see Allow", instance=request.rel_url.raw_path, headers=[(b"Allow", allowed)]
            )
        except web.HTTPNotFound:
            detail = "the private listener serves nothing here; /openapi.json says what it does"
            return problem_response("no-route", detail, instance=request.rel_url.raw_path)
        except Exception as error:
            self._telemetry.failed("operations", error)
            return problem_response("internal-error", "the log says more", instance=request.rel_url.raw_path)


def _local_address(request: web.Request) -> str | None:
    """The address on our side; None for a Unix socket, empty where it is not known."""
    transport = request.transport
    own = transport.get_extra_info("socket") if transport is not None else None
    if own is None:  # the client is gone already; what it sent must pass the same doors
        return ""
    return None if own.family == socket.AF_UNIX else str(own.getsockname()[0]).partition("%")[0]


_ALIVE = an_object({"status": one_of(["alive"])})
_READY = an_object(
    {
        "phase": one_of(["starting", "serving", "draining"]),
        "degraded": {"type": "object", "additionalProperties": TEXT},
    }
)
_RELOADED = an_object({"revision": TEXT, "routes": COUNT, "warnings": a_list(TEXT)})
