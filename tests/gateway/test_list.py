"""``GET R``: the caller's own processes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from strangler.domain import instant
from strangler.domain.exchange import Answer, Header
from strangler.domain.process import Effect, Process, PublicState, State
from strangler.domain.steps import Claim, Doubt
from strangler.policy.model import AccessPolicy
from strangler.ports import ListQuery
from tests.gateway.scene import ALICE, BASE, BOB, SENT, R, Scene, a_promise, content, field, finish


async def listed(answer: Answer) -> list[str]:
    """The ids that a list holds."""
    assert answer.status == 200, await content(answer)
    return [document["id"] for document in json.loads(await content(answer))["processes"]]


async def several(scene: Scene, count: int, **fields: Any) -> list[Process]:
    """Processes of Alice, the newest first, a second apart."""
    processes = []
    for _ in range(count):
        scene.clock.pass_(1)
        processes.append(await scene.process(**fields))
    return processes[::-1]


async def test_a_caller_sees_its_own_processes_newest_first() -> None:
    scene = Scene()
    mine = await several(scene, 3)
    await scene.process(by=BOB)
    await scene.process(by=None)

    answer = await scene.list("", ALICE)

    assert await listed(answer) == [process.id for process in mine]
    assert field(answer, "Content-Type") == "application/json"
    assert field(answer, "Strangler-Source") == "proxy"
    assert field(answer, "Link") is None
    first = json.loads(await content(answer))["processes"][0]
    assert first["links"]["cancel"] == f"{BASE}{R}/{mine[0].id}"


async def test_a_list_pushes_nothing_out_that_polls_are_answered_with(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    process = await scene.process()
    polled = await scene.ask("GET", process, "/status", ALICE)

    async def read_anew(query: ListQuery) -> list[Process]:
        return [Process(*process)]

    monkeypatch.setattr(scene.store, "page", read_anew)
    assert await listed(await scene.list("", ALICE)) == [process.id]
    again = await scene.ask("GET", process, "/status", ALICE)

    assert again.body is polled.body


async def test_who_has_none_sees_an_empty_list() -> None:
    assert await listed(await Scene().list("", BOB)) == []


async def test_without_identity_it_is_401_with_a_challenge() -> None:
    scene = Scene()
    await scene.process(by=None)

    answer = await scene.list()

    assert answer.status == 401
    assert json.loads(await content(answer))["code"] == "unauthenticated"
    assert field(answer, "WWW-Authenticate") == "Bearer"
    assert (await scene.list(resource="/unheard-of")).status == 401


async def test_following_the_links_yields_everything_once() -> None:
    scene = Scene()
    mine = await several(scene, 7, base="https://public.example/v1")
    found: list[str] = []
    query, pages = "?limit=3&state=received", 0
    while True:
        answer = await scene.list(query, ALICE)
        found += await listed(answer)
        pages += 1
        link = field(answer, "Link")
        if link is None:
            break
        matched = re.fullmatch(r'<https://public\.example/v1/claim-submissions(\?[^>]*)>; rel="next"', link)
        assert matched is not None, link
        query = matched[1]
        assert "state=received" in query

    assert found == [process.id for process in mine]
    assert pages == 3


async def test_a_link_cannot_be_broken_out_of() -> None:
    scene = Scene()
    await several(scene, 2, correlation_id='a>; rel="x')
    evil = "?limit=1&correlationId=a%3E;%20rel=%22x"

    for query in (evil, '?limit=1&correlationId=a>;+rel="x', '?limit=1&correlationId=a>; rel="x'):
        link = field(await scene.list(query, ALICE), "Link")
        assert link is not None
        assert re.fullmatch(r'<[^<>" ]*>; rel="next"', link)


async def filtered(scene: Scene, query: str) -> list[str]:
    return await listed(await scene.list(query, ALICE))


async def test_a_list_is_filtered_by_public_state() -> None:
    scene = Scene()
    new = await scene.process()
    running = await scene.process(*SENT)
    settling = await scene.process(*SENT, Doubt("x", settling=True))
    doubtful = await scene.process(*SENT, Doubt("x", settling=False))

    assert await filtered(scene, "?state=received") == [new.id]
    assert await filtered(scene, "?state=processing") == [settling.id, running.id]
    assert await filtered(scene, "?state=unconfirmed") == [doubtful.id]
    assert await filtered(scene, "?state=failed") == []


async def test_a_list_is_filtered_by_the_domains_word_whoever_gave_it() -> None:
    scene = Scene(a_promise(statuses={PublicState.COMPLETED: "APPROVED"}))
    scene.promises.append(a_promise(statuses={PublicState.REJECTED: "APPROVED"}))  # an older promise: a strange one
    by_policy = await scene.process(*SENT, finish())
    by_outcome = await scene.process(*SENT, finish(State.REJECTED, Effect.NONE, status="APPROVED"))
    by_old_policy = await scene.process(*SENT, finish(State.REJECTED, Effect.NONE), promise=scene.promises[1])
    declined = await scene.process(*SENT, finish(status="DECLINED"))
    rejected = await scene.process(*SENT, finish(State.REJECTED, Effect.NONE))

    assert await filtered(scene, "?status=APPROVED") == [by_old_policy.id, by_outcome.id, by_policy.id]
    assert await filtered(scene, "?status=DECLINED") == [declined.id]
    assert await filtered(scene, "?status=REJECTED") == [rejected.id]
    assert await filtered(scene, "?status=approved") == []


async def test_a_list_is_filtered_by_correlation_and_key() -> None:
    scene = Scene()
    one = await scene.process(correlation_id="corr a+b", key="k1")
    await scene.process(correlation_id="corr-2", key="k2")

    assert await filtered(scene, "?correlationId=corr+a%2Bb") == [one.id]
    assert await filtered(scene, "?idempotencyKey=k1") == [one.id]
    assert await filtered(scene, "?idempotencyKey=%22k1%22") == [one.id]  # as it may stand in the header
    assert await filtered(scene, "?idempotencyKey=k1&correlationId=corr-2") == []


async def test_a_list_is_filtered_by_when_it_was_accepted() -> None:
    scene = Scene()
    newest, middle, oldest = await several(scene, 3)
    at = instant.to_text(middle.created_at)

    assert await filtered(scene, f"?createdAfter={at}") == [newest.id]
    assert await filtered(scene, f"?createdBefore={at}") == [oldest.id]
    east = "2027-01-15T09:00:02%2B01:00"
    assert instant.from_text("2027-01-15T09:00:02+01:00") == middle.created_at
    assert await filtered(scene, f"?createdAfter={east}") == [newest.id]
    assert await filtered(scene, f"?createdAfter={east.replace('%2B', '+')}") == [newest.id]


@pytest.mark.parametrize(
    "query",
    [
        "?state=waiting",
        "?state=RECEIVED",
        "?createdAfter=yesterday",
        "?createdBefore=2026-11-21",
        "?limit=0",
        "?limit=201",
        "?limit=-1",
        "?limit=ten",
        "?limit=%D9%A3",
        "?limit=",
        "?cursor=abc",
        "?stat=received",
        "?limit=1&limit=2",
        "?idempotencyKey=%22k",
    ],
)
async def test_a_bad_parameter_is_400_and_named(query: str) -> None:
    answer = await Scene().list(query, ALICE)
    document = json.loads(await content(answer))

    assert (answer.status, document["code"]) == (400, "bad-request")
    assert document["detail"].startswith(query[1:].partition("=")[0])


@pytest.mark.parametrize("limit", ["1", "99", "100", "200"])
async def test_up_to_200_processes_are_listed_at_once(limit: str) -> None:
    assert (await Scene().list(f"?limit={limit}", ALICE)).status == 200


async def test_a_parameter_that_is_not_utf_8_is_400() -> None:
    assert (await Scene().list("?status=%FF", ALICE)).status == 400


async def test_the_identity_may_stand_in_the_query_and_in_the_next_link() -> None:
    scene = Scene(a_promise(AccessPolicy(identity=("query:api_key",))))
    request_identity: Header = (b"X-Unused", b"1")
    process = await scene.process(by=request_identity)
    assert process.caller is None

    assert (await scene.list("?api_key=k1&limit=5", ALICE)).status == 200
    assert (await scene.list("?limit=5", ALICE)).status == 401


async def test_who_goes_by_several_identities_under_one_collection_sees_all_of_its_processes() -> None:
    scene = Scene()
    other = a_promise(AccessPolicy(identity=("header:X-Client",)))
    scene.promises.append(other)
    client: Header = (b"X-Client", b"alice")
    by_token = await scene.process(by=ALICE)
    scene.clock.pass_(1)
    by_client = await scene.process(by=client, promise=other)

    assert await listed(await scene.list("", ALICE, client)) == [by_client.id, by_token.id]
    assert await listed(await scene.list("", client)) == [by_client.id]


async def test_lists_are_counted() -> None:
    scene = Scene()
    await scene.list("", ALICE)

    assert scene.instrument.told == [("polled", ("", "list"))]


async def test_a_cancelled_race_does_not_show_a_link_that_is_not_served() -> None:
    scene = Scene()
    process = await scene.process()
    await scene.goes_on(process, Claim("w"))

    document = json.loads(await content(await scene.list("", ALICE)))["processes"][0]

    assert "cancel" not in document["links"]
