"""Looking into a request's body before it is accepted: JSON, read once for all who ask, and the route's schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from strangler.domain.exchange import Body, Request
from strangler.engine.aside import beside
from strangler.engine.intake import whole_body
from strangler.policy.readable import MAX_DOCUMENT, Unparsable, is_packed, parse_json, unpacked
from strangler.ports import Bodies

MAX_PATTERNED = 8 * 1024
"""Characters of a text up to which a schema's regular expression is tried on it: none of those that load is worse than
quadratic."""

_MAX_ERRORS = 100


class Violation(NamedTuple):
    """Where a body does not match its schema, and how."""

    pointer: str  # JSON Pointer (RFC 6901)
    detail: str


def _pattern(validator: Validator, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and len(instance) > MAX_PATTERNED:
        yield ValidationError(f"{len(instance)} characters; at most {MAX_PATTERNED} are matched against a pattern")
        return
    yield from Draft202012Validator.VALIDATORS["pattern"](validator, pattern, instance, schema)


def _pattern_properties(validator: Validator, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict) and any(len(name) > MAX_PATTERNED for name in instance):
        yield ValidationError(f"a name of more than {MAX_PATTERNED} characters")
        return
    yield from Draft202012Validator.VALIDATORS["patternProperties"](validator, patterns, instance, schema)


_Bounded: type[Validator] = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": _pattern, "patternProperties": _pattern_properties}
)


class Parsed(NamedTuple):
    """A body as it was parsed. Whoever is given it must not change it."""

    value: Any
    size: int  # bytes of its text


class JsonBody:
    """The body of a request as JSON, for a derived key, a schema and a callback: parsed for the first who asks."""

    __slots__ = ("_bodies", "_body", "_found", "_process_id", "_request")

    def __init__(self, request: Request, body: Body, bodies: Bodies, process_id: str) -> None:
        self._request = request
        self._body = body
        self._bodies = bodies
        self._process_id = process_id
        self._found: Parsed | Unparsable | None = None

    async def parsed(self) -> Parsed:
        """Its value.

        Raises:
            Unparsable: it is no JSON.
        """
        if self._found is None:
            self._found = await self._read()
        if isinstance(self._found, Unparsable):
            raise self._found
        return self._found

    async def for_expressions(self) -> Parsed:
        """Its value as expressions see it: None where it is no JSON."""
        try:
            return await self.parsed()
        except Unparsable:
            return _NOTHING

    async def _read(self) -> Parsed | Unparsable:
        data = await whole_body(self._body, self._bodies, self._process_id)
        coding = self._request.field(b"content-encoding")
        name = coding.decode("latin-1") if coding is not None else None
        try:
            return await beside(
                partial(_parsed, data, name), MAX_DOCUMENT if is_packed(name) else len(data), hooks=False
            )
        except Unparsable as error:
            return error


_NOTHING = Parsed(None, 0)


def _parsed(data: bytes, coding: str | None) -> Parsed:
    text = unpacked(data, coding)
    return Parsed(parse_json(text), len(text))


class Schemas:
    """The compiled schemas of the routes; made anew when a route brings another one."""

    def __init__(self) -> None:
        self._validators: dict[str, tuple[Mapping[str, Any], Validator]] = {}

    async def violations(self, route: str, schema: Mapping[str, Any], body: JsonBody) -> list[Violation]:
        """Where a body does not match; empty: it does.

        Raises:
            Unparsable: it is no JSON.
        """
        value, size = await body.parsed()
        return await beside(partial(_violations, self._validator(route, schema), value), size, hooks=False)

    def _validator(self, route: str, schema: Mapping[str, Any]) -> Validator:
        known = self._validators.get(route)
        if known is not None and known[0] is schema:
            return known[1]
        validator = _Bounded(schema)
        self._validators[route] = (schema, validator)
        return validator


def _violations(validator: Validator, value: Any) -> list[Violation]:
    found = []
    for error in validator.iter_errors(value):
        found.append(Violation(_pointer(error.absolute_path), error.message[:500]))
        if len(found) == _MAX_ERRORS:
            break
    return found


def _pointer(path: Any) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
