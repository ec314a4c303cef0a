"""Which way a request goes: to a process resource, into a recording, or through. Asked once per request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from strangler.domain.exchange import Answer, PassOn, Request, Upgrade
from strangler.domain.problem import code_of, problem
from strangler.engine.accept import straight
from strangler.engine.admission import Admission
from strangler.engine.identity import claimed, source_value
from strangler.engine.instrument import Instrument
from strangler.gateway.acceptance import Recording
from strangler.gateway.cors import Cors
from strangler.gateway.deprecation import deprecation_headers
from strangler.policy import prefer
from strangler.policy.client_address import client_address
from strangler.policy.decide import Decision, decide
from strangler.policy.match import Matched, Matcher, ResourcePath
from strangler.policy.model import Mode, Rollout, Route, Table
from strangler.policy.target import clear
from strangler.policy.trust import NOBODY, TrustedNetworks
from strangler.ports import Direction, Handle, Passthrough, Validity

Respond = Callable[[Request, ResourcePath], Awaitable[Answer | Upgrade]]


class Switch:
    """Directs requests by the table in force; the table is swapped whole.

    Args:
        resources: answers for the process resources.
        trusted: who is believed when it says which client it speaks for.
    """

    def __init__(
        self,
        recording: Recording,
        resources: Respond,
        cors: Cors,
        admission: Admission,
        instrument: Instrument,
        trusted: TrustedNetworks = NOBODY,
    ) -> None:
        self._recording = recording
        self._resources = resources
        self._cors = cors
        self._admission = admission
        self._instrument = instrument
        self._trusted = trusted
        self._matcher: Matcher | None = None
        self._default: Passthrough | None = None
        self._passthrough: dict[str, Passthrough] = {}
        self._validity = Validity()
        self._usual: dict[str, Decision] = {}  # for who wishes nothing, of routes that treat all clients alike
        self._straight: Collection[str] = ()  # routes on which nothing is waited for but the body and the commit
        self._remembered: Collection[str] = ()

    def load(self, table: Table, matcher: Matcher, remembered: Collection[str]) -> None:
        """Put a table in force. ``remembered``: the routes of which the store may hold idempotency keys."""
        self._matcher = matcher
        self._cors.load(table)
        self._admission.load(table)
        self._remembered = frozenset(remembered)
        self._validity.over = True
        self._validity = validity = Validity()
        self._default = None
        if (default := table.default) is not None:
            self._default = Passthrough(default.upstream, default.rewrite, "default", validity=validity)
        self._passthrough = {
            route.name: Passthrough(
                route.upstream,
                route.rewrite,
                route.name,
                tuple(deprecation_headers(route.deprecation)) if route.deprecation is not None else (),
                validity if self._only_passes(route) else None,
            )
            for route in table.routes.values()
        }
        alike = [route for route in table.routes.values() if route.rollout is None]
        self._usual = {route.name: decide(route, prefer.NONE, None) for route in alike}
        self._straight = {
            route.name for route in table.routes.values() if straight(route) and not self._cors.serves(route.name)
        }

    def direct(self, request: Request) -> Direction:
        """Which way a request goes."""
        matcher = self._matcher
        if matcher is None:
            return problem("draining", "the server is starting", retry_after=1)
        if request.method == "OPTIONS" and (preflight := self._cors.preflight(request, matcher)) is not None:
            return preflight
        matched = matcher.target_of(request)
        if isinstance(matched, ResourcePath):
            return Handle(partial(self._resource, matched))
        if matched.ambiguous:
            return problem("ambiguous-target", "the raw and the normal form of the target fall on different routes")
        if matched.route is None:
            return self._default or problem("no-route", "no route serves the request, and there is no default")
        return self._direct_route(request, matched, matched.route)

    async def _resource(self, resource: ResourcePath, request: Request) -> Answer | Upgrade:
        started = time.perf_counter()
        answer = await self._resources(request, resource)
        if isinstance(answer, Answer):
            self._cors.on_resource(request, resource.resource, answer)
        if self._instrument.access_log != "none":
            status, code = (answer.status, code_of(answer)) if isinstance(answer, Answer) else (101, "")
            seconds = time.perf_counter() - started
            self._instrument.answered(request, "", status, seconds, decision="process", code=code)
        return answer

    def _direct_route(self, request: Request, matched: Matched, route: Route) -> Direction:
        passthrough = self._passthrough[route.name]
        if self._only_passes(route):
            return passthrough
        wishes = request.field(b"prefer") if route.records else None
        decision = self._usual.get(route.name) if not wishes else None
        if decision is None:
            rollout = route.rollout
            value = client_value(request, route, rollout, self._trusted) if rollout is not None else None
            decision = decide(route, prefer.parse(wishes), value)
        respond = self._recording.record
        begin = None
        if decision.mode is Mode.PASSTHROUGH:
            if not self._may_be_known(request, route):
                return passthrough
            respond = self._recording.look_up
        elif not clear(request.path):
            respond = self._recording.unclear
        elif route.name in self._straight and decision.accepts_202 and not decision.wait:
            begin = partial(self._recording.begin, route, matched.parameters, decision)
        answer: Callable[[Request], Awaitable[Answer | PassOn]] = partial(respond, route, matched.parameters, decision)
        if self._cors.serves(route.name):
            answer = partial(self._shared, route.name, answer)
        return Handle(answer, passthrough, route.name, begin)

    def _only_passes(self, route: Route) -> bool:
        """Whether nothing that a request of this route says can make it anything but a passthrough."""
        return not route.records and route.name not in self._remembered

    async def _shared(
        self, route: str, respond: Callable[[Request], Awaitable[Answer | PassOn]], request: Request
    ) -> Answer | PassOn:
        answer = await respond(request)
        if isinstance(answer, Answer):
            self._cors.on_route(request, route, answer)
        return answer

    def _may_be_known(self, request: Request, route: Route) -> bool:
        """Whether a request on a route that passes through could be the repeat of a recorded one."""
        if route.name not in self._remembered:
            return False
        policy = route.accept.idempotency
        if policy.derive is not None:
            return True
        return any(request.field(name.lower().encode()) for name in policy.headers)


def client_value(request: Request, route: Route, rollout: Rollout, trusted: TrustedNetworks = NOBODY) -> str | None:
    """By what a rollout tells clients apart, of this one; None: it has no such thing."""
    if rollout.by == "caller":
        found = claimed(request, route.access)
        return found.value.decode("utf-8", "backslashreplace") if found is not None else None
    if rollout.by == "address":
        return client_address(request, trusted)
    value = source_value(request, rollout.by)
    return value.decode("utf-8", "backslashreplace") if value is not None else None
