"""Expressions and hooks, compiled: what is asked of a document, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from strangler.policy.expressions import Expression, ExpressionError
from strangler.policy.measure import Document
from strangler.policy.wall import Formula

Hook = Callable[[Mapping[str, Any]], Any]
"""A function of Python in place of an expression.

It is given the whole document, request and (where there is one) reply, must not change it, and returns plain JSON
values: mappings with text keys, lists, texts, numbers, booleans, None. It runs in a thread of its own, may be called
again for the same process, and what it raises counts as a failed condition.
"""

FindHook = Callable[[str], Hook]
"""The function of a name "package.module:function"; raises `ExpressionError` where there is none."""

_PLAIN = (str, bool, int, float, type(None))


class Compiled:
    """A formula that can be evaluated."""

    __slots__ = ("_expression", "_hook", "_name")

    def __init__(self, formula: Formula, find: FindHook, names: frozenset[str] | None = None) -> None:
        """Compile; ``names``: what an expression may begin with.

        Raises:
            ExpressionSyntaxError: it is no expression.
            ExpressionError: there is no such function.
        """
        self._name = formula.python
        self._hook = find(formula.python) if formula.python else None
        self._expression = None if formula.python else Expression(formula.text, names)

    @property
    def is_hook(self) -> bool:
        """Whether it calls a function of Python."""
        return self._hook is not None

    @property
    def names(self) -> frozenset[str]:
        """By which it enters the document; "@": as a whole."""
        return frozenset({"@"}) if self._expression is None else self._expression.names

    def is_plain(self, document: Document) -> bool:
        """Whether its value over a document has no number other than `Measure.plain` says; of a hook nobody knows."""
        return self._expression is not None and self._expression.is_plain(document)

    def value(self, document: Any) -> Any:
        """Its value over a document: plain JSON values, or a `Document` of them.

        Raises:
            ExpressionError: it cannot be evaluated, or the function raised, or returned what is no plain value.
        """
        if self._expression is not None:
            return self._expression.evaluate(document)
        assert self._hook is not None
        try:
            value = self._hook(Document.of(document).value)
        except (Exception, SystemExit) as error:
            # Whatever it is, it is the operator's, and it must not pass for an answer, or for the end of the thread.
            raise ExpressionError(f"{self._name} raised {type(error).__name__}") from error
        if not _is_plain(value, 100):
            raise ExpressionError(f"{self._name} returned what is no plain JSON value")
        return value


def _is_plain(value: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part, depth - 1) for key, part in value.items())
    if isinstance(value, list):
        return all(_is_plain(part, depth - 1) for part in value)
    return isinstance(value, _PLAIN)
