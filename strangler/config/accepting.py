"""The `accept` section of a route from its checked values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strangler.config.body_schema import Missing, read_body_schema
from strangler.config.scalars import seconds, size
from strangler.config.section import Context, Section
from strangler.policy.expressions import REQUEST_NAMES, Expression, ExpressionSyntaxError, multiselect
from strangler.policy.model import AcceptPolicy, IdempotencyPolicy, Mode, Rollout

FINGERPRINT = "fingerprint"


def build_accept(section: Section, mode: Mode, rollout: Rollout | None, context: Context) -> AcceptPolicy:
    """What a route accepts for recording; what is wrong with it, the section is told."""
    accept = section.values["accept"]
    return AcceptPolicy(
        schema=_schema(section, context),
        content_types=tuple(media_type.lower() for media_type in accept.get("content_types", ())),
        require_headers=tuple(accept["require_headers"]),
        enforce=accept["enforce"],
        max_body=size(accept["max_body"]),
        over_max_body=_over_max_body(section, mode, rollout),
        idempotency=_idempotency(section),
        queue_bytes=size(accept["queue_bytes"]),
    )


def _schema(section: Section, context: Context) -> Mapping[str, Any] | None:
    name = section.values["accept"].get("schema")
    if name is None:
        return None
    keys = ("accept", "schema")
    # A path is relative to the file that names it, which with route_defaults is still the same one.
    file = section.node.at(keys).place.file
    try:
        return read_body_schema(name, file, context.reading)
    except Missing as error:
        section.complain(keys, str(error), "note" if context.offline else "error")
    except ValueError as error:
        section.complain(keys, str(error))
    return None


def _over_max_body(section: Section, mode: Mode, rollout: Rollout | None) -> Any:
    modes = [mode] + ([rollout.mode] if rollout is not None else [])
    recorded = [each for each in modes if each is not Mode.PASSTHROUGH]
    given = section.values["accept"].get("over_max_body")
    if given is None:
        # By the route's own mode, or the one that it is being rolled out to.
        return "passthrough" if recorded and recorded[0] is Mode.COMPAT else "413"
    if given == "passthrough" and recorded and Mode.COMPAT not in recorded:
        section.complain(
            ("accept", "over_max_body"), "expected 413: only a route with compat can let a body pass through"
        )
    return str(given)


def _idempotency(section: Section) -> IdempotencyPolicy:
    values = section.values["accept"]["idempotency"]
    header = values["header"]
    return IdempotencyPolicy(
        headers=(header,) if isinstance(header, str) else tuple(header),
        required=values["required"],
        ttl=seconds(values["ttl"]),
        scope=values["scope"],
        derive=_derive(section, values.get("derive")),
        derive_anonymous=values["derive_anonymous"],
        window=seconds(values["window"]),
    )


def _derive(section: Section, value: Any) -> str | None:
    if value is None or value == FINGERPRINT:
        return value  # type: ignore[no-any-return] # None or the word
    try:
        text = multiselect(value)
        Expression(text, REQUEST_NAMES)
    except ExpressionSyntaxError as error:
        section.complain(("accept", "idempotency", "derive"), f"expected an expression (JMESPath): {error}")
        return None
    return text
