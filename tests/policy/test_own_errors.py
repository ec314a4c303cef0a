"""Our own errors as a route's clients read them."""

from __future__ import annotations

import json

import pytest

from strangler.domain.exchange import Answer
from strangler.domain.problem import problem
from strangler.policy import own_errors
from strangler.policy.expressions import Template
from strangler.policy.own_errors import in_form, media_type_of
from strangler.policy.wall import ErrorForm
from strangler.policy.xml_reading import read_xml

UNKNOWN = problem(
    "outcome-unknown",
    "do not send it <again>",
    correlation_id="c-1",
    process="https://a/processes/1",
    effect="unknown",
    retry_after=30,
)
INVALID = problem("invalid-request", "two & more", errors=[{"pointer": "/a", "detail": "bad \x01"}])


def fields(answer: Answer) -> dict[bytes, bytes]:
    return dict(answer.headers)


def text(answer: Answer) -> str:
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


@pytest.mark.parametrize(
    ("kind", "media_type", "code"),
    [
        ("soap11", b"text/xml; charset=utf-8", "Server"),
        ("soap12", b"application/soap+xml; charset=utf-8", "Receiver"),
    ],
)
def test_a_soap_client_reads_a_fault(kind: str, media_type: bytes, code: str) -> None:
    answer = in_form(UNKNOWN, ErrorForm(kind=kind))  # type: ignore[arg-type]
    value, envelope = read_xml(text(answer))
    assert envelope is not None
    assert (answer.status, fields(answer)[b"Content-Type"]) == (500, media_type)
    assert fields(answer)[b"Strangler-Effect"] == b"unknown"
    assert fields(answer)[b"Strangler-Source"] == b"proxy"
    assert fields(answer)[b"Retry-After"] == b"30"
    assert value["Fault"]["code"] == code
    assert value["Fault"]["reason"] == "Nobody knows yet whether it happened: do not send it <again>"
    detail = value["Fault"]["detail"]["problem"]
    assert (detail["code"], detail["status"], detail["effect"]) == ("outcome-unknown", "504", "unknown")
    assert detail["process"] == "https://a/processes/1"


@pytest.mark.parametrize(("kind", "code"), [("soap11", "Client"), ("soap12", "Sender")])
def test_what_the_client_did_wrong_is_a_fault_of_the_client(kind: str, code: str) -> None:
    answer = in_form(INVALID, ErrorForm(kind=kind))  # type: ignore[arg-type]
    value, _ = read_xml(text(answer))
    assert (answer.status, value["Fault"]["code"]) == (500, code)
    assert value["Fault"]["detail"]["problem"]["error"] == {"pointer": "/a", "detail": "bad \N{REPLACEMENT CHARACTER}"}


def test_text_says_it_in_lines() -> None:
    answer = in_form(UNKNOWN, ErrorForm(kind="text"))
    assert (answer.status, fields(answer)[b"Content-Type"]) == (504, b"text/plain; charset=utf-8")
    assert text(answer).splitlines() == [
        "Nobody knows yet whether it happened",
        "do not send it <again>",
        "code: outcome-unknown",
        "effect: unknown",
        "process: https://a/processes/1",
        "correlationId: c-1",
    ]
    assert "/a: bad" in text(in_form(INVALID, ErrorForm(kind="text")))


def test_a_template_holds_the_members_of_the_problem_escaped() -> None:
    form = ErrorForm(kind="template", template="<e c='{code}'>{detail}|{errors}</e>", media_type="text/html")
    assert text(in_form(UNKNOWN, form)) == "<e c='outcome-unknown'>do not send it &lt;again&gt;|</e>"
    found = text(in_form(INVALID, form))
    assert "two &amp; more" in found
    assert "<e" not in found[2:]


def test_a_template_is_compiled_once_however_many_errors_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def counted(text: str) -> Template:
        compiled.append(text)
        return Template(text)

    monkeypatch.setattr(own_errors, "Template", counted)
    form = ErrorForm(kind="template", template="{title}, once", media_type="text/html")
    assert text(in_form(UNKNOWN, form)) != text(in_form(INVALID, form))
    assert compiled == ["{title}, once"]


def test_a_template_that_cannot_be_filled_still_says_what_happened() -> None:
    form = ErrorForm(kind="template", template="{abs(code)}", media_type="application/xml")
    assert "do not send it &lt;again&gt;" in text(in_form(UNKNOWN, form))


def test_what_is_no_problem_stays_as_it_is() -> None:
    answer = Answer(200, [], b"{}")
    assert in_form(answer, ErrorForm(kind="soap11")) is answer


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.XML", "application/xml"),
        ("a.html", "text/html"),
        ("b/c.txt", "text/plain"),
        ("a.json", None),
        ("soap", None),
    ],
)
def test_a_file_goes_by_its_ending(name: str, kind: str | None) -> None:
    found = media_type_of(name)
    assert (found.partition(";")[0] if found else None) == kind


def test_the_problem_itself_is_unchanged() -> None:
    in_form(UNKNOWN, ErrorForm(kind="soap11"))
    assert json.loads(UNKNOWN.body)["status"] == 504  # type: ignore[arg-type]
