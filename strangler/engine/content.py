"""Looking into a request's body before it is accepted: JSON, and the route's schema."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from strangler.policy.readable import Unparsable, is_packed, parse_json, unpacked

PARSED_HERE = 64 * 1024
"""Bytes up to which a body is parsed on the event loop; a longer one is parsed in a thread."""

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


class Schemas:
    """The compiled schemas of the routes; made anew when a route brings another one."""

    def __init__(self) -> None:
        self._validators: dict[str, tuple[Mapping[str, Any], Validator]] = {}

    async def violations(
        self, route: str, schema: Mapping[str, Any], data: bytes, coding: bytes | None
    ) -> list[Violation]:
        """Where a body, with this ``Content-Encoding``, does not match; empty: it does.

        Raises:
            Unparsable: it is no JSON.
        """
        data = await _plain(data, coding)
        validator = self._validator(route, schema)
        if len(data) <= PARSED_HERE:
            return _violations(validator, data)
        return await asyncio.to_thread(_violations, validator, data)

    def _validator(self, route: str, schema: Mapping[str, Any]) -> Validator:
        known = self._validators.get(route)
        if known is not None and known[0] is schema:
            return known[1]
        validator = _Bounded(schema)
        self._validators[route] = (schema, validator)
        return validator


def _violations(validator: Validator, data: bytes) -> list[Violation]:
    found = []
    for error in validator.iter_errors(parse_json(data)):
        found.append(Violation(_pointer(error.absolute_path), error.message[:500]))
        if len(found) == _MAX_ERRORS:
            break
    return found


def _pointer(path: Any) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


async def _plain(data: bytes, coding: bytes | None) -> bytes:
    """A body without its content coding.

    Raises:
        Unparsable: it is in none that is known, is broken, or is too long when it is undone.
    """
    name = coding.decode("latin-1") if coding is not None else None
    return await asyncio.to_thread(unpacked, data, name) if is_packed(name) else data


async def parsed_for_expressions(data: bytes, coding: bytes | None) -> Any:
    """The value of a body, with this ``Content-Encoding``, as expressions see it; None where it is no JSON."""
    try:
        data = await _plain(data, coding)
        return parse_json(data) if len(data) <= PARSED_HERE else await asyncio.to_thread(parse_json, data)
    except Unparsable:
        return None
