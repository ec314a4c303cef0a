"""``R/{id}``, its status and its history, and being held until something happens."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from strangler.domain.errors import InternalError, StoreUnavailable
from strangler.domain.exchange import Answer, Header
from strangler.domain.process import Effect, Process, State
from strangler.domain.steps import Claim, Doubt, Postpone
from strangler.policy.model import AccessPolicy
from tests.gateway import jumping
from tests.gateway.scene import ALICE, BASE, BOB, SENT, R, Scene, a_promise, content, field, finish


async def document(answer: Answer) -> dict[str, Any]:
    """The JSON of an answer."""
    found: dict[str, Any] = json.loads(await content(answer))
    return found


# ── R/{id} ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_process_that_runs_is_202_with_its_document() -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    answer = await scene.ask("GET", process, "", ALICE)

    assert answer.status == 202
    assert field(answer, "Location") == f"{BASE}{R}/{process.id}"
    assert field(answer, "Retry-After") == "3"
    assert field(answer, "Content-Type") == "application/json"
    assert field(answer, "Cache-Control") == "no-store"
    assert field(answer, "Strangler-Source") == "proxy"
    assert (await document(answer))["state"] == "processing"


async def test_a_process_that_ended_is_303_to_its_result_with_its_document() -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish())

    answer = await scene.ask("GET", process, "", ALICE)

    assert answer.status == 303
    assert field(answer, "Location") == f"{BASE}{R}/{process.id}/result"
    assert field(answer, "Retry-After") is None
    assert (await document(answer))["state"] == "completed"


# ── …/status ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_status_of_a_process_that_runs() -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    answer = await scene.ask("GET", process, "/status", ALICE)

    assert answer.status == 200
    assert field(answer, "ETag") == 'W/"2-native"'
    assert field(answer, "Cache-Control") == "private, no-cache"
    assert field(answer, "Vary") == "Authorization, X-Api-Key"
    assert field(answer, "Retry-After") == "3"
    assert field(answer, "Content-Type") == "application/json"
    assert field(answer, "Strangler-Source") == "proxy"
    assert (await document(answer))["id"] == process.id


async def test_the_status_of_a_process_that_ended() -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish(State.REJECTED, Effect.NONE))

    answer = await scene.ask("GET", process, "/status", ALICE)

    assert answer.status == 200
    assert field(answer, "Cache-Control") == "private, max-age=60"
    assert field(answer, "Retry-After") is None
    assert (await document(answer))["effect"] == "none"


@pytest.mark.parametrize("known", [b'W/"2-native"', b'"1", "2-native"', b"*"])
async def test_who_has_the_version_gets_304_without_a_body(known: bytes) -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    answer = await scene.ask("GET", process, "/status", ALICE, (b"If-None-Match", known))

    assert answer.status == 304
    assert await content(answer) == b""
    assert field(answer, "ETag") == 'W/"2-native"'
    assert field(answer, "Vary") == "Authorization, X-Api-Key"
    assert field(answer, "Cache-Control") == "private, no-cache"
    assert field(answer, "Content-Type") is None


async def test_who_has_an_older_version_gets_the_document() -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    answer = await scene.ask("GET", process, "/status", ALICE, (b"If-None-Match", b'W/"1-native"'))

    assert answer.status == 200


async def test_repeated_attempts_are_not_public_and_change_no_version() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    before = field(await scene.ask("GET", process, "/status", ALICE), "ETag")
    process = await scene.goes_on(process, Postpone(scene.clock.now(), "refused"))
    process = await scene.goes_on(process, Claim("w"))

    assert field(await scene.ask("GET", process, "/status", ALICE), "ETag") == before


async def test_while_unconfirmed_nobody_is_asked_to_come_back_before_30_seconds() -> None:
    scene = Scene()
    process = await scene.process(*SENT, Doubt("interrupted", settling=False))

    answer = await scene.ask("GET", process, "/status", ALICE)

    assert field(answer, "Retry-After") == "30"
    assert (await document(answer))["effect"] == "unknown"


async def test_the_link_to_cancel_is_there_for_who_may() -> None:
    scene = Scene(a_promise(AccessPolicy(read="anyone", cancel="caller")))
    process = await scene.process()

    assert "cancel" in (await document(await scene.ask("GET", process, "/status", ALICE)))["links"]
    assert "cancel" not in (await document(await scene.ask("GET", process, "/status", BOB)))["links"]


async def test_who_polls_sees_every_change_and_the_deadline_as_it_stands() -> None:
    scene = Scene()
    process = await scene.process()
    seen = [await document(await scene.ask("GET", process, "/status", ALICE))]
    for step in (*SENT, finish()):
        process = await scene.goes_on(process, step)
        seen += [await document(await scene.ask("GET", process, "/status", ALICE)) for _ in range(2)]

    assert [document["state"] for document in seen] == [
        "received",
        *["processing"] * (2 * len(SENT)),
        *["completed"] * 2,
    ]
    assert seen[-1] == seen[-2]

    waiting = await scene.process()
    promised = await document(await scene.ask("GET", waiting, "/status", ALICE))
    scene.pauses.begin(waiting.route, scene.clock.now())
    scene.clock.pass_(60)
    assert (await document(await scene.ask("GET", waiting, "/status", ALICE)))["deadlineAt"] > promised["deadlineAt"]


async def test_what_pollers_send_again_is_ignored() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    again: list[Header] = [
        (b"Idempotency-Key", b'"\xff'),
        (b"Content-Type", b"application/soap+xml"),
        (b"Prefer", b"respond-async, handling=strict, wait=soon"),
        (b"X-Callback-Url", b"https://x.example"),
        (b"If-Match", b'"of the claim"'),
    ]

    answer = await scene.ask("GET", process, "/status", ALICE, *again, query="?x=1")

    assert answer.status == 200
    assert field(answer, "Preference-Applied") is None


async def test_reads_are_counted_by_route_and_resource() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    for rest in ("", "/status", "/history", "/result"):
        await scene.ask("GET", process, rest, ALICE)
    await scene.ask("GET", process, "/status", BOB)

    assert [values for name, values in scene.instrument.told if name == "polled"] == [
        ("submit-claim", "process"),
        ("submit-claim", "status"),
        ("submit-claim", "history"),
        ("submit-claim", "result"),
    ]


# ── …/history ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_history_is_every_public_change() -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish(State.FAILED, Effect.UNKNOWN, reason="upstream-timeout"))

    answer = await scene.ask("GET", process, "/history", ALICE)

    assert answer.status == 200
    assert field(answer, "Vary") == "Authorization, X-Api-Key"
    assert [(one["version"], one["state"]) for one in (await document(answer))["history"]] == [
        (1, "received"),
        (2, "processing"),
        (3, "failed"),
    ]


# ── Long poll ────────────────────────────────────────────────────────────────────────────────────────────────────────


def prefer(value: str) -> Header:
    return b"Prefer", value.encode()


async def test_a_poll_with_a_version_is_held_until_the_version_changes() -> None:
    scene = Scene()
    process = await scene.process()
    known = (b"If-None-Match", b'W/"1-native"')
    polling = asyncio.ensure_future(scene.ask("GET", process, "/status", ALICE, known, prefer("wait=20")))
    await scene.watched()
    process = await scene.goes_on(process, Claim("w"))

    answer = await polling

    assert answer.status == 200
    assert field(answer, "ETag") == 'W/"2-native"'
    assert field(answer, "Preference-Applied") == "wait=20"


@pytest.mark.parametrize(("rest", "status"), [("/status", 200), ("", 303)])
async def test_a_poll_without_a_version_is_held_until_the_end(rest: str, status: int) -> None:
    scene = Scene()
    process = await scene.process()
    polling = asyncio.ensure_future(scene.ask("GET", process, rest, ALICE, prefer("wait=20")))
    await scene.watched()
    process = await scene.goes_on(process, Claim("w"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not polling.done()
    await scene.goes_on(process, finish())

    answer = await polling

    assert answer.status == status
    assert (await document(answer))["state"] == "completed"
    assert field(answer, "Preference-Applied") == "wait=20"


@pytest.mark.parametrize(
    ("wish", "seconds"), [("wait=7", 7), ("wait=45", 45), ("wait=60", 45), ("wait=9999", 45), ("wait=0", 0)]
)
def test_a_poll_is_held_for_so_long_and_no_longer(wish: str, seconds: int) -> None:
    async def work() -> Answer:
        scene = Scene()
        process = await scene.process(*SENT)
        return await scene.ask("GET", process, "", ALICE, prefer(wish))

    answer, took = jumping.run(work())

    assert answer.status == 202
    assert field(answer, "Preference-Applied") == f"wait={seconds}"
    assert seconds <= took < seconds + 1


def test_a_poll_with_a_version_that_nothing_changes_is_304_in_the_end() -> None:
    async def work() -> Answer:
        scene = Scene()
        process = await scene.process(*SENT)
        return await scene.ask("GET", process, "/status", ALICE, prefer("wait=5"), (b"If-None-Match", b'W/"2-native"'))

    answer, took = jumping.run(work())

    assert answer.status == 304
    assert field(answer, "Preference-Applied") == "wait=5"
    assert 5 <= took < 6


@pytest.mark.parametrize("version", [b'W/"3-native"', b'W/"2-native"'])
def test_nobody_is_held_for_what_ended(version: bytes) -> None:
    async def work() -> Answer:
        scene = Scene()
        process = await scene.process(*SENT, finish())
        return await scene.ask("GET", process, "/status", ALICE, prefer("wait=30"), (b"If-None-Match", version))

    answer, took = jumping.run(work())

    assert answer.status == (304 if version == b'W/"3-native"' else 200)
    assert took < 1


def test_thousands_of_polls_are_held_at_once() -> None:
    async def work() -> list[Answer]:
        scene = Scene()
        processes = [await scene.process(*SENT) for _ in range(20)]
        polls = [
            asyncio.ensure_future(scene.ask("GET", processes[n % 20], "/status", ALICE, prefer("wait=45")))
            for n in range(4000)
        ]
        await asyncio.sleep(30)
        for process in processes:
            await scene.goes_on(process, finish())
        answers = await asyncio.gather(*polls)
        assert scene.signals.watches == {}
        return answers

    answers, took = jumping.run(work())

    assert {field(answer, "ETag") for answer in answers} == {'W/"3-native"'}
    assert 30 <= took < 45


# ── Who may not, what is not there ───────────────────────────────────────────────────────────────────────────────────


async def test_what_is_somebody_elses_looks_the_same_as_what_does_not_exist() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    absent = scene.ids.process_id(scene.clock.now())

    for method, rest in (("GET", ""), ("GET", "/status"), ("GET", "/result"), ("GET", "/history"), ("DELETE", "")):
        answers = [
            await scene.ask(method, process, rest, BOB),
            await scene.ask(method, process, rest),
            await scene.ask(method, absent, rest, BOB),
            await scene.ask(method, absent, rest),
            await scene.ask(method, "no-id", rest),
        ]
        assert answers[0].status == 404
        assert json.loads(await content(answers[0]))["code"] == "no-such-process"
        assert all(answer == answers[0] for answer in answers)


async def test_a_process_is_found_under_its_own_collection_only() -> None:
    scene = Scene()
    scene.promises.append(a_promise(resource="/others"))
    process = await scene.process(*SENT)

    assert (await scene.ask("GET", process, "/status", ALICE, resource="/others")).status == 404


async def test_who_knows_the_id_of_what_had_no_identity_may_read_it() -> None:
    scene = Scene()
    process = await scene.process(*SENT, by=None)

    assert (await scene.ask("GET", process, "/status")).status == 200


async def forgotten(scene: Scene, **fields: Any) -> Process:
    """A process whose retention is over."""
    process = await scene.process(*SENT, finish(), **fields)
    scene.clock.pass_(31 * 86_400)
    await scene.store.sweep(scene.clock.now(), 10)
    return process


async def test_after_retention_it_is_410_for_who_might_have_read_it() -> None:
    scene = Scene()
    process = await forgotten(scene)

    for method, rest in (("GET", ""), ("GET", "/status"), ("GET", "/result"), ("GET", "/history"), ("DELETE", "")):
        mine = await scene.ask(method, process, rest, ALICE)
        assert (mine.status, json.loads(await content(mine))["code"]) == (410, "no-longer-kept")
        assert (await scene.ask(method, process, rest, BOB)).status == 404


@pytest.mark.parametrize("rest", ["/", "/nothing", "/status/", "/status/x", "//status", "/%73tatus"])
async def test_there_is_nothing_at_other_paths(rest: str) -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    answer = await scene.ask("GET", process, rest, ALICE)

    assert answer.status == 404
    assert json.loads(await content(answer))["code"] == "no-route"


@pytest.mark.parametrize(
    ("method", "rest", "allow"),
    [
        ("POST", "", "GET, HEAD, DELETE"),
        ("PUT", "/status", "GET, HEAD"),
        ("DELETE", "/result", "GET, HEAD"),
        ("OPTIONS", "/history", "GET, HEAD"),
    ],
)
async def test_other_methods_are_405_whether_or_not_there_is_such_a_process(method: str, rest: str, allow: str) -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    answer = await scene.ask(method, process, rest, ALICE)

    assert answer.status == 405
    assert field(answer, "Allow") == allow
    assert answer == await scene.ask(method, scene.ids.process_id(0), rest, BOB)


@pytest.mark.parametrize("rest", ["", "/status", "/history"])
async def test_head_is_answered_as_get(rest: str) -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    assert await scene.ask("HEAD", process, rest, ALICE) == await scene.ask("GET", process, rest, ALICE)


async def test_while_the_store_cannot_be_read_it_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    async def refuse(process_id: str) -> None:
        raise StoreUnavailable("the disk is on fire")

    monkeypatch.setattr(scene.store, "process", refuse)
    answer = await scene.ask("GET", process, "/status", ALICE)

    assert answer.status == 503
    assert field(answer, "Retry-After") == "5"
    assert "fire" not in (await content(answer)).decode()


async def test_a_process_whose_promise_is_lost_is_a_defect() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    scene.promises.clear()

    with pytest.raises(InternalError):
        await scene.ask("GET", process, "/status", ALICE)
