"""Business references of a request and of its reply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from strangler.domain.exchange import Headers
from strangler.policy.documents import Asked
from strangler.policy.references import LONGEST, References, Sought, merged
from strangler.policy.translate import Reply

JSON = ((b"Content-Type", b"application/json"),)


def asked(body: Any, target: bytes = b"/policies/P-7/claims?lang=de") -> Asked:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Asked("POST", target, JSON, data, "broker-a", {"id": "0195"})


def references(**expressions: str) -> References:
    return References(Sought(expressions, ("/policies/{policy}/claims",)))


def test_a_request_says_them_by_body_path_query_header_and_caller() -> None:
    sought = references(
        a="body.claim.number", b="path.policy", c="query.lang", d='headers."content-type"', e="caller.name"
    )
    found = sought.of_request(asked({"claim": {"number": "C-1"}}))
    assert found == {"a": "C-1", "b": "P-7", "c": "de", "d": "application/json", "e": "broker-a"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("C-1", "C-1"),
        (17, "17"),
        (1.5, "1.5"),
        (True, "true"),
        (10**LONGEST, None),
        (float("inf"), None),
        ("ä" * LONGEST, "ä" * LONGEST),
        ("ä" * (LONGEST + 1), None),
        ("", None),
        (None, None),
        ("a\nb", None),
        ("\ud800", None),
        ([1], None),
        ({"a": 1}, None),
    ],
)
def test_text_and_numbers_are_references_and_nothing_else_is(value: Any, expected: str | None) -> None:
    found = references(a="body.a").of_request(asked({"a": value}))
    assert found.get("a") == expected


@pytest.mark.parametrize(("fields", "found"), [((), {"a": "x"}), (((b"Content-Type", b"text/plain"),), {})])
def test_a_body_of_which_nobody_says_what_it_is_is_taken_for_json(fields: Headers, found: dict[str, str]) -> None:
    assert references(a="body.a").of_request(asked({"a": "x"})._replace(headers=fields)) == found


def test_what_cannot_be_read_or_evaluated_is_left_out_and_harms_no_other() -> None:
    sought = references(a="body.a", b="path.policy", c="abs(body.a)")
    assert sought.of_request(asked(b"{")) == {"b": "P-7"}
    assert sought.of_request(asked({"a": "x"})) == {"a": "x", "b": "P-7"}


def test_those_of_the_reply_wait_for_it_and_may_look_at_the_request_too() -> None:
    sought = references(a="body.a", b="reply.body.number", c="reply.status", d="[reply.body.number, body.a] | [1]")
    assert sought.of_request(asked({"a": "x"})) == {"a": "x"}
    assert (sought.asks_reply, sought.reads_request, sought.reads_request_again) == (True, True, True)
    found = sought.of_reply(asked({"a": "x"}), Reply(201, JSON, b'{"number": "C-9"}'))
    assert found == {"b": "C-9", "c": "201", "d": "x"}
    assert sought.of_reply(asked({"a": "x"}), Reply(500, JSON, None)) == {"c": "500", "d": "x"}


def test_a_body_that_nobody_asks_for_is_not_read() -> None:
    sought = references(b="path.policy", c="reply.body.number")
    assert (sought.reads_request, sought.reads_request_again) == (False, False)


def test_what_the_reply_says_stands_beside_what_the_request_said_or_in_its_place() -> None:
    before = merged(None, {"a": "1", "b": "2"})
    assert before is not None
    assert json.loads(str(merged(before, {"b": "3", "c": "ä"}))) == {"a": "1", "b": "3", "c": "ä"}
    assert merged(None, {}) is None
