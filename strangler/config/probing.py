"""`call.probe` of a route from its checked values."""

from __future__ import annotations

from typing import Any

from strangler.config.hooks import kept_hook
from strangler.config.paths import build_path
from strangler.config.scalars import seconds
from strangler.config.section import Context, Section
from strangler.config.translating import FRAMING, build_formula, build_test
from strangler.policy.conditions import Test
from strangler.policy.expressions import RECORDED_NAMES, REPLY_NAMES
from strangler.policy.model import ProbePolicy, ProbeResult
from strangler.policy.rendering import Rendering
from strangler.policy.upstreams import Upstream
from strangler.policy.wall import Content

_KEYS = ("call", "probe")


def build_probe(section: Section, context: Context, upstream: Upstream | None) -> ProbePolicy | None:
    """How the upstream is asked what a call in doubt did; None: it is not, or something is wrong with it.

    ``upstream``: another one that is asked.
    """
    call = section.values["call"]
    values: dict[str, Any] | None = call.get("probe")
    if values is None:
        if call.get("on_in_doubt") == "probe":
            section.complain(("call", "on_in_doubt"), "expected call.probe, which says what the upstream is asked")
        return None
    for name in values["headers"]["set"]:
        if name.lower() in FRAMING:
            section.complain((*_KEYS, "headers", "set", name), "this header is not the policy's to set")
    if section.given(*_KEYS, "absent") and values["absent"] == values["applied"]:
        section.complain((*_KEYS, "absent"), "the same as applied: an answer cannot say both")
    template = build_path(section, (*_KEYS, "path"), values["path"], RECORDED_NAMES)
    applied = _test(section, context, "applied", values["applied"])
    absent = _test(section, context, "absent", values["absent"]) if section.given(*_KEYS, "absent") else None
    result = _result(section, context, values.get("result"))
    if template is None or applied is None:
        return None
    return ProbePolicy(
        template=template,
        applied=applied,
        absent=absent,
        method=values["method"],
        upstream=upstream,
        set_headers=tuple(values["headers"]["set"].items()),
        timeout=seconds(values["timeout"]),
        result=result,
        attempts=int(values["attempts"]),
        backoff=seconds(values["backoff"]),
    )


def _test(section: Section, context: Context, key: str, values: dict[str, Any]) -> Test | None:
    if not values.get("status") and not values["headers"] and "body" not in values:
        section.complain((*_KEYS, key), "expected status, headers or body: without any of them every answer says so")
    return build_test(section, context, (*_KEYS, key), values)


def _result(section: Section, context: Context, values: dict[str, Any] | None) -> ProbeResult | None:
    if values is None:
        return None
    formula = build_formula(section, context, (*_KEYS, "result", "body"), values.get("body"), REPLY_NAMES)
    rendering = Rendering(Content(body=formula), kept_hook, REPLY_NAMES) if formula is not None else None
    return ProbeResult(status=int(values["status"]), body=rendering)
