"""XML to values and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from strangler.policy.expressions import ExpressionError
from strangler.policy.readable import Unparsable
from strangler.policy.xml_reading import MAX_DEPTH, MAX_NODES, read_xml
from strangler.policy.xml_writing import document, elements

NAMES = st.sampled_from(["a", "b", "Übertrag", "p:c", "_d.1-e"])
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8)
STRIPPED = TEXTS.map(str.strip)
ATTRIBUTES = st.dictionaries(NAMES.map("@{}".format), TEXTS | st.just("\n\t\r"), max_size=3)


def mappings(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What stands for an element that has more than a text."""
    children = st.dictionaries(NAMES, inner | st.lists(inner, min_size=2, max_size=4), max_size=4)
    text = STRIPPED.map(lambda text: {"#text": text} if text else {})
    return st.builds(
        lambda *parts: {k: v for part in parts for k, v in part.items()}, ATTRIBUTES, children, text
    ).filter(lambda value: value.keys() - {"#text"})


ELEMENTS = st.recursive(STRIPPED, mappings, max_leaves=20)


@given(ELEMENTS)
@example({"@a": "\r\n <&>\"'", "a": ["", {"b": ["1", ""]}], "#text": "]]>"})
def test_what_was_written_is_read_as_it_was(value: Any) -> None:
    spaces = {"p": "urn:p"}
    assert read_xml(document({"r": value}, spaces, "utf-8"), namespaces=spaces) == ({"r": value}, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<r>one<!-- x --> two<?y z?><![CDATA[ <three>]]></r>", "one two <three>"),
        ("<r> one <a/> two <b>x</b> three </r>", {"a": "", "b": "x", "#text": "one  two  three"}),
        ("<r>&#1585;&amp;</r>", "\u0631&"),
        ('<r><a i:nil="true" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"/></r>', {"a": None}),
        ('<r><a i:nil="1" x="y" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"/></r>', {"a": {"@x": "y"}}),
        ('<r><a i:nil="false" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">x</a></r>', {"a": "x"}),
        ('<r xmlns="a}b"><x xmlns="c d"/></r>', {"x": ""}),
        ("<r><!-- <!DOCTYPE r> --><a>&lt;!DOCTYPE</a></r>", {"a": "<!DOCTYPE"}),
        ('<r xml:lang="de"><a>1</a><b/><a>2</a></r>', {"@lang": "de", "a": ["1", "2"], "b": ""}),
    ],
)
def test_an_element_becomes_a_value(text: str, value: Any) -> None:
    assert read_xml(text)[0] == {"r": value}


def test_a_list_is_one_also_where_there_is_one_element() -> None:
    assert read_xml("<r><a/><b><a>1</a></b></r>", lists=["a"])[0] == {"r": {"a": [""], "b": {"a": ["1"]}}}


LONG = ("<!--" + "x" * 50_000 + "-->") * 10


@pytest.mark.parametrize("padding", ["", LONG])
def test_a_long_document_is_read_like_a_short_one(padding: str) -> None:
    text = f'<r>{padding}<a b="c">d</a><a/>e</r>'
    assert read_xml(text)[0] == {"r": {"a": [{"@b": "c", "#text": "d"}, ""], "#text": "e"}}


@pytest.mark.parametrize("padding", ["", LONG])
def test_elements_and_attributes_are_counted_together(padding: str) -> None:
    wide = '<a b="" c=""/>' * (MAX_NODES // 3)
    assert len(read_xml(f"<r>{padding}{wide}</r>")[0]["r"]["a"]) == MAX_NODES // 3
    with pytest.raises(Unparsable, match="elements and attributes"):
        read_xml(f"<r>{padding}{wide}<a/></r>")


@pytest.mark.parametrize("innermost", ["<a/>", '<a b="c"/>', "<a>d</a>"])
def test_no_element_may_be_deeper_than_the_bound(innermost: str) -> None:
    read_xml("<a>" * (MAX_DEPTH - 1) + innermost + "</a>" * (MAX_DEPTH - 1))
    with pytest.raises(Unparsable, match="deep"):
        read_xml("<a>" * MAX_DEPTH + innermost + "</a>" * MAX_DEPTH)


@pytest.mark.parametrize("text", ['<r xmlns="a&#10;b"/>', "<r>", "<r/>x", "<p:r/>", "", "<r>\x01</r>", "<r>\ud800</r>"])
def test_what_is_not_well_formed_is_said_with_its_place(text: str) -> None:
    with pytest.raises(Unparsable, match=r"not XML: .* at line 1, column"):
        read_xml(text)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": None, "b": [], "c": [None, 1, "x"], "1": None}, "<c>1</c><c>x</c>"),
        ({"a": {"@b": None, "#text": None}, "@c": 1, "#text": 2}, "<a/>"),
        ({"a": {"@b": True, "#text": ""}}, '<a b="true"></a>'),
        ({"a": {"@b": 1.5, "#x": [], "c": {}}}, '<a b="1.5"><c/></a>'),
    ],
)
def test_a_mapping_becomes_elements(value: Any, written: str) -> None:
    assert elements(value) == written


@pytest.mark.parametrize(
    "value",
    [
        {"1": ""},
        {"a": {"b c": 0}},
        {"a": [[1]]},
        {"a": {"@b": []}},
        {"a": {"@b": [None]}},
        {"a": {"#text": []}},
        {"": 1},
    ],
)
def test_what_no_element_can_be_made_of_is_refused(value: Any) -> None:
    with pytest.raises(ExpressionError):
        elements(value)


@pytest.mark.parametrize(
    ("root", "written"),
    [(None, '<r xmlns="urn:x"/>'), (1, '<r xmlns="urn:x">1</r>'), ({"@a": "b"}, '<r xmlns="urn:x" a="b"/>')],
)
def test_a_root_declares_the_namespaces(root: Any, written: str) -> None:
    assert document({"r": root}, {"": "urn:x"}, "utf-8") == f'<?xml version="1.0" encoding="utf-8"?>{written}'


@pytest.mark.parametrize("value", [{"@r": 1}, {"#text": 1}, {"": None}, {"r": [1]}, {}, {"a": 1, "b": 2}, [1]])
def test_what_is_no_root_makes_no_document(value: Any) -> None:
    with pytest.raises(ExpressionError):
        document(value, {}, "utf-8")
