"""EXPR and TEMPLATE of the policy: JMESPath over plain documents, and text with ``{EXPR}`` in it.

An expression can only look at the one document that it is given; what it costs is bounded by the length of its text
(the operator's) and by the size and depth of the document (the client's), which are checked before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import jmespath
from jmespath.exceptions import JMESPathError, LexerError, ParseError

from strangler.policy.evaluation import Tree, function_of
from strangler.policy.expression_tree import REPLY_FIELDS, copies, first_names, growth, path_names, wrong_call
from strangler.policy.measure import MAX_DEPTH, MAX_VALUES, Document, Measure, TooLarge

MAX_TEXT = 16 * 1024  # characters of an expression
MAX_COPIES = 1000  # of its document that an expression may make on the way to its value
MAX_WORK = 20_000_000  # copies times values, and text counted as a value for each `_TEXT` characters
_TEXT = 64
_PLACES = 64  # between the first digit of a number and its point: 1e308 would have 309 digits

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

    __slots__ = ("_find", "_growth", "_most", "names", "parameters", "text")

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
            wrong = wrong_call(tree)
            copied = copies(tree, 1)
            self._growth = growth(tree)
            self._find = function_of(tree)
        except (ParseError, LexerError) as error:
            raise ExpressionSyntaxError(f"not JMESPath, from character {(error.lex_position or 0) + 1} on") from None
        except (JMESPathError, RecursionError):
            raise ExpressionSyntaxError("not JMESPath") from None
        if wrong is not None:
            raise ExpressionSyntaxError(wrong)
        if copied > MAX_COPIES:
            raise ExpressionSyntaxError(f"makes up to {copied:.0e} copies of its document; {MAX_COPIES} are taken")
        self._most = MAX_WORK // copied
        self.names = frozenset(first_names(tree))
        """By which it enters the document, see `first_names`; "@": as a whole."""
        self.parameters = frozenset(path_names(tree))
        """Of the path, that it asks for by name."""
        if names is not None:
            for name in sorted(self.names - {"@", REPLY_FIELDS}):
                if name not in names:
                    raise ExpressionSyntaxError(f"begins with {name}; it can begin with {', '.join(sorted(names))}")

    def evaluate(self, document: Any) -> Any:
        """Its value over a document: plain JSON values, or a `Document` of them; None where there is nothing.

        Raises:
            ExpressionError: a function does not take what it is given, or the document or the value is too large.
        """
        document = Document.of(document)
        measure = _measure(document)
        if measure.values + measure.letters // _TEXT > self._most and self._takes_long(document.value):
            raise ExpressionError(f"{self.text[:100]} would take too long over a document of this size")
        try:
            value = self._find(document.value)
        except (JMESPathError, RecursionError, TypeError, ValueError, ArithmeticError) as error:
            # Not all that its functions and comparisons cannot do is an error of JMESPath to the library.
            raise ExpressionError(f"{self.text} cannot be evaluated: {type(error).__name__}") from None
        if measure.values * self._growth.times > MAX_VALUES or measure.depth + self._growth.levels > MAX_DEPTH:
            _measure(Document(value))
        return value

    def _takes_long(self, document: Any) -> bool:
        measure = _measure(Document(document))  # for certain, and not what it holds at most
        return measure.values + measure.letters // _TEXT > self._most

    def is_plain(self, document: Document) -> bool:
        """Whether no number in its value over a document is other than `Measure.plain` says."""
        return self._growth.plain and document.measure.plain


def _measure(document: Document) -> Measure:
    try:
        return document.measure
    except TooLarge as error:
        raise ExpressionError(str(error)) from None


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

    def text(self, document: Any) -> str:
        """The text with all values in their places; nothing for null.

        Raises:
            ExpressionError: an expression cannot be evaluated, or its value is a mapping or a list.
        """
        document = Document.of(document)
        return "".join(p if isinstance(p, str) else _scalar(p, p.evaluate(document)) for p in self._parts)

    def filled(self, document: Any, write: Callable[[Any], str]) -> str:
        """The text with all values in their places, as ``write`` makes texts of them.

        Raises:
            ExpressionError: an expression cannot be evaluated, or ``write`` does not take its value.
        """
        document = Document.of(document)
        return "".join(part if isinstance(part, str) else write(part.evaluate(document)) for part in self._parts)

    @property
    def names(self) -> frozenset[str]:
        """By which its expressions enter the document."""
        return frozenset().union(*(part.names for part in self._parts if isinstance(part, Expression)))

    @property
    def parameters(self) -> frozenset[str]:
        """Those of the path that its expressions ask for by name."""
        return frozenset().union(*(part.parameters for part in self._parts if isinstance(part, Expression)))

    @property
    def literal(self) -> str:
        """The text without what stands in braces."""
        return "".join(part for part in self._parts if isinstance(part, str))

    def path(self, document: Any) -> str:
        """The text as a path: each value is one percent-encoded segment, or a part of one; behind ``?``, of the query.

        Raises:
            ExpressionError: as `text`; also where a value is null or empty, or a dot segment.
        """
        document = Document.of(document)
        parts = []
        refused: tuple[str, ...] = ("", ".", "..")
        for part in self._parts:
            if isinstance(part, str):
                parts.append(part)
                if "?" in part:
                    refused = ("",)  # dots change a path only
                continue
            value = _scalar(part, part.evaluate(document))
            if value in refused:
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


def number_text(value: bool | int | float) -> str:
    """A number in digits, without the exponent that decimals of XML Schema and of old systems do not know.

    A truth value is written as in JSON.

    Raises:
        ExpressionError: it is infinite, as 1e999 is, no number at all, or begins more than `_PLACES` from its point.
    """
    if not isinstance(value, float):
        return json.dumps(value)
    if value and not 10.0**-_PLACES < abs(value) < 10.0**_PLACES:
        raise ExpressionError("a number that cannot be written in digits")
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


def _scalar(expression: Expression, value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool() | int() | float():
            return number_text(value)
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
