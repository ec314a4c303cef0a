"""Under what a repeat of a request is recognised: the client's key, or one that the policy derives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from strangler.domain.exchange import Body, Request, field_texts
from strangler.domain.idempotency import fingerprint, parse_key
from strangler.engine.aside import beside
from strangler.engine.content import JsonBody
from strangler.engine.identity import caller_name
from strangler.policy.expressions import REQUEST_NAMES, Expression, ExpressionError
from strangler.policy.model import IdempotencyPolicy, Route
from strangler.policy.target import first_values


class Key(NamedTuple):
    """Under what a repeat of a request is recognised."""

    scope: str
    lookup: str
    shown: str | None  # the client's own; None: derived
    fingerprint: bytes
    life: int  # milliseconds that it outlives the end of its process


def given_key(request: Request, policy: IdempotencyPolicy) -> str | None:
    """The client's own key: of the policy's headers, the first one present.

    Raises:
        KeySyntaxError: it is no key.
    """
    for name in policy.headers:
        value = request.field(name.lower().encode())
        if value is not None and (key := parse_key(value)) is not None:
            return key
    return None


def given_lookup(key: str) -> str:
    """How a client's own key is looked up; no derived one looks the same."""
    return f"key:{key}"


def key_scope(route: Route, caller: str | None) -> str:
    """Where a key is unique: the route, and within it the caller unless the policy says otherwise."""
    if route.accept.idempotency.scope == "route":
        return route.name
    return f"{route.name}\n{caller or ''}"


def key_of_client(request: Request, route: Route, caller: str | None, body: Body, given: str) -> Key:
    """The key that the client gave."""
    life = round(route.accept.idempotency.ttl * 1000)
    return Key(key_scope(route, caller), given_lookup(given), given, _same(request, body), life)


def _same(request: Request, body: Body) -> bytes:
    """By what the same request is told from another one."""
    return fingerprint(request.method, request.path, request.query, request.field(b"content-type"), body.digest)


class Keys:
    """Makes keys; holds the compiled expressions of the routes."""

    def __init__(self) -> None:
        self._expressions: dict[str, Expression] = {}

    async def key(
        self,
        request: Request,
        route: Route,
        parameters: Mapping[str, str],
        caller: str | None,
        body: Body,
        content: JsonBody,
        given: str | None,
    ) -> Key | None:
        """The key of a request; None: it has none, and every repeat is another request.

        Args:
            content: of ``body``, for an expression to derive a key from.
            given: the client's own key; it beats a derived one.
        """
        policy = route.accept.idempotency
        if given is not None:
            return key_of_client(request, route, caller, body, given)
        if policy.derive is None or (caller is None and not policy.derive_anonymous):
            return None
        same = _same(request, body)
        scope = key_scope(route, caller)
        window = round(policy.window * 1000)
        if policy.derive == "fingerprint":
            return Key(scope, f"fingerprint:{same.hex()}", None, same, window)
        assert policy.derive is not None
        parsed = await content.for_expressions()
        document = request_document(request, parameters, parsed.value, caller_name(request, route.access))
        evaluate = partial(self._expression(policy.derive).evaluate, document)
        try:
            value = await beside(evaluate, parsed.size, hooks=False)
        except ExpressionError:
            return None
        if not _can_be_key(value):
            return None
        # What is no text, half of a surrogate pair, is spelled by its escape.
        text = json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
        # What is derived alike is the same request, whatever else differs in it.
        return Key(scope, f"derived:{text}", None, b"", window)

    def _expression(self, text: str) -> Expression:
        expression = self._expressions.get(text)
        if expression is None:
            expression = self._expressions[text] = Expression(text, REQUEST_NAMES)
        return expression


def request_document(request: Request, parameters: Mapping[str, str], body: Any, name: str | None) -> dict[str, Any]:
    """A request as expressions see it."""
    return {
        "method": request.method,
        "path": dict(parameters),
        "query": first_values(request.query) if request.query else {},
        "headers": field_texts(request.fields()),
        "body": body,
        "caller": {"name": name} if name is not None else {},
    }


def _can_be_key(value: Any) -> bool:
    """Whether a derived value can be a key: null, false, empty, or one with a null in it is none."""
    if isinstance(value, Mapping | list):
        return bool(value) and _whole(value)
    return value is not None and value is not False and value != ""


def _whole(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_whole(part) for part in value.values())
    if isinstance(value, list):
        return all(_whole(part) for part in value)
    return value is not None
