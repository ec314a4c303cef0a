"""The envelope of a callback."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from strangler.domain.exchange import Body, RecordedReply
from strangler.domain.process import PublicState
from strangler.policy.callback_body import MAX_INLINE, callback_body, callback_type

DOCUMENT = json.dumps({"id": "0195", "state": "completed", "links": {"result": "https://x/r"}}).encode()
AT = 1_795_255_200_000


def reply(data: bytes | None, *headers: tuple[bytes, bytes], kept: bool = True) -> RecordedReply:
    """A recorded reply."""
    size = len(data) if data is not None else 10**6
    return RecordedReply(201, b"Created", list(headers), Body(size, b"", data, kept))


def told(given: RecordedReply | None) -> dict[str, Any]:
    """The `data` of a callback."""
    data: dict[str, Any] = json.loads(callback_body("A.completed", AT, DOCUMENT, given))["data"]
    return data


@pytest.mark.parametrize(
    ("process_type", "kind"),
    [
        ("ClaimSubmission", "ClaimSubmission.completed"),
        ("claim-submission", "claim_submission.completed"),
        ("a.b_c--d", "a.b_c_d.completed"),
    ],
)
def test_the_type_holds_what_the_specification_takes(process_type: str, kind: str) -> None:
    assert callback_type(process_type, PublicState.COMPLETED) == kind


def test_the_envelope_holds_the_document() -> None:
    assert json.loads(callback_body("A.completed", AT, DOCUMENT)) == {
        "type": "A.completed",
        "timestamp": "2026-11-21T10:00:00.000Z",
        "data": {"id": "0195", "state": "completed", "links": {"result": "https://x/r"}},
    }


def test_the_same_is_said_in_the_same_bytes() -> None:
    given = reply(b'{"a": 1.10}', (b"X-A", b"1"))
    assert callback_body("A", AT, DOCUMENT, given) == callback_body("A", AT, DOCUMENT, given)


def test_what_is_no_text_in_a_document_stays_what_it_was() -> None:
    document = '{"reason":"\\ud800 ü"}'.encode()
    assert json.loads(callback_body("A", AT, document))["data"] == json.loads(document)


def test_a_reply_goes_along_as_it_came() -> None:
    given = reply(
        b'{"a": 1.10}',
        (b"Content-Type", b"application/json"),
        (b"X-Many", b"1"),
        (b"x-many", b"2"),
        (b"Set-Cookie", b"a=b"),
        (b"Connection", b"close"),
    )
    assert told(given)["reply"] == {
        "status": 201,
        "headers": {"content-type": "application/json", "x-many": "1, 2"},
        "body": '{"a": 1.10}',
    }


def test_what_is_not_utf_8_goes_as_base64() -> None:
    for data in ("ü".encode("latin-1"), b"\x1f\x8b\x08"):
        found = told(reply(data))["reply"]
        assert base64.b64decode(found["bodyBase64"]) == data
        assert "body" not in found


def test_what_is_large_or_not_kept_is_left_to_its_link() -> None:
    assert told(reply(b"x" * MAX_INLINE))["reply"]["body"] == "x" * MAX_INLINE
    assert MAX_INLINE == 20 * 1024
    for given in (
        reply(b"x" * (MAX_INLINE + 1)),
        reply(None),
        reply(b"", kept=False),
        reply(b"", (b"X", b"y" * MAX_INLINE)),
    ):
        assert "reply" not in told(given)
        assert told(given)["links"]["result"] == "https://x/r"


def test_with_a_reply_the_document_stays_as_it_is() -> None:
    given = json.loads(callback_body("A", AT, DOCUMENT, reply(b"ok")))["data"]
    assert given == {**json.loads(DOCUMENT), "reply": {"status": 201, "headers": {}, "body": "ok"}}


def test_an_empty_reply_has_an_empty_body() -> None:
    assert told(reply(b""))["reply"] == {"status": 201, "headers": {}, "body": ""}
