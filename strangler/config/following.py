"""`call.follow` of a route from its checked values."""

from __future__ import annotations

import re
from typing import Any

from strangler.config.paths import build_path
from strangler.config.scalars import seconds
from strangler.config.section import Context, Section
from strangler.config.translating import FRAMING, build_test
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
    template = None
    if header is None:
        expected = "header:NAME, or a path with {EXPR} in it"
        template = build_path(section, (*_KEYS, "url"), values["url"], TEMPLATE_NAMES, expected)
    done = build_test(section, context, (*_KEYS, "done"), values["done"]) if section.given(*_KEYS, "done") else None
    return FollowPolicy(
        header=header[1].lower() if header is not None else None,
        template=template,
        every=seconds(values["every"]),
        duration=seconds(values["for"]),
        done=done,
        set_headers=tuple(values["headers"]["set"].items()),
    )


def _refuse_pending(section: Section) -> None:
    for index, rule in enumerate(section.values["outcome"]):
        if rule.get("state") == "pending":
            section.complain(
                ("outcome", index, "state"), "expected call.follow, which says where the upstream is asked again"
            )
