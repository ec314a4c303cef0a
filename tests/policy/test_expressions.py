from __future__ import annotations

from typing import Any

import pytest

from strangler.policy.documents import Read, reply_values
from strangler.policy.expressions import (
    REPLY_NAMES,
    REQUEST_NAMES,
    Expression,
    ExpressionError,
    ExpressionSyntaxError,
    Template,
    multiselect,
)
from strangler.policy.measure import MAX_DEPTH, MAX_VALUES

DOCUMENT: dict[str, Any] = {
    "method": "POST",
    "path": {"id": "C 17/b"},
    "query": {},
    "headers": {"x-client-id": "acme"},
    "body": {"policy": "P-1", "amount": 12.5, "lines": [{"n": 1}, {"n": 2}], "open": True, "no": None, "dots": ".."},
    "caller": {"name": "Ann"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("body.policy", "P-1"),
        ('headers."x-client-id"', "acme"),
        ("body.lines[].n", [1, 2]),
        ("body.lines[?n > `1`] | [0].n", 2),
        ("body.none", None),
        ("[body.policy, body.none]", ["P-1", None]),
        ("length(body.lines)", 2),
    ],
)
def test_an_expression_is_evaluated_over_a_document(text: str, value: object) -> None:
    assert Expression(text, REQUEST_NAMES).evaluate(DOCUMENT) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("body.", "not JMESPath"),
        ("body..x", "from character 6 on"),
        ("boddy.x", "begins with boddy; it can begin with body, caller"),
        ("[body.x, reply.status]", "begins with reply"),
        ("body.x || bodi.y", "begins with bodi"),
        ("body[?headers == `1`].x | y", None),
        ("sort_by(body.a, &b)", None),
        ("len(body)", "there is no function len()"),
        ("lenght(body)", "there is no function lenght(); did you mean length()?"),
        ("{a: [body.x, lenght(body.y)]}", "there is no function lenght()"),
        ("body.list[?len(@) > `1`]", "there is no function len()"),
        ("frobnicate(body)", "there is no function frobnicate()"),
        ("length(body, body)", "length() takes 1 values, not 2"),
        ("join(',')", "join() takes 2 values, not 1"),
        ("not_null(body.a, body.b, body.c)", None),
        ("(" * 3000, "not JMESPath"),
        ("|".join(["@"] * 5000), "not JMESPath"),
        ("a" * 16385, "at most 16384"),
        ("", "not JMESPath"),
    ],
)
def test_what_is_wrong_with_an_expression_is_said_when_it_is_compiled(text: str, said: str | None) -> None:
    if said is None:
        Expression(text, REQUEST_NAMES)
        return
    with pytest.raises(ExpressionSyntaxError) as raised:
        Expression(text, REQUEST_NAMES)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("length(body)", 1),
        ("body.a < body.b", {"a": "12", "b": 5}),
        ("ceil(body)", float("inf")),
        ("avg(body)", [10**400, 1]),
        ("body[::0]", [1]),
    ],
)
def test_what_functions_and_comparisons_do_not_take_is_an_error_of_evaluation(text: str, body: object) -> None:
    with pytest.raises(ExpressionError):
        Expression(text).evaluate({"body": body})


def test_a_document_may_only_be_so_deep_and_so_large() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    with pytest.raises(ExpressionError, match="deep"):
        Expression("body").evaluate({"body": deep})
    with pytest.raises(ExpressionError, match="more than"):
        Expression("body").evaluate({"body": [0] * MAX_VALUES})


def test_what_an_expression_brings_with_it_may_only_be_so_deep() -> None:
    literal = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    with pytest.raises(ExpressionError, match="deep"):
        Expression(f"`{literal}`").evaluate({})


def test_all_that_an_expression_puts_together_counts() -> None:
    body = [0] * (MAX_VALUES // 4)
    for text in ("[body, body, body, body]", "{a: body, b: body, c: body, d: body}", "map(&body, [@, @, @, @])"):
        with pytest.raises(ExpressionError, match="more than"):
            Expression(text).evaluate({"body": body})


def test_a_value_may_not_grow_beyond_the_same_bounds() -> None:
    doubling = " | ".join(["body", *["[@, @]"] * 5])
    with pytest.raises(ExpressionError, match="more than"):
        Expression(doubling).evaluate({"body": [1] * 10_000})


@pytest.mark.parametrize("link", ["[@, @]", "{a: @, b: @}", "map(&[@, @], [@])", "[[@, @][], @][]", "join('', [@, @])"])
def test_an_expression_that_doubles_without_end_is_refused_when_it_is_compiled(link: str) -> None:
    with pytest.raises(ExpressionSyntaxError, match="copies"):
        Expression(" | ".join(["body", *[link] * 100]))


def test_copies_of_a_large_document_are_refused_before_anything_is_made_of_it() -> None:
    wide = Expression("[" + ", ".join(["body"] * 600) + "]")
    assert len(wide.evaluate({"body": 1})) == 600
    with pytest.raises(ExpressionError, match="too long"):
        wide.evaluate({"body": ["x" * 1000] * 4000})


def test_a_mapping_or_list_of_expressions_is_a_multiselect() -> None:
    text = multiselect({"policy": "body.policy", "odd name": {"n": "body.lines[0].n"}, "all": ["method", "body.none"]})
    assert Expression(text, REQUEST_NAMES).evaluate(DOCUMENT) == {
        "policy": "P-1",
        "odd name": {"n": 1},
        "all": ["POST", None],
    }


@pytest.mark.parametrize("value", [{}, [], 3, None, {"a": True}])
def test_anything_else_is_no_expression(value: Any) -> None:
    with pytest.raises(ExpressionSyntaxError):
        multiselect(value)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("/claims", "/claims"),
        ("{body.policy}", "P-1"),
        ("{body.amount}/{body.open}/{body.no}!", "12.5/true/!"),
        ("a{ {x: body.policy}.x }b", "aP-1b"),
        ("{body.lines[?n == `2`] | [0].n}", "2"),
        ("{'}'}{\"method\"}", "}POST"),
        ("", ""),
    ],
)
def test_a_template_is_text_with_values_in_it(template: str, text: str) -> None:
    assert Template(template).text(DOCUMENT) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.0, "0.0"),
        (-17, "-17"),
        (12.50, "12.5"),
        (1e16, "10000000000000000"),
        (-2.5e-7, "-0.00000025"),
        (1e63, "1" + "0" * 63),
    ],
)
def test_a_number_is_written_in_digits(number: float, text: str) -> None:
    assert Template("{body}").text({"body": number}) == text


@pytest.mark.parametrize("number", [1e65, -1e300, 1e-65, -1e-300, float("inf"), float("-inf"), float("nan")])
def test_a_number_of_hundreds_of_digits_is_an_error_and_so_is_what_has_none(number: float) -> None:
    with pytest.raises(ExpressionError, match="digits"):
        Template("{body}").text({"body": number})


def test_in_a_path_each_value_is_one_segment() -> None:
    assert Template("/claims/{path.id}/{body.amount}").path(DOCUMENT) == "/claims/C%2017%2Fb/12.5"


@pytest.mark.parametrize("expression", ["body.no", "body.none", "body.dots", '`""`', "body.lines"])
def test_what_would_make_another_path_of_it_is_an_error(expression: str) -> None:
    with pytest.raises(ExpressionError):
        Template(f"/claims/{{{expression}}}").path(DOCUMENT)


def test_in_a_query_dots_are_a_value_as_any_other() -> None:
    assert Template("/claims?at={body.dots}&of={body.policy}").path(DOCUMENT) == "/claims?at=..&of=P-1"
    with pytest.raises(ExpressionError):
        Template("/claims?at={body.no}").path(DOCUMENT)


@pytest.mark.parametrize("template", ["{body", "{'}", "{}", "{boddy}"])
def test_what_is_wrong_with_a_template_is_said_when_it_is_compiled(template: str) -> None:
    with pytest.raises(ExpressionSyntaxError):
        Template(template, REQUEST_NAMES)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("path.id", {"id"}),
        ("path.id.more", {"id"}),
        ('{a: path.id, b: [path."x-y"]}', {"id", "x-y"}),
        ("not_null(path.a, path.b)", {"a", "b"}),
        ("path.a | length(@)", {"a"}),
        ("path", set()),
        ("body.path.id", set()),
        ("body.path | path.id", set()),
        ("body.list[?path.id]", set()),
        ("map(&path.id, body.list)", set()),
        ("headers.id", set()),
        ("path.length(@)", set()),
    ],
)
def test_which_parameters_of_the_path_an_expression_asks_for(text: str, parameters: set[str]) -> None:
    assert Expression(text, REQUEST_NAMES).parameters == parameters
    assert Template(f"/v2/{{{text}}}", REQUEST_NAMES).parameters == parameters


@pytest.mark.parametrize(
    ("text", "sees"),
    [
        ("reply.body.status", False),
        ("{a: reply.status, b: reply.body[].{n: headers}}", False),
        ("body.reply.headers", False),
        ("map(&reply.headers, reply.body.list)", False),
        ('reply.headers."x-a"', True),
        ("{a: reply.status, b: not_null(reply.headers.x)}", True),
        ("reply.{a: headers}", True),
        ("(reply).headers", True),
        ("reply | headers", True),
        ("reply.*", True),
        ("keys(reply)", True),
        ("[reply, `1`]", True),
        ("@.reply.headers", True),
        ("reply.body || reply.headers", True),
    ],
)
def test_the_fields_of_a_reply_are_there_for_an_expression_that_may_see_them(text: str, sees: bool) -> None:
    expression = Expression(text, REPLY_NAMES)
    read, headers = Read({"status": None, "list": [{"reply": {"headers": 7}}]}), [(b"X-A", b"a")]
    whole = {"body": {}, "reply": reply_values(200, headers, read)}
    given = {"body": {}, "reply": reply_values(200, headers, read, expression.names)}
    assert ("headers" in given["reply"]) is sees
    assert expression.evaluate(given) == expression.evaluate(whole)
    assert [*whole["reply"]] == ["status", "headers", "body"]
