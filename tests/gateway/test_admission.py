"""Who may see a process, where tokens are verified or the upstream is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from strangler.domain.exchange import Answer, Fault, FaultKind, Header, Upgrade
from strangler.domain.process import Process
from strangler.domain.steps import Claim
from strangler.engine.identity import identify
from strangler.policy.model import AccessPolicy, AuthorizePolicy, JwtPolicy, Match, Promise
from strangler.policy.upstreams import Upstream
from tests.engine.admitting import document
from tests.engine.tokens import ISSUER, URL, Signer
from tests.engine.world import IDENTITY_KEY, Reply, a_route
from tests.gateway.following import Reader, all_events, ask_socket
from tests.gateway.scene import ALICE, Scene, a_promise, a_request, content, field, finish

SIGNER = Signer("one")
JWT = JwtPolicy(jwks=URL, issuer=ISSUER)
TOKENS = AccessPolicy(identity=("jwt:sub", "header:X-Api-Key"), jwt=JWT)
ASKED = AccessPolicy(authorize=AuthorizePolicy(path="/may", cache=0.0))
NOBODY: Header = (b"Accept", b"*/*")
UNKNOWN = "01a3185c-5000-7000-8000-0000000000ff"
PARTS = ("", "/status", "/result", "/history", "/events")
EXPIRED = 'Bearer error="invalid_token", error_description="the token has expired"'


def bearer(signer: Signer = SIGNER, **claims: Any) -> Header:
    return b"Authorization", b"Bearer " + signer.token(**claims)


def a_scene(access: AccessPolicy, *others: Promise) -> Scene:
    """A scene whose first promise has this access, with its route and the keys of an issuer."""
    promise = a_promise(access)
    scene = Scene(promise)
    scene.promises += others
    for one in scene.promises:
        route = replace(a_route(access=one.access), name=one.route, promise=one, match=Match(paths=("/claims/{id}",)))
        scene.routes[one.route] = replace(route, upstream=Upstream(name="legacy", scheme="http", host="h", port=80))
    scene.published.document = document(SIGNER.published())
    scene.upstream.script = [Reply(204)]
    return scene


async def submitted(scene: Scene, header: Header, promise: Promise | None = None, **fields: Any) -> Process:
    """A process of whoever bears this."""
    promise = promise or scene.promise
    request = a_request("POST", "/claims", header)
    assert await scene.admission.token(request, (promise,)) is None
    caller = identify(request, promise.access, IDENTITY_KEY)
    return await scene.process(by=None, promise=promise, **{"caller": caller, **fields})


async def code(answer: Answer) -> str:
    return str(json.loads(await content(answer))["code"])


# ── Tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_refreshed_token_reads_its_process() -> None:
    scene = a_scene(TOKENS)
    process = await submitted(scene, bearer(jti="1"))
    for part in ("", "/status", "/history"):
        assert (await scene.ask("GET", process, part, bearer(jti="2"))).status in (200, 202)
    assert (await scene.ask("DELETE", process, "", bearer(jti="3"))).status == 200


async def test_somebody_elses_process_is_not_there() -> None:
    scene = a_scene(TOKENS)
    process = await submitted(scene, bearer())
    for header in (bearer(sub="bob"), NOBODY, (b"X-Api-Key", b"alice")):
        assert (await scene.ask("GET", process, "/status", header)).status == 404


@pytest.mark.parametrize("part", [*PARTS, "/socket", "/ticket"])
async def test_a_token_that_is_not_good_is_challenged_whatever_is_there(part: str) -> None:
    scene = a_scene(TOKENS)
    method = "POST" if part == "/ticket" else "GET"
    mine, anybodys = await submitted(scene, bearer()), await scene.process(by=None)
    for process in (mine, anybodys, UNKNOWN):
        answer = await scene.ask(method, process, part, bearer(exp=1))
        assert (answer.status, field(answer, "WWW-Authenticate")) == (401, EXPIRED)
        assert field(answer, "Strangler-Source") == "proxy"
        assert await code(answer) == "unauthenticated"
    assert ("refused", ("submit-claim", "unauthenticated")) in scene.instrument.told


async def test_what_anybody_may_read_is_read_without_a_token() -> None:
    scene = a_scene(TOKENS)
    process = await scene.process(by=None)
    assert (await scene.ask("GET", process, "/status", NOBODY)).status == 200


async def test_without_keys_a_token_is_nobodys_to_judge() -> None:
    scene = a_scene(TOKENS)
    process = await submitted(scene, (b"X-Api-Key", b"k"))
    scene.published.document = None
    answer = await scene.ask("GET", process, "/status", bearer())
    assert (answer.status, await code(answer)) == (503, "authorization-unavailable")
    assert (await scene.ask("GET", process, "/status", (b"X-Api-Key", b"k"))).status == 200


async def test_how_a_token_is_verified_is_todays_and_whose_a_process_is_is_promised() -> None:
    scene = a_scene(TOKENS)
    process = await submitted(scene, bearer())
    moved = Signer("moved")
    scene.published.document = document(moved.published())
    today = replace(TOKENS, identity=("jwt:email",), jwt=replace(JWT, jwks="https://id.example/v2", audience=("new",)))
    scene.routes["submit-claim"] = replace(scene.routes["submit-claim"], access=today)

    assert (await scene.ask("GET", process, "/status", bearer(moved))).status == 401
    assert (await scene.ask("GET", process, "/status", bearer(moved, aud="new"))).status == 200
    assert (await scene.ask("GET", process, "/status", bearer(moved, aud="new", sub="bob"))).status == 404


async def test_a_route_that_is_gone_leaves_its_processes_to_what_was_promised() -> None:
    scene = a_scene(TOKENS)
    process = await submitted(scene, bearer())
    scene.routes.clear()
    assert (await scene.ask("GET", process, "/status", bearer())).status == 200
    assert (await scene.ask("GET", process, "/status", bearer(exp=1))).status == 401


async def test_a_ticket_stands_for_the_token() -> None:
    scene = a_scene(TOKENS)
    process = await submitted(scene, bearer())
    ticket = json.loads(await content(await scene.ask("POST", process, "/ticket", bearer())))["ticket"]
    for header in (NOBODY, bearer(exp=1)):
        async with Reader(await scene.ask("GET", process, "/events", header, query=f"?ticket={ticket}")) as reader:
            assert (await reader.next()) is not None
    assert (await scene.ask("GET", process, "/status", bearer(exp=1), query=f"?ticket={ticket}")).status == 401


async def test_a_list_has_what_the_token_may_see() -> None:
    scene = a_scene(TOKENS)
    mine = await submitted(scene, bearer(jti="1"))
    await submitted(scene, bearer(sub="bob"))
    answer = await scene.list("", bearer(jti="2"))
    assert [one["id"] for one in json.loads(await content(answer))["processes"]] == [mine.id]
    refused = await scene.list("", bearer(exp=1))
    assert (refused.status, field(refused, "WWW-Authenticate")) == (401, EXPIRED)
    asked = await scene.list("", NOBODY)
    assert (asked.status, field(asked, "WWW-Authenticate")) == (401, "Bearer")


async def test_where_routes_have_other_issuers_a_list_has_those_of_the_one_that_the_token_is_of() -> None:
    other = replace(a_promise(replace(TOKENS, jwt=JwtPolicy(jwks=URL, issuer="https://other/"))), route="other")
    plain = replace(a_promise(AccessPolicy(identity=("header:X-Api-Key",))), route="plain")
    scene = a_scene(TOKENS, other, plain)
    mine = await submitted(scene, bearer())
    theirs = await submitted(scene, bearer(iss="https://other/"), other)
    key: Header = (b"X-Api-Key", b"k")
    by_key = await scene.process(by=key, promise=plain)

    async def listed(*headers: Header) -> list[str]:
        answer = await scene.list("", *headers)
        assert answer.status == 200
        return [one["id"] for one in json.loads(await content(answer))["processes"]]

    assert await listed(bearer()) == [mine.id]
    assert await listed(bearer(iss="https://other/")) == [theirs.id]
    assert await listed(bearer(), key) == [by_key.id, mine.id]
    assert await listed(bearer(exp=1), key) == [by_key.id]


# ── The upstream is asked ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_upstream_is_asked_before_a_process_is_read_or_cancelled(method: str) -> None:
    scene = a_scene(ASKED)
    process = await scene.process()
    scene.upstream.script = [Reply(403, b"not any more", [(b"Content-Type", b"text/plain")]), Reply(204)]
    refused = await scene.ask(method, process, "", ALICE)
    assert (refused.status, await content(refused)) == (403, b"not any more")
    assert ("refused", ("submit-claim", "forbidden")) in scene.instrument.told
    assert (await scene.ask(method, process, "", ALICE)).status in (200, 202)
    assert [dict(question.headers)[b"Authorization"] for question in scene.upstream.sent] == [b"Bearer alice"] * 2


@pytest.mark.parametrize("part", PARTS)
async def test_nothing_of_a_process_is_read_without_its_yes(part: str) -> None:
    scene = a_scene(ASKED)
    process = await scene.process(Claim("worker-1"), finish())
    scene.upstream.script = [Reply(401, b"", [(b"WWW-Authenticate", b"Negotiate")]), Reply(500)]
    asked = await scene.ask("GET", process, part, ALICE)
    assert (asked.status, field(asked, "WWW-Authenticate")) == (401, "Negotiate")
    unclear = await scene.ask("GET", process, part, ALICE)
    assert (unclear.status, await code(unclear)) == (503, "authorization-unavailable")


async def test_neither_a_ticket_nor_a_socket_is_had_without_its_yes() -> None:
    scene = a_scene(ASKED)
    process = await scene.process()
    scene.upstream.script = [Reply(403)]
    assert (await scene.ask("POST", process, "/ticket", ALICE)).status == 403
    verdict = await ask_socket(scene, process, ALICE)
    assert isinstance(verdict, Answer)
    assert verdict.status == 403
    scene.upstream.script = [Reply(204)]
    assert isinstance(await ask_socket(scene, process, ALICE), Upgrade)


async def test_a_ticket_that_was_had_needs_no_other_yes() -> None:
    scene = a_scene(ASKED)
    process = await scene.process()
    ticket = json.loads(await content(await scene.ask("POST", process, "/ticket", ALICE)))["ticket"]
    scene.upstream.script = [Reply(403)]
    async with Reader(await scene.ask("GET", process, "/events", NOBODY, query=f"?ticket={ticket}")) as reader:
        assert (await reader.next()) is not None


async def test_a_stranger_is_told_nothing_and_the_upstream_neither() -> None:
    scene = a_scene(ASKED)
    process = await scene.process()
    for asked in (process, UNKNOWN):
        assert (await scene.ask("GET", asked, "/status", (b"Authorization", b"Bearer bob"))).status == 404
    assert scene.upstream.sent == []


async def test_where_anyone_may_read_it_is_whom_the_upstream_lets() -> None:
    scene = a_scene(replace(ASKED, read="anyone"))
    process = await scene.process()
    assert (await scene.ask("GET", process, "/status", (b"Authorization", b"Bearer refreshed"))).status == 200
    scene.upstream.script = [Reply(403)]
    assert (await scene.ask("GET", process, "/status", (b"Authorization", b"Bearer bob"))).status == 403


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/may/{path.id}/{query.kind}/{process.id}/{caller.name}", "/may/C%2017/b/ID/broker%2Fa"),
        ("/may/{process.id}/{caller.name}", "/may/ID/broker%2Fa"),
    ],
)
async def test_what_is_asked_can_be_about_the_process_its_caller_and_the_request_that_began_it(
    path: str, asked: str
) -> None:
    scene = a_scene(AccessPolicy(authorize=AuthorizePolicy(path=path)))
    process = await scene.process(target=b"/claims/C%2017?kind=b", caller_name="broker/a")
    assert (await scene.ask("GET", process, "/status", ALICE)).status == 200
    assert scene.upstream.sent[0].target == asked.replace("ID", process.id).encode()


async def test_a_whole_document_can_be_looked_into() -> None:
    scene = a_scene(AccessPolicy(authorize=AuthorizePolicy(path="/may/{@.path.id}")))
    process = await scene.process(target=b"/claims/7")
    assert (await scene.ask("GET", process, "/status", ALICE)).status == 200
    assert scene.upstream.sent[0].target == b"/may/7"


async def test_an_upstream_that_is_not_served_any_more_cannot_be_asked() -> None:
    scene = a_scene(ASKED)
    process = await scene.process()
    scene.routes.clear()
    answer = await scene.ask("GET", process, "/status", ALICE)
    assert (answer.status, await code(answer)) == (503, "authorization-unavailable")


async def test_a_list_has_what_need_not_be_asked_about_one_by_one() -> None:
    each = replace(a_promise(replace(ASKED, authorize=AuthorizePolicy(path="/may/{process.id}"))), route="each")
    plain = replace(a_promise(), route="plain")
    scene = a_scene(ASKED, each, plain)
    whole, _, free = [await scene.process(promise=promise) for promise in scene.promises]

    async def listed() -> list[str]:
        answer = await scene.list("", ALICE)
        assert answer.status == 200
        return [one["id"] for one in json.loads(await content(answer))["processes"]]

    assert await listed() == [free.id, whole.id]
    scene.upstream.script = [Reply(403)]
    assert await listed() == [free.id]


async def test_where_the_upstream_does_not_let_it_a_list_says_so() -> None:
    scene = a_scene(ASKED)
    await scene.process()
    scene.upstream.script = [Reply(403), Fault(FaultKind.NOT_SENT, "refused")]
    assert (await scene.list("", ALICE)).status == 403
    assert (await scene.list("", ALICE)).status == 503


async def test_the_stream_of_all_shows_what_the_list_does() -> None:
    each = replace(a_promise(replace(ASKED, authorize=AuthorizePolicy(path="/may/{process.id}"))), route="each")
    scene = a_scene(AccessPolicy(), each)
    await scene.process(promise=each)
    mine = await scene.process()
    async with Reader(await all_events(scene)) as reader:
        first = await reader.next()
        assert first is not None
        assert first.data["id"] == mine.id


async def test_what_is_no_longer_kept_is_told_to_whom_the_upstream_lets(monkeypatch: pytest.MonkeyPatch) -> None:
    by_process = replace(ASKED, authorize=AuthorizePolicy(path="/may/{process.id}", cache=0.0))
    for access, told in (
        (ASKED, 410),
        (by_process, 410),
        (replace(ASKED, authorize=AuthorizePolicy(path="/{path.id}")), 404),
    ):
        scene = a_scene(access)
        process = await scene.process(Claim("worker-1"), finish())
        scene.clock.pass_(31 * 86_400)
        await scene.store.sweep(scene.clock.now(), 100)
        assert (await scene.ask("GET", process, "/status", ALICE)).status == told
        scene.upstream.script = [Reply(403)]
        refused = await scene.ask("GET", process, "/status", ALICE)
        assert refused.status == (403 if told == 410 else 404)
        if told == 404:
            assert await content(refused) == await content(await scene.ask("GET", UNKNOWN, "/status", ALICE))


async def test_a_cookie_that_a_browser_adds_lets_no_foreign_page_cancel() -> None:
    scene = a_scene(replace(ASKED, identity=("header:X-Api-Key",), read="anyone", cancel="anyone"))
    process = await scene.process(by=None)
    cookie: Header = (b"Cookie", b"sid=1")
    assert (await scene.ask("DELETE", process, "", cookie, (b"Origin", b"https://evil.example"))).status == 403
    assert (await scene.ask("DELETE", process, "", cookie, (b"Origin", b"https://public.example"))).status == 200


async def test_however_often_the_policy_changed_a_token_is_looked_at_once_and_the_upstream_asked_once() -> None:
    access = replace(TOKENS, authorize=AuthorizePolicy(path="/may", cache=0.0))
    later = [a_promise(access, type=f"Claim{number}") for number in range(5)]
    scene = a_scene(access, *later)
    scene.upstream.script = [Reply(403)]
    assert (await scene.list("", bearer())).status == 403
    assert len(scene.upstream.sent) == 1
    assert (await scene.list("", bearer(exp=1))).status == 401
    assert len(scene.upstream.sent) == 1
