"""What a document holds, what of that a value can hold at most, and what is spared by knowing it."""

from __future__ import annotations

import json
from typing import Any

import jmespath
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from strangler.policy.evaluation import function_of
from strangler.policy.expression_tree import growth
from strangler.policy.expressions import MAX_COPIES, MAX_WORK, Expression, ExpressionError
from strangler.policy.formula import Hook
from strangler.policy.measure import MAX_DEPTH, MAX_VALUES, Document, Measure, TooLarge, measured
from strangler.policy.readable import Unparsable, read_json, standard_json
from strangler.policy.rendering import Rendering
from strangler.policy.wall import Content, Formula
from tests.policy.test_evaluation import EXPRESSIONS

TEXTS = st.text(max_size=8) | st.sampled_from(['a":', "b", ": ", "\ud800", "\u2028\x7f\x00"])
NUMBERS = st.integers() | st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([1e16, -1e-4, 9.9e-5, -0.0])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def counted(value: Any) -> tuple[int, int]:
    """How many values there are, and how deep."""
    below = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    inner = [counted(each) for each in below]
    return 1 + sum(count for count, _ in inner), 1 + max((depth for _, depth in inner), default=0)


@given(VALUES)
def test_all_values_are_counted_and_so_is_their_depth(value: Any) -> None:
    found = measured(value)
    assert (found.values, found.depth) == counted(value)


@given(VALUES, VALUES)
def test_what_was_measured_before_counts_as_much_in_what_it_stands_in(one: Any, other: Any) -> None:
    whole = {"a": [one], "b": other, "c": one}
    assert Document(whole, parts=[Document(one), Document(other)]).measure == measured(whole)


def test_a_part_may_be_within_the_bounds_in_what_is_not() -> None:
    deep: Any = []
    for _ in range(MAX_DEPTH - 2):
        deep = [deep]
    part = Document(deep)
    assert part.measure.depth == MAX_DEPTH - 1
    assert Document([deep], parts=[part]).measure.depth == MAX_DEPTH
    with pytest.raises(TooLarge, match="deep"):
        _ = Document([[deep]], parts=[part]).measure
    wide = Document([0] * (MAX_VALUES // 2))
    with pytest.raises(TooLarge, match="more than"):
        _ = Document([wide.value, wide.value, 0, 0], parts=[wide]).measure


@given(EXPRESSIONS, VALUES)
@example("{x: a, y: [b, c]}", {})
@example("a.*.{x: @, y: [@]}", {"a": {"b": [1]}})
@example("`[1e300]`", None)
def test_no_value_grows_beyond_what_is_said_of_its_expression(text: str, document: Any) -> None:
    tree = jmespath.compile(text).parsed
    given, most = measured(document), growth(tree)
    try:
        found = measured(function_of(tree)(document))
    except (TypeError, ValueError):
        return
    assert found.values <= given.values * most.times
    assert most.times == float("inf") or found.depth <= given.depth + most.levels
    assert found.plain or not (given.plain and most.plain)


def test_a_value_that_may_be_too_large_is_measured() -> None:
    body = [0] * 150_000
    assert Expression("body").evaluate({"body": body}) == body
    with pytest.raises(ExpressionError, match="more than"):
        Expression("[body, body]").evaluate({"body": body})
    with pytest.raises(ExpressionError, match="deep"):
        Expression("[[body]]").evaluate({"body": nested(MAX_DEPTH - 1)})


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth - 1):
        value = [value]
    return value


def spelled(value: Any, colon: str) -> str:
    """A value as JSON; its mappings may have a name twice."""
    if isinstance(value, list) and value and all(isinstance(each, list) and len(each) == 2 for each in value):
        members = (f"{json.dumps(str(name))}{colon}{spelled(part, colon)}" for name, part in value)
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(spelled(part, colon) for part in value)}]"
    return json.dumps(value, separators=(",", colon), ensure_ascii=isinstance(value, str))


MEMBERS = st.recursive(
    NUMBERS | TEXTS | st.none(),
    lambda inner: st.lists(st.lists(TEXTS | inner, min_size=2, max_size=2), max_size=4) | st.lists(inner, max_size=3),
    max_leaves=15,
)


@given(MEMBERS, st.sampled_from([":", " :", ": ", "\n:", "\t:", "\r:"]))
@example([["a", 1], ["b", [["c", 1], ["c", 2]]]], ":")
@example([["a", 'x":'], ["b", 1], ["b", 2]], ":")
@example(2**64, ":")
@example([["a", 1], ["a", 1]], "\r:")
def test_json_is_read_alike_whether_it_is_measured_or_not(value: Any, colon: str) -> None:
    text = spelled(value, colon)
    assert read(text, measure=True) == read(text, measure=False)


@pytest.mark.parametrize("space", [" ", "\n", "\t", "\r"])
def test_a_name_that_stands_twice_is_found_also_where_space_stands_before_a_colon(space: str) -> None:
    with pytest.raises(Unparsable, match="twice"):
        read_json(f'{{"a"{space}: 1, "a": 1}}')


@pytest.mark.parametrize(
    "text",
    [
        *("1e400", "[-1e309]", "[-0, -0.0]", "[1", "NaN", "", " ", "\ufeff1", "{'a': 1}", "[" * 300 + "]" * 300),
        *('{"a": 1, "a": 1}', '{"a": 1, "a": "\\u003a"}', '{"a": 1, "a": "\\u003A"}', '{"a": 1, "\\u0061": 2}'),
        *("18446744073709551616", "[18446744073709551616, 1]", '{"a": -9223372036854775809}', "1E2", "[1e16, 1e-5]"),
        *('["3e5,", 1]', '["0.00001"]', "[0.00001, 100.00005]"),
        *('["12e", "0.a0000", 1]', "[1e20]", "[100000000000000000000]", "-3e+30", '{"1e5": 20e300}'),
    ],
)
def test_odd_json_is_read_alike_whether_it_is_measured_or_not(text: str) -> None:
    assert read(text, measure=True) == read(text, measure=False)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("\ufeff1", "it begins with a byte order mark, which is no part of JSON"),
        ("9" * 5000, "a number in it has thousands of digits"),
    ],
)
def test_what_is_wrong_with_a_text_is_told_in_words_for_its_author(text: str, wrong: str) -> None:
    assert read(text, measure=False) == wrong


def read(text: str, *, measure: bool) -> str:
    """What a text of JSON says, to the letter, or what is wrong with it."""
    try:
        return repr(read_json(text)[0] if measure else standard_json(text))
    except Unparsable as error:
        return str(error)


def test_what_a_short_text_of_json_holds_is_not_counted() -> None:
    value, measure = read_json('{"at": "2026-11-22T08:15:00Z", "amounts": [1.5, -2, 0.0]}')
    assert measure is not None
    assert at_least(measure, measured(value))


@given(MEMBERS, st.sampled_from([":", ": "]))
@example([[], [0] * 9, nested(20)], ":")
@example(list(range(9)), ":")
def test_a_text_of_json_holds_no_more_than_is_said_of_it(value: Any, colon: str) -> None:
    try:
        document, measure = read_json(spelled(value, colon).replace(", ", ","))
    except Unparsable:
        return
    assert measure is None or at_least(measure, measured(document))


def at_least(most: Measure, found: Measure) -> bool:
    """Whether nothing that was found is more than what there can be at most."""
    return all(one >= other for one, other in zip(most[:3], found[:3], strict=True)) and found.plain >= most.plain


@pytest.mark.parametrize("text", [f'["{"x" * 64 * 1024}"]', f"[{'[], ' * MAX_DEPTH}0]"])
def test_what_a_text_may_hold_too_much_of_is_measured(text: str) -> None:
    assert read_json(text)[1] is None


def test_nothing_is_refused_for_what_a_document_may_hold_and_does_not() -> None:
    value, measure = read_json(f'["{"x" * 60_000}"]')
    assert measure is not None
    assert measure.values * MAX_COPIES > MAX_WORK
    assert len(Expression(f"[{', '.join(['@'] * MAX_COPIES)}]").evaluate(Document(value, measure))) == MAX_COPIES


def test_of_a_long_text_there_is_never_a_second_value() -> None:
    text = f'["{"x" * 1024 * 1024}"]'
    value, measure = read_json(text)
    assert measure is None
    assert value == json.loads(text)


@given(VALUES)
@example({"a": [1.5, 2**63, 10**30, "\ud800", 1e-5, 1e22, -0.0, 123456789012345.6]})
@example(float("nan"))
def test_json_is_written_as_the_standard_library_writes_it(value: Any) -> None:
    rendering = Rendering(Content(body=Formula(text="body")), no_hook)
    try:
        expected = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        with pytest.raises(ExpressionError):
            rendering.body(Document({"body": value}))
        return
    assert rendering.body(Document({"body": value})) == expected.encode("utf-8", "backslashreplace")


def no_hook(name: str) -> Hook:
    raise AssertionError(name)
