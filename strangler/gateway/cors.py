"""CORS for what is ours: answers to preflights, and the header fields by which a browser lets a page read an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from strangler.domain.exchange import Answer, Header, Request
from strangler.domain.problem import SOURCE, problem
from strangler.gateway.contracts import contract_of
from strangler.policy.cors import ANY, allows, trusts
from strangler.policy.match import Matcher
from strangler.policy.model import CorsPolicy, Route, Table

_TAKEN = ("Content-Type", "Prefer", "If-None-Match", "Last-Event-ID", "X-Correlation-ID")
_SHOWN = (
    *("Location", "Retry-After", "Link", "ETag", "Preference-Applied", "Idempotency-Replayed", "X-Correlation-ID"),
    *("Strangler-Process", "Strangler-Source", "Strangler-Status", "Strangler-Effect", "Deprecation", "Sunset"),
    *("RateLimit", "RateLimit-Policy"),
)
"""What the contract itself has clients send and read; a policy adds what is the domain's."""

_VARY: Header = (b"Vary", b"Origin")


class _Grant(NamedTuple):
    """A route's policy as header values."""

    policy: CorsPolicy
    takes: bytes
    shows: bytes


class Cors:
    """Which pages may use what, by the table in force; swapped whole with it."""

    def __init__(self) -> None:
        self._routes: dict[str, _Grant] = {}
        self._resources: dict[str, list[_Grant]] = {}

    def load(self, table: Table) -> None:
        """Put a table in force."""
        routes: dict[str, _Grant] = {}
        resources: dict[str, list[_Grant]] = {}
        for route in table.routes.values():
            if route.records and route.cors.origins:
                routes[route.name] = grant = _grant(route)
                resources.setdefault(route.process.resource, []).append(grant)
        self._routes, self._resources = routes, resources

    def serves(self, route: str) -> bool:
        """Whether a route has a say."""
        return route in self._routes

    def trusts(self, resource: str, origin: bytes) -> bool:
        """Whether the policy of a route whose processes lie there names this origin."""
        return any(trusts(grant.policy, origin) for grant in self._resources.get(resource, ()))

    def preflight(self, request: Request, matcher: Matcher) -> Answer | None:
        """The answer to a preflight; None: it is none, or what it asks about is not for us to say."""
        if request.method != "OPTIONS" or not self._routes:
            return None  # before any field is asked for: this is done for every request that there is
        origin, method = request.field(b"origin"), request.field(b"access-control-request-method")
        if origin is None or method is None:
            return None
        asked = method.decode("latin-1")
        resource = matcher.resource_at(asked, request.field(b"host"), request.path)
        if resource is not None:
            grants = self._resources.get(resource.resource)
        else:
            # What the request itself will bear, this one only names: a route that asks for header fields is not found.
            route = matcher.match(asked, None, request.path, request.query, request.field).route
            grants = [self._routes[route.name]] if route is not None and route.name in self._routes else None
        if grants is None:
            return None
        grant = _first(grants, origin)
        if grant is None:
            return problem("forbidden", "cors.origins does not name this origin", headers=[_VARY])
        headers = [
            *_allowing(grant, origin),
            (b"Access-Control-Allow-Methods", method),
            (b"Access-Control-Allow-Headers", grant.takes),
            (b"Access-Control-Max-Age", b"%d" % grant.policy.max_age),
            (b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
            SOURCE,
        ]
        return Answer(204, headers)

    def on_resource(self, request: Request, resource: str, answer: Answer) -> None:
        """Let the pages that may read an answer about a process. What a recorded reply says of that is not for here."""
        grants = self._resources.get(resource)
        if grants is not None:
            answer.headers = [
                header for header in answer.headers if not header[0].lower().startswith(b"access-control-")
            ]
            _show(grants, request, answer)

    def on_route(self, request: Request, route: str, answer: Answer) -> None:
        """The same for the answer of a recorded route; a legacy reply that speaks for itself is left as it is."""
        grant = self._routes.get(route)
        if grant is not None and not any(name.lower() == b"access-control-allow-origin" for name, _ in answer.headers):
            _show((grant,), request, answer)


def _grant(route: Route) -> _Grant:
    identity = [source[7:] for source in route.access.identity if source.startswith("header:")]
    if route.access.guarded:
        identity.append("Authorization")
    contract = contract_of(route.process)
    taken = (*_TAKEN, *contract.taken, *route.accept.idempotency.headers, *identity, *route.cors.headers)
    return _Grant(route.cors, _names(taken), _names((*_SHOWN, *contract.shown, *route.cors.expose)))


def _names(names: Iterable[str]) -> bytes:
    """A list of header names, each once, whatever its case."""
    return ", ".join({name.lower(): name for name in names}.values()).encode()


def _first(grants: Iterable[_Grant], origin: bytes) -> _Grant | None:
    return next((grant for grant in grants if allows(grant.policy, origin)), None)


def _show(grants: Iterable[_Grant], request: Request, answer: Answer) -> None:
    # Whoever stores an answer for a page must not give it to a page of another origin.
    answer.headers.append(_VARY)
    origin = request.field(b"origin")
    grant = _first(grants, origin) if origin is not None else None
    if origin is not None and grant is not None:
        answer.headers += [*_allowing(grant, origin), (b"Access-Control-Expose-Headers", grant.shows)]


def _allowing(grant: _Grant, origin: bytes) -> list[Header]:
    if ANY in grant.policy.origins and not grant.policy.credentials:
        return [(b"Access-Control-Allow-Origin", b"*")]
    headers: list[Header] = [(b"Access-Control-Allow-Origin", origin)]
    if grant.policy.credentials:
        headers.append((b"Access-Control-Allow-Credentials", b"true"))
    return headers
