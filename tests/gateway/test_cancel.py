"""``DELETE R/{id}``: what was not sent can be withdrawn, by who may."""

from __future__ import annotations

import json
from typing import Any

import pytest

from strangler.domain.process import Effect, State
from strangler.domain.steps import Doubt
from strangler.policy.model import AccessPolicy
from tests.gateway.scene import ALICE, BASE, BOB, SENT, R, Scene, a_promise, content, field, finish


async def test_what_was_not_sent_is_cancelled() -> None:
    scene = Scene()
    process = await scene.process()

    answer = await scene.ask("DELETE", process, "", ALICE)
    document = json.loads(await content(answer))

    assert answer.status == 200
    assert (document["state"], document["effect"]) == ("cancelled", "none")
    assert "cancel" not in document["links"]
    assert field(answer, "Strangler-Source") == "proxy"
    assert await scene.ask("DELETE", process, "", ALICE) == answer


@pytest.mark.parametrize("transitions", [SENT, (*SENT, Doubt("interrupted", settling=False))])
async def test_what_is_with_the_legacy_system_is_409(transitions: Any) -> None:
    scene = Scene()
    process = await scene.process(*transitions)

    answer = await scene.ask("DELETE", process, "", ALICE)
    document = json.loads(await content(answer))

    assert answer.status == 409
    assert document["code"] == "not-cancellable"
    assert document["process"] == f"{BASE}{R}/{process.id}"
    assert document["correlationId"] == "corr-1"
    assert await scene.store.process(process.id) == process


async def test_what_ended_is_200_and_unchanged() -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish(State.REJECTED, Effect.NONE))

    answer = await scene.ask("DELETE", process, "", ALICE)

    assert answer.status == 200
    assert json.loads(await content(answer))["state"] == "rejected"
    assert await scene.store.process(process.id) == process


@pytest.mark.parametrize(
    ("access", "who"),
    [(AccessPolicy(cancel="nobody"), ALICE), (AccessPolicy(read="anyone", cancel="caller"), BOB)],
)
async def test_where_the_link_is_not_there_it_is_409(access: AccessPolicy, who: tuple[bytes, bytes]) -> None:
    scene = Scene(a_promise(access))
    process = await scene.process()

    answer = await scene.ask("DELETE", process, "", who)

    assert answer.status == 409
    assert json.loads(await content(answer))["code"] == "not-cancellable"
    assert await scene.store.process(process.id) == process


async def test_anyone_may_cancel_where_the_policy_says_so() -> None:
    scene = Scene(a_promise(AccessPolicy(read="anyone", cancel="anyone")))
    process = await scene.process()

    assert (await scene.ask("DELETE", process, "", BOB)).status == 200


async def test_a_page_of_another_origin_cannot_cancel_with_the_callers_cookie() -> None:
    scene = Scene(a_promise(AccessPolicy(identity=("cookie:sid",))))
    cookie = (b"Cookie", b"sid=1")
    process = await scene.process(by=cookie)

    foreign = await scene.ask("DELETE", process, "", cookie, (b"Origin", b"https://evil.example"))
    assert foreign.status == 403
    assert json.loads(await content(foreign))["code"] == "forbidden"
    assert await scene.store.process(process.id) == process

    own = await scene.ask("DELETE", process, "", cookie, (b"Origin", BASE.encode()))
    assert own.status == 200
    late = await scene.ask("DELETE", process, "", cookie, (b"Origin", b"https://evil.example"))
    assert late.status == 403, "also of what has ended"
