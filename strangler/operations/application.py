"""The private listener: health, metrics, and the commands of an operator.

Nothing here is for clients. Who can reach the socket is an operator; what is kept out is the browser of an operator
that was led here by somebody else's page (`doors`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from aiohttp import web

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Answer, Header
from strangler.domain.problem import problem
from strangler.domain.process import Process, Tombstone
from strangler.operations.doors import host_name, host_refusal, origin_refusal
from strangler.operations.metrics import CONTENT_TYPE, Counts, Exposition
from strangler.operations.progress import MAX_BODY, BadProgress, Tell, document, parse
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
        progress: Tell,
    ) -> None:
        self.addresses: list[str] = []  # "host:port", "unix:/path", in the order they were started
        self._telemetry = telemetry
        self._health = health
        self._reload = reload
        self._scrape = scrape
        self._tell = progress
        self._hosts = frozenset(host_name(host) or host for host in hosts)
        self._runner: web.AppRunner | None = None
        telemetry.watch_draining(lambda: health.phase() == "draining")

    async def start(self, host: str, port: int) -> int:
        """Listen on an address; port 0 is any that is free. Returns the port.

        Raises:
            OSError: the address cannot be listened on.
        """
        runner = await self._running()
        before = len(runner.addresses)
        await web.TCPSite(runner, host, port).start()
        # With port 0 a name of two addresses gets two ports; the first is as good as the other.
        bound: int = runner.addresses[before][1]
        self.addresses.append(f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}")
        return bound

    async def start_unix(self, path: str) -> None:
        """Listen on a Unix socket.

        Raises:
            OSError: the path cannot be listened on.
        """
        await web.UnixSite(await self._running(), path).start()
        self.addresses.append(f"unix:{path}")

    async def start_on(self, bound: socket.socket) -> None:
        """Listen on a socket that is bound already."""
        await web.SockSite(await self._running(), bound).start()
        name = bound.getsockname()
        if isinstance(name, str):
            self.addresses.append(f"unix:{name}")
        else:
            self.addresses.append(f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}")

    async def stop(self) -> None:
        """Answer what is being asked, and listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.addresses.clear()

    def application(self) -> web.Application:
        """All that is served, and the guard before it."""
        application = web.Application(middlewares=[self._guard])
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_post("/-/reload", self._reload_policy)
        application.router.add_post("/processes/{id}/progress", self._progress)
        return application

    async def _running(self) -> web.AppRunner:
        if self._runner is None:
            self._runner = web.AppRunner(
                self.application(), access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN
            )
            await self._runner.setup()
        return self._runner

    # ── What is served ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return _json({"status": "alive"})

    async def _readyz(self, request: web.Request) -> web.StreamResponse:
        phase = self._health.phase()
        degraded = {**self._telemetry.degraded(), **self._health.degraded()}
        # Degraded is ready all the same: without us nothing would pass at all.
        return _json({"phase": phase, "degraded": degraded}, 200 if phase == "serving" else 503)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        counts, exposition = self._telemetry.counts, self._telemetry.exposition
        if self._scrape is not None:
            counts = await self._scrape()
            exposition = Exposition(counts)
        counts.read()
        # In a thread: making the text of a hundred routes takes tens of milliseconds, which no request should wait.
        text = await asyncio.to_thread(exposition.render)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    async def _reload_policy(self, request: web.Request) -> web.StreamResponse:
        match await self._reload():
            case Reloaded(revision, routes, warnings):
                return _json({"revision": revision, "routes": routes, "warnings": list(warnings)})
            case ReloadRefused(errors):
                return _problem("policy-invalid", "the policy in force stays", instance=request.path, errors=errors)

    async def _progress(self, request: web.Request) -> web.StreamResponse:
        data = await request.content.read(MAX_BODY + 1)
        while data and len(data) <= MAX_BODY and (more := await request.content.read(MAX_BODY + 1)):
            data += more
        if len(data) > MAX_BODY:
            return _problem("body-too-large", f"at most {MAX_BODY} bytes are taken", instance=request.path)
        try:
            status, text = parse(data)
        except BadProgress as error:
            return _problem("bad-request", str(error), instance=request.path)
        try:
            found = await self._tell(request.match_info["id"], status, text)
        except StoreUnavailable:
            return _problem("store-unavailable", "nothing was recorded", instance=request.path)
        match found:
            case None:
                return _problem("no-such-process", "there is no process of this id", instance=request.path)
            case Tombstone():
                return _problem("no-longer-kept", "it ended, and its record is no longer kept", instance=request.path)
            case Process() if found.final:
                return _problem("process-ended", f"it is {found.state}, and stays so", instance=request.path)
        return _json(document(found))

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
            return _problem("forbidden", refusal, instance=request.path)
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods)).encode()
            return _problem("method-not-allowed", "see Allow", instance=request.path, headers=[(b"Allow", allowed)])
        except web.HTTPNotFound:
            return _problem("no-route", "the private listener serves nothing here", instance=request.path)
        except Exception as error:
            self._telemetry.failed("operations", error)
            return _problem("internal-error", "the log says more", instance=request.path)


def _local_address(request: web.Request) -> str | None:
    """The address on our side; None for a Unix socket, empty where it is not known."""
    transport = request.transport
    own = transport.get_extra_info("socket") if transport is not None else None
    if own is None:  # the client is gone already; what it sent must pass the same doors
        return ""
    return None if own.family == socket.AF_UNIX else str(own.getsockname()[0]).partition("%")[0]


def _json(document: dict[str, Any], status: int = 200) -> web.StreamResponse:
    return web.json_response(document, status=status, headers={"Cache-Control": "no-store"})


def _problem(
    name: str,
    detail: str,
    *,
    instance: str,
    headers: Sequence[Header] = (),
    errors: Sequence[dict[str, str]] = (),
) -> web.StreamResponse:
    return _response(problem(name, detail, instance=instance, headers=headers, errors=errors))


def _response(answer: Answer) -> web.StreamResponse:
    assert isinstance(answer.body, bytes)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return web.Response(status=answer.status, headers=headers, body=answer.body)
