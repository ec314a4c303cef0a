"""Problem documents (RFC 9457): the one place where an error becomes an HTTP answer.

Everything that strangler says itself bears ``Strangler-Source: proxy``, so that its 502 or 504 is never taken for the
legacy system's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_from_bytes

from strangler.domain.exchange import Answer, Header

SOURCE: Header = (b"Strangler-Source", b"proxy")

TITLES: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is not well formed"),
    "ambiguous-target": (400, "The request target can be read in two ways"),
    "idempotency-key-missing": (400, "Idempotency-Key is missing"),
    "idempotency-key-invalid": (400, "Idempotency-Key is not valid"),
    "header-required": (400, "A required header is missing"),
    "unauthenticated": (401, "Credentials are required"),
    "forbidden": (403, "Not allowed"),
    "no-route": (404, "No route serves this request"),
    "no-such-process": (404, "No such process"),
    "no-such-exception": (404, "No such exception"),  # on the private listener only
    "no-such-delivery": (404, "No such delivery"),  # likewise
    "no-such-receiver": (404, "No such receiver"),  # likewise
    "result-not-ready": (404, "The result is not ready"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "request-timeout": (408, "The request took too long to arrive"),
    "not-cancellable": (409, "The process can no longer be cancelled"),
    "process-ended": (409, "The process has ended"),  # on the private listener only
    "order-not-possible": (409, "The order cannot be followed"),  # on the private listener only
    "not-retryable": (409, "The process is not to be tried again"),  # on the private listener only
    "not-resolvable": (409, "It cannot be resolved so"),  # on the private listener only
    "cancelled": (410, "The process was cancelled"),
    "no-longer-kept": (410, "It is no longer kept"),
    "result-too-large": (410, "The result was too large to keep"),
    "body-too-large": (413, "The request body is too large"),
    "target-too-long": (414, "The request target is too long"),
    "unsupported-media-type": (415, "The media type is not taken here"),
    "expectation-failed": (417, "The expectation cannot be met"),
    "idempotency-key-reused": (422, "Idempotency-Key is already used"),
    "invalid-request": (422, "The request cannot be taken as it is"),
    "callback-not-allowed": (422, "The callback is not allowed"),
    "policy-invalid": (422, "The policy did not load"),  # on the private listener only
    "too-many-requests": (429, "Too many requests"),
    "head-too-large": (431, "The request head is too large"),
    "internal-error": (500, "Something went wrong in the proxy"),
    "not-implemented": (501, "Not implemented"),
    "upstream-unreachable": (502, "The upstream cannot be reached"),
    "upstream-failed": (502, "The upstream failed"),
    "overloaded": (503, "Too much work is waiting"),
    "authorization-unavailable": (503, "Nobody can say now whether it is allowed"),
    "store-unavailable": (503, "Nothing can be recorded right now"),
    "draining": (503, "The server is going away"),
    "upstream-timeout": (504, "The upstream took too long"),
    "wait-over": (504, "The wait is over, the work goes on"),
    "outcome-unknown": (504, "Nobody knows yet whether it happened"),
    "expired": (504, "The deadline passed before it could be sent"),
    "version-not-supported": (505, "The HTTP version is not supported"),
    "loop-detected": (508, "The request came back to us"),
}


class Problem(Answer):
    """An answer that says what is wrong."""

    __slots__ = ("document",)

    def __init__(self, status: int, headers: list[Header], document: dict[str, Any]) -> None:
        super().__init__(status, headers, _rendered(document))
        self.document = document


def problem(
    name: str,
    detail: str,
    *,
    instance: str | None = None,
    headers: Sequence[Header] = (),
    retry_after: int | None = None,
    correlation_id: str | None = None,
    process: str | None = None,
    effect: str | None = None,
    errors: Sequence[dict[str, str]] = (),
) -> Problem:
    """The answer that says what is wrong. ``name`` is one of `TITLES`; ``process`` is its URL; ``retry_after`` seconds.

    An ``effect`` of "unknown" also goes out as the header ``Strangler-Effect``.
    """
    status, title = TITLES[name]
    document: dict[str, Any] = {
        "type": f"urn:strangler:problem:{name}",
        "code": name,
        "title": title,
        "status": status,
        "detail": detail,
    }
    for member, value in (
        ("instance", instance),
        ("correlationId", correlation_id),
        ("process", process),
        ("effect", effect),
    ):
        if value is not None:
            document[member] = value
    if errors:
        document["errors"] = list(errors)
    fields: list[Header] = [
        (b"Content-Type", b"application/problem+json"),
        (b"Cache-Control", b"no-store"),
        SOURCE,
        *headers,
    ]
    if retry_after is not None:
        fields.append((b"Retry-After", b"%d" % retry_after))
    if effect == "unknown":
        fields.append((b"Strangler-Effect", b"unknown"))
    if correlation_id is not None:
        fields.append((b"X-Correlation-ID", correlation_id.encode("latin-1", "replace")))
    return Problem(status, fields, document)


def code_of(answer: Answer) -> str:
    """The name of the problem that an answer tells; empty where it tells none."""
    return str(answer.document["code"]) if isinstance(answer, Problem) else ""


def located(answer: Answer, target: bytes) -> Answer:
    """The answer; if it is a problem without ``instance``, with the path of the request that it is about.

    Without the query, which may hold what is nobody's business.
    """
    if not isinstance(answer, Problem) or "instance" in answer.document:
        return answer
    path = quote_from_bytes(target.partition(b"?")[0], safe="/%:@!$&'()*+,;=~")
    return Problem(answer.status, answer.headers, {**answer.document, "instance": path})


def correlated(answer: Answer, correlation_id: str | None) -> Answer:
    """The answer; if it is a problem without a correlation id, with this one."""
    if correlation_id is None or not isinstance(answer, Problem) or "correlationId" in answer.document:
        return answer
    field = (b"X-Correlation-ID", correlation_id.encode("latin-1", "replace"))
    return Problem(answer.status, [*answer.headers, field], {**answer.document, "correlationId": correlation_id})


def _rendered(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
