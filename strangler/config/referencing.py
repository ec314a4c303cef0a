"""The `process.references` section of a route from its checked values."""

from __future__ import annotations

from collections.abc import Sequence

from strangler.config.located import nearest
from strangler.config.section import Section
from strangler.policy.expressions import REPLY_NAMES, Expression, ExpressionSyntaxError
from strangler.policy.references import References, Sought

_PUBLIC = "public"


def build_references(section: Section, paths: Sequence[str]) -> References | None:
    """The compiled references of a route; None: it has none, or something is wrong with them."""
    values = section.values["process"]["references"]
    expressions = {name: text for name, text in values.items() if name != _PUBLIC}
    sound = True
    for index, name in enumerate(values.get(_PUBLIC, ())):
        if name not in expressions:
            keys = ("process", "references", _PUBLIC, index)
            section.complain(keys, f"there is no reference of this name; {nearest(name, expressions)}")
            sound = False
    for name, text in expressions.items():
        try:
            Expression(text, REPLY_NAMES)
        except ExpressionSyntaxError as error:
            section.complain(("process", "references", name), str(error))
            sound = False
    return References(Sought(expressions, tuple(paths))) if sound and expressions else None
