"""The policy reference, docs/policy.md, made from the JSON Schema: ``python -m strangler.config.reference``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from strangler.config.schema import Schema, expected, policy_schema, resolved

_HEAD = """\
# Policy reference

Every key of a policy file. This page is made from `strangler/config/policy.schema.json` by
`python -m strangler.config.reference > docs/policy.md`; a test holds the two together. Editors that know JSON Schema
can use that file for completion.

`strangler check PATH…` says what is wrong with a policy, where, and what was expected. `strangler serve PATH…` takes
files and folders of them; all together make one table. An unknown key is an error; a key marked *not available yet* is
refused by its name.

- **Durations** are whole numbers with a unit: `250ms 2s 5m 24h 30d`. **Sizes** likewise: `64KiB 10MiB`.
- **YAML** is read by the core schema of YAML 1.2: only `true` and `false` are booleans; `on`, `off`, `yes` are words;
  there are no dates. Quote values that hold `{ } * @`.
- **Variables** stand in any value or part of one: `${env:NAME}`, `${env:NAME:-default}` (also where NAME is empty),
  `${file:PATH}` and `${secret-env:NAME}`. The last two are secrets: they are never shown, and cannot stand in what is
  stored with a process. `$${` stands for `${`. Paths of files are relative to the policy file; an
  empty one is an error.
- **Expressions** are [JMESPath](https://jmespath.org/) over `{method, path: {…}, query, headers, body, caller}`; in
  `translate` over `process: {id, type, correlationId, url, idempotencyKey}` too, over `soap: {version, header}` where
  the request is a SOAP message, and in `translate.response` over `reply: {status, headers, body, soap}`. In `outcome`,
  and in `when`, an expression looks at the body of the reply alone. A mapping of names to expressions makes a mapping.
  Of a parameter of the query that comes more than once the first counts; lines of one header are joined with commas.
  A body that is packed with gzip or deflate is unpacked for it; where a reply is looked into, the upstream is asked for
  plain bytes (`Accept-Encoding: identity`), and for all of them (no `Range: bytes=…`), as where its body is replaced.
- **XML** is seen as `{root: {"@attribute": …, child: …, "#text": …}}`, by local names; a child that comes more than
  once is a list, one that is named in `lists` always. White space around text is dropped; `xsi:nil` is null. Of a SOAP
  message it is what stands in its Body; a fault of either version is `Fault: {code, subcode, reason, actor, detail}`.
- **Numbers** with a fraction are read as other readers of JSON read them (RFC 8259 section 6, IEEE 754): a translated
  body has 15 to 17 digits of them, `1.10` is written `1.1`, and below 1e-323 they are 0. Integers are exact. What has
  to arrive digit by digit has to be text. Outside JSON (in XML, forms, text, paths and headers) all are written in
  digits, without an exponent; one that begins more than 64 places from its point is refused. `to_string` writes JSON,
  wherever it stands.
- **Hooks**: `{python: "package.module:function"}` in place of an expression calls that function with the whole
  document (`method … process`, and `reply` where there is one) as plain dicts and lists, which it must not change; it
  returns plain JSON values. It runs in a thread of its own for at most 30 s, may be called more than once for a
  process, and what it raises counts as an expression that cannot be evaluated.
- **The more specific route wins**: host, then path segment by segment (literal over parameter over prefix), then
  method, then the number of header and query terms. Two that can both win are an error.
"""


def reference() -> str:
    """The whole page."""
    schema = policy_schema()
    properties = schema["properties"]
    route = schema["$defs"]["route"]["properties"]
    parts = [_HEAD, _section("A policy file", schema["description"], properties, "")]
    parts.extend(_tables("upstreams.NAME", resolved(properties["upstreams"]["additionalProperties"]), "##"))
    parts.extend(_tables("receivers.NAME", resolved(properties["receivers"]["additionalProperties"]), "##"))
    parts.append(_section("routes[]", "One route.", route, "required: `name`, `match`, `upstream`"))
    for key, below in route.items():
        parts.extend(_tables(f"routes[].{key}", resolved(below), "###"))
    parts.extend(_tables("default", resolved(properties["default"]), "##"))
    return "\n".join(parts)


def _tables(name: str, schema: Schema, level: str) -> Iterator[str]:
    """The table of a mapping's keys, and those of the mappings within it, or of the items of a list of them."""
    for below in (schema["items"] if schema.get("type") == "array" else None, *schema.get("anyOf", ())):
        if below is not None and "properties" in resolved(below):
            yield from _tables(f"{name}[]" if schema.get("type") == "array" else name, resolved(below), level)
    if "properties" not in schema:
        return
    required = ", ".join(f"`{key}`" for key in schema.get("required", ()))
    yield _section(
        name, schema.get("description", ""), schema["properties"], f"required: {required}" if required else "", level
    )
    for key, below in schema["properties"].items():
        yield from _tables(f"{name}.{key}", resolved(below), "###")


def _section(name: str, text: str, properties: Schema, note: str, level: str = "##") -> str:
    title = f"`{name}`" if "." in name or "[" in name or name.islower() else name
    lines = [f"{level} {title}", "", f"{text}{f' ({note})' if note else ''}", ""]
    lines += ["| key | meaning | expected | default |", "| --- | --- | --- | --- |"]
    lines += [_row(key, resolved(schema)) for key, schema in properties.items() if "x-later" not in schema]
    later = ", ".join(f"`{key}`" for key, schema in properties.items() if "x-later" in schema)
    if later:
        lines += ["", f"Not available yet: {later}."]
    return "\n".join(lines) + "\n"


def _row(key: str, schema: Schema) -> str:
    cells = (f"`{key}`", schema.get("description", ""), _expected(schema), _default(schema))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _expected(schema: Schema) -> str:
    if schema.get("type") == "object" and "properties" not in schema:
        below = schema["additionalProperties"]
        return "a mapping" if "properties" in resolved(below) else f"a mapping of names to: {expected(resolved(below))}"
    if schema.get("type") == "array" and "x-expected" not in schema:
        return f"a list; each: {expected(resolved(schema['items']))}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in dict.fromkeys(str(value) for value in schema["enum"]))
    return expected(schema)


def _default(schema: Schema) -> str:
    if "x-default" in schema:
        return str(schema["x-default"])
    if "default" not in schema:
        return ""
    default: Any = schema["default"]
    if default in ({}, [], ""):
        return "" if "properties" in schema else "none"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
