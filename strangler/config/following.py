"""`call.follow` of a route from its checked values."""

from __future__ import annotations

import re
from typing import Any

from strangler.config.hooks import find_hook
from strangler.config.scalars import seconds
from strangler.config.section import Context, Section
from strangler.config.translating import FRAMING, build_condition
from strangler.policy.conditions import Test
from strangler.policy.expressions import ExpressionError, ExpressionSyntaxError, Template
from strangler.policy.follow import TEMPLATE_NAMES
from strangler.policy.model import FollowPolicy

_HEADER = re.compile(r"header:([!#$%&'*+.^_`|~0-9A-Za-z-]+)")
_KEYS = ("call", "follow")


def build_follow(section: Section, context: Context) -> FollowPolicy | None:
    """How what the upstream took is followed; None: it is not."""
    values: dict[str, Any] | None = section.values["call"].get("follow")
    if values is None:
        _refuse_pending(section)
        return None
    header = _HEADER.fullmatch(values["url"])
    for name in values["headers"]["set"]:
        if name.lower() in FRAMING:
            section.complain((*_KEYS, "headers", "set", name), "this header is not the policy's to set")
    return FollowPolicy(
        header=header[1].lower() if header is not None else None,
        template=_template(section, values["url"]) if header is None else None,
        every=seconds(values["every"]),
        duration=seconds(values["for"]),
        done=_done(section, context, values) if section.given(*_KEYS, "done") else None,
        set_headers=tuple(values["headers"]["set"].items()),
    )


def _refuse_pending(section: Section) -> None:
    for index, rule in enumerate(section.values["outcome"]):
        if rule.get("state") == "pending":
            section.complain(
                ("outcome", index, "state"), "expected call.follow, which says where the upstream is asked again"
            )


def _template(section: Section, text: str) -> Template | None:
    try:
        if not text.startswith("/"):
            raise ExpressionSyntaxError("it begins with /, or with header:")
        return Template(text, TEMPLATE_NAMES)
    except ExpressionSyntaxError as error:
        section.complain((*_KEYS, "url"), f"expected header:NAME, or a path with {{EXPR}} in it: {error}")
        return None


def _done(section: Section, context: Context, values: dict[str, Any]) -> Test | None:
    before = len(section.report.errors())
    condition = build_condition(section, context, (*_KEYS, "done"), values["done"])
    if len(section.report.errors()) > before:
        return None
    try:
        return Test(condition, find_hook)
    except ExpressionError:
        return None  # offline, and told of as a note
