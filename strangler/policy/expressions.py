"""EXPR and TEMPLATE of the policy: JMESPath over plain documents, and text with ``{EXPR}`` in it.

An expression can only look at the one document that it is given; what it costs is bounded by the length of its text
(the operator's) and by the size and depth of the document (the client's), which are checked before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import jmespath
from jmespath.exceptions import JMESPathError, LexerError, ParseError
from jmespath.functions import Functions

from strangler.policy.evaluation import Tree, function_of

MAX_TEXT = 16 * 1024  # characters of an expression
MAX_DEPTH = 100  # of nested mappings and lists, in a document or a result
MAX_VALUES = 200_000  # in a document or a result
MAX_COPIES = 1000  # of its document that an expression may make on the way to its value
MAX_WORK = 20_000_000  # copies times values, and text counted as a value for each `_TEXT` characters
_TEXT = 64

REQUEST_NAMES = frozenset({"method", "path", "query", "headers", "body", "caller"})
"""What an expression over a request can begin with."""

RECORDED_NAMES = REQUEST_NAMES | {"soap", "process"}
"""What an expression over a recorded request can begin with."""

REPLY_NAMES = RECORDED_NAMES | {"reply"}
"""What an expression over a recorded request and its reply can begin with."""


class ExpressionSyntaxError(ValueError):
    """A text is no expression, or no template."""


class ExpressionError(ValueError):
    """An expression cannot be evaluated over a document, or its value cannot stand where it is to stand."""


class Expression:
    """A compiled expression."""

    __slots__ = ("_copies", "_find", "names", "text")

    def __init__(self, text: str, names: frozenset[str] | None = None) -> None:
        """Compile ``text``; ``names`` is what it may begin with, None: anything.

        Raises:
            ExpressionSyntaxError: it is no JMESPath, calls an unknown function, or begins with another name.
        """
        if len(text) > MAX_TEXT:
            raise ExpressionSyntaxError(f"{len(text)} characters; at most {MAX_TEXT} are taken")
        self.text = text
        try:
            tree: Tree = jmespath.compile(text).parsed
            _check_functions(tree)
            self._copies = _copies(tree, 1)
            self._find = function_of(tree)
        except (ParseError, LexerError) as error:
            raise ExpressionSyntaxError(f"not JMESPath, from character {(error.lex_position or 0) + 1} on") from None
        except (JMESPathError, RecursionError):
            raise ExpressionSyntaxError("not JMESPath") from None
        if self._copies > MAX_COPIES:
            raise ExpressionSyntaxError(
                f"makes up to {self._copies:.0e} copies of its document; {MAX_COPIES} are taken"
            )
        self.names = frozenset(_first_names(tree))
        """By which it enters the document; "@": as a whole."""
        if names is not None:
            for name in sorted(self.names - {"@"}):
                if name not in names:
                    raise ExpressionSyntaxError(f"begins with {name}; it can begin with {', '.join(sorted(names))}")

    def evaluate(self, document: Any) -> Any:
        """Its value over a document of plain JSON values; None where there is nothing.

        Raises:
            ExpressionError: a function does not take what it is given, or the document or the value is too large.
        """
        if _check_bounds(document) * self._copies > MAX_WORK:
            raise ExpressionError(f"{self.text[:100]} would take too long over a document of this size")
        try:
            value = self._find(document)
        except (JMESPathError, RecursionError, TypeError, ValueError, ArithmeticError) as error:
            # Not all that its functions and comparisons cannot do is an error of JMESPath to the library.
            raise ExpressionError(f"{self.text} cannot be evaluated: {type(error).__name__}") from None
        _check_bounds(value)
        return value


def _copies(tree: Tree, given: int) -> int:
    """How many copies of a document an expression makes at most, when it is given so many.

    A chain of ``[@, @] | [@, @] | …`` doubles with every link; JMESPath has no other way to grow. Values are shared and
    not copied, so only what walks through the result is slow; but something always does.
    """
    kind, children = tree["type"], tree["children"]
    if kind == "literal":
        return 1
    if kind in ("pipe", "subexpression", "index_expression", "projection", "value_projection", "filter_projection"):
        for child in children:
            if isinstance(child, Mapping):
                given = _copies(child, given)
        return given
    if kind == "function_expression":
        each = max((_copies(child, 1) for child in children if child["type"] == "expref"), default=1)
        return each * max(1, sum(_copies(child, given) for child in children if child["type"] != "expref"))
    below = [_copies(child, given) for child in children if isinstance(child, Mapping)]
    if kind in ("multi_select_list", "multi_select_dict"):
        return max(1, sum(below))
    return max([given, *below])


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

    def filled(self, document: Any, write: Callable[[Any], str]) -> str:
        """The text with all values in their places, as ``write`` makes texts of them.

        Raises:
            ExpressionError: an expression cannot be evaluated, or ``write`` does not take its value.
        """
        return "".join(part if isinstance(part, str) else write(part.evaluate(document)) for part in self._parts)

    @property
    def names(self) -> frozenset[str]:
        """By which its expressions enter the document."""
        return frozenset().union(*(part.names for part in self._parts if isinstance(part, Expression)))

    @property
    def literal(self) -> str:
        """The text without what stands in braces."""
        return "".join(part for part in self._parts if isinstance(part, str))

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
            try:
                parts.append(quote(value, safe=""))
            except UnicodeEncodeError:
                raise ExpressionError(f"{part.text} holds half of a surrogate pair, which is no text") from None
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


def _check_functions(tree: Tree) -> None:
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


def _nodes(tree: Tree) -> Iterator[Tree]:
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


def _first_names(tree: Tree) -> Iterator[str]:
    """The names by which an expression enters the document."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if node["type"] == "field":
            yield node["value"]
        elif node["type"] in ("current", "identity"):
            yield "@"
        elif node["type"] == "expref":
            continue
        else:
            children = node["children"][:1] if node["type"] in _CHAINED else node["children"]
            waiting.extend(child for child in children if isinstance(child, Mapping))


def _check_bounds(document: Any) -> int:
    """Refuse what is too deep or holds too many values, before anything recursive looks at it. Returns its weight."""
    count, text, level = 1, 0, [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            # Exact types, because these are plain documents and this is done for every evaluation.
            kind = type(value)
            if kind is str:
                text += len(value)
            elif kind is dict or kind is list:
                below.extend(value.values() if kind is dict else value)
                if len(below) > MAX_VALUES:
                    raise ExpressionError(f"more than {MAX_VALUES} values")
        count += len(below)
        if count > MAX_VALUES + 1:
            raise ExpressionError(f"more than {MAX_VALUES} values")
        if not below:
            return count + text // _TEXT
        level = below
    raise ExpressionError(f"nested more than {MAX_DEPTH} deep")
