"""The JSON Schema of the policy, the one list of its keys: checking values against it, and filling in its defaults.

Beyond JSON Schema 2020-12 it has annotations of our own: ``x-expected`` says in words what is expected, ``x-later``
marks a key, and ``x-later-pattern`` values, whose work has not been done yet, ``x-default`` describes a default that
depends on other keys, ``x-off`` marks a key that ``off`` undoes, ``x-stored`` marks what is stored with each process
and so may hold no secret, ``x-secret`` what is a secret however it was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from strangler.config.located import KeyPath, Node, Place, Report, nearest, similar
from strangler.config.scalars import typed

Schema = Mapping[str, Any]

_NOT_YET = "not available yet"
_QUOTE = 'if it is meant as text, write it in quotes, as in "{…}"'


@cache
def policy_schema() -> Schema:
    """The schema of a policy file."""
    text = files("strangler.config").joinpath("policy.schema.json").read_text("utf-8")
    schema: Schema = json.loads(text)
    return schema


def resolved(schema: Schema) -> Schema:
    """A schema with its ``$ref`` followed; what stands beside the ``$ref`` wins."""
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        schema = {**policy_schema()["$defs"][name], **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema


def _pattern(_: Any, pattern: str, instance: object, __: Schema) -> Iterator[ValidationError]:
    # In ECMA 262 a final $ is the very end; in Python a line break may follow it.
    strict = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    if isinstance(instance, str) and not re.search(strict, instance):
        yield ValidationError("pattern")


def _later(_: Any, __: bool, ___: object, ____: Schema) -> Iterator[ValidationError]:
    yield ValidationError("later")


@cache
def _validator() -> Any:
    extended: Any = extend(Draft202012Validator, {"pattern": _pattern, "x-later": _later})  # type: ignore[no-untyped-call]
    return extended(policy_schema())


def validate(root: Node, report: Report) -> None:
    """Check a whole policy file; every error goes to the report with its place. Stand-ins are passed over."""
    for error in _validator().iter_errors(root.plain()):
        _report(error, (), root, report)


def _report(error: ValidationError, base: KeyPath, root: Node, report: Report) -> None:
    path = (*base, *error.path)
    node = root.at(path)
    if node.unresolved:
        return
    schema = resolved(error.schema) if isinstance(error.schema, Mapping) else {}
    if "propertyNames" in error.schema_path and isinstance(node.value, dict):
        key = str(error.instance)
        report.add(node.value[key].named_at, (*path, key), f"expected {expected(schema)} as the key")
        return
    match error.validator:
        case "additionalProperties":
            known = schema["properties"]
            for step, child in node.children():
                if step not in known:
                    report.add(child.named_at, (*path, step), f"unknown key; {_nearest_key(str(step), known)}")
        case "required":
            if path[:1] == ("route_defaults",):
                return  # a route may bring what is missing; one that does not is told so itself
            place = _to_complete(path, node, root)
            for key in schema["required"]:
                if isinstance(node.value, dict) and key not in node.value:
                    report.add(place, (*path, key), "this key is required")
        case "x-later":
            report.add(node.named_at, path, _NOT_YET)
        case "anyOf":
            if not _report_branch(error, path, root, report):
                report.add(node.place, path, _mismatch(node, schema))
        case _:
            report.add(node.place, path, _mismatch(node, schema))


def _to_complete(path: KeyPath, node: Node, root: Node) -> Place:
    """Where a missing key is to be written: in its mapping, or in the route, where that is of route_defaults alone."""
    defaults = root.at(("route_defaults",))
    if path[:1] == ("routes",) and len(path) > 2 and defaults.at(path[2:]) == node:
        return root.at(path[:2]).place
    return node.named_at


def _nearest_key(key: str, known: Mapping[str, Any]) -> str:
    if key == "<<":
        return "YAML 1.2 has no merge keys; `route_defaults` is merged under every route of a file"
    return nearest(key, [name for name, schema in known.items() if "x-later" not in schema])


def _report_branch(error: ValidationError, path: KeyPath, root: Node, report: Report) -> bool:
    """Report the errors of the alternative that has the right type but wrong contents; whether there is one."""
    branches: dict[Any, list[ValidationError]] = {}
    for below in error.context or ():
        branches.setdefault(below.schema_path[0], []).append(below)
    for fits in (_is_below, _is_of_contents):
        for errors in branches.values():
            if all(fits(below) for below in errors):
                for below in errors:
                    _report(below, path, root, report)
                return True
    return False


def _is_below(error: ValidationError) -> bool:
    return bool(error.path)


def _is_of_contents(error: ValidationError) -> bool:
    return bool(error.path) or error.validator in ("additionalProperties", "required")


def _mismatch(node: Node, schema: Schema) -> str:
    """What was expected, and what was found."""
    later = schema.get("x-later-pattern")
    if later and isinstance(node.value, str) and re.search(later, node.value):
        return f"{node.shown()} is {_NOT_YET}"
    text = f"expected {expected(schema)}, found {node.shown()}"
    if "enum" in schema and isinstance(node.value, str) and not node.secret:
        meant = similar(node.value, [str(value) for value in schema["enum"]])
        text += f"; did you mean {meant}?" if meant else ""
    elif node.flow and (schema.get("type") == "string" or "anyOf" in schema):
        text += f"; {_QUOTE}"
    elif schema.get("type") == "array" and isinstance(node.value, str) and not node.secret and _texts(schema):
        text += f"; a list of one is [{node.shown()}]"
    elif schema.get("type") == "string" and isinstance(node.value, bool | int | float) and "x-expected" not in schema:
        text += "; write it in quotes"
    return text


def _texts(schema: Schema) -> bool:
    """Whether what a list holds is written as text."""
    items = resolved(schema["items"])
    return "enum" in items or items.get("type") == "string"


_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def expected(schema: Schema) -> str:
    """What a schema expects, in words."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "enum" in schema:
        return " or ".join(dict.fromkeys(str(value) for value in schema["enum"]))
    text = _TYPES[schema["type"]]
    if "minimum" in schema and "maximum" in schema:
        return f"{text} from {schema['minimum']} to {schema['maximum']}"
    if "minimum" in schema:
        return f"{text} of at least {schema['minimum']}"
    if schema.get("minItems"):
        return f"{text} that is not empty"
    return text


# ── Variables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def settle_types(root: Node) -> Node:
    """Give what was inserted by variables the type that is expected in its place: text where text may stand there."""
    return _settled(root, [policy_schema()])


def _settled(node: Node, schemas: list[Schema]) -> Node:
    if isinstance(node.value, dict):
        return replace(node, value={k: _settled(c, _below(schemas, k)) for k, c in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[_settled(c, _below(schemas, i)) for i, c in enumerate(node.value)])
    if not node.inserted or not isinstance(node.value, str):
        return node
    for value in (node.value, typed(node.value)):
        if _fits(value, schemas):
            return replace(node, value=value)
    if not node.unresolved:
        return node
    for value in _stand_ins(schemas, node.value):
        if _fits(value, schemas):
            return _holding(replace(node, made_up=value != "/" + node.value), value)
    return node


def _fits(value: Any, schemas: Iterable[Schema]) -> bool:
    return any(_validator().evolve(schema=schema).is_valid(value) for schema in schemas)


def _holding(node: Node, value: Any) -> Node:
    """The same with a plain value in it, each part of which stands where it does."""
    if isinstance(value, Mapping):
        return replace(node, value={key: _holding(node, part) for key, part in value.items()})
    if isinstance(value, list):
        return replace(node, value=[_holding(node, part) for part in value])
    return replace(node, value=value)


def _stand_ins(schemas: Iterable[Schema], text: str) -> Iterator[Any]:
    """Values that may do in the place of a text that is not known."""
    for schema in schemas:
        whole = resolved(schema)
        yield "/" + text  # a path stays one that no other is
        yield from whole.get("examples", ())
        if "default" in whole:
            yield whole["default"]
        yield from whole.get("enum", ())
        yield from (whole.get("minimum", 1), True)
        yield from _stand_ins(whole.get("anyOf", []), text)
        if "items" in whole:
            yield from ([item] for item in _stand_ins([whole["items"]], text))
        if "properties" in whole:
            below = {key: whole["properties"][key] for key in whole.get("required", ())}
            yield {key: _first(part, text) for key, part in below.items()}


def _first(schema: Schema, text: str) -> Any:
    """The first value that does."""
    return next((value for value in (text, *_stand_ins([schema], text)) if _fits(value, [schema])), None)


def _below(schemas: list[Schema], step: str | int) -> list[Schema]:
    """The schemas that a member of a mapping, or an item of a list, may be held to."""
    found: list[Schema] = []
    waiting = list(schemas)
    while waiting:
        schema = resolved(waiting.pop())
        waiting.extend(schema.get("anyOf", ()))
        if isinstance(step, int):
            below = schema.get("items")
        else:
            below = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
        if isinstance(below, Mapping):
            found.append(below)
    return found


# ── Defaults ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_defaults(value: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """A mapping with the schema's defaults where keys are absent, at every depth.

    A mapping within it that lacks a required key is left out: that one has been told of, and means nothing without.
    One that is ``off`` counts as absent, which is how a route does without what `route_defaults` says.
    """
    filled = dict(value)
    for key, below in resolved(schema)["properties"].items():
        below = resolved(below)
        if "x-off" in below and filled.get(key) == "off":
            del filled[key]
        if key not in filled and "default" in below:
            filled[key] = below["default"]
        if "properties" in below and isinstance(filled.get(key), Mapping):
            if set(below.get("required", ())) <= filled[key].keys():
                filled[key] = with_defaults(filled[key], below)
            else:
                del filled[key]
    return filled


def with_secrets_marked(root: Node) -> tuple[Node, bool]:
    """The same values with those marked as secrets that are it however they were written, so that none is ever shown.

    The second value: whether one stands in the file itself.
    """
    literal = False

    def marked(node: Node, schemas: list[Schema]) -> Node:
        nonlocal literal
        if isinstance(node.value, dict):
            return replace(node, value={k: marked(child, _below(schemas, k)) for k, child in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[marked(c, _below(schemas, i)) for i, c in enumerate(node.value)])
        # One that stands alone, where a list of them is expected, is one all the same.
        if not any(resolved(schema).get("items", schema).get("x-secret") for schema in schemas):
            return node
        literal = literal or not node.inserted
        return replace(node, secret=True)

    return marked(root, [policy_schema()]), literal


def secrets_in_stored(root: Node) -> Iterator[tuple[KeyPath, Node]]:
    """Secrets that stand where the policy is stored with each process."""
    for path, node in root.walk():
        if node.secret and _stored(path):
            yield path, node


def _stored(path: KeyPath) -> bool:
    schemas: list[Schema] = [policy_schema()]
    for step in path:
        schemas = _below(schemas, step)
        if any(resolved(schema).get("x-stored") for schema in schemas):
            return True
    return False
