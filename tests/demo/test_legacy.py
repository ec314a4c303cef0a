"""The sample legacy system: slow, synchronous, and unaware of retries."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from strangler.demo.legacy import assessment_seconds

from .conftest import RunningInsurer

CLAIM = {"policyNumber": "P-1001", "amount": 1500, "description": "storm"}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(insurer: RunningInsurer, method: str, path: str, value: object = None, **headers: str) -> Reply:
    with closing(http.client.HTTPConnection("127.0.0.1", insurer.port, timeout=30)) as connection:
        body = value if isinstance(value, bytes | None) else json.dumps(value).encode()
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return Reply(answer.status, dict(answer.getheaders()), answer.read())


def claims(insurer: RunningInsurer) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = ask(insurer, "GET", "/claims").json()["claims"]
    return listed


@pytest.mark.parametrize(("amount", "seconds"), [(0, 3.0), (4200, 7.2), (17_000, 20.0), (900_000, 20.0)])
def test_the_more_a_claim_is_about_the_longer_it_takes_from_3_to_20_seconds(amount: int, seconds: float) -> None:
    assert assessment_seconds(amount) == pytest.approx(seconds)


def test_a_claim_is_created_and_listed(insurer: RunningInsurer) -> None:
    created = ask(insurer, "POST", "/claims", CLAIM)

    assert created.status == 201
    assert created.headers["Location"] == "/claims/C-0001"
    assert created.json()["status"] == "REGISTERED"
    assert [claim["claimNumber"] for claim in claims(insurer)] == ["C-0001"]
    assert ask(insurer, "GET", "/claims/C-0001").json() == created.json()


def test_a_claim_that_is_sent_again_becomes_a_duplicate(insurer: RunningInsurer) -> None:
    ask(insurer, "POST", "/claims", CLAIM)
    again = ask(insurer, "POST", "/claims", CLAIM)

    assert again.status == 201
    assert [(claim["status"], claim.get("duplicateOf")) for claim in claims(insurer)] == [
        ("REGISTERED", None),
        ("DUPLICATE", "C-0001"),
    ]


def test_another_claim_is_no_duplicate(insurer: RunningInsurer) -> None:
    ask(insurer, "POST", "/claims", CLAIM)
    ask(insurer, "POST", "/claims", {**CLAIM, "amount": 1501})

    assert [claim["status"] for claim in claims(insurer)] == ["REGISTERED", "REGISTERED"]


def test_a_client_that_gives_up_does_not_stop_the_claim(insurer: RunningInsurer) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", insurer.port)) as connection:
        connection.request("POST", "/claims", json.dumps(CLAIM))
        while ask(insurer, "GET", "/claims").json()["inAssessment"] == 0 and not claims(insurer):
            pass

    while not claims(insurer):
        pass
    assert len(claims(insurer)) == 1


def test_what_is_under_way_when_the_system_stops_never_happens(insurer: RunningInsurer) -> None:
    answers: list[Reply] = []
    slow = threading.Thread(target=lambda: answers.append(ask(insurer, "POST", "/claims", {**CLAIM, "amount": 10**8})))
    slow.start()
    while ask(insurer, "GET", "/claims").json()["inAssessment"] == 0:
        pass
    insurer.insurer.stop()
    slow.join()

    assert answers[0].status == 503
    assert claims(insurer) == []


def test_a_claim_on_a_policy_that_does_not_exist_is_refused(insurer: RunningInsurer) -> None:
    refused = ask(insurer, "POST", "/claims", {**CLAIM, "policyNumber": "P-9999"})

    assert (refused.status, refused.json()) == (422, {"message": "there is no policy P-9999"})
    assert claims(insurer) == []


@pytest.mark.parametrize(
    "form",
    [
        b"nonsense",
        [],
        {"policyNumber": "P-1001"},
        {**CLAIM, "policyNumber": 7},
        {**CLAIM, "amount": "7"},
        {**CLAIM, "amount": True},
        {**CLAIM, "amount": -1},
    ],
)
def test_what_is_no_claim_is_refused(insurer: RunningInsurer, form: object) -> None:
    assert ask(insurer, "POST", "/claims", form).status == 400
    assert claims(insurer) == []


def test_a_body_without_a_length_is_refused(insurer: RunningInsurer) -> None:
    refused = ask(insurer, "POST", "/claims", b"0\r\n\r\n", Transfer_Encoding="chunked")

    assert refused.status == 400


def test_a_policy_is_answered(insurer: RunningInsurer) -> None:
    assert ask(insurer, "GET", "/policies/P-1003").json() == {
        "number": "P-1003",
        "holder": "Bakker",
        "cover": "motor",
    }


def test_a_document_is_a_large_pdf(insurer: RunningInsurer) -> None:
    document = ask(insurer, "GET", "/documents/P-1001")

    assert document.headers["Content-Type"] == "application/pdf"
    assert int(document.headers["Content-Length"]) == len(document.body) > 5_000_000
    assert document.body.startswith(b"%PDF-1.7\n")


def test_head_has_no_body(insurer: RunningInsurer) -> None:
    head = ask(insurer, "HEAD", "/policies/P-1003")

    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/policies/P-9999", 404),
        ("GET", "/claims/C-9999", 404),
        ("GET", "/documents/", 404),
        ("GET", "/", 404),
        ("DELETE", "/claims", 405),
        ("POST", "/policies/P-1001", 405),
    ],
)
def test_what_there_is_not_is_said(insurer: RunningInsurer, method: str, path: str, status: int) -> None:
    assert ask(insurer, method, path).status == status


def test_who_comes_when_every_thread_is_busy_waits_for_one(insurer: RunningInsurer) -> None:
    busy = [threading.Thread(target=ask, args=(insurer, "POST", "/claims", CLAIM)) for _ in range(20)]
    for thread in busy:
        thread.start()
    for thread in busy:
        thread.join()

    assert len(claims(insurer)) == 20
