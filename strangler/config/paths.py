"""Paths with ``{EXPR}`` in them, by which an upstream is asked something."""

from __future__ import annotations

import re

from strangler.config.located import KeyPath
from strangler.config.section import Section
from strangler.policy.expressions import ExpressionSyntaxError, Template

_LITERAL = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")


def build_path(
    section: Section, keys: KeyPath, text: str, names: frozenset[str], expected: str = "a path with {EXPR} in it"
) -> Template | None:
    """The compiled path that stands at ``keys``; None: something is wrong with it, and the section was told.

    ``names``: what its expressions may begin with.
    """
    try:
        if not text.startswith("/"):
            raise ExpressionSyntaxError("it begins with /")
        template = Template(text, names)
        if not _LITERAL.fullmatch(template.literal):
            # What stands there goes into a request line as it is (RFC 9112 section 3.2.1).
            raise ExpressionSyntaxError("all that does not stand in braces is percent-encoded")
    except ExpressionSyntaxError as error:
        section.complain(keys, f"expected {expected}: {error}")
        return None
    return template
