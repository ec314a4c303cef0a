"""The OpenAPI document of the private listener, made from the table of its endpoints (OpenAPI 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from strangler.domain.problem import TITLES
from strangler.operations.api.endpoint import Endpoint, Parameter, Role
from strangler.operations.api.schemas import PROBLEM, Schema

_PARAMETER = re.compile(r"\{(\w+)\}")
_ANY = ("forbidden", "internal-error")  # the doors refuse anybody; a defect may be anywhere


def problems_of(endpoint: Endpoint) -> list[str]:
    """All problems by which an endpoint may refuse: its own, and those of the frame."""
    names = [*_ANY, *endpoint.problems]
    if endpoint.role is not Role.ANYONE:
        names.append("unauthenticated")
        if endpoint.parameters or endpoint.method == "GET":
            names.append("bad-request")
    if endpoint.changes and endpoint.audited:
        names.append("store-unavailable")
    if endpoint.takes_body:
        names += ["bad-request", "body-too-large", "request-timeout"]
    return sorted(set(names))


def document(endpoints: Iterable[Endpoint], *, version: str) -> dict[str, Any]:
    """The document as JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Strangler operations",
            "version": version,
            "description": "For operators, on the private listener. A token is sent as `Authorization: Bearer …`; "
            "reading from this machine needs none. No member is ever null: what is not known is absent.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.about,
        "tags": [endpoint.group],
        "x-role": endpoint.role.value,
    }
    if endpoint.role is not Role.ANYONE:
        operation["security"] = [{"token": []}] if endpoint.changes and not endpoint.local else [{}, {"token": []}]
    if parameters := [*map(_path_parameter, _PARAMETER.findall(endpoint.path)), *map(_parameter, endpoint.parameters)]:
        operation["parameters"] = parameters
    if endpoint.takes_body:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": endpoint.body_schema()}},
        }
    operation["responses"] = _responses(endpoint)
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.about,
        "schema": parameter.schema,
    }


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, (about, schema, media_types) in endpoint.answers.items():
        content: Mapping[str, Schema] = {"schema": schema} if schema is not None else {}
        responses[str(status)] = {"description": about, "content": dict.fromkeys(media_types, content)}
    by_status: dict[int, list[str]] = {}
    for name in problems_of(endpoint):
        by_status.setdefault(TITLES[name][0], []).append(name)
    for status, names in sorted(by_status.items()):
        told = ", ".join(f"`{name}`" for name in names)
        response = responses.setdefault(str(status), {"description": told, "content": {}})
        response["content"]["application/problem+json"] = {"schema": {"$ref": "#/components/schemas/Problem"}}
        if told not in response["description"]:
            response["description"] += f"; {told}"
    return responses
