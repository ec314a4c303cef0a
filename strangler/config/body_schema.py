"""Reading `accept.schema`: a JSON Schema 2020-12 file that needs nothing from anywhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import referencing
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from strangler.config.files import Reading, why
from strangler.config.linear import why_not

_MAX_BYTES = 4 * 1024 * 1024
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Missing(ValueError):
    """The file cannot be read."""


def read_body_schema(name: str, policy_file: str, reading: Reading) -> Mapping[str, Any]:
    """The schema in a file, by its path relative to the policy file that names it.

    Raises:
        Missing: the file cannot be read.
        ValueError: it is no JSON, no schema of 2020-12, refers to something outside itself, or holds a regular
            expression that is not trusted; the text says where.
    """
    path = os.path.abspath(os.path.join(os.path.dirname(policy_file), name))
    try:
        data = reading.read(path, _MAX_BYTES)
    except OSError as error:
        raise Missing(f"{path} cannot be read: {why(error)}") from None
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path} is longer than {_MAX_BYTES} bytes")
    try:
        schema = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ValueError(f"{path}: expected a JSON Schema, which is an object")
    if str(schema.get("$schema", _DIALECT)).removesuffix("#") != _DIALECT:
        raise ValueError(f"{path}: expected a schema of {_DIALECT}, found {schema['$schema']}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"{path}: not a JSON Schema, at {_pointer(error.absolute_path)}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deep") from None
    for problem in _problems(schema):
        raise ValueError(f"{path}: {problem}")
    return schema


def _problems(schema: Mapping[str, Any]) -> Iterator[str]:
    root = DRAFT202012.create_resource(schema)
    resolver = referencing.Registry().with_resource(root.id() or "", root).resolver(root.id() or "")
    waiting: list[tuple[referencing.Resource[Any], Any]] = [(root, resolver)]
    asked: dict[int, set[int]] = {}  # which schemas a schema asks about the very value that it is asked about
    while waiting:
        resource, resolver = waiting.pop()
        if isinstance(resource.contents, Mapping):
            targets = yield from _targets(resource.contents, resolver)
            yield from _pattern_problems(resource.contents)
            asked[id(resource.contents)] = {id(each) for each in (*targets, *_in_place(resource.contents))}
        waiting.extend((below, resolver.in_subresource(below)) for below in resource.subresources())
    try:
        TopologicalSorter(asked).prepare()
    except CycleError:
        yield "a $ref leads back to where it stands without going deeper into the document, which has no end"


def _in_place(schema: Mapping[str, Any]) -> Iterator[Any]:
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(keyword, ())
    yield from (schema[keyword] for keyword in ("not", "if", "then", "else") if keyword in schema)
    yield from schema.get("dependentSchemas", {}).values()


def _targets(schema: Mapping[str, Any], resolver: Any) -> Generator[str, None, list[Any]]:
    """What is wrong with the references of a schema. Returns the schemas to which they lead."""
    targets: list[Any] = []
    for keyword in ("$ref", "$dynamicRef"):
        reference = schema.get(keyword)
        if isinstance(reference, str):
            try:
                targets.append(resolver.lookup(reference).contents)
            except Unresolvable:
                yield f"{keyword} {reference} leads out of the file, or nowhere; write #/$defs/NAME"
    return targets


def _pattern_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    patterns = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    patterns.extend(schema.get("patternProperties", {}))
    for pattern in patterns:
        if reason := why_not(pattern):
            yield f"the pattern {pattern} is not taken: {reason}"


def _pointer(path: Any) -> str:
    return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
