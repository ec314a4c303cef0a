"""The OpenAPI document of the process resources on the public listener, made from the routes of the policy in force.

It is served on the private listener, because every path of the public one belongs to the legacy system or to a route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from strangler.domain.problem import TITLES
from strangler.domain.process import Effect, PublicState
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Told
from strangler.operations.api.schemas import (
    COUNT,
    ID,
    INSTANT,
    LIMIT_SCHEMA,
    NUMBER,
    PROBLEM,
    TEXT,
    Schema,
    a_list,
    an_object,
    one_of,
)
from strangler.policy.model import Route

_ANY = (
    *("bad-request", "ambiguous-target", "unauthenticated", "forbidden", "no-route", "request-timeout"),
    *("target-too-long", "expectation-failed", "head-too-large", "too-many-requests", "internal-error"),
    *("not-implemented", "store-unavailable", "draining"),
)
"""What any request may be refused for."""

_OF_ONE = ("no-such-process", "no-longer-kept")
_PROBLEM: Schema = {"$ref": "#/components/schemas/Problem"}
_DOCUMENT = "application/json"
_HEADER: Schema = {"type": "string", "maxLength": 100}

LINKS = an_object(dict.fromkeys(("self", "status", "result", "history", "events", "socket"), TEXT), {"cancel": TEXT})
STATUS_MEMBERS: Mapping[str, Schema] = {
    "id": ID,
    "type": TEXT,
    "state": one_of(PublicState),
    "status": TEXT,
    "createdAt": INSTANT,
    "updatedAt": INSTANT,
    "deadlineAt": INSTANT,
    "correlationId": TEXT,
    "version": COUNT,
    "links": LINKS,
}
STATUS_KNOWN: Mapping[str, Schema] = {
    "reason": TEXT,
    "effect": one_of(Effect),
    "finishedAt": INSTANT,
    "idempotencyKey": TEXT,
    "references": {"type": "object", "additionalProperties": TEXT},
    "result": an_object({"status": NUMBER}, {"contentType": TEXT, "length": COUNT}),
}
HISTORY = an_object(
    {
        "id": ID,
        "history": a_list(
            an_object(
                {"version": COUNT, "changedAt": INSTANT, "state": one_of(PublicState), "status": TEXT}, {"reason": TEXT}
            )
        ),
    }
)
TICKET = an_object({"ticket": TEXT, "expiresAt": INSTANT, "events": TEXT, "socket": TEXT})


def endpoints(routes: Callable[[], Iterable[Route]], version: str) -> tuple[Endpoint, ...]:
    """The endpoint of this module."""

    async def described(asked: Asked) -> Told:
        return Done(document([route for route in routes() if route.records], version=version))

    return (
        Endpoint(
            method="GET",
            path="/openapi/processes.json",
            name="describeProcesses",
            about="The OpenAPI document of the process resources that clients see, under the policy in force.",
            group="instance",
            handle=described,
            answers={200: Answered("An OpenAPI document", {"type": "object"})},
        ),
    )


def document(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """The document as JSON values, for routes that record."""
    by_resource: dict[str, list[Route]] = {}
    for route in routes:
        by_resource.setdefault(route.process.resource, []).append(route)
    paths: dict[str, Any] = {}
    schemas: dict[str, Schema] = {"Problem": PROBLEM}
    schemes: dict[str, Any] = {}
    for resource, sharing in by_resource.items():
        name = f"Process{len(schemas)}"
        schemas[name] = _status(sharing)
        security = _security(sharing, schemes)
        for path, operations in _paths(resource, {"$ref": f"#/components/schemas/{name}"}).items():
            paths[path] = {method: {**one, "security": security} for method, one in operations.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Processes",
            "version": version,
            "description": "What became of slow requests. No member is ever null: what is not known is absent. Errors "
            "are problem documents (RFC 9457).",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": schemes},
    }


def _status(routes: Sequence[Route]) -> Schema:
    """The schema of the status document of a resource; that of another contract says only that it is an object."""
    if any(route.process.contract != "native" for route in routes):
        return {"type": "object"}
    fields = {route.process.id_field: ID for route in routes if route.process.id_field is not None}
    return an_object(STATUS_MEMBERS, {**fields, **STATUS_KNOWN})


def _security(routes: Sequence[Route], schemes: dict[str, Any]) -> list[dict[str, list[str]]]:
    """The identities by which a caller may be known; also none, where a process has no caller."""
    found: list[dict[str, list[str]]] = [{}]
    for source in dict.fromkeys(source for route in routes for source in route.access.identity):
        kind, _, name = source.partition(":")
        if kind not in ("header", "cookie", "query"):
            continue
        scheme = "".join(letter for letter in source if letter.isalnum())
        schemes[scheme] = {"type": "apiKey", "in": kind, "name": name}
        found.append({scheme: []})
    return found


def _paths(resource: str, status: Schema) -> dict[str, dict[str, Any]]:
    named = "".join(letter if letter.isalnum() else "_" for letter in resource)
    return {
        resource: {"get": _list(named, status)},
        f"{resource}/events": {
            "get": _operation(
                f"followAll{named}",
                "One stream for all of the caller's processes (Server-Sent Events); it has no end.",
                {200: ("The stream", "text/event-stream", None)},
                (),
                [_header("Last-Event-ID", "goes on after it")],
            )
        },
        **_one(f"{resource}/{{id}}", named, status),
        **_of_one(f"{resource}/{{id}}", named, status),
    }


def _one(one: str, named: str, status: Schema) -> dict[str, dict[str, Any]]:
    return {
        one: {
            "get": _operation(
                f"get{named}",
                "The process: 202 while it runs, then 303 to its result.",
                {202: ("It runs", _DOCUMENT, status), 303: ("It ended; Location is its result", _DOCUMENT, status)},
                _OF_ONE,
                [_ID, _HELD],
            ),
            "delete": _operation(
                f"cancel{named}",
                "Withdraws it, while `links.cancel` is there.",
                {200: ("Cancelled, or ended before", _DOCUMENT, status)},
                (*_OF_ONE, "not-cancellable"),
                [_ID],
            ),
        },
    }


def _of_one(one: str, named: str, status: Schema) -> dict[str, dict[str, Any]]:
    """What is under a process."""
    return {
        f"{one}/status": {
            "get": _operation(
                f"getStatus{named}",
                "The status document.",
                {200: ("As it is now", _DOCUMENT, status), 304: ("As the client has it", None, None)},
                _OF_ONE,
                [_ID, _HELD, _header("If-None-Match", "the ETag that the client has")],
            )
        },
        f"{one}/result": {"get": _result(named)},
        f"{one}/history": {
            "get": _operation(
                f"getHistory{named}",
                "Every change that a client could see.",
                {200: ("The history", _DOCUMENT, HISTORY)},
                _OF_ONE,
                [_ID],
            )
        },
        f"{one}/events": {
            "get": _operation(
                f"follow{named}",
                "A stream of the process (Server-Sent Events); it ends with the process.",
                {200: ("The stream", "text/event-stream", None), 204: ("The client knows its end", None, None)},
                _OF_ONE,
                [_ID, _header("Last-Event-ID", "the version that the client has")],
            )
        },
        f"{one}/ticket": {
            "post": _operation(
                f"issueTicket{named}",
                "URLs of its streams for clients that can set no header; they hold for five minutes.",
                {200: ("The ticket", _DOCUMENT, TICKET)},
                _OF_ONE,
                [_ID],
            )
        },
    }


def _list(named: str, status: Schema) -> dict[str, Any]:
    parameters = [
        _query("state", "the state", one_of(PublicState)),
        _query("status", "the domain's word", TEXT),
        _query("correlationId", "the correlation id", TEXT),
        _query("idempotencyKey", "the key as it was given", TEXT),
        _query("createdAfter", "RFC 3339", TEXT),
        _query("createdBefore", "RFC 3339", TEXT),
        _query("limit", "of a page", LIMIT_SCHEMA),
        _query("cursor", 'as a rel="next" link gives it', TEXT),
    ]
    page = an_object({"processes": a_list(status)})
    return _operation(
        f"list{named}",
        "The caller's own processes, newest first.",
        {200: ('A page; Link rel="next" is the next one', _DOCUMENT, page)},
        (),
        parameters,
    )


def _result(named: str) -> dict[str, Any]:
    operation = _operation(
        f"getResult{named}",
        "What a synchronous client would have got: the reply of the legacy system, or its translation.",
        {204: ("It ended without a reply", None, None)},
        (
            *_OF_ONE,
            "result-not-ready",
            "cancelled",
            "result-too-large",
            "upstream-failed",
            "upstream-timeout",
            "expired",
        ),
        [_ID, _header("Range", "a part of it"), _header("If-None-Match", "of the legacy reply")],
    )
    # The legacy system may have answered with one of the statuses by which we say that there is no reply.
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            response["content"]["*/*"] = {}
    operation["responses"]["default"] = {
        "description": "The reply, with its own status and type; Strangler-Source: proxy stands on what is none",
        "content": {"*/*": {}},
    }
    return operation


_ID: dict[str, Any] = {"name": "id", "in": "path", "required": True, "schema": {**ID, "format": "uuid"}}


def _header(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": about, "schema": _HEADER}


_HELD = _header("Prefer", "wait=N: held for N seconds, 45 at the most, until it has changed, or ended")


def _query(name: str, about: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


def _operation(
    name: str,
    about: str,
    answers: Mapping[int, tuple[str, str | None, Schema | None]],
    problems: Sequence[str],
    parameters: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, (told, media_type, schema) in answers.items():
        content = {} if media_type is None else {media_type: {} if schema is None else {"schema": schema}}
        responses[str(status)] = {"description": told, "content": content}
    by_status: dict[int, list[str]] = {}
    for problem in (*_ANY, *problems):
        by_status.setdefault(TITLES[problem][0], []).append(problem)
    for status, names in sorted(by_status.items()):
        told = ", ".join(f"`{one}`" for one in names)
        responses[str(status)] = {"description": told, "content": {"application/problem+json": {"schema": _PROBLEM}}}
    return {"operationId": name, "summary": about, "parameters": list(parameters), "responses": responses}
