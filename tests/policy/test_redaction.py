"""What is shown of a recorded exchange, and what is not."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from strangler.domain.exchange import Header
from strangler.policy.model import Redaction
from strangler.policy.redaction import HIDDEN, parse_pointer, shown_body, shown_headers

JSON: list[Header] = [(b"Content-Type", b"application/json; charset=utf-8")]
BODY: dict[str, Any] = {"insured": {"name": "Ada", "iban": "NL91"}, "items": [{"code": 1}, {"code": 2}], "a/b": "x"}


def shown(*pointers: str, body: Any = BODY, headers: list[Header] = JSON) -> Any:
    data = json.dumps(body).encode()
    found = shown_body(data, len(data), headers, Redaction(pointers=frozenset(pointers)))
    return None if found is None else json.loads(found)


def test_fields_are_hidden_by_name_in_any_case_and_credentials_always() -> None:
    headers = [(b"AUTHORIZATION", b"Bearer t"), (b"X-Ssn", b"123"), (b"Accept", b"*/*"), (b"Set-Cookie", b"s=1")]
    assert shown_headers(headers, Redaction(headers=frozenset({"x-ssn"}))) == [
        (b"AUTHORIZATION", HIDDEN.encode()),
        (b"X-Ssn", HIDDEN.encode()),
        (b"Accept", b"*/*"),
        (b"Set-Cookie", HIDDEN.encode()),
    ]


def test_members_are_hidden_by_pointer_and_all_else_stays() -> None:
    found = shown("/insured/iban", "/items/1/code", "/a~1b", "/no/such")
    assert found == {
        "insured": {"name": "Ada", "iban": HIDDEN},
        "items": [{"code": 1}, {"code": HIDDEN}],
        "a/b": HIDDEN,
    }


def test_a_star_is_every_member_and_every_item() -> None:
    assert shown("/items/*/code")["items"] == [{"code": HIDDEN}, {"code": HIDDEN}]
    assert shown("/insured/*")["insured"] == {"name": HIDDEN, "iban": HIDDEN}


def test_the_empty_pointer_is_the_whole_document() -> None:
    assert shown("") == HIDDEN


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Type", b"application/xml")],
        [(b"Content-Type", b"application/x-www-form-urlencoded")],
        [*JSON, (b"Content-Encoding", b"gzip")],
        [],
    ],
)
def test_with_pointers_a_body_that_cannot_be_looked_into_is_not_shown(headers: list[Header]) -> None:
    assert shown("/insured/iban", headers=headers) is None
    data = json.dumps(BODY).encode()
    assert shown_body(data, len(data), headers, Redaction()) == data


def test_with_pointers_a_packed_body_is_not_unpacked_for_people_to_see() -> None:
    packed = gzip.compress(json.dumps(BODY).encode())
    headers = [*JSON, (b"Content-Encoding", b"gzip")]
    assert shown_body(packed, len(packed), headers, Redaction(pointers=frozenset({"/insured/iban"}))) is None
    assert shown_body(packed, len(packed), headers, Redaction()) == packed


def test_half_of_a_surrogate_pair_is_shown_as_json_spells_it() -> None:
    data = b'{"a":"x\\ud800","\\udfff":1,"b":2}'
    found = shown_body(data, len(data), JSON, Redaction(pointers=frozenset({"/b"})))
    assert found == b'{"a":"x\\ud800","\\udfff":1,"b":"[redacted]"}'


@pytest.mark.parametrize("data", [b"{", b'{"a": 1, "a": 2}', b"\xff"])
def test_with_pointers_a_body_that_is_not_what_it_says_is_not_shown(data: bytes) -> None:
    assert shown_body(data, len(data), JSON, Redaction(pointers=frozenset({"/a"}))) is None


def test_with_pointers_the_first_part_of_a_body_is_not_shown() -> None:
    assert shown_body(b'{"a": 1}', 9, JSON, Redaction(pointers=frozenset({"/a"}))) is None
    assert shown_body(b'{"a": 1}', 9, JSON, Redaction()) == b'{"a": 1}'


def test_what_either_of_two_policies_hides_is_hidden() -> None:
    both = Redaction(frozenset({"x-a"}), frozenset({"/a"})).and_also(Redaction(frozenset({"x-b"}), frozenset({"/b"})))
    assert both == Redaction(frozenset({"x-a", "x-b"}), frozenset({"/a", "/b"}))


def test_a_pointer_is_read_as_the_standard_says() -> None:
    assert parse_pointer("/m~0n/a~1b/0/") == ("m~n", "a/b", "0", "")
    for wrong in ("a", "/a~", "/a~2"):
        with pytest.raises(ValueError, match="JSON Pointer"):
            parse_pointer(wrong)
