"""*Acceptance* in docs/http.md: the table of preferences, and in which order a request is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.contract.conftest import Counter

# route, Prefer, how long the legacy system takes, the answer, what was honoured. The times lie far apart.
PREFERENCES = [
    ("/async", None, 1.0, 202, None),
    ("/async", "respond-async", 1.0, 202, "respond-async"),
    ("/async", "respond-async, wait=1", 3.0, 202, "respond-async, wait=1"),
    ("/async", "respond-async, wait=9", 0.0, 200, "respond-async, wait=9"),
    ("/async", "wait=1", 3.0, 202, "wait=1"),
    ("/async", "wait=9", 0.0, 200, "wait=9"),
    ("/async-waits", None, 3.0, 202, None),
    ("/async-waits", None, 0.0, 200, None),
    ("/async-waits", "wait=0", 1.0, 202, "wait=0"),
    ("/async-waits", "respond-async", 1.0, 202, "respond-async"),
    ("/compat", None, 4.0, 504, None),
    ("/compat", None, 0.0, 200, None),
    ("/compat", "respond-async", 1.0, 202, "respond-async"),
    ("/compat", "respond-async, wait=1", 3.0, 202, "respond-async, wait=1"),
    ("/compat", "wait=0", 0.5, 200, None),
    ("/ignores", "respond-async, wait=9", 1.0, 202, None),
    ("/passes", "respond-async, wait=0", 0.0, 200, None),
    ("/compat", 'Respond-Async=""; foo="a,b"', 1.0, 202, "respond-async"),
    ("/compat", "respond-async=no", 0.0, 200, None),
    ("/async", "wait=1, wait=9", 3.0, 202, "wait=1"),
    ("/async", "wait=99, unknown; x=y", 0.0, 200, "wait=60"),
]


@pytest.mark.parametrize(("path", "prefer", "takes", "status", "applied"), PREFERENCES)
async def test_the_table_of_preferences(
    counter: Counter, path: str, prefer: str | None, takes: float, status: int, applied: str | None
) -> None:
    reply = await counter.post(path, script=f"delay={takes}", **({"Prefer": prefer} if prefer is not None else {}))
    assert (reply.status, reply.headers.get("Preference-Applied")) == (status, applied)
    if status == 504:
        assert reply.code == "wait-over"
        assert reply.headers["Strangler-Effect"] == "unknown"


async def test_a_synchronous_client_gets_the_fields_of_the_reply_and_the_url_of_its_process_and_no_other(
    counter: Counter,
) -> None:
    reply = await counter.post("/compat")
    assert list(reply.headers) == ["Content-Type", "X-Legacy-Answer", "Content-Length", "Strangler-Process"]
    later = await counter.client.request("GET", reply.headers["Strangler-Process"] + "/result")
    assert later.body == reply.body


LINE = b"POST /strict HTTP/1.1\r\n"
TYPE, CHANNEL, KEY = b"Content-Type: application/json\r\n", b"X-Channel: web\r\n", b"Idempotency-Key: k-order\r\n"
CODES = {
    "framing": "bad-request",
    "target": "target-too-long",
    "head": "head-too-large",
    "expectation": "expectation-failed",
    "length": "body-too-large",
    "type": "unsupported-media-type",
    "header": "header-required",
    "body": "body-too-large",
    "key syntax": "idempotency-key-invalid",
    "unparsable": "bad-request",
    "schema": "invalid-request",
}
ORDER = list(CODES)


def _request(faults: set[str]) -> bytes:
    """A request with these faults, and no other."""
    line = b"POST /strict?%b HTTP/1.1\r\n" % (b"x" * 5000) if "target" in faults else LINE
    body = b'{"amount": "x"}' if "schema" in faults else b'{"amount": 1}'
    body = body + b"{" if "unparsable" in faults else body
    body = body + b" " * 2000 if faults & {"length", "body"} else body
    chunked = "body" in faults and "length" not in faults
    fields = b"Host: h\r\n"
    fields += b"" if "header" in faults else CHANNEL
    fields += b"Content-Type: text/plain\r\n" if "type" in faults else TYPE
    fields += b'Idempotency-Key: "k\r\n' if "key syntax" in faults else KEY
    fields += b"X-Long: %b\r\n" % (b"x" * 5000) if "head" in faults else b""
    fields += b"Expect: the-unexpected\r\n" if "expectation" in faults else b""
    fields += b"Host: h\r\n" if "framing" in faults else b""
    if chunked:
        return line + fields + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return line + fields + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(("first", "second"), list(pairwise(ORDER)))
async def test_of_two_faults_the_earlier_one_is_told(counter: Counter, first: str, second: str) -> None:
    assert (await counter.client.raw(_request({first, second}))).code == CODES[first]
    assert not [line for line in counter.legacy.lines() if line.get("path", "").startswith("/strict")]


@pytest.mark.parametrize("fault", [fault for fault in ORDER if fault not in ("target", "schema")])
async def test_a_refusal_says_which_resource_it_is_about(counter: Counter, fault: str) -> None:
    reply = await counter.client.raw(_request({fault}))
    assert (reply.code, reply.json()["instance"]) == (CODES[fault], "/strict")


async def test_a_route_that_reports_refuses_nothing_not_even_a_key_that_is_none(counter: Counter) -> None:
    for headers in ({}, {"Idempotency-Key": '"k'}, {"Content-Type": "text/plain"}):
        reply = await counter.post("/reports", b"{", **headers)
        assert reply.status == 202, headers
        assert "idempotencyKey" not in reply.json()
