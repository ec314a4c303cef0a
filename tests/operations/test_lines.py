"""How a log line looks, and that nothing makes two of it."""

from __future__ import annotations

import json
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.errors import StoreUnavailable
from strangler.operations.lines import MAX_FIELD, MAX_TRACEBACK, Line, as_json, as_text, describe, trace

AT = 1_795_000_000_123


class Word(StrEnum):
    ONE = "one"


class Telltale:
    def __repr__(self) -> str:
        return "hunter2"


FIELDS = {
    "plain": "submit-claim",
    "spaced": 'two words, "quoted" \\ back',
    "empty": "",
    "none": None,
    "number": 7,
    "ms": 1.23456,
    "flag": True,
    "word": Word.ONE,
    "path": b"/caf\xc3\xa9/\xff",
    "thing": Telltale(),
}


def test_json_is_one_object_with_the_instant_the_level_and_the_event_before_the_fields() -> None:
    text = as_json(Line(AT, "info", "request", FIELDS))
    document = json.loads(text)
    assert list(document)[:3] == ["at", "level", "event"]
    assert document == {
        "at": "2026-11-18T11:06:40.123Z",
        "level": "info",
        "event": "request",
        "plain": "submit-claim",
        "spaced": 'two words, "quoted" \\ back',
        "empty": "",
        "number": 7,
        "ms": 1.235,
        "flag": True,
        "word": "one",
        "path": "/café/\\xff",
        "thing": "<Telltale>",
    }


def test_text_is_for_people_and_quotes_what_is_not_a_plain_word() -> None:
    assert as_text(Line(AT, "info", "request", FIELDS)) == (
        "2026-11-18T11:06:40.123Z info request plain=submit-claim"
        ' spaced="two words, \\"quoted\\" \\\\ back" empty="" number=7 ms=1.235 flag=true word=one'
        ' path="/café/\\\\xff" thing=<Telltale>'
    )


@pytest.mark.parametrize("mark", ["\n", "\r", "\x1b[2J", "\x85", "\x9b", "\u2028", "\u202e", "\x7f", "\x00", "\ud800"])
def test_controls_and_marks_that_turn_text_are_escaped_in_both_forms(mark: str) -> None:
    line = Line(AT, "info", "request", {"caller": f"a{mark}b"})
    assert json.loads(as_json(line))["caller"] == f"a{mark}b"
    for text in (as_json(line), as_text(line)):
        assert text.isprintable()
        assert "\\" in text


VALUES = st.text() | st.binary() | st.floats() | st.integers()


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3))
def test_whatever_the_fields_hold_a_line_stays_one_line(fields: dict[str, object]) -> None:
    line = Line(AT, "info", "request", fields)
    assert json.loads(as_json(line)).keys() >= fields.keys()
    for text in (as_json(line), as_text(line)):
        assert text.isprintable()
        assert text.encode().splitlines() == [text.encode()]


def test_a_long_field_is_cut_and_says_how_long_it_was() -> None:
    shown = json.loads(as_json(Line(AT, "info", "request", {"path": b"/" * 100_000, "caller": "x" * 5000})))
    assert len(shown["path"]) < MAX_FIELD + 40
    assert shown["caller"] == "x" * MAX_FIELD + "… (5000 characters)"


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_traceback_says_where_and_of_what_type_and_keeps_what_may_quote_a_request() -> None:
    text = trace(raised(ValueError("hunter2")))
    assert "in raised\n    raise error\n" in text
    assert text.endswith("ValueError (its text is withheld)")
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "error", [StoreUnavailable("the disk is full"), OSError(28, "the disk is full"), AttributeError("the disk is full")]
)
def test_the_text_of_errors_that_tell_of_code_is_shown(error: Exception) -> None:
    assert "the disk is full" in describe(error)


def test_causes_come_first_and_groups_show_their_parts_all_without_their_texts() -> None:
    error = ExceptionGroup("hunter2", [raised(KeyError("hunter2")), ValueError("hunter2")])
    error.__cause__ = raised(UnicodeDecodeError("utf-8", b"hunter2", 0, 1, "hunter2"))
    error.add_note("hunter2")
    text = trace(error)
    assert "hunter2" not in text
    for name in ("UnicodeDecodeError (", "ExceptionGroup (", "| KeyError (", "| ValueError ("):
        assert name in text
    assert text.index("UnicodeDecodeError") < text.index("ExceptionGroup")


def test_an_error_that_is_its_own_cause_ends_all_the_same() -> None:
    error, other = ValueError(), KeyError()
    error.__cause__, other.__cause__ = other, error
    assert trace(error).count("withheld") == 2


def test_a_suppressed_context_is_not_told() -> None:
    error = ValueError()
    error.__context__ = KeyError()
    assert "KeyError" in trace(error)
    error.__suppress_context__ = True
    assert "KeyError" not in trace(error)


def test_a_traceback_may_be_longer_than_other_fields_and_is_cut_too() -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise ValueError
        [deeper(depth - 1)]
        deeper.__name__  # noqa: B018  (different lines, so that frames are not summed up)

    errors = []
    for depth in (30, 300):
        try:
            deeper(depth)
        except ValueError as error:
            parts = ExceptionGroup("", [error] * 5)
            errors.append(json.loads(as_json(Line(AT, "error", "defect", {"traceback": trace(parts)})))["traceback"])
    assert len(errors[0]) > MAX_FIELD
    assert len(errors[1]) <= MAX_TRACEBACK + 40
