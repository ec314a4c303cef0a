"""A route with a wall: what goes out, what a reply means, and what is kept of it."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, Fault, FaultKind
from strangler.domain.process import Effect, Process, State
from strangler.engine import aside
from strangler.engine.submission import Accepted, Joined, Refused
from strangler.policy.model import FollowPolicy
from strangler.ports import Evidence
from strangler.store.ledger import Ledger
from tests.config.scene import load_route
from tests.engine.world import COMPAT, Gate, Reply, World, a_request

XML = (b"Content-Type", b"text/xml; charset=windows-1252")
JSON = (b"Content-Type", b"application/json")

TRANSLATED = """
    match: {path: /claims}
    translate:
      request:
        body: {Claim: {POLNR: body.policy, AMOUNT: body.amount}}
        format: xml
        charset: windows-1252
        path: /legacy/{body.policy}
        headers: {set: {X-Process: "{process.id}"}, remove: [X-Client-*]}
      response:
        body: {claim: "reply.body.RESULT.NR", asked: body.policy}
        headers: {remove: [X-Legacy-*]}
    outcome:
      - {when: {body: "RESULT.CODE == 'ERR-17'"}, state: rejected, status: DECLINED, reason: RESULT.TEXT}
      - {when: {body: "RESULT.CODE == 'BUSY'"}, state: retry}
      - {when: {body: "length(RESULT.CODE) > `5`"}, state: failed}
"""
BODY = json.dumps({"policy": "P-1 ä", "amount": 12}).encode()


async def a_world(tmp_path: Path, keys: str = TRANSLATED, **call: Any) -> World:
    route = load_route(tmp_path, keys.replace("    match: {path: /claims}\n", ""))
    route = dataclasses.replace(
        route,
        name="submit-claim",
        call=dataclasses.replace(route.call, **call),
        promise=dataclasses.replace(route.promise, route="submit-claim"),
    )
    world = World(route)
    await world.lease.renew()
    return world


async def ended(world: World, process: Process) -> Process:
    return await world.until(process.id, lambda found: found.final or found.state is State.IN_DOUBT)


def ledger_of(world: World) -> Ledger:
    with world.store.ledgers() as ledgers:
        (ledger,) = ledgers.all()
    assert isinstance(ledger, Ledger)
    return ledger


def evidence(world: World) -> dict[str, Evidence]:
    return {each.source: each for each in ledger_of(world).evidence}


async def test_the_upstream_is_sent_its_own_words_and_the_client_gets_its_own(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    reply = "<RESULT><CODE>OK</CODE><NR>C-9 ü</NR></RESULT>".encode("windows-1252")
    world.upstream.script = [Reply(200, reply, [XML, (b"X-Legacy-Host", b"mf1"), (b"X-Other", b"o")])]
    asked = [
        *((name, b"a") for name in (b"X-Client-Id", b"x_client_tag")),
        (b"Range", b"bytes=0-9"),
        (b"If-Range", b'"1"'),
        (b"Accept-Encoding", b"br"),
    ]
    process = await ended(world, await world.accepted(a_request(BODY, headers=asked)))
    (sent,) = world.upstream.sent
    headers = dict(sent.headers)
    assert sent.target == b"/legacy/P-1%20%C3%A4"
    assert sent.body.data is not None
    assert "<POLNR>P-1 ä</POLNR><AMOUNT>12</AMOUNT>" in sent.body.data.decode("windows-1252")
    assert headers[b"Content-Type"] == b"application/xml; charset=windows-1252"
    assert headers[b"X-Process"] == process.id.encode()
    assert headers[b"Accept-Encoding"] == b"identity"
    assert not {b"X-Client-Id", b"x_client_tag", b"Range", b"If-Range"} & set(headers)
    assert (process.state, process.effect) == (State.COMPLETED, Effect.APPLIED)
    kept = await world.store.reply(process.id)
    assert kept is not None
    assert json.loads(kept[1].body.data or b"") == {"claim": "C-9 ü", "asked": "P-1 ä"}
    assert dict(kept[1].headers) == {b"X-Other": b"o", b"Content-Type": b"application/json"}
    assert (process.result_status, process.result_type) == (200, "application/json")
    found = evidence(world)
    assert found["reply"].body == reply
    assert (b"X-Legacy-Host", b"mf1") in found["reply"].headers
    assert found["sent"].body == sent.body.data
    assert found["sent"].headers[1] == (b":target", b"/legacy/P-1%20%C3%A4")


async def test_what_is_sent_is_on_record_before_it_leaves(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    gate = Gate()
    world.upstream.script = [gate]
    accepted = await world.accepted(a_request(BODY))
    await gate.reached.wait()
    assert "<POLNR>P-1 ä</POLNR>" in evidence(world)["sent"].body.decode("windows-1252")
    gate.open.set()
    await ended(world, accepted)
    assert [each.source for each in ledger_of(world).evidence].count("sent") == 1


async def test_a_late_reply_is_understood_by_the_rules_of_the_route_and_reaches_the_client_translated(
    tmp_path: Path,
) -> None:
    world = await a_world(tmp_path)
    reply = b"<RESULT><CODE>OK</CODE><NR>C-9</NR></RESULT>"
    gate = Gate(Reply(200, reply, [XML]))
    world.upstream.script = [gate]
    accepted = await world.accepted(a_request(BODY))
    await gate.reached.wait()
    world.clock.pass_(16)
    await world.concluder.recover(await world.process(accepted.id), world.route.call)
    assert (await world.process(accepted.id)).state is State.IN_DOUBT
    gate.open.set()
    process = await world.ended(accepted.id)
    assert (process.state, process.effect) == (State.COMPLETED, Effect.APPLIED)
    kept = await world.store.reply(process.id)
    assert kept is not None
    assert json.loads(kept[1].body.data or b"") == {"claim": "C-9", "asked": "P-1 ä"}
    assert evidence(world)["late_reply"].body == reply


async def test_of_what_was_followed_the_last_answer_is_kept_as_it_came_too(tmp_path: Path) -> None:
    world = await a_world(tmp_path, follow=FollowPolicy())
    taken, answer = b"<RESULT><CODE>YES</CODE></RESULT>", b"<RESULT><CODE>OK</CODE><NR>C-9</NR></RESULT>"
    world.upstream.script = [Reply(202, taken, [XML, (b"Location", b"/jobs/17")]), Reply(200, answer, [XML])]
    accepted = await world.accepted(a_request(BODY))
    followed = await world.until(accepted.id, lambda found: found.state is State.FOLLOWING)
    assert followed.due_at is not None
    world.clock.instant = followed.due_at
    world.executor.wake(followed.route, 0)
    process = await ended(world, followed)
    kept = await world.store.reply(process.id)
    assert kept is not None
    assert json.loads(kept[1].body.data or b"") == {"claim": "C-9", "asked": "P-1 ä"}
    assert answer in [each.body for each in ledger_of(world).evidence if each.source == "reply"]


async def test_bodies_that_are_packed_are_translated_as_well(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    reply = gzip.compress(b"<RESULT><CODE>OK</CODE><NR>C-9</NR></RESULT>")
    world.upstream.script = [Reply(200, reply, [XML, (b"Content-Encoding", b"gzip")])]
    request = a_request(gzip.compress(BODY), headers=[(b"Content-Encoding", b"gzip")])
    process = await ended(world, await world.accepted(request))
    (sent,) = world.upstream.sent
    assert sent.body.data is not None
    assert b"<POLNR>P-1" in sent.body.data
    assert b"Content-Encoding" not in dict(sent.headers)
    kept = await world.store.reply(process.id)
    assert kept is not None
    assert json.loads(kept[1].body.data or b"") == {"claim": "C-9", "asked": "P-1 ä"}
    assert b"Content-Encoding" not in dict(kept[1].headers)
    assert evidence(world)["reply"].body == reply


async def test_the_recorded_request_stays_the_clients(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    process = await ended(world, await world.accepted(a_request(BODY)))
    recorded = await world.store.request(process.id)
    assert recorded is not None
    assert (recorded.method, recorded.target, recorded.body.data) == ("POST", b"/claims", BODY)


async def test_credentials_are_not_among_what_is_kept_of_a_sent_request(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    request = a_request(BODY, headers=[(b"Authorization", b"secret"), (b"X-Api-Key", b"secret")])
    await ended(world, await world.accepted(request))
    assert (b"Authorization", b"secret") in world.upstream.sent[0].headers
    assert b"secret" not in repr(evidence(world)["sent"]).encode()


async def test_the_rule_that_decided_is_kept_with_the_attempt(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    world.upstream.script = [Reply(200, b"<RESULT><CODE>ERR-17</CODE><TEXT>no cover</TEXT></RESULT>", [XML])]
    process = await ended(world, await world.accepted(a_request(BODY)))
    assert (process.state, process.status, process.reason) == (State.REJECTED, "DECLINED", "no cover")
    assert process.effect is Effect.NONE
    ledger = ledger_of(world)
    assert [(attempt.status, attempt.detail) for attempt in ledger.attempts] == [(200, "outcome[0]")]


async def test_where_no_rule_holds_the_built_in_ones_decide(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    world.upstream.script = [Reply(404, b"<RESULT><CODE>X</CODE></RESULT>", [XML])]
    process = await ended(world, await world.accepted(a_request(BODY)))
    ledger = ledger_of(world)
    assert (process.state, ledger.attempts[0].detail) == (State.REJECTED, "built-in: 404")


async def test_a_rule_may_say_that_it_is_to_be_sent_again(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    world.upstream.script = [
        Reply(200, b"<RESULT><CODE>BUSY</CODE></RESULT>", [XML]),
        Reply(200, b"<RESULT><CODE>OK</CODE><NR>1</NR></RESULT>", [XML]),
    ]
    accepted = await world.accepted(a_request(BODY))
    await world.tried_again(accepted.id)
    process = await ended(world, accepted)
    assert (process.state, process.tries) == (State.COMPLETED, 2)
    assert len(world.upstream.sent) == 2
    assert world.upstream.sent[0].body == world.upstream.sent[1].body


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<RESULT>", [XML]),
        Reply(200, b"{", [JSON]),
        Reply(200, b"<!DOCTYPE a [<!ENTITY b 'c'>]><RESULT/>", [XML]),
        Reply(200, b"\x81\x8d", [XML]),
        Reply(200, b"<RESULT/>", [(b"Content-Type", b"text/xml; charset=klingon")]),
        Reply(200, b"\x1f\x8b", [XML, (b"Content-Encoding", b"gzip")]),
        Reply(200, b"<RESULT/>", [XML, (b"Content-Encoding", b"br")]),
        Reply(200, b"something", []),
        Reply(200, b'{"RESULT": {"CODE": 7}}', [JSON]),  # length() of a number
    ],
)
async def test_a_condition_that_cannot_be_evaluated_leaves_the_process_in_doubt(tmp_path: Path, reply: Reply) -> None:
    world = await a_world(tmp_path)
    world.upstream.script = [reply]
    process = await ended(world, await world.accepted(a_request(BODY)))
    assert (process.state, process.reason) == (State.IN_DOUBT, "outcome-rule-failed")
    ledger = ledger_of(world)
    assert "could not be evaluated" in (ledger.attempts[0].detail or "")
    assert evidence(world)["reply"].body == reply.body


async def test_a_reply_that_cannot_be_translated_leaves_the_process_in_doubt(tmp_path: Path) -> None:
    world = await a_world(tmp_path, "translate: {response: {body: 'abs(reply.body.amount)'}}")
    world.upstream.script = [Reply(200, b'{"amount": "twelve"}', [JSON])]
    process = await ended(world, await world.accepted(a_request(BODY)))
    assert (process.state, process.reason) == (State.IN_DOUBT, "reply-not-translated")


@pytest.mark.parametrize("reply", [Reply(200, b"<RESULT><CODE>OK</CODE>", [XML]), Reply(504, b"<mf1/>", [XML])])
async def test_where_a_doubt_ends_it_a_reply_in_words_of_the_upstream_reaches_nobody(
    tmp_path: Path, reply: Reply
) -> None:
    world = await a_world(tmp_path, TRANSLATED + "    call: {on_in_doubt: fail}\n")
    gate = Gate(reply)
    world.upstream.script = [gate]
    accepted = await world.accepted(a_request(BODY), COMPAT)
    with world.outcomes.interest(accepted.id):
        gate.open.set()
        process = await ended(world, accepted)
        told = world.outcomes.get(accepted.id)
    assert (process.state, process.effect, process.has_result) == (State.FAILED, Effect.UNKNOWN, False)
    assert told is not None
    assert (told.reply, await world.store.reply(process.id)) == (None, None)
    assert evidence(world)["reply"].body == reply.body


@pytest.mark.parametrize(
    ("body", "name"),
    [(b"{", "bad-request"), (b'{"policy": ""}', "invalid-request"), (b'{"policy": "\\u0000"}', "invalid-request")],
)
async def test_a_request_that_cannot_be_translated_is_refused_before_anything_is_recorded(
    tmp_path: Path, body: bytes, name: str
) -> None:
    world = await a_world(tmp_path)
    refused = await world.submit(a_request(body))
    assert isinstance(refused, Refused)
    assert refused.name == name
    with world.store.ledgers() as ledgers:
        assert [*ledgers.all()] == []


async def test_a_known_key_comes_before_a_translation_that_refuses(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    translating = world.route
    world.load(
        dataclasses.replace(
            translating, promise=dataclasses.replace(translating.promise, wall=None, digest="untranslated")
        )
    )
    headers = [(b"Idempotency-Key", b"k-1")]
    accepted = await world.submit(a_request(b"{", headers=headers))
    assert isinstance(accepted, Accepted)
    world.load(translating)
    assert await world.submit(a_request(b"{", headers=headers)) == Joined(accepted.process.id)
    assert isinstance(await world.submit(a_request(b"{")), Refused)


async def test_a_process_is_understood_as_it_was_promised_and_not_as_the_policy_says_today(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    first, release = asyncio.Event(), asyncio.Event()

    async def late(request: Any, sink: Any, may_send: Any) -> None:
        first.set()
        await release.wait()
        sink.head(200, b"", [XML])
        await sink.write(b"<RESULT><CODE>ERR-17</CODE></RESULT>")

    world.upstream.script = [late]
    accepted = await world.accepted(a_request(BODY))
    await first.wait()
    today = (await a_world(tmp_path, "outcome: [{state: completed}]")).route
    world.load(today)
    release.set()
    assert (await ended(world, accepted)).state is State.REJECTED


async def test_a_long_translated_reply_lies_in_chunks_in_place_of_the_one_that_came(tmp_path: Path) -> None:
    world = await a_world(tmp_path, "translate: {response: {body: {all: reply.body.items}}}")
    items = ["x" * 1000] * 700
    raw = json.dumps({"items": items, "more": "y" * CHUNK_SIZE}).encode()
    reply = Reply(200, raw, [JSON])
    reply.pieces = 20
    world.upstream.script = [reply]
    process = await ended(world, await world.accepted(a_request(BODY)))
    kept = await world.store.reply(process.id)
    assert kept is not None
    body = kept[1].body
    chunks = [await world.store.read_chunk(process.id, "reply-1", index) for index in range(body.chunks)]
    assert json.loads(b"".join(chunks)) == {"all": items}
    assert body.size == len(b"".join(chunks)) > CHUNK_SIZE
    assert evidence(world)["reply"].body == raw[:CHUNK_SIZE]


async def test_a_reply_too_large_to_keep_is_never_shown_untranslated(tmp_path: Path) -> None:
    world = await a_world(tmp_path, "translate: {response: {body: reply.body}}", max_reply=100)
    world.upstream.script = [Reply(200, b"x" * 1000, [JSON])]
    with world.outcomes.interest("00000000"):
        process = await ended(world, await world.accepted(a_request(BODY), COMPAT))
    assert process.state is State.COMPLETED
    kept = await world.store.reply(process.id)
    assert kept is not None
    assert not kept[1].body.kept


async def test_a_rule_on_a_body_too_large_to_keep_cannot_be_evaluated(tmp_path: Path) -> None:
    world = await a_world(tmp_path, "outcome: [{when: {body: a}, state: rejected}]", max_reply=100)
    world.upstream.script = [Reply(200, b"x" * 1000, [JSON])]
    process = await ended(world, await world.accepted(a_request(BODY)))
    assert (process.state, process.reason) == (State.IN_DOUBT, "outcome-rule-failed")


async def test_a_reply_too_large_to_keep_is_decided_by_a_rule_on_its_status(tmp_path: Path) -> None:
    world = await a_world(tmp_path, "outcome: [{when: {status: 200}, state: rejected}]", max_reply=100)
    world.upstream.script = [Reply(200, b"x" * 1000, [JSON])]
    process = await ended(world, await world.accepted(a_request(BODY)))
    assert (process.state, process.result_kept) == (State.REJECTED, False)
    assert ledger_of(world).attempts[0].detail == "outcome[0]"


# ── Hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

HOOKED = """
outcome:
  - when: {body: {python: "tests.engine.test_translating:is_odd"}}
    state: rejected
    reason: {python: "tests.engine.test_translating:reason_of"}
translate:
  response: {body: {python: "tests.engine.test_translating:answer"}}
"""

threads: list[str] = []


def is_odd(document: Mapping[str, Any]) -> bool:
    threads.append(threading.current_thread().name)
    return bool(document["reply"]["body"]["n"] % 2)


def reason_of(document: Mapping[str, Any]) -> str:
    return f"{document['reply']['body']['n']} is odd for {document['body']['policy']}"


def answer(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"n": document["reply"]["body"]["n"], "id": document["process"]["id"]}


stuck = threading.Event()


def never(document: Mapping[str, Any]) -> None:
    stuck.wait(20)


async def test_a_hook_stands_in_for_an_expression_and_runs_in_a_thread_of_its_own(tmp_path: Path) -> None:
    world = await a_world(tmp_path, HOOKED)
    world.upstream.script = [Reply(200, b'{"n": 3}', [JSON])]
    process = await ended(world, await world.accepted(a_request(BODY)))
    assert (process.state, process.reason) == (State.REJECTED, "3 is odd for P-1 ä")
    kept = await world.store.reply(process.id)
    assert kept is not None
    assert json.loads(kept[1].body.data or b"") == {"n": 3, "id": process.id}
    assert threads[-1] == "strangler-hook"


calls: list[str] = []


def counted(document: Mapping[str, Any]) -> Any:
    calls.append(document["process"]["correlationId"])
    return document["body"]


async def test_a_call_that_starts_at_once_sends_what_was_translated_at_acceptance(tmp_path: Path) -> None:
    calls.clear()
    world = await a_world(tmp_path, "translate: {request: {body: {python: 'tests.engine.test_translating:counted'}}}")
    world.upstream.script = [Reply(503), Reply(200)]
    accepted = await world.accepted(a_request(BODY))
    await world.tried_again(accepted.id)
    await ended(world, accepted)
    assert calls == ["new-correlation-id", "new-correlation-id"]  # at acceptance, and for the second attempt
    assert world.upstream.sent[0].body == world.upstream.sent[1].body


async def test_where_refusals_are_only_reported_a_call_that_cannot_be_translated_fails_without_effect(
    tmp_path: Path,
) -> None:
    keys = "accept: {enforce: report}\ntranslate: {request: {path: '/x/{body.none}'}}"
    world = await a_world(tmp_path, keys)
    process = await ended(world, await world.accepted(a_request(BODY)))
    assert (process.state, process.reason, process.effect) == (State.FAILED, "request-not-translated", Effect.NONE)
    assert world.upstream.sent == []


async def test_what_a_hook_raises_is_a_failed_condition(tmp_path: Path) -> None:
    world = await a_world(tmp_path, HOOKED)
    world.upstream.script = [Reply(200, b'{"m": 3}', [JSON])]
    process = await ended(world, await world.accepted(a_request(BODY)))
    assert (process.state, process.reason) == (State.IN_DOUBT, "outcome-rule-failed")
    ledger = ledger_of(world)
    assert "is_odd raised KeyError" in (ledger.attempts[0].detail or "")


async def test_a_hook_that_never_comes_back_holds_nobody_else_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "HOOK_TIMEOUT", 0.01)
    world = await a_world(
        tmp_path, "outcome: [{when: {body: {python: 'tests.engine.test_translating:never'}}, state: failed}]"
    )
    try:
        process = await ended(world, await world.accepted(a_request(BODY)))
    finally:
        stuck.set()
    assert (process.state, process.reason) == (State.IN_DOUBT, "outcome-rule-failed")


BUSY = [JSON, (b"X-Legacy-Host", b"mf1"), (b"Retry-After", b"7")]
PLAIN = [(b"Strangler-Source", b"proxy"), (b"Retry-After", b"7")]


@pytest.mark.parametrize(("status", "told"), [(429, 429), (200, 503)])
async def test_a_refusal_that_cannot_be_translated_tells_its_status_and_when_to_come_back_alone(
    tmp_path: Path, status: int, told: int
) -> None:
    keys = """
translate: {response: {body: 'abs(reply.body.amount)', headers: {remove: [X-Legacy-*]}}}
outcome: [{when: {status: [200, 429]}, state: retry}]
"""
    world = await a_world(tmp_path, keys)
    world.upstream.script = [Reply(status, b'{"amount": "twelve"}', BUSY)]
    process = await ended(world, await world.accepted(a_request(BODY), COMPAT))
    assert (process.state, process.effect) == (State.FAILED, Effect.NONE)
    kept = await world.store.reply(process.id)
    assert kept is not None
    assert (kept[1].status, kept[1].headers, kept[1].body.data) == (told, PLAIN, b"")
    assert evidence(world)["reply"].body == b'{"amount": "twelve"}'
    attempt = ledger_of(world).attempts[0]
    assert attempt.status == status
    assert (attempt.detail or "").startswith("outcome[0]; translate.response failed: ")


@pytest.mark.parametrize(
    ("keys", "wish", "left"),
    [
        ("translate: {response: {body: reply.body}}", b"bytes=0-9", None),
        ("translate: {response: {body: path}}", b" Bytes=0-9", None),
        ("outcome: [{when: {body: a}, state: rejected}]", b"bytes=-9", None),
        ("translate: {response: {headers: {remove: [X-Legacy-*]}}}", b"bytes=0-9", b"bytes=0-9"),
        ("translate: {response: {body: reply.body}}", b"items=0-9", b"items=0-9"),
    ],
)
async def test_of_a_reply_that_is_looked_into_or_replaced_no_part_is_asked_for(
    tmp_path: Path, keys: str, wish: bytes, left: bytes | None
) -> None:
    world = await a_world(tmp_path, keys)
    headers = [(b"RANGE", wish), (b"If-Range", b'"v1"'), (b"X-Other", b"o")]
    await ended(world, await world.accepted(a_request(BODY, headers=headers)))
    sent = dict(world.upstream.sent[0].headers)
    assert (sent.get(b"RANGE"), sent.get(b"If-Range")) == (left, b'"v1"' if left is not None else None)
    assert sent[b"X-Other"] == b"o"


async def test_a_refusal_stays_one_though_its_translation_never_comes_back_and_none_of_its_words_go_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "HOOK_TIMEOUT", 0.01)
    world = await a_world(tmp_path, "translate: {response: {body: {python: 'tests.engine.test_translating:never'}}}")
    world.upstream.script = [Reply(503, b"{}", BUSY)]
    stuck.clear()
    try:
        process = await ended(world, await world.accepted(a_request(BODY), COMPAT))
    finally:
        stuck.set()
    assert (process.state, process.effect) == (State.FAILED, Effect.NONE)
    kept = await world.store.reply(process.id)
    assert kept is not None
    assert (kept[1].status, kept[1].headers, kept[1].body.data) == (503, PLAIN, b"")


async def test_a_reply_whose_translation_never_comes_back_is_one_that_cannot_be_translated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "HOOK_TIMEOUT", 0.01)
    world = await a_world(tmp_path, "translate: {response: {body: {python: 'tests.engine.test_translating:never'}}}")
    stuck.clear()
    try:
        process = await ended(world, await world.accepted(a_request(BODY), COMPAT))
    finally:
        stuck.set()
    assert (process.state, process.reason) == (State.IN_DOUBT, "reply-not-translated")


def kept_as_sent(world: World) -> list[Evidence]:
    return [each for each in ledger_of(world).evidence if each.source == "sent"]


async def test_what_was_sent_is_kept_once_however_often_it_is_sent(tmp_path: Path) -> None:
    world = await a_world(tmp_path, attempts=3)
    not_sent = Fault(FaultKind.NOT_SENT, "connection refused")
    world.upstream.script = [not_sent, Reply(200, b"<RESULT><CODE>OK</CODE></RESULT>", [XML])]
    accepted = await world.accepted(a_request(BODY))
    await world.due(accepted.id)
    await world.ended(accepted.id)
    assert [each.attempt for each in kept_as_sent(world)] == [1]


async def test_a_route_that_translates_no_request_keeps_what_was_sent_no_second_time(tmp_path: Path) -> None:
    world = await a_world(tmp_path, "    outcome: [{when: {status: 200}, state: completed}]\n", concurrency=1)
    gate = Gate()
    world.upstream.script = [gate, Reply()]
    await world.accepted()
    await gate.reached.wait()
    waits = await world.accepted(a_request(b"2"))  # its attempt does not begin with its acceptance
    gate.open.set()
    await world.ended(waits.id)
    with world.store.ledgers() as ledgers:
        assert [ledger.evidence for ledger in ledgers.all() if isinstance(ledger, Ledger)] == [(), ()]


async def test_a_process_ends_after_what_was_sent_for_it_is_on_the_disk(tmp_path: Path) -> None:
    world = await a_world(tmp_path, concurrency=1)
    gate = Gate()
    world.upstream.script = [gate, Reply(200, b"<RESULT><CODE>OK</CODE></RESULT>", [XML])]
    await world.accepted(a_request(BODY))
    await gate.reached.wait()
    waits = await world.accepted(a_request(BODY))
    world.store.slow = lambda commit: commit.change is None and commit.evidence is not None
    gate.open.set()
    while len(world.upstream.sent) < 2:
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (await world.process(waits.id)).state is State.PROCESSING
    world.store.flushed.set()
    assert (await world.ended(waits.id)).state is State.COMPLETED


async def test_a_store_that_cannot_read_the_request_just_now_is_no_defect_and_it_is_sent_later(tmp_path: Path) -> None:
    world = await a_world(tmp_path, concurrency=1)
    gate = Gate()
    world.upstream.script = [gate, Reply(200, b"<RESULT><CODE>OK</CODE></RESULT>", [XML])]
    await world.accepted(a_request(BODY))
    await gate.reached.wait()
    long = json.dumps({"policy": "P-1", "amount": 1, "note": "x" * 2 * CHUNK_SIZE}).encode()
    waits = await world.accepted(a_request(long, pieces=4))
    read, errors = world.store.read_chunk, [StoreUnavailable("restarting")]

    async def fails_once(process_id: str, part: str, index: int) -> bytes:
        if errors:
            raise errors.pop()
        return await read(process_id, part, index)

    world.store.read_chunk = fails_once  # type: ignore[method-assign, assignment]
    gate.open.set()
    await world.due(waits.id)
    assert (await world.ended(waits.id)).state is State.COMPLETED
    assert not errors
