"""Who is let in, whom they may have told, and how often: in which order it is asked, and what odd values come to."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.contract.conftest import SECRET, Counter, Place
from tests.e2e.house import bearer
from tests.harness.client import Client

HOOK = "https://127.0.0.1:9/hook"  # where nobody listens
CODES = {
    "header": (400, "header-required"),
    "token": (401, "unauthenticated"),
    "body": (413, "body-too-large"),
    "key": (400, "idempotency-key-missing"),
    "unparsable": (400, "bad-request"),
    "schema": (422, "invalid-request"),
    "callback": (422, "callback-not-allowed"),
    "rate": (429, "too-many-requests"),
    "queue": (503, "overloaded"),
}


def _request(place: Place, faults: set[str], key: str = "fresh") -> bytes:
    """A request with these faults; the queue is full as soon as one was accepted."""
    body = b'{"amount": "x"}' if "schema" in faults else b'{"amount": 1}'
    body = body + b"{" if "unparsable" in faults else body
    body = body + b" " * 2000 if "body" in faults else body
    sent = {
        "Host": "h",
        "Content-Type": "application/json",
        "X-Client": "partner-spent" if "rate" in faults else "partner-other",
        "Transfer-Encoding": "chunked",
        **({"Authorization": "Bearer none"} if "token" in faults else bearer(place.signer)),
        **({} if "header" in faults else {"X-Channel": "web"}),
        **({} if "key" in faults else {"Idempotency-Key": f'"{key}"'}),
        "X-Callback-Url": "https://10.0.0.1/" if "callback" in faults else HOOK,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return b"POST /guarded HTTP/1.1\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (head.encode(), len(body), body)


async def _fill(place: Place, counter: Counter) -> None:
    """Fill the queue of the route, and use up the quota of a client; the first time, that is: the key stays known."""
    reply = await counter.client.raw(_request(place, {"rate"}, "first"))
    assert reply.status == 202, reply.body


@pytest.mark.parametrize(("first", "second"), list(pairwise(CODES)))
async def test_of_two_faults_the_earlier_one_is_told(place: Place, counter: Counter, first: str, second: str) -> None:
    await _fill(place, counter)
    reply = await counter.client.raw(_request(place, {first, second}))
    assert (reply.status, reply.code) == CODES[first]
    assert ("WWW-Authenticate" in reply.headers) is (first == "token")
    assert ("Retry-After" in reply.headers) is (first in ("rate", "queue"))


async def test_with_a_known_key_nothing_after_it_refuses(place: Place, counter: Counter) -> None:
    await _fill(place, counter)
    joins = await counter.client.raw(_request(place, {"rate", "callback"}, "first"))
    assert (joins.status, joins.headers["Idempotency-Replayed"]) == (202, "true")
    other = await counter.client.raw(_request(place, {"rate", "callback", "schema"}, "first"))
    assert (other.status, other.code) == (422, "idempotency-key-reused")
    stranger = await counter.client.raw(_request(place, {"token"}, "first"))
    assert (stranger.status, stranger.code) == CODES["token"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 202),
        ({"sub": ["a"]}, 202),
        ({"sub": "\ud800"}, 202),
        ({"exp": 10**400}, 202),
        ({"nbf": 10**400}, 401),
        ({"exp": True}, 401),
        ({"exp": [1]}, 401),
        ({"aud": [None, 1]}, 401),
        ({"iss": "\ud800"}, 401),
    ],
)
async def test_no_claim_is_too_odd(place: Place, counter: Counter, said: dict[str, Any], status: int) -> None:
    reply = await counter.client.request("POST", "/curious", body={}, headers=bearer(place.signer, **said))
    assert (reply.status, reply.code) == (status, "unauthenticated" if status == 401 else None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('"P-1"', "P-1"),
        ("17", "17"),
        ("null", None),
        ("[1]", None),
        ("{}", None),
        ('""', None),
        ("1e999", None),
        ("9" * 4000, None),
        (r'"\ud800"', None),
        (r'"a\u0000b"', None),
        ('"' + "x" * 201 + '"', None),
    ],
)
async def test_no_reference_is_too_odd(counter: Counter, value: str, shown: str | None) -> None:
    body = b'{"policy": %b}' % value.encode()
    reply = await counter.client.request("POST", "/curious", body=body, headers={"Content-Type": "application/json"})
    assert reply.status == 202
    document = await counter.client.settled(reply.json()["id"], resource="/curious-processes")
    assert document.get("references") == ({"policy": shown} if shown is not None else None)
    assert b":null" not in reply.body


@pytest.mark.parametrize("client", ["partner-1", "stranger", None])
@pytest.mark.parametrize(
    ("named", "taken"),
    [
        (HOOK, True),
        ("HTTPS://127.0.0.1:9", True),
        (None, True),
        ("", True),
        ("https://127.0.0.1/", False),
        ("https://127.1:9/", False),
        ("https://partner.example/", False),
        ("https://a.partner.example:8443/", False),
        ("https://a.partner.example@evil.example/", False),
        ("https://a.partner.example./", False),
        ("https://a.partner.example/#x", False),
        ("https://a.partner.example/\ud800", False),
        ("https://a.partner.example/" + "x" * 3000, False),
        ("http://a.partner.example/", False),
        ("https://169.254.169.254/", False),
        (["https://a.partner.example/"], False),
        ({}, False),
        (False, False),
        (1e308, False),
    ],
)
async def test_a_callback_is_exactly_one_receivers_or_422(
    counter: Counter, client: str | None, named: Any, taken: bool
) -> None:
    """A receiver may be for some callers only; who names no URL needs none."""
    headers = {"X-Client": client} if client is not None else {}
    reply = await counter.client.request("POST", "/curious", body={"callback": named}, headers=headers)
    allowed = taken and (client == "partner-1" or not named)
    assert (reply.status, reply.code) == ((202, None) if allowed else (422, "callback-not-allowed"))


async def test_secrets_are_nowhere_but_where_they_belong(place: Place, counter: Counter) -> None:
    token = bearer(place.signer, jti="seen-nowhere")
    headers = {**token, "Cookie": "session=cookie-seen-nowhere", "X-Client": "partner-1"}
    headers["X-Callback-Url"] = f"{HOOK}?token=query-seen-nowhere"
    async with Client(place.server.url) as client:
        reply = await client.request("POST", "/curious", body={}, headers=headers)
        assert reply.status == 202
        for _ in range(100):  # a poll is held until it changes
            status = await client.request(
                "GET", f"/curious-processes/{reply.json()['id']}/status", headers={**token, "Prefer": "wait=5"}
            )
            if status.json()["state"] == "completed":
                break
    signature = token["Authorization"].rpartition(".")[2]
    secrets = [signature, "cookie-seen-nowhere", SECRET.removeprefix("whsec_"), SECRET]
    shown = [place.server.log.read_text()]
    for path in ("/metrics", f"/processes/{reply.json()['id']}", "/deliveries", "/receivers", "/routes", "/audit"):
        answered = await place.server.operations("GET", path)
        assert answered is not None
        assert answered[0] == 200, answered
        shown.append(answered[1])
    assert json.loads(shown[2])["id"] == reply.json()["id"]
    for secret in secrets:
        assert not [text[:200] for text in shown if secret in text]
    assert "query-seen-nowhere" not in shown[0] + shown[1]
    for path in place.server.directory.glob("store.db*"):
        kept = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in kept], path
