"""Our own errors in the language of a route's clients: SOAP faults, text, or what a template says."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from strangler.domain.exchange import Answer, Header
from strangler.domain.problem import Problem
from strangler.policy.expressions import ExpressionError, Template
from strangler.policy.wall import ErrorForm
from strangler.policy.xml_writing import elements, envelope, escaped, text_of

PROBLEM_NAMES = frozenset(
    {"type", "code", "title", "status", "detail", "instance", "correlationId", "process", "effect", "errors"}
)
"""The members of a problem document, which the template of an error can hold."""

NAMESPACE = "urn:strangler:problem"
"""Of the detail of a fault."""

_MEDIA_TYPES = {".xml": "application/xml; charset=utf-8", ".html": "text/html; charset=utf-8"}
_TEXT = "text/plain; charset=utf-8"


def media_type_of(file: str) -> str | None:
    """The media type of an error that is made from a file of that name; None: no error is."""
    for ending, kind in (*_MEDIA_TYPES.items(), (".txt", _TEXT)):
        if file.lower().endswith(ending):
            return kind
    return None


def in_form(answer: Answer, form: ErrorForm) -> Answer:
    """A problem in the form that a route's clients read; any other answer as it is.

    A fault goes out with 500: SOAP 1.1 says so (section 6.2), and stacks of either version read no fault with another
    status. The status that it would have had stands in its detail.
    """
    if not isinstance(answer, Problem):
        return answer
    document = answer.document
    match form.kind:
        case "soap11":
            return _answer(answer, 500, "text/xml; charset=utf-8", _fault_11(document))
        case "soap12":
            return _answer(answer, 500, "application/soap+xml; charset=utf-8", _fault_12(document))
        case "text":
            return _answer(answer, answer.status, _TEXT, _sentences(document))
        case "template":
            return _answer(answer, answer.status, form.media_type, _filled(form, document))


def _answer(problem: Problem, status: int, media_type: str, text: str) -> Answer:
    headers: list[Header] = [
        (name, media_type.encode()) if name == b"Content-Type" else (name, value) for name, value in problem.headers
    ]
    return Answer(status, headers, text.encode("utf-8", "replace"))


def _fault_11(document: dict[str, Any]) -> str:
    code = "Client" if document["status"] < 500 else "Server"
    body = (
        f"<soap:Fault><faultcode>soap:{code}</faultcode><faultstring>{_clean(_said(document))}</faultstring>"
        f"<detail>{_detail(document)}</detail></soap:Fault>"
    )
    return envelope("1.1", None, body, {}, "utf-8")


def _fault_12(document: dict[str, Any]) -> str:
    code = "Sender" if document["status"] < 500 else "Receiver"
    body = (
        f"<soap:Fault><soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code>"
        f'<soap:Reason><soap:Text xml:lang="en">{_clean(_said(document))}</soap:Text></soap:Reason>'
        f"<soap:Detail>{_detail(document)}</soap:Detail></soap:Fault>"
    )
    return envelope("1.2", None, body, {}, "utf-8")


def _detail(document: dict[str, Any]) -> str:
    members: dict[str, Any] = {name: value for name, value in document.items() if name != "errors"}
    if "errors" in document:
        members["error"] = document["errors"]
    return elements({"problem": {"@xmlns": NAMESPACE, **_cleaned(members)}})


def _cleaned(value: Any) -> Any:
    """Texts without what XML cannot hold: a client's header may stand in a detail."""
    if isinstance(value, dict):
        return {name: _cleaned(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_cleaned(part) for part in value]
    return _printable(value) if isinstance(value, str) else value


def _clean(text: str) -> str:
    return escaped(_printable(text))


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _said(document: dict[str, Any]) -> str:
    return f"{document['title']}: {document['detail']}"


def _sentences(document: dict[str, Any]) -> str:
    lines = [document["title"], document["detail"]]
    for member in ("code", "effect", "process", "correlationId"):
        if member in document:
            lines.append(f"{member}: {document[member]}")
    lines += [f"{error['pointer'] or 'body'}: {error['detail']}" for error in document.get("errors", ())]
    return "\n".join(lines) + "\n"


def _filled(form: ErrorForm, document: dict[str, Any]) -> str:
    plain = form.media_type == _TEXT
    try:
        return _compiled(form.template).filled(document, _text if plain else lambda value: _clean(_text(value)))
    except ExpressionError:
        # An error of ours must reach the client in some form, and this one needs no expression.
        return _sentences(document) if plain else f"<error>{_clean(_said(document))}</error>"


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Template:
    """A template; kept, because there is a text for each route, and errors come in floods."""
    return Template(text)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else text_of(value)
