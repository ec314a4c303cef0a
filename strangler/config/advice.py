"""What is legal in a policy but unwise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from strangler.config.access_advice import of_access
from strangler.config.located import KeyPath, Level
from strangler.config.path_advice import of_paths, stripped_in_vain
from strangler.config.scalars import duration_text
from strangler.config.section import Section
from strangler.config.unknown import made_up, unknown
from strangler.config.variables import SecretText
from strangler.config.wall_advice import of_wall
from strangler.policy.forwarding import read_by_cgi
from strangler.policy.model import READS, Mode, Route, Table
from strangler.policy.pattern import matchable

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # safe, RFC 9110 section 9.2.1
_MAY_HAVE_DONE_IT = frozenset({500, 502, 504})
_NEVER_ROUTED = frozenset({"CONNECT", "TRACE"})
_LIKE_AN_EXPRESSION = re.compile(
    r"\{\s*([A-Za-z_][\w.]*|(method|path|query|headers|body|caller|process)\b[^{}]*)\s*\}", re.ASCII
)


class Advice(NamedTuple):
    """One piece of it."""

    keys: KeyPath
    text: str
    level: Level = "warning"


def advise(table: Table, routes: Mapping[str, Section], upstreams: Mapping[str, Section], public_url: bool) -> None:
    """Tell the sections what is unwise; ``public_url`` says whether there is one for all routes."""
    for name, route in table.routes.items():
        if made_up(routes[name].node):
            continue
        for advice in _of_route(route, routes[name], public_url):
            routes[name].complain(*advice)
    for name in stripped_in_vain(table, routes):
        routes[name].complain(("rewrite", "strip_prefix"), "has no effect: no path here begins with it", "warning")
    used = {route.upstream.name for route in table.routes.values()}
    used |= {probe.upstream.name for route in table.routes.values() if (probe := route.call.probe) and probe.upstream}
    if table.default is not None:
        used.add(table.default.upstream.name)
    known = used <= upstreams.keys() and table.routes.keys() == routes.keys()  # which `check --offline` may not be
    for name, section in upstreams.items():
        if name in used and table.upstreams[name].scheme == "https" and not table.upstreams[name].tls.verify:
            section.complain(("tls", "verify"), "whoever answers is taken for the upstream", "warning")
        elif name not in used and known:
            section.complain((), f"no route uses the upstream {name}", "warning")


def _of_route(route: Route, section: Section, public_url: bool) -> Iterator[Advice]:
    yield from _never_matched(route)
    if route.access.guarded and not route.records:
        yield Advice(("access",), "has no effect: who passes through is the legacy system's to judge")
    if route.cors.origins and not route.records:
        yield Advice(("cors",), "has no effect: what passes through is the legacy system's to share")
    yield from _without_effect(route)
    for keys, text in of_wall(route):
        yield Advice(keys, text)
    if not route.records:
        return
    yield from _repeated(route)
    yield from _left_idle(route, section)
    yield from _probed(route)
    yield from _read_alike(route)
    yield from _sent_as_it_stands(route)
    if not unknown(section.node.at(("match", "path"))):
        for keys, text in of_paths(route):
            yield Advice(keys, text)
    for keys, text, level in of_access(route):
        yield Advice(keys, text, level)
    yield from _times(route)
    rollout = route.rollout
    modes = {route.mode} | ({rollout.mode} if rollout is not None else set())
    if rollout is not None and rollout.mode is route.mode and rollout.wait in (None, route.wait):
        yield Advice(("rollout", "mode"), "has no effect: it is the route's mode already")
    if rollout is not None and rollout.percent == 0 and not rollout.include:
        yield Advice(("rollout", "percent"), "has no effect: nobody is in it")
    if section.given("on_store_failure") and Mode.COMPAT not in modes:
        yield Advice(("on_store_failure",), "has no effect: only compat can let a request pass through")
    if not public_url and route.public_url is None:
        yield Advice(
            (), f"links of route {route.name} are made from what requests say, unless --public-url is set", "note"
        )


def _without_effect(route: Route) -> Iterator[Advice]:
    limits, circuit = route.limits, route.call.circuit
    if not route.records and (limits.accepts is not None or limits.polls is not None):
        yield Advice(("limits",), "has no effect: what passes through is not limited")
    if circuit is None:
        return
    if not route.records:
        yield Advice(("call", "circuit"), "has no effect: what passes through is not held back")
    elif route.call.timeout * circuit.failures > circuit.within * route.call.concurrency:
        yield Advice(
            ("call", "circuit", "within"),
            f"{circuit.failures} calls that run out of time ({duration_text(route.call.timeout)}, "
            f"{route.call.concurrency} at once) do not end within {duration_text(circuit.within)}: "
            "only what fails faster opens the circuit",
        )


def _never_matched(route: Route) -> Iterator[Advice]:
    for path in route.match.paths:
        if not matchable(path):
            yield Advice(
                ("match", "path"),
                f"{path} never matches: matching is on paths without dot segments and //, where a space is %20",
            )
        elif path.endswith("//*"):
            meant = path.replace("//*", "/*")
            yield Advice(("match", "path"), f"{path} matches nothing below it, for // is / to matching; {meant} does")
    if route.match.methods and route.match.methods <= _NEVER_ROUTED:
        yield Advice(("match", "methods"), "never matches: CONNECT and TRACE are refused before")


def _repeated(route: Route) -> Iterator[Advice]:
    unsafe = sorted(route.match.methods - _REPEATABLE) or ([] if route.match.methods else ["POST"])
    if route.call.on_in_doubt == "retry" and unsafe and route.call.forward_idempotency_key is None:
        yield Advice(
            ("call", "on_in_doubt"),
            f"a {unsafe[0]} of which nobody knows what it did is repeated; does the upstream take repeats? "
            "forward_idempotency_key lets it see them",
        )
    for status in sorted(route.call.retry_on_status & _MAY_HAVE_DONE_IT) if unsafe else ():
        yield Advice(
            ("call", "retry_on"),
            f"{status} does not say that nothing was done: a {unsafe[0]} may be done again and again",
        )


def _left_idle(route: Route, section: Section) -> Iterator[Advice]:
    """What was written, and comes to nothing beside the rest."""
    call, methods = route.call, route.match.methods
    not_repeated = bool(methods) and not methods & READS and call.on_in_doubt in (None, "review", "fail")
    if not_repeated and (call.attempts or 1) > 1:
        yield Advice(("call", "attempts"), "has no effect: what may have been done is not repeated (on_in_doubt)")
    if call.backoff.initial > call.backoff.max:
        yield Advice(("call", "backoff", "initial"), "has no effect: it is longer than max")
    for key in ("window", "derive_anonymous"):
        if section.given("accept", "idempotency", key) and route.accept.idempotency.derive is None:
            yield Advice(("accept", "idempotency", key), "has no effect: no key is derived")
    idempotency = route.accept.idempotency
    if idempotency.derive is not None and idempotency.required and route.accept.enforce == "on":
        yield Advice(("accept", "idempotency", "derive"), "has no effect: who sends no key is refused (required)")
    if route.rollout is not None and route.rollout.by == "caller" and not route.access.identity:
        yield Advice(("rollout", "by"), "has no effect: without access.identity nobody is told apart")


def _probed(route: Route) -> Iterator[Advice]:
    probe = route.call.probe
    if probe is None:
        return
    if route.call.on_in_doubt != "probe":
        yield Advice(("call", "probe"), "asks about processes of an earlier policy only: on_in_doubt is not probe")
    if probe.absent is None:
        yield Advice(
            ("call", "probe"),
            "without absent a call is never repeated: what was not applied is left to a person",
        )
    if not probe.template.names:
        yield Advice(("call", "probe", "path"), "asks the same of every process; expected {EXPR} in it")


def _read_alike(route: Route) -> Iterator[Advice]:
    """Headers for the upstream that are two here, and one to a program behind CGI or WSGI."""
    wall, given = route.promise.wall, _set_headers(route)
    if wall is not None and wall.wall.request is not None:
        given.append((("translate", "request"), wall.wall.request.set_headers))
    for keys, headers in given:
        seen: dict[bytes, str] = {}
        for name, _ in headers:
            first = seen.setdefault(read_by_cgi(name.encode()), name)
            if first != name:
                text = f"the same header as {first} to CGI and WSGI: one of the two is lost"
                yield Advice((*keys, "headers", "set", name), text)


def _sent_as_it_stands(route: Route) -> Iterator[Advice]:
    """Headers for the upstream that hold what looks like an expression, where none is evaluated."""
    for keys, headers in _set_headers(route):
        for name, value in headers:
            if _LIKE_AN_EXPRESSION.search(value) and not isinstance(value, SecretText):
                where = "; translate.request.headers.set takes expressions" if keys == ("call",) else ""
                yield Advice((*keys, "headers", "set", name), f"is sent as it stands, with its {{…}}{where}")


def _set_headers(route: Route) -> list[tuple[KeyPath, tuple[tuple[str, str], ...]]]:
    """The headers that are set to fixed values, with the keys below which they stand."""
    call = route.call
    given: list[tuple[KeyPath, tuple[tuple[str, str], ...]]] = [(("call",), call.set_headers)]
    if call.follow is not None:
        given.append((("call", "follow"), call.follow.set_headers))
    if call.probe is not None:
        given.append((("call", "probe"), call.probe.set_headers))
    return given


def _times(route: Route) -> Iterator[Advice]:
    timeout, deadline = route.call.timeout, route.process.deadline
    if timeout > deadline:
        yield Advice(
            ("process", "deadline"),
            f"the deadline ({duration_text(deadline)}) is shorter than the timeout of one call "
            f"({duration_text(timeout)}), which is cut to it",
        )
    if route.mode is Mode.COMPAT and route.wait < timeout:
        yield Advice(
            ("wait",),
            f"clients are told 504 after {duration_text(route.wait)}, while a call may take {duration_text(timeout)}",
        )
    follow = route.call.follow
    if route.mode is Mode.COMPAT and follow is not None and route.wait < timeout + follow.every:
        yield Advice(
            ("call", "follow"),
            f"clients are told 504 after {duration_text(route.wait)}: before a legacy system that took all of the "
            f'timeout ({duration_text(timeout)}) to say "not yet" is asked again ({duration_text(follow.every)})',
        )
