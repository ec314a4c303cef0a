"""Parsed JMESPath as functions, made once when a policy loads; walking through the tree each time costs ten times more.

They give what the interpreter of `jmespath` gives, which still does what is seldom asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

Tree = Mapping[str, Any]
"""A node of a parsed expression: its type, its value, and the nodes below it."""

Function = Callable[[Any], Any]
"""From a plain value to what an expression finds in it."""


def holds(value: Any) -> bool:
    """Whether a value counts as true, by the rule of JMESPath: all but null, false, and what is empty."""
    return value is not None and value is not False and value not in ("", [], {})


def function_of(tree: Tree) -> Function:
    """The function that a parsed expression stands for.

    It raises what the interpreter raises: `JMESPathError`, and whatever Python says of what it compares or computes.
    """
    kind, below = tree["type"], tree["children"]
    match kind:
        case "field":
            return _path([tree["value"]])
        case "literal" | "identity" | "current":
            return _constant(tree["value"]) if kind == "literal" else _itself
        case "index":
            return _index(tree["value"])
        case "subexpression" | "index_expression" | "pipe":
            return _chain(below)
        case "projection":
            source, each = below
            fields = _fields(each)
            return _renamed_all(function_of(source), fields) if fields else _projection(*map(function_of, below))
        case "filter_projection":
            return _filtered(*map(function_of, below))
        case "flatten":
            return _flat(function_of(below[0]))
        case "multi_select_dict":
            fields = _fields(tree)
            return _renamed(fields) if fields else _mapping(below)
        case "multi_select_list":
            return _list([function_of(each) for each in below])
        case "or_expression" | "and_expression":
            return _either(*map(function_of, below), goes_on=kind == "and_expression")
        case "not_expression":
            return _not(function_of(below[0]))
        case "comparator" if tree["value"] in ("eq", "ne"):
            return _compared(tree["value"], *map(function_of, below))
        case "function_expression":
            return _call(tree["value"], [function_of(each) for each in below])
    interpreter = TreeInterpreter()
    return lambda value: interpreter.visit(tree, value)  # type: ignore[arg-type]


def _itself(value: Any) -> Any:
    return value


def _constant(constant: Any) -> Function:
    return lambda value: constant


def _path(names: Sequence[str]) -> Function:
    def path(value: Any) -> Any:
        try:
            for name in names:
                value = value.get(name)
        except AttributeError:
            return None  # only mappings have names
        return value

    return path


def _index(index: int) -> Function:
    def at(value: Any) -> Any:
        try:
            return value[index] if isinstance(value, list) else None
        except IndexError:
            return None

    return at


def _chain(links: Sequence[Tree]) -> Function:
    if all(link["type"] == "field" for link in links):
        return _path([link["value"] for link in links])
    first, *others = map(function_of, links)

    def chain(value: Any) -> Any:
        value = first(value)
        for link in others:
            value = link(value)
        return value

    return chain


def _projection(source: Function, each: Function) -> Function:
    def projection(value: Any) -> Any:
        elements = source(value)
        if not isinstance(elements, list):
            return None
        return [found for element in elements if (found := each(element)) is not None]

    return projection


def _filtered(source: Function, each: Function, condition: Function) -> Function:
    def filtered(value: Any) -> Any:
        elements = source(value)
        if not isinstance(elements, list):
            return None
        chosen = (element for element in elements if holds(condition(element)))
        return [found for element in chosen if (found := each(element)) is not None]

    return filtered


def _flat(source: Function) -> Function:
    def flat(value: Any) -> Any:
        elements = source(value)
        if not isinstance(elements, list):
            return None
        if list not in map(type, elements):
            return elements[:]
        merged: list[Any] = []
        for element in elements:
            if isinstance(element, list):
                merged.extend(element)
            else:
                merged.append(element)
        return merged

    return flat


def _mapping(members: Sequence[Tree]) -> Function:
    parts = [(member["value"], function_of(member["children"][0])) for member in members]

    def mapping(value: Any) -> Any:
        return {name: part(value) for name, part in parts} if value is not None else None

    return mapping


def _fields(tree: Tree) -> Mapping[str, str] | None:
    """The fields that a mapping gives other names, by these; None: it is no mapping, or makes more of them."""
    if tree["type"] != "multi_select_dict":
        return None
    members = [(member["value"], member["children"][0]) for member in tree["children"]]
    if any(part["type"] != "field" for _, part in members):
        return None
    return {name: part["value"] for name, part in members}


def _renamed(names: Mapping[str, str]) -> Function:
    """A mapping of fields to other names, as it is asked for most."""
    pairs = [*names.items()]

    def renamed(value: Any) -> Any:
        if value is None:
            return None
        found = {}
        try:
            for name, field in pairs:
                found[name] = value.get(field)
        except AttributeError:
            return dict.fromkeys(names)
        return found

    return renamed


def _renamed_all(source: Function, names: Mapping[str, str]) -> Function:
    """As `_renamed`, of each element of a list."""
    together = _renaming(len(names))(*chain.from_iterable(names.items()))
    one_by_one = _projection(source, _renamed(names))

    def renamed_all(value: Any) -> Any:
        elements = source(value)
        if not isinstance(elements, list):
            return None
        try:
            return together(elements)
        except AttributeError:
            return one_by_one(value)  # one of them is no mapping

    return renamed_all


@lru_cache(maxsize=64)
def _renaming(count: int) -> Callable[..., Callable[[list[Any]], list[Any]]]:
    """From so many pairs of a name and a field to what renames each element of a list.

    It is written out for the count, as the standard library does for a named tuple: no loop over the names costs less
    than twice the time. Names and fields are values to it, and no part of the text.
    """
    given = ", ".join(f"name{n}, field{n}" for n in range(count))
    members = ", ".join(f"name{n}: each.get(field{n})" for n in range(count))
    made: Callable[..., Callable[[list[Any]], list[Any]]]
    made = eval(f"lambda {given}: lambda elements: [{{{members}}} for each in elements]")  # noqa: S307
    return made


def _list(parts: Sequence[Function]) -> Function:
    return lambda value: [part(value) for part in parts] if value is not None else None


def _either(first: Function, second: Function, *, goes_on: bool) -> Function:
    """The first value, unless it holds (and: ``goes_on``) or does not (or); then the second."""

    def either(value: Any) -> Any:
        found = first(value)
        return second(value) if holds(found) is goes_on else found

    return either


def _not(inner: Function) -> Function:
    return lambda value: not holds(inner(value))


def _compared(comparator: str, left: Function, right: Function) -> Function:
    compare, equal = TreeInterpreter.COMPARATOR_FUNC[comparator], comparator == "eq"

    def compared(value: Any) -> Any:
        one, other = left(value), right(value)
        if type(one) is str:
            return (one == other) is equal  # only numbers and booleans are compared by a rule of their own
        return compare(one, other)

    return compared


def _call(name: str, arguments: Sequence[Function]) -> Function:
    call = Functions().call_function
    return lambda value: call(name, [argument(value) for argument in arguments])
