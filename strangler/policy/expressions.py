"""EXPR and TEMPLATE of the policy: JMESPath over plain documents, and text with ``{EXPR}`` in it.

An expression can only look at the one document that it is given; what it costs is bounded by the length of its text
(the operator's) and by the size and depth of the document (the client's), which are checked before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import jmespath
from jmespath.exceptions import JMESPathError, LexerError, ParseError
from jmespath.functions import Functions

MAX_TEXT = 4096  # characters of an expression
MAX_DEPTH = 100  # of nested mappings and lists, in a document or a result
MAX_VALUES = 200_000  # in a document or a result

REQUEST_NAMES = frozenset({"method", "path", "query", "headers", "body", "caller"})
"""What an expression over a request can begin with."""


class ExpressionSyntaxError(ValueError):
    """A text is no expression, or no template."""


class ExpressionError(ValueError):
    """An expression cannot be evaluated over a document, or its value cannot stand where it is to stand."""


class Expression:
    """A compiled expression."""

    __slots__ = ("_parsed", "text")

    def __init__(self, text: str, names: frozenset[str] | None = None) -> None:
        """Compile ``text``; ``names`` is what it may begin with, None: anything.

        Raises:
            ExpressionSyntaxError: it is no JMESPath, calls an unknown function, or begins with another name.
        """
        if len(text) > MAX_TEXT:
            raise ExpressionSyntaxError(f"{len(text)} characters; at most {MAX_TEXT} are taken")
        try:
            self._parsed = jmespath.compile(text)
        except (ParseError, LexerError) as error:
            raise ExpressionSyntaxError(f"not JMESPath, from character {(error.lex_position or 0) + 1} on") from None
        except (JMESPathError, RecursionError):
            raise ExpressionSyntaxError("not JMESPath") from None
        self.text = text
        tree: Mapping[str, Any] = self._parsed.parsed
        _check_functions(tree)
        if names is not None:
            for name in _first_names(tree):
                if name not in names:
                    raise ExpressionSyntaxError(f"begins with {name}; it can begin with {', '.join(sorted(names))}")

    def evaluate(self, document: Mapping[str, Any]) -> Any:
        """Its value over a document of plain JSON values; None where there is nothing.

        Raises:
            ExpressionError: a function does not take what it is given, or the document or the value is too large.
        """
        _check_bounds(document)
        try:
            value = self._parsed.search(document)
        except (JMESPathError, RecursionError) as error:
            raise ExpressionError(f"{self.text} cannot be evaluated: {type(error).__name__}") from None
        _check_bounds(value)
        return value


class Template:
    """A compiled text with ``{EXPR}`` in it."""

    __slots__ = ("_parts",)

    def __init__(self, text: str, names: frozenset[str] | None = None) -> None:
        """Compile ``text``; ``names`` as for `Expression`.

        Raises:
            ExpressionSyntaxError: a brace is not closed, or what stands in braces is no expression.
        """
        self._parts: tuple[str | Expression, ...] = tuple(
            Expression(part, names) if inside else part for inside, part in _parts(text)
        )

    def text(self, document: Mapping[str, Any]) -> str:
        """The text with all values in their places; nothing for null.

        Raises:
            ExpressionError: an expression cannot be evaluated, or its value is a mapping or a list.
        """
        return "".join(p if isinstance(p, str) else _scalar(p, p.evaluate(document)) for p in self._parts)

    def path(self, document: Mapping[str, Any]) -> str:
        """The text as a path: each value is one percent-encoded segment, or a part of one.

        Raises:
            ExpressionError: as `text`; also where a value is null or empty, or a dot segment.
        """
        parts = []
        for part in self._parts:
            if isinstance(part, str):
                parts.append(part)
                continue
            value = _scalar(part, part.evaluate(document))
            if value in ("", ".", ".."):
                # An empty or a dotted segment would make another path of it.
                raise ExpressionError(f"{part.text} is {value or 'empty'}, which cannot stand in a path")
            parts.append(quote(value, safe=""))
        return "".join(parts)


def multiselect(value: Any) -> str:
    """The expression for a mapping (or list) of expressions, which may nest: ``{a: EXPR}`` is a JMESPath multiselect.

    Raises:
        ExpressionSyntaxError: there is something else in it, or nothing.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and value:
        members = ", ".join(f"{json.dumps(str(name))}: {multiselect(part)}" for name, part in value.items())
        return f"{{{members}}}"
    if isinstance(value, Sequence) and value:
        return f"[{', '.join(multiselect(part) for part in value)}]"
    raise ExpressionSyntaxError("expected an expression, or a mapping of names to expressions")


def _scalar(expression: Expression, value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool() | int() | float():
            return json.dumps(value)
    raise ExpressionError(f"{expression.text} is a {'mapping' if isinstance(value, Mapping) else 'list'}, not a text")


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a template, each with whether it stands in braces. Braces and quotes of JMESPath nest."""
    start = position = 0
    while (opening := text.find("{", position)) >= 0:
        if opening > start:
            yield False, text[start:opening]
        closing = _closing(text, opening)
        yield True, text[opening + 1 : closing]
        start = position = closing + 1
    if start < len(text):
        yield False, text[start:]


def _closing(text: str, opening: int) -> int:
    depth, quote_mark, position = 0, "", opening
    while position < len(text):
        letter = text[position]
        if quote_mark:
            if letter == "\\":
                position += 1
            elif letter == quote_mark:
                quote_mark = ""
        elif letter in "'\"`":
            quote_mark = letter
        elif letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise ExpressionSyntaxError(f"the brace at character {opening + 1} is not closed")


def _check_functions(tree: Mapping[str, Any]) -> None:
    """JMESPath finds unknown functions when it evaluates; an operator is to hear of them when the policy loads."""
    for node in _nodes(tree):
        if node["type"] != "function_expression":
            continue
        name, given = node["value"], len(node["children"])
        if name not in Functions.FUNCTION_TABLE:
            raise ExpressionSyntaxError(f"there is no function {name}()")
        signature = Functions.FUNCTION_TABLE[name]["signature"]
        variadic = bool(signature) and bool(signature[-1].get("variadic"))
        if given < len(signature) or (given > len(signature) and not variadic):
            raise ExpressionSyntaxError(f"{name}() takes {len(signature)} values, not {given}")


def _nodes(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(child for child in node["children"] if isinstance(child, Mapping))


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


def _first_names(tree: Mapping[str, Any]) -> Iterator[str]:
    """The names by which an expression enters the document."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if node["type"] == "field":
            yield node["value"]
        elif node["type"] == "expref":
            continue
        else:
            children = node["children"][:1] if node["type"] in _CHAINED else node["children"]
            waiting.extend(child for child in children if isinstance(child, Mapping))


def _check_bounds(document: Any) -> None:
    """Refuse what is too deep or holds too many values, before anything recursive looks at it."""
    count, level = 0, [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below.extend(value.values())
            elif isinstance(value, list | tuple):
                below.extend(value)
            if len(below) > MAX_VALUES:
                raise ExpressionError(f"more than {MAX_VALUES} values")
        count += len(below)
        if count > MAX_VALUES:
            raise ExpressionError(f"more than {MAX_VALUES} values")
        if not below:
            return
        level = below
    raise ExpressionError(f"nested more than {MAX_DEPTH} deep")
