"""Documents that are made to hurt: refused in bounded time and memory, whatever they hold."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from strangler.policy.documents import Asked, read_body
from strangler.policy.expressions import ExpressionError, number_text
from strangler.policy.formula import Compiled, Hook
from strangler.policy.readable import MAX_DOCUMENT, Unparsable
from strangler.policy.translate import Interpreter, Untranslatable
from strangler.policy.wall import Content, Formula, RequestTranslation, Source, Wall
from strangler.policy.xml_reading import MAX_DEPTH, MAX_NODES, read_xml

XML = [(b"Content-Type", b"application/xml")]
JSON = [(b"Content-Type", b"application/json")]
FORM = [(b"Content-Type", b"application/x-www-form-urlencoded")]

packed = partial(gzip.compress, mtime=0)  # the same bytes whenever the tests are collected


def no_hook(name: str) -> Hook:
    raise ExpressionError(name)


def test_ten_megabytes_of_attributes_in_one_tag_are_refused_without_being_read() -> None:
    body = b"<r " + b" ".join(b'a%d="x"' % number for number in range(850_000)) + b"/>"
    assert len(body) > 10_000_000
    with pytest.raises(Unparsable, match="a tag of more than"):
        read_body(body, XML, Source())


def test_ten_megabytes_of_elements_with_attributes_are_refused() -> None:
    with pytest.raises(Unparsable, match="elements and attributes"):
        read_body(b"<r>" + b'<a b="c" d="e"/>' * 650_000 + b"</r>", XML, Source())


def test_many_elements_are_taken_up_to_the_bound() -> None:
    value, _ = read_xml("<r>" + "<a/>" * (MAX_NODES - 1) + "</r>")
    assert len(value["r"]["a"]) == MAX_NODES - 1
    with pytest.raises(Unparsable):
        read_xml("<r>" + "<a/>" * MAX_NODES + "</r>")


def test_elements_are_nested_up_to_the_bound_and_no_deeper() -> None:
    read_xml("<a>" * MAX_DEPTH + "</a>" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(Unparsable, match="deep"):
            read_xml("<a>" * depth + "</a>" * depth)


@pytest.mark.parametrize("depth", [101, 5_000, 1_000_000])
def test_deep_json_is_refused(depth: int) -> None:
    body = b'{"a":' * depth + b"1" + b"}" * depth
    wall = Wall(paths=(), request=RequestTranslation(content=Content(body=Formula(text="body"))))
    with pytest.raises(ValueError, match=r"deep|bytes"):
        Interpreter(wall, no_hook).request(Asked("POST", b"/", JSON, body, None, {}))


def test_a_body_that_is_too_long_to_look_into_is_not_read() -> None:
    with pytest.raises(Unparsable, match="at most"):
        read_body(b" " * (MAX_DOCUMENT + 1), JSON, Source())


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        (b"gzip", packed(b'{"a": 1}')),
        (b"GZIP", packed(b'{"a":') + packed(b" 1}")),  # in two members
        (b"x-gzip", packed(b'{"a": 1}')),
        (b"deflate", zlib.compress(b'{"a": 1}')),
        (b"identity", b'{"a": 1}'),
        (b"", b'{"a": 1}'),
    ],
)
def test_a_packed_body_is_unpacked_before_it_is_read(coding: bytes, data: bytes) -> None:
    assert read_body(data, [*JSON, (b"Content-Encoding", coding)], Source()).body == {"a": 1}


@pytest.mark.parametrize(
    ("coding", "data", "why"),
    [
        (b"gzip", packed(b"{}")[:-1], "ends in the middle"),
        (b"gzip", b"{}", "no gzip"),
        (b"gzip", packed(b"{}") + b"garbage", "no gzip"),
        (b"deflate", packed(b"{}"), "no deflate"),
        (b"br", b"{}", "encoded with br"),
        (b"gzip, gzip", packed(packed(b"{}")), "encoded with"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused(coding: bytes, data: bytes, why: str) -> None:
    with pytest.raises(Unparsable, match=why):
        read_body(data, [*JSON, (b"Content-Encoding", coding)], Source())


@pytest.mark.parametrize("members", [1, 40])
def test_a_bomb_is_not_unpacked_beyond_the_bound(members: int) -> None:
    bomb = packed(bytes(100 * 1024 * 1024 // members)) * members
    tracemalloc.start()
    try:
        with pytest.raises(Unparsable, match="more than"):
            read_body(bomb, [*JSON, (b"Content-Encoding", b"gzip")], Source())
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_DOCUMENT
    finally:
        tracemalloc.stop()


def test_a_form_of_very_many_fields_is_refused() -> None:
    with pytest.raises(Unparsable, match="fields"):
        read_body(b"a=1&" * 20_000, FORM, Source())


def test_a_number_of_a_million_digits_is_refused() -> None:
    with pytest.raises(Unparsable):
        read_body(b"9" * 1_000_000, JSON, Source())


def test_a_long_text_and_a_long_cdata_section_are_taken() -> None:
    text = "x" * 1_000_000
    value, _ = read_xml(f"<r><a>{text}</a><b><![CDATA[{text}]]></b></r>")
    assert value == {"r": {"a": text, "b": text}}


def test_a_comment_without_end_is_refused() -> None:
    with pytest.raises(Unparsable):
        read_xml("<r><!--" + "x" * 1_000_000)


def test_an_answer_that_would_be_too_large_is_not_made() -> None:
    wall = Wall(paths=(), request=RequestTranslation(content=Content(body=Formula(text="[body, body, body]"))))
    body = json.dumps([1] * 100_000).encode()
    with pytest.raises(Untranslatable, match="more than"):
        Interpreter(wall, no_hook).request(Asked("POST", b"/", JSON, body, None, {}))


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, {1: 2}, float, b"x", [object()]])
def test_a_hook_returns_plain_values_only(value: object) -> None:
    with pytest.raises(ExpressionError, match="plain JSON"):
        Compiled(Formula(python="a:b"), lambda name: lambda document: value).value({})


def test_a_hook_that_would_end_the_program_has_failed() -> None:
    def hook(document: Mapping[str, Any]) -> Any:
        raise SystemExit(3)

    with pytest.raises(ExpressionError, match="a:b raised SystemExit"):
        Compiled(Formula(python="a:b"), lambda name: hook).value({})


def test_a_hook_that_returns_itself_over_and_over_is_no_plain_value() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ExpressionError, match="plain JSON"):
        Compiled(Formula(python="a:b"), lambda name: lambda document: circle).value({})


@pytest.mark.parametrize("number", [1e-63, 1e63, -1e63, 0.0])
def test_a_number_is_written_in_digits(number: float) -> None:
    text = number_text(number)
    assert float(text) == number
    assert "e" not in text


@pytest.mark.parametrize("number", [1e64, -1e308, 1e-64, 5e-324, float("inf"), float("nan")])
def test_a_few_letters_do_not_become_hundreds_of_digits(number: float) -> None:
    with pytest.raises(ExpressionError, match="cannot be written in digits"):
        number_text(number)
