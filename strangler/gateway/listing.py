"""``GET R``: the caller's own processes, newest first, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from strangler.domain import instant
from strangler.domain.exchange import Answer, Header, Request
from strangler.domain.idempotency import sought_key
from strangler.domain.problem import SOURCE, problem
from strangler.domain.process import Process, PublicState, is_id
from strangler.engine.document import status_meanings
from strangler.engine.identity import identify
from strangler.engine.queries import Page
from strangler.gateway.access import challenge, may_cancel
from strangler.policy.model import AccessPolicy, Promise
from strangler.ports import ListQuery

MOST = 200
USUAL = 50


class BadParameter(ValueError):
    """A query parameter is not what is expected; the text names it and says what is."""


def callers(request: Request, promises: Iterable[Promise], key: bytes) -> set[str]:
    """The hashes that this request's caller goes by under these promises; empty: it bears no identity."""
    policies = {(promise.access.identity, promise.access.jwt): promise.access for promise in promises}
    found = (identify(request, access, key) for access in policies.values())
    return {caller for caller in found if caller is not None}


def parse(request: Request, resource: str, promises: Collection[Promise]) -> ListQuery:
    """What a list is to hold, without its caller.

    Raises:
        BadParameter: a parameter is unknown, given twice, or has no meaning.
    """
    query = ListQuery(resource, "", limit=USUAL)
    ignored = {source[6:] for promise in promises for source in promise.access.identity if source.startswith("query:")}
    seen: set[str] = set()
    for name, value in _parameters(request.query):
        if name in ignored:
            continue
        if name in seen:
            raise BadParameter(f"{name} is given twice")
        seen.add(name)
        if name == "status":
            query = query._replace(status=value, status_means=status_meanings(value, promises))
        elif name in _FIELDS:
            field, read = _FIELDS[name]
            try:
                query = query._replace(**{field: read(value)})
            except ValueError as error:
                raise BadParameter(f"{name}: {error}") from None
        else:
            raise BadParameter(f"{name} is no parameter of a list; known are status, {', '.join(_FIELDS)}")
    return query


def answer(
    request: Request,
    page: Page,
    promise_of: Callable[[Process], Promise],
    key: bytes,
    shown: Callable[[Process], bool],
    written: Callable[[Process, Promise, bool], bytes],
) -> Answer:
    """The page as JSON, with a link to the next one where there is one; without what is not to be shown."""
    documents: list[bytes] = []
    for process in filter(shown, page.processes):
        promise = promise_of(process)
        documents.append(written(process, promise, may_cancel(request, process, promise.access, key)))
    headers: list[Header] = [
        (b"Content-Type", b"application/json"),
        (b"Cache-Control", b"private, no-store"),
        SOURCE,
    ]
    if page.more:
        headers.append((b"Link", b'<%b>; rel="next"' % _next(request, page.processes[-1])))
    return Answer(200, headers, b'{"processes":[%b]}' % b",".join(documents))


def unauthenticated(promises: Iterable[Promise]) -> Answer:
    """The answer to who does not say whose processes are meant."""
    access = next((promise.access for promise in promises), AccessPolicy())
    return problem(
        "unauthenticated",
        "a list holds the caller's own processes; say who you are",
        headers=[(b"WWW-Authenticate", challenge(access))],
    )


def _next(request: Request, last: Process) -> bytes:
    """The URL of the next page: the same parameters, and a cursor."""
    pairs = [pair for pair in (request.query or b"").split(b"&") if pair and pair.partition(b"=")[0] != b"cursor"]
    pairs.append(b"cursor=" + last.id.encode())
    # What could end the URL within the header is encoded; a client's query may hold it bare.
    query = re.sub(rb"[^\x21\x23-\x3b\x3d\x3f-\x7e]", lambda found: b"%%%02X" % found[0][0], b"&".join(pairs))
    return f"{last.base}{last.resource}?".encode() + query


def _parameters(query: bytes | None) -> Iterable[tuple[str, str]]:
    for pair in (query or b"").split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            yield _decoded(name), _decoded(value)


def _decoded(text: bytes) -> str:
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise BadParameter("a parameter is not UTF-8") from None


def _state(value: str) -> PublicState:
    try:
        return PublicState(value)
    except ValueError:
        raise ValueError(f"expected one of {', '.join(PublicState)}") from None


def _instant(value: str) -> int:
    # A "+" that the client did not encode came out as a space; where an offset stands it can be nothing else.
    return instant.from_text(re.sub(r" (?=\d{2}:\d{2}$)", "+", value) if "T" in value.upper() else value)


def _limit(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 3 and 1 <= int(value) <= MOST):
        raise ValueError(f"expected a number from 1 to {MOST}")
    return int(value)


def _cursor(value: str) -> str:
    if not is_id(value):
        raise ValueError('expected what a rel="next" link gave')
    return value


_FIELDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "state": ("state", _state),
    "correlationId": ("correlation_id", str),
    "idempotencyKey": ("key", sought_key),
    "createdAfter": ("created_after", _instant),
    "createdBefore": ("created_before", _instant),
    "limit": ("limit", _limit),
    "cursor": ("before_id", _cursor),
}
