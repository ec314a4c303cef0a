"""Tickets: for one process, for reading, for five minutes, and for as many clients as want it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from strangler.domain.exchange import Answer
from strangler.domain.process import Process
from strangler.domain.steps import Claim
from strangler.engine.tickets import Tickets
from strangler.policy.model import AccessPolicy
from tests.engine.world import IDENTITY_KEY, FakeClock
from tests.gateway.following import Reader, ask_socket, connect
from tests.gateway.scene import ALICE, BASE, BOB, R, Scene, a_promise, content, field, finish

NOBODY = (b"Accept", b"*/*")


async def ticket(scene: Scene, process: Process) -> dict[str, Any]:
    answer = await scene.ask("POST", process, "/ticket", ALICE)
    assert answer.status == 200
    assert field(answer, "Cache-Control") == "no-store"
    found: dict[str, Any] = json.loads(await content(answer))
    return found


async def test_a_ticket_comes_with_its_urls_and_its_end() -> None:
    scene = Scene()
    process = await scene.process()
    found = await ticket(scene, process)
    assert found.keys() == {"ticket", "expiresAt", "events", "socket"}
    assert found["expiresAt"] == "2027-01-15T08:05:00.000Z"
    assert found["events"] == f"{BASE}{R}/{process.id}/events?ticket={found['ticket']}"
    assert found["socket"] == f"wss://public.example{R}/{process.id}/socket?ticket={found['ticket']}"
    assert urlsplit(found["events"]).query == f"ticket={found['ticket']}", "nothing in it has to be encoded"


async def test_whoever_bears_it_may_follow_any_number_of_times() -> None:
    scene = Scene()
    process = await scene.process()
    query = f"?ticket={(await ticket(scene, process))['ticket']}"
    for _ in range(3):
        async with Reader(await scene.ask("GET", process, "/events", NOBODY, query=query)) as reader:
            assert (await reader.next()) is not None
    line = await connect(scene, process, NOBODY, query=query)
    assert (await line.message())["process"]["id"] == process.id
    await scene.goes_on(await scene.goes_on(process, Claim("worker-1")), finish())
    await line.message()
    await line.message()
    assert await line.closed() == 1000


async def test_it_opens_nothing_else() -> None:
    scene = Scene()
    process = await scene.process()
    query = f"?ticket={(await ticket(scene, process))['ticket']}"
    for method, rest in (("GET", ""), ("GET", "/status"), ("GET", "/result"), ("GET", "/history"), ("POST", "/ticket")):
        assert (await scene.ask(method, process, rest, NOBODY, query=query)).status == 404
    assert (await scene.ask("DELETE", process, "", NOBODY, query=query)).status == 404


@pytest.mark.parametrize("access", [AccessPolicy(), AccessPolicy(read="anyone", cancel="anyone")])
async def test_who_has_only_a_ticket_cannot_cancel(access: AccessPolicy) -> None:
    scene = Scene(a_promise(access))
    process = await scene.process()
    query = f"?ticket={(await ticket(scene, process))['ticket']}"
    for presented in (NOBODY, BOB):
        line = await connect(scene, process, presented, query=query)
        assert "cancel" not in (await line.message())["process"]["links"]
        line.say('{"type": "cancel"}')
        told = (await line.message())["problem"]
        assert (told["code"], told["detail"]) == ("not-cancellable", "a ticket only reads")
        line.hang_up()
        await line.ended()


async def test_it_is_for_one_process() -> None:
    scene = Scene()
    process, other = await scene.process(), await scene.process()
    query = f"?ticket={(await ticket(scene, process))['ticket']}"
    assert (await scene.ask("GET", other, "/events", NOBODY, query=query)).status == 404
    assert isinstance(await ask_socket(scene, other, NOBODY, query=query), Answer)
    absent = "01a3185c-5000-7000-8000-00000000ffff"
    assert (await scene.ask("GET", absent, "/events", NOBODY, query=query)).status == 404


async def test_it_holds_for_five_minutes() -> None:
    scene = Scene()
    process = await scene.process()
    query = f"?ticket={(await ticket(scene, process))['ticket']}"
    scene.clock.pass_(299.999)
    assert (await scene.ask("GET", process, "/events", NOBODY, query=query)).status == 200
    scene.clock.pass_(0.001)
    assert (await scene.ask("GET", process, "/events", NOBODY, query=query)).status == 404
    assert (await scene.ask("GET", process, "/events", ALICE, query=query)).status == 200, "it takes nothing away"


def test_it_outlives_a_restart_and_no_other_installation_takes_it() -> None:
    clock = FakeClock()
    text = Tickets(IDENTITY_KEY, clock).issue("p").text.encode()
    assert Tickets(IDENTITY_KEY, clock).admits(text, "p")
    assert not Tickets(b"o" * 32, clock).admits(text, "p")


@pytest.mark.parametrize("place", range(43))
def test_a_changed_ticket_is_none(place: int) -> None:
    tickets = Tickets(IDENTITY_KEY, FakeClock())
    text = tickets.issue("p").text
    # The last letter has two bits beyond the 32 bytes, so it is changed in its highest ones.
    other = "A" if text[place] not in "ABCD" else "z"
    assert not tickets.admits((text[:place] + other + text[place + 1 :]).encode(), "p")


@pytest.mark.parametrize("text", [b"", b"x", b"=" * 43, b"A" * 43, b"\xff" * 43, b"!" * 43, b"A" * 10_000])
def test_what_is_no_ticket_is_none(text: bytes) -> None:
    assert not Tickets(IDENTITY_KEY, FakeClock()).admits(text, "p")
