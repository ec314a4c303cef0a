"""Who is let in: tokens are verified (`access.jwt`), and the upstream is asked (`access.authorize`), before a request
is accepted and before a process is read.

How a token is verified, and where the upstream is, is today's policy; whose a process is, and what is asked, is what
was promised with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from strangler.domain.exchange import Header, Request
from strangler.domain.problem import problem
from strangler.domain.process import Process, Tombstone
from strangler.engine.authorize import Authorizer, Barred, undecided
from strangler.engine.identity import caller_name
from strangler.engine.instrument import Instrument
from strangler.engine.translating import process_values
from strangler.engine.verify import Rejected, Undecided, Verifier
from strangler.policy.documents import Asked, Read, request_values
from strangler.policy.expressions import ExpressionError, Template
from strangler.policy.model import AccessPolicy, JwtPolicy, Promise, Route, Table
from strangler.ports import ProcessStore

AUTHORIZE_NAMES = frozenset({"method", "path", "query", "headers", "caller", "process"})
"""What an expression in `authorize.path` can begin with. The request is the one that is, or was, to be accepted."""

NO_SUCH_PROCESS = "there is no such process, or it is not yours to see"
"""What a stranger is told, whether there is one or not."""

_Refused = dict[JwtPolicy, Barred]
_OF_REQUEST = AUTHORIZE_NAMES - {"caller", "process"} | {"@"}


class Admission:
    """Judges who comes in.

    Args:
        route_of: a route of today's table, by name.
    """

    def __init__(
        self,
        verifier: Verifier,
        authorizer: Authorizer,
        store: ProcessStore,
        instrument: Instrument,
        route_of: Callable[[str], Route | None],
    ) -> None:
        self._verifier = verifier
        self._authorizer = authorizer
        self._store = store
        self._instrument = instrument
        self._route_of = route_of
        self._templates: dict[str, Template] = {}

    def load(self, table: Table) -> None:
        """A table comes into force."""
        self._verifier.load(route.access.jwt for route in table.routes.values() if route.access.jwt is not None)

    async def to_submit(self, request: Request, route: Route) -> Barred | None:
        """Why a request may not be accepted on a route; None: it may."""
        barred = await self._token(request, route.access, route.access, {})
        if barred is not None or route.access.authorize is None:
            return barred
        caller = caller_name(request, route.access)
        asked = Asked(request.method, request.target, request.headers, b"", caller, {})
        return await self._ask(request, route.access, route.name, request_values(asked, route.match.paths, Read(None)))

    async def token(self, request: Request, promises: Collection[Promise]) -> Barred | None:
        """Why the token of a request counts under none of some promises; None: it does, or there is none."""
        barred = None
        refused: _Refused = {}
        for promise in promises:
            if promise.access.jwt is None:
                return None
            barred = await self._token(request, promise.access, self._today(promise).access, refused)
            if barred is None:
                return None
        return barred

    async def to_read(self, request: Request, promise: Promise, found: Process | Tombstone) -> Barred | None:
        """Why the upstream lets what was found not be read; None: it does, or nobody wants to know."""
        authorize = promise.access.authorize
        if authorize is None:
            return None
        names = self._template(authorize.path).names
        if isinstance(found, Tombstone):
            if names - {"process"}:
                # What would have to be asked about is gone, and who may know that it was there cannot be told.
                return Barred("no-such-process", problem("no-such-process", NO_SUCH_PROCESS))
            return await self._ask(request, promise.access, promise.route, {"process": {"id": found.id}})
        values: Mapping[str, Any] = {"process": process_values(found), "caller": _caller(found.caller_name)}
        if names & _OF_REQUEST:
            values = await self._asked_first(found, promise.route) or values
        return await self._ask(request, promise.access, promise.route, values)

    async def to_list(
        self, request: Request, promises: Collection[Promise]
    ) -> tuple[Mapping[str, Promise], Barred | None]:
        """The promises under which a request may list processes, by digest; and why not under another."""
        admitted: dict[str, Promise] = {}
        why: Barred | None = None
        refused: _Refused = {}
        asked: dict[object, Barred | None] = {}
        for promise in promises:
            barred = await self._token(request, promise.access, self._today(promise).access, refused)
            if barred is None and promise.access.authorize is not None:
                question = (promise.access.authorize, promise.access.identity, promise.route)
                if question not in asked:
                    asked[question] = await self._ask_of_all(request, promise)
                barred = asked[question]
            if barred is None:
                admitted[promise.digest] = promise
            why = why or barred
        return admitted, why

    def close(self) -> None:
        """Ask nobody any more."""
        self._verifier.close()
        self._authorizer.close()

    async def _token(
        self, request: Request, access: AccessPolicy, today: AccessPolicy, refused: _Refused
    ) -> Barred | None:
        """``refused``: by which policies it was already, and is now: there may be many promises of the same one."""
        promised = access.jwt
        if promised is None:
            return None
        policy = today.jwt or promised
        if policy in refused:
            return refused[policy]
        match await self._verifier.verify(request, policy):
            case Rejected(reason):
                problem_of_it = problem("unauthenticated", reason, headers=[_invalid_token(reason)])
                refused[policy] = Barred("unauthenticated", problem_of_it)
            case Undecided():
                refused[policy] = undecided("the keys of the issuer of the token cannot be had")
            case None if policy in request.verified:
                request.verified[promised] = request.verified[policy]
        return refused.get(policy)

    async def _ask_of_all(self, request: Request, promise: Promise) -> Barred | None:
        """Ask about all processes under a promise at once, if what is asked is the same for all."""
        assert promise.access.authorize is not None
        if self._template(promise.access.authorize.path).names:
            return undecided("what is asked of the legacy system differs from process to process")
        return await self._ask(request, promise.access, promise.route, {})

    async def _asked_first(self, process: Process, route: str) -> Mapping[str, Any] | None:
        """The request that began a process, as expressions see it; None: it, or its route, is gone."""
        today, recorded = self._route_of(route), await self._store.request(process.id)
        if today is None or recorded is None:
            return None
        asked = Asked(
            recorded.method, recorded.target, recorded.headers, b"", process.caller_name, process_values(process)
        )
        return request_values(asked, today.match.paths, Read(None))

    def _today(self, promise: Promise) -> Promise | Route:
        return self._route_of(promise.route) or promise

    async def _ask(self, request: Request, access: AccessPolicy, name: str, values: Mapping[str, Any]) -> Barred | None:
        authorize, route = access.authorize, self._route_of(name)
        assert authorize is not None
        if route is None:
            return undecided("the route is not served any more, so nobody can be asked")
        try:
            path = self._template(authorize.path).path(values)
        except ExpressionError as error:
            self._instrument.note("authorization_not_asked", "warning", route=name, reason=str(error))
            return undecided("it cannot be told what to ask the legacy system")
        return await self._authorizer.ask(authorize, route.upstream, access.identity, request, path)

    def _template(self, text: str) -> Template:
        template = self._templates.get(text)
        if template is None:
            template = self._templates[text] = Template(text, AUTHORIZE_NAMES)
        return template


def _caller(name: str | None) -> dict[str, str]:
    return {"name": name} if name is not None else {}


def _invalid_token(reason: str) -> Header:
    """The challenge to who bears a token that is not taken (RFC 6750 section 3.1)."""
    return b"WWW-Authenticate", b'Bearer error="invalid_token", error_description="%b"' % reason.encode("ascii")
