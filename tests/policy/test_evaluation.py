"""Expressions as functions, held against the interpreter of the library that defines the language."""

from __future__ import annotations

import json
from typing import Any

import jmespath
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strangler.policy.evaluation import function_of, holds

NAMES = ("a", "b", "c", '"a b"')
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.sampled_from(["", "a", "b", "1"])
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c", "a b"]), inner),
    max_leaves=25,
)
LEAVES = st.sampled_from([*NAMES, "@", "`0`", "`1`", "`true`", "`[1, [2]]`", '`{"a": 1}`', "'a'", "''", "[0]", "[-1]"])


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Longer expressions of shorter ones."""
    both = st.tuples(inner, inner)
    infix = st.tuples(inner, st.sampled_from(["||", "&&", "|", "==", "!=", "<", ">="]), inner)
    after = [".a", ".b", "[]", "[*]", ".*", "[0]", "[-1]", "[1:]", "[::-1]", "[].a", "[*].b.c", "[].[a, b]"]
    calls = ["length(%s)", "keys(%s)", "to_string(%s)", "sort(%s)", "not_null(%s, a)", "sort_by(%s, &a)", "map(&b, %s)"]
    return st.one_of(
        infix.map(" ".join),
        st.tuples(inner, st.sampled_from(after)).map("".join),
        st.tuples(inner, st.sampled_from(NAMES)).map(lambda pair: f"({pair[0]}).{{x: {pair[1]}, y: b, x: c}}"),
        both.map(lambda pair: f"{pair[0]}[?{pair[1]}]"),
        both.map(lambda pair: f"{pair[0]}[].{{x: {pair[1]}, y: b}}"),
        both.map(lambda pair: f"[{pair[0]}, {pair[1]}]"),
        inner.map("!({})".format),
        inner.map("({})".format),
        st.tuples(st.sampled_from(calls), inner).map(lambda pair: pair[0] % pair[1]),
    )


def is_expression(text: str) -> bool:
    try:
        jmespath.compile(text)
    except jmespath.exceptions.ParseError:
        return False
    return True


EXPRESSIONS = st.recursive(LEAVES, combined, max_leaves=8).filter(is_expression)


def found(evaluate: Any, document: Any) -> str:
    """What comes of it, to the letter: as JSON that tells 1 from 1.0 and true, or the kind of the error."""
    try:
        return json.dumps(evaluate(document))
    except (ValueError, TypeError) as error:
        return type(error).__name__


@given(text=EXPRESSIONS, document=DOCUMENTS)
@example("a[].{x: a, y: b}", {"a": [{"a": 1}, 1, None, [], {}]})
@example("a[].{x: a, y: b, x: c}", {"a": [{"a": 1, "b": 2}, {"b": 3, "c": 4}, {}]})
@example("a.b.c", {"a": {"b": [{"c": 1}]}})
@example("a[?b > c].a | [0]", {"a": [{"a": 1, "b": 2, "c": 1}, {"b": "x", "c": 1}]})
@example("a[].b", {"a": [{"b": 0}, {"b": ""}, {"b": None}]})
@example("a[?b != `1`].b", {"a": [{"b": 0}, {"b": ""}, {"b": None}, {"b": True}]})
@settings(max_examples=500)
def test_an_expression_finds_what_the_library_finds(text: str, document: Any) -> None:
    parsed = jmespath.compile(text)
    assert found(function_of(parsed.parsed), document) == found(parsed.search, document)


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_nothing_false_and_what_is_empty_do_not_hold(value: object) -> None:
    assert not holds(value)


@pytest.mark.parametrize("value", [0, 0.0, True, " ", [None], {"a": None}])
def test_all_else_holds_and_so_does_zero(value: object) -> None:
    assert holds(value)
