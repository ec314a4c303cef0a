"""What is known of a request that is going to be accepted, as its process has it."""

from __future__ import annotations

from dataclasses import replace

from strangler.domain.exchange import Body
from strangler.domain.process import ACCEPTED_FIELDS
from strangler.engine.intake import KnownAs
from strangler.engine.keys import Key
from strangler.engine.submission import Submission, draft_of
from strangler.policy.model import AccessPolicy, ProcessPolicy
from tests.engine.world import ASYNC, a_request, a_route


def test_each_field_of_a_draft_holds_what_its_name_says() -> None:
    route = a_route(access=AccessPolicy(name="header:X-Client-Id"))
    kept = {"retain": 9.0, "retain_bodies": 8.0, "retain_history": 7.0, "retain_deliveries": 6.0}
    route = replace(route, process=ProcessPolicy(type="Claim", resource="/claims", deadline=5.0, **kept))  # type: ignore[arg-type]
    request = a_request(b"12345", headers=[(b"X-Client-Id", b"broker")])
    submission = Submission(request, route, {}, ASYNC, "https://public.example")
    draft = draft_of(
        submission,
        "c" * 32,
        Body(5, b"d" * 32, b"12345"),
        Key("scope", "lookup", "shown", b"print", 4000),
        "01a3185c-5000-7000-8000-000000000001",
        KnownAs("correlation", "trace", "state"),
        1000,
        "revision",
        "subscriptions",
        had_credentials=True,
    )
    assert {name: getattr(draft, name) for name in ACCEPTED_FIELDS} == {
        "id": "01a3185c-5000-7000-8000-000000000001",
        "route": route.name,
        "type": "Claim",
        "promise": route.promise.digest,
        "base": "https://public.example",
        "resource": "/claims",
        "method": "POST",
        "correlation_id": "correlation",
        "created_at": 1000,
        "deadline_at": 6000,
        "retain": 9000,
        "promised": True,
        "caller": "c" * 32,
        "caller_name": "broker",
        "key": "shown",
        "key_scope": "scope",
        "key_lookup": "lookup",
        "key_life": 4000,
        "body_size": 5,
        "parent_id": None,
        "revision": "revision",
        "trace": "trace",
        "trace_state": "state",
        "subscriptions": "subscriptions",
        "retain_bodies": 8000,
        "retain_history": 7000,
        "retain_deliveries": 6000,
        "had_credentials": True,
    }
