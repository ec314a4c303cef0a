"""Whatever a client or the legacy system puts into a body: a clear refusal or a clear end, never a defect of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strangler.domain.process import State
from strangler.engine.submission import Accepted, Joined, Refused
from tests.engine.test_translating import JSON, a_world
from tests.engine.world import Reply, World, a_request

HALF = '{"r": "a\\ud800b"}'

texts = st.text(st.characters(), max_size=20) | st.sampled_from(["\ud800", "\x00", "..", "/", "\r\nX: y", "ß\udfff"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
bodies = values.map(lambda value: spelled({"r": value})) | st.binary(max_size=40)


def spelled(value: Any) -> bytes:
    return json.dumps(value).encode()


POLICIES = {
    "path": "translate: {request: {path: '/x/{body.r}'}}",
    "header": "translate: {request: {headers: {set: {X-A: '{body.r}'}}}}",
    "json": "translate: {request: {body: {a: body.r}}}",
    "xml": "translate: {request: {body: {A: body.r}, format: xml}}",
    "latin": "translate: {request: {body: {A: body.r}, format: xml, charset: iso-8859-1}}",
    "form": "translate: {request: {body: {A: body.r}, format: form}}",
    "soap": "translate: {request: {body: {A: body.r}, format: soap}}",
    "key": "accept: {idempotency: {derive: body.r, derive_anonymous: true}}",
    "reply in json": "translate: {response: {body: {a: reply.body.r}}}",
    "reply in xml": "translate: {response: {body: {a: reply.body.r}, format: xml}}",
    "reply in text": "translate: {response: {body: reply.body.r, format: text}}",
    "header of the reply": "translate: {response: {headers: {set: {X-A: '{reply.body.r}'}}}}",
    "reason": "outcome: [{when: {status: 200}, state: rejected, status: X, reason: r}]",
    "rule": "outcome: [{when: {body: 'length(r) > `3`'}, state: rejected}]",
    "followed": "call: {follow: {url: '/j/{reply.body.r}'}}\noutcome: [{when: {status: 200}, state: pending}]",
}


async def settled(world: World, request: bytes, reply: bytes) -> State | str:
    world.upstream.script = [Reply(200, reply, [JSON])]
    acceptance = await world.submit(a_request(request))
    match acceptance:
        case Accepted(process):
            found = await world.until(process.id, lambda it: it.final or it.state in (State.IN_DOUBT, State.FOLLOWING))
            return found.state
        case Refused(name):
            return name
        case Joined(process_id):
            return (await world.process(process_id)).state
    raise AssertionError(acceptance)


@pytest.mark.parametrize("what", POLICIES)
async def test_half_of_a_surrogate_pair_is_no_defect(tmp_path: Path, what: str) -> None:
    world = await a_world(tmp_path, POLICIES[what])
    assert await settled(world, HALF.encode(), HALF.encode()) in (
        State.COMPLETED,
        State.REJECTED,
        State.IN_DOUBT,
        "invalid-request",
    )


async def test_the_reason_of_the_upstream_is_kept_as_far_as_it_is_text(tmp_path: Path) -> None:
    world = await a_world(tmp_path, POLICIES["reason"])
    world.upstream.script = [Reply(200, HALF.encode(), [JSON])]
    process = await world.ended((await world.accepted(a_request(b"{}"))).id)
    assert process.reason == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("what", POLICIES)
async def test_no_body_is_a_defect(tmp_path: Path, what: str) -> None:
    world = await a_world(tmp_path, POLICIES[what])

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(bodies, bodies)
    def drawn(request: bytes, reply: bytes) -> None:
        tried.append((request, reply))

    tried: list[tuple[bytes, bytes]] = []
    drawn()
    for request, reply in tried:
        outcome = await settled(world, request, reply)
        assert outcome in {*State, "bad-request", "invalid-request"}, (request, reply)
