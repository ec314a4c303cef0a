"""Business references: of the request with the acceptance, of the reply with the end, however it comes."""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import replace

import pytest

from strangler.config.hooks import find_hook
from strangler.domain.exchange import Fault, FaultKind
from strangler.domain.process import Process, PublicState, State
from strangler.policy import conditions
from strangler.policy.documents import Asked
from strangler.policy.expressions import RECORDED_NAMES, Template
from strangler.policy.model import ProbePolicy, ProbeResult
from strangler.policy.references import References, Sought
from strangler.policy.rendering import Rendering
from strangler.policy.translate import Reply as TheirReply
from strangler.policy.wall import Condition, Content, Formula
from strangler.ports import Search
from tests.engine.world import Gate, Reply, World, a_request, a_route

JSON = [(b"Content-Type", b"application/json")]
SOUGHT = Sought({"policyNumber": "body.policyNumber", "claimNumber": "reply.body.claimNumber"}, ("/claims",))


@pytest.fixture
async def world() -> World:
    route = a_route()
    promise = replace(route.promise, digest="with references", references=References(SOUGHT))
    world = World(replace(route, promise=promise))
    await world.lease.renew()
    return world


def known(process: Process) -> dict[str, str]:
    found: dict[str, str] = json.loads(process.business_references or "{}")
    return found


async def found(world: World, text: str) -> list[str]:
    return [process.id for process in (await world.store.search(Search(reference=(None, text)))).processes]


async def test_what_the_request_says_is_known_at_once_and_what_the_reply_says_at_the_end(world: World) -> None:
    gate = Gate(Reply(200, b'{"claimNumber": "C-17"}', JSON))
    world.upstream.script = [gate]
    accepted = await world.accepted(a_request(b'{"policyNumber": "P-1"}'))
    assert known(await world.process(accepted.id)) == {"policyNumber": "P-1"}
    gate.open.set()
    assert known(await world.ended(accepted.id)) == {"policyNumber": "P-1", "claimNumber": "C-17"}
    assert await found(world, "P-1") == await found(world, "C-17") == [accepted.id]


class Watched(References):
    """References that keep in which threads bodies were looked into."""

    def __init__(self, sought: Sought) -> None:
        super().__init__(sought)
        self.aside: list[bool] = []

    def of_request(self, asked: Asked) -> dict[str, str]:
        self.aside.append(threading.current_thread() is not threading.main_thread())
        return super().of_request(asked)

    def of_reply(self, asked: Asked, reply: TheirReply) -> dict[str, str]:
        self.aside.append(threading.current_thread() is not threading.main_thread())
        return super().of_reply(asked, reply)


async def test_a_small_body_that_is_packed_may_be_a_large_one_and_is_read_beside_the_loop() -> None:
    packed = (b"Content-Encoding", b"gzip")
    references = Watched(Sought({"policy": "body.policyNumber", "claim": "reply.body.claimNumber"}, ("/claims",)))
    route = a_route()
    world = World(replace(route, promise=replace(route.promise, references=references)))
    await world.lease.renew()
    world.upstream.script = [Reply(200, gzip.compress(b'{"claimNumber": "C-17"}'), [*JSON, packed])]
    accepted = await world.accepted(a_request(gzip.compress(b'{"policyNumber": "P-1"}'), headers=[packed]))
    assert known(await world.ended(accepted.id)) == {"policy": "P-1", "claim": "C-17"}
    assert references.aside == [True, True]
    references.aside.clear()
    world.upstream.script = [Reply(200, b'{"claimNumber": "C-18"}', JSON)]
    accepted = await world.accepted(a_request(b'{"policyNumber": "P-2"}'))
    assert known(await world.ended(accepted.id)) == {"policy": "P-2", "claim": "C-18"}
    assert references.aside == [False, False]


async def test_a_reply_that_says_nothing_leaves_what_is_known(world: World) -> None:
    world.upstream.script = [Reply(200, b"no JSON", [(b"Content-Type", b"text/plain")])]
    accepted = await world.accepted(a_request(b'{"policyNumber": "P-1"}'))
    assert known(await world.ended(accepted.id)) == {"policyNumber": "P-1"}


async def test_a_request_that_says_nothing_is_accepted_all_the_same(world: World) -> None:
    world.upstream.script = [Reply(200, b'{"claimNumber": "C-17"}', JSON)]
    accepted = await world.accepted(a_request(b"{"))
    assert known(await world.ended(accepted.id)) == {"claimNumber": "C-17"}


async def test_what_is_made_of_the_answer_to_a_question_says_them_too() -> None:
    made = Rendering(Content(body=Formula(text="{claimNumber: reply.body.id}")), find_hook)
    condition = conditions.Test(Condition(statuses=((200, 200),)), find_hook)
    template = Template("/claims/{process.id}", RECORDED_NAMES)
    probe = ProbePolicy(template=template, applied=condition, result=ProbeResult(status=201, body=made))
    route = a_route(on_in_doubt="probe", probe=probe)
    world = World(replace(route, promise=replace(route.promise, references=References(SOUGHT))))
    await world.supervisor.recover()
    world.upstream.script = [Fault(FaultKind.INTERRUPTED, "connection reset"), Reply(200, b'{"id": "C-17"}', JSON)]
    accepted = await world.accepted(a_request(b'{"policyNumber": "P-1"}'))
    lost = await world.until(accepted.id, lambda found: found.tries == 1 and found.owner is None)
    assert lost.due_at is not None
    world.clock.instant = lost.due_at
    world.executor.wake(lost.route, 0)
    assert known(await world.ended(accepted.id)) == {"policyNumber": "P-1", "claimNumber": "C-17"}


async def test_a_late_reply_says_them_too(world: World) -> None:
    gate = Gate(Reply(200, b'{"claimNumber": "C-17"}', JSON))
    world.upstream.script = [gate]
    accepted = await world.accepted(a_request(b'{"policyNumber": "P-1"}'))
    await gate.reached.wait()
    world.clock.pass_(16)
    await world.concluder.recover(await world.process(accepted.id), world.route.call)
    assert (await world.process(accepted.id)).public_state is PublicState.UNCONFIRMED
    gate.open.set()
    ended = await world.ended(accepted.id)
    assert ended.state is State.COMPLETED
    assert known(ended) == {"policyNumber": "P-1", "claimNumber": "C-17"}
