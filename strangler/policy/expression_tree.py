"""What can be said of a parsed expression before it is evaluated: what it names and calls, and how its values grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import inf
from typing import NamedTuple

from jmespath.functions import Functions

from strangler.policy.evaluation import Tree
from strangler.policy.measure import TooLarge, measured

# Of these only the first child sees the document; the others see what the first yields.
_CHAINED = frozenset(
    {
        "subexpression",
        "index_expression",
        "projection",
        "value_projection",
        "filter_projection",
        "flatten",
        "pipe",
    }
)

_REPLY = {"type": "field", "value": "reply", "children": []}
_PATH = {"type": "field", "value": "path", "children": []}

REPLY_FIELDS = "reply.headers"
"""The header fields of a reply: hardly any expression asks for them, and they are more than the rest of its head."""


def copies(tree: Tree, given: int) -> int:
    """How many copies of a document an expression makes at most, when it is given so many.

    A chain of ``[@, @] | [@, @] | …`` doubles with every link; JMESPath has no other way to grow. Values are shared and
    not copied, so only what walks through the result is slow; but something always does.
    """
    kind, children = tree["type"], tree["children"]
    if kind == "literal":
        return 1
    if kind in ("pipe", "subexpression", "index_expression", "projection", "value_projection", "filter_projection"):
        for child in children:
            given = copies(child, given)
        return given
    if kind == "function_expression":
        each = max((copies(child, 1) for child in children if child["type"] == "expref"), default=1)
        return each * max(1, sum(copies(child, given) for child in children if child["type"] != "expref"))
    below = [copies(child, given) for child in children if isinstance(child, Mapping)]
    if kind in ("multi_select_list", "multi_select_dict"):
        return sum(below)
    return max([given, *below])


class Growth(NamedTuple):
    """By how much a value may be larger than the document that it is found in."""

    times: float  # as many values; infinite: nobody knows
    levels: int  # deeper
    plain: bool  # it brings no number with it that is not, see `Measure.plain`


_NONE = Growth(1, 0, True)
_UNKNOWN = Growth(inf, 0, False)


def growth(tree: Tree) -> Growth:
    """By how much the values of an expression may be larger than their document."""
    kind = tree["type"]
    if kind == "literal":
        try:
            literal = measured(tree["value"])
        except TooLarge:
            return _UNKNOWN
        return Growth(literal.values, literal.depth, literal.plain)
    if kind in ("function_expression", "expref"):
        return _UNKNOWN  # to_number() and sum() make numbers, map() and join() make more of everything
    if kind in ("comparator", "not_expression"):
        return _NONE
    children = tree["children"][:2] if kind == "filter_projection" else tree["children"]  # the third only chooses
    below = [growth(child) for child in children if isinstance(child, Mapping)] or [_NONE]
    plain = all(each.plain for each in below)
    if kind in _CHAINED:
        times, levels = 1.0, 0
        for each in below:
            times, levels = times * each.times, levels + each.levels
        return Growth(times, levels, plain)
    deepest = max(each.levels for each in below)
    if kind in ("multi_select_list", "multi_select_dict"):
        return Growth(1 + sum(each.times for each in below), 1 + deepest, plain)
    return Growth(max(each.times for each in below), deepest, plain)


def wrong_call(tree: Tree) -> str | None:
    """What is wrong with a call in an expression; None: nothing.

    JMESPath finds unknown functions when it evaluates; an operator is to hear of them when the policy loads.
    """
    for node in _nodes(tree):
        if node["type"] != "function_expression":
            continue
        name, given = node["value"], len(node["children"])
        if name not in Functions.FUNCTION_TABLE:
            meant = get_close_matches(name, Functions.FUNCTION_TABLE, n=1)
            return f"there is no function {name}()" + (f"; did you mean {meant[0]}()?" if meant else "")
        signature = Functions.FUNCTION_TABLE[name]["signature"]
        variadic = bool(signature[-1].get("variadic"))
        if given < len(signature) or (given > len(signature) and not variadic):
            return f"{name}() takes {len(signature)} values, not {given}"
    return None


def first_names(tree: Tree) -> Iterator[str]:
    """The names by which an expression enters the document; beside "reply", `REPLY_FIELDS` if it may see them."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        children = node["children"]
        if node["type"] == "field":
            yield node["value"]
            if node["value"] == "reply":
                yield REPLY_FIELDS
        elif node["type"] in ("current", "identity"):
            yield "@"
        elif node["type"] == "expref":
            continue
        elif node["type"] == "subexpression" and children[0] == _REPLY and children[1]["type"] == "field":
            yield "reply"
            if children[1]["value"] == "headers":
                yield REPLY_FIELDS
        else:
            children = children[:1] if node["type"] in _CHAINED else children
            waiting.extend(child for child in children if isinstance(child, Mapping))


def path_names(tree: Tree) -> Iterator[str]:
    """The names of the parameters of the path that an expression asks for, as ``path.NAME``."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        children = node["children"]
        if node["type"] == "subexpression" and children[0] == _PATH and children[1]["type"] == "field":
            yield children[1]["value"]
        elif node["type"] != "expref":
            children = children[:1] if node["type"] in _CHAINED else children
            waiting.extend(child for child in children if isinstance(child, Mapping))


def _nodes(tree: Tree) -> Iterator[Tree]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(child for child in node["children"] if isinstance(child, Mapping))
