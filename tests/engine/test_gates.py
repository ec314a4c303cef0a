"""What holds recorded calls back: holds, circuits, and the clock of deadlines that stands still meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Fault, FaultKind, Hindrance
from strangler.domain.pause import Pause
from strangler.domain.process import Process, State
from strangler.engine import gates
from strangler.engine.gates import GateState
from strangler.engine.submission import Accepted, Joined, Refused
from strangler.policy.model import CircuitPolicy, FollowPolicy
from strangler.policy.standing import Hold
from tests.engine.alarms import alarms_of
from tests.engine.world import COMPAT, NOON, Reply, World, a_request, a_route, feed

ROUTE = "submit-claim"
DOWN = Fault(FaultKind.NOT_SENT, "connection refused")
CIRCUIT = CircuitPolicy(failures=2, within=30.0, open=3600.0)  # its timer never runs out in a test


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(a_route(circuit=CIRCUIT, concurrency=1, deadline=3600.0))
    await made.lease.renew()
    yield made
    made.gates.close()


async def hold(world: World) -> None:
    await world.gates.hold(Hold(ROUTE, world.clock.now(), "alice", "the mainframe is patched"))


async def release(world: World) -> bool:
    return await world.gates.release(ROUTE, "alice", "it is back")


async def written(world: World, *pauses: Pause) -> None:
    """Wait until the store knows these pauses, and no others."""
    async with asyncio.timeout(5):
        while list(await world.store.pauses()) != [*pauses]:
            await asyncio.sleep(0)


async def later(world: World, seconds: float) -> None:
    """Let time pass for a worker that lives."""
    world.clock.pass_(seconds)
    await world.lease.renew()


async def lapse(world: World) -> None:
    """Let the time come at which an open circuit lets one call through."""
    await later(world, CIRCUIT.open)
    world.gates._half_open(ROUTE)


def told(world: World, event: str) -> list[tuple[Any, ...]]:
    return [values for name, values in world.instrument.told if name == "note" and values[0] == event]


# Holds.


async def test_on_hold_new_ones_are_accepted_and_wait_and_all_go_on_when_released(world: World) -> None:
    await hold(world)
    accepted = [await world.accepted() for _ in range(3)]
    assert {(await world.process(one.id)).state for one in accepted} == {State.RECEIVED}
    assert world.upstream.sent == []
    assert await release(world)
    for one in accepted:
        assert (await world.ended(one.id)).state is State.COMPLETED
    assert len(world.upstream.sent) == 3


async def test_a_call_under_way_is_not_cut_by_a_hold(world: World) -> None:
    sent, answer = asyncio.Event(), asyncio.Event()

    async def slow(_: Any, sink: Any, may_send: Any) -> None:
        sent.set()
        await answer.wait()
        await feed(sink, Reply())

    world.upstream.script = [slow]
    process = await world.accepted()
    await sent.wait()
    await hold(world)
    answer.set()
    assert (await world.ended(process.id)).state is State.COMPLETED


async def test_what_is_due_again_waits_for_the_release(world: World) -> None:
    world.upstream.script = [DOWN, Reply()]
    process = await world.accepted()
    waiting = await world.until(process.id, lambda process: process.state is State.WAITING)
    await hold(world)
    assert waiting.due_at is not None
    world.clock.instant = waiting.due_at
    world.executor.look(ROUTE)
    await asyncio.sleep(0)
    assert (await world.process(process.id)).tries == 1
    await release(world)
    assert (await world.ended(process.id)).tries == 2


async def test_on_hold_a_client_that_can_only_wait_is_refused_at_once_and_nothing_is_recorded(world: World) -> None:
    await hold(world)
    refused = await world.submit(decision=COMPAT)
    assert isinstance(refused, Refused)
    assert (refused.name, refused.retry_after) == ("overloaded", 30)
    assert "an operator holds the calls" in refused.detail
    assert await world.store.backlog() == {}


async def test_on_hold_the_key_of_a_compat_client_is_known_all_the_same(world: World) -> None:
    key = (b"Idempotency-Key", b"k-1")
    first = await world.accepted(a_request(headers=[key]), COMPAT)
    await hold(world)
    assert await world.submit(a_request(headers=[key]), COMPAT) == Joined(first.id)


async def test_on_hold_the_queue_has_its_end_as_ever() -> None:
    world = World(a_route(queue=2))
    await world.lease.renew()
    await hold(world)
    for _ in range(2):
        assert isinstance(await world.submit(), Accepted)
    refused = await world.submit()
    assert isinstance(refused, Refused)
    assert refused.name == "overloaded"


async def test_a_hold_outlives_a_restart(world: World) -> None:
    await hold(world)
    process = await world.accepted()
    await written(world, Pause(ROUTE, NOON))
    await later(world, 7200)
    world.restart("worker-2")
    await world.gates.begin()
    assert world.gates.state(ROUTE) == GateState(held=True)
    await world.supervisor.recover()
    await world.supervisor.look()
    assert (await world.process(process.id)).state is State.RECEIVED
    assert world.gates.held(ROUTE) == Hold(ROUTE, NOON, "alice", "the mainframe is patched")
    await release(world)
    assert (await world.ended(process.id)).state is State.COMPLETED


async def test_who_holds_and_releases_is_told_with_why(world: World) -> None:
    await hold(world)
    await release(world)
    assert told(world, "route_held") == [("route_held", ROUTE, "alice", "the mainframe is patched")]
    assert told(world, "route_released") == [("route_released", ROUTE, "alice", "it is back")]
    assert not await release(world)


# The clock of deadlines.


async def test_the_clock_of_a_deadline_stands_still_on_hold(world: World) -> None:
    await hold(world)
    process = await world.accepted()
    await later(world, 7200)
    await world.supervisor.look()
    assert (await world.process(process.id)).state is State.RECEIVED
    shown = world.means.pauses.shown(process, world.clock.now())
    assert shown.deadline_at == process.deadline_at + 7_200_000
    await release(world)
    await world.ended(process.id)
    assert world.upstream.calls[0]["timeout"] == 60.0


async def test_after_the_release_the_rest_of_the_time_is_left_and_no_more(world: World) -> None:
    world.upstream.script = [DOWN]
    process = await world.accepted()
    await world.until(process.id, lambda process: process.state is State.WAITING)
    await later(world, 3000)
    await hold(world)
    await later(world, 5000)
    await release(world)
    await written(world, Pause(ROUTE, NOON + 3_000_000, NOON + 8_000_000))
    await later(world, 599)
    await world.supervisor.look()
    assert not (await world.process(process.id)).final
    await later(world, 1)
    await world.supervisor.look()
    assert (await world.process(process.id)).state is State.EXPIRED


async def test_a_call_after_a_hold_may_take_what_is_left_of_the_deadline(world: World) -> None:
    await hold(world)
    process = await world.accepted()
    await later(world, 100_000)
    await release(world)
    await world.ended(process.id)
    assert world.upstream.calls[0]["timeout"] == 60.0
    assert (await world.process(process.id)).state is State.COMPLETED


async def test_a_pause_that_the_store_refuses_is_kept_as_soon_as_it_can_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "_STORE_PAUSE", 0.0)
    begin, tries = world.store.begin_pause, []

    async def begin_pause(route: str, at: int) -> None:
        tries.append(at)
        if len(tries) < 3:
            raise StoreUnavailable("the disk is full")
        await begin(route, at)

    monkeypatch.setattr(world.store, "begin_pause", begin_pause)
    await hold(world)
    assert world.means.pauses.open(ROUTE)
    await written(world, Pause(ROUTE, NOON))
    assert tries == [NOON] * 3


async def test_a_hold_that_cannot_be_kept_holds_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def put_order(order: Hold) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(world.store, "put_order", put_order)
    with pytest.raises(StoreUnavailable):
        await hold(world)
    assert world.gates.shut(ROUTE) is None


# Circuits.


async def broken(world: World, number: int = 2) -> list[Process]:
    """Have so many processes fail to reach the upstream, so that the circuit opens."""
    world.upstream.script = [DOWN]
    processes = []
    for _ in range(number):
        processes.append(await world.accepted())
        await world.until(processes[-1].id, lambda process: process.state is State.WAITING)
    return processes


async def test_after_failures_in_a_row_accepted_processes_wait_and_nothing_is_lost(world: World) -> None:
    await broken(world)
    assert world.gates.state(ROUTE) == GateState(False, "open", NOON + 3_600_000)
    waiting = [await world.accepted() for _ in range(3)]
    assert len(world.upstream.calls) == 2
    assert {(await world.process(one.id)).state for one in waiting} == {State.RECEIVED}
    assert told(world, "circuit_opened") == [("circuit_opened", "warning", ROUTE)]


async def test_then_one_call_is_let_through_and_its_reply_lets_all_go_on(world: World) -> None:
    await broken(world)
    waiting = [await world.accepted() for _ in range(3)]
    sent, answer = asyncio.Event(), asyncio.Event()

    async def trial(_: Any, sink: Any, may_send: Any) -> None:
        sent.set()
        await answer.wait()
        await feed(sink, Reply())

    world.load(a_route(circuit=CIRCUIT, concurrency=8, deadline=3600.0))  # there is room for more than one
    world.upstream.script = [trial, Reply()]
    await lapse(world)
    await sent.wait()
    assert world.gates.state(ROUTE).circuit == "trying"
    assert len(world.upstream.calls) == 3
    refused = await world.submit(decision=COMPAT)
    assert isinstance(refused, Refused)
    assert (refused.name, refused.retry_after) == ("overloaded", 5)
    assert "under way" in refused.detail
    answer.set()
    for one in waiting:
        await world.ended(one.id)
    assert world.gates.state(ROUTE) == GateState()
    assert told(world, "circuit_closed") == [("circuit_closed", ROUTE)]


async def test_an_open_circuit_lets_one_call_through_by_itself_when_its_time_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms = alarms_of(monkeypatch)
    for _ in range(CIRCUIT.failures):
        world.gates.leave(ROUTE, 0, failed=True)
    (alarm,) = alarms
    assert alarm.seconds == CIRCUIT.open
    assert world.gates.enter(ROUTE) is None
    alarm.ring()
    assert world.gates.state(ROUTE) == GateState(circuit="half-open")
    assert world.gates.enter(ROUTE)


async def test_when_that_call_fails_calls_pause_again(world: World) -> None:
    await broken(world)
    process = await world.accepted()
    await lapse(world)
    await world.until(process.id, lambda process: process.tries == 1 and process.state is State.WAITING)
    assert world.gates.state(ROUTE).circuit == "open"
    assert len(world.upstream.calls) == 3
    assert len(told(world, "circuit_opened")) == 1


async def test_a_compat_client_is_refused_while_the_circuit_is_open_and_told_when_to_come_again(world: World) -> None:
    await broken(world)
    await later(world, 600)
    refused = await world.submit(decision=COMPAT)
    assert isinstance(refused, Refused)
    assert (refused.name, refused.retry_after) == ("overloaded", 3000)
    assert "did not answer lately" in refused.detail
    await lapse(world)
    world.upstream.script = [Reply()]
    accepted = await world.submit(decision=COMPAT)
    assert isinstance(accepted, Accepted)
    assert (await world.ended(accepted.process.id)).state is State.COMPLETED


async def test_a_reply_of_the_legacy_system_counts_whatever_it_says_but_502_to_504(world: World) -> None:
    for status in (200, 404, 500, 429):
        world.upstream.script = [Fault(FaultKind.INTERRUPTED, "cut off"), Reply(status)]
        for _ in range(2):
            process = await world.accepted()
            await world.until(process.id, lambda process: process.state not in (State.RECEIVED, State.PROCESSING))
        assert world.gates.state(ROUTE).circuit == "closed"
    world.upstream.script = [Reply(502), Reply(504)]
    for _ in range(2):
        process = await world.accepted()
        await world.until(process.id, lambda process: process.state is State.IN_DOUBT)
    assert world.gates.state(ROUTE).circuit == "open"


async def test_a_call_that_we_held_back_ourselves_says_nothing(world: World) -> None:
    async def lost_lease(_: Any, sink: Any, may_send: Callable[[], bool]) -> Fault:
        world.clock.pass_(20)
        assert not may_send()
        return Fault(FaultKind.NOT_SENT, "no lease", ours=Hindrance.LEASE)

    world.upstream.script = [lost_lease]
    for _ in range(3):
        await world.lease.renew()
        process = await world.accepted()
        await world.until(process.id, lambda process: process.state is State.WAITING)
    assert world.gates.state(ROUTE).circuit == "closed"


async def test_the_clock_of_a_deadline_stands_still_until_the_circuit_closes(world: World) -> None:
    await broken(world)
    process = await world.accepted()
    await later(world, 7000)
    await world.supervisor.look()
    assert (await world.process(process.id)).state is State.RECEIVED
    world.upstream.script = [Reply()]
    await lapse(world)
    await world.ended(process.id)
    await written(world, Pause(ROUTE, NOON, NOON + 10_600_000))


async def test_after_a_restart_one_call_is_let_through_to_see(world: World) -> None:
    await broken(world)
    process = await world.accepted()
    await written(world, Pause(ROUTE, NOON))
    world.restart("worker-2")
    await world.gates.begin()
    world.gates.load(world.routes)
    assert world.gates.state(ROUTE).circuit == "half-open"
    world.upstream.script = [Reply()]
    await world.supervisor.recover()
    await world.ended(process.id)
    assert world.gates.state(ROUTE) == GateState()


async def test_a_pause_that_ended_before_a_restart_holds_nothing_back_after_it(world: World) -> None:
    await world.store.begin_pause(ROUTE, NOON)
    await world.store.end_pause(ROUTE, NOON + 1000)
    world.restart("worker-2")
    await world.gates.begin()
    assert world.gates.state(ROUTE) == GateState()
    assert world.gates.enter(ROUTE) == 0


async def test_a_policy_without_a_circuit_closes_it(world: World) -> None:
    await broken(world)
    process = await world.accepted()
    world.upstream.script = [Reply()]
    world.load(a_route())
    world.gates.load(world.routes)
    await world.ended(process.id)


async def test_a_trial_that_outlives_its_circuit_decides_nothing(world: World) -> None:
    await broken(world)
    world.executor._draining = True
    await lapse(world)
    trial = world.gates.enter(ROUTE, "worker-9")
    assert trial
    world.load(a_route())
    world.gates.load(world.routes)
    assert world.gates.state(ROUTE) == GateState()
    world.gates.left("worker-9")
    assert world.gates.state(ROUTE) == GateState()
    world.gates.leave(ROUTE, trial, failed=False)
    assert world.gates.state(ROUTE) == GateState()
    assert not world.means.pauses.open(ROUTE)


async def test_a_trial_whose_worker_is_gone_is_given_to_another(world: World) -> None:
    await broken(world)
    world.gates.left("worker-9")
    world.executor._draining = True
    await lapse(world)
    trial = world.gates.enter(ROUTE, "worker-9")
    assert trial
    assert world.gates.enter(ROUTE, "worker-8") is None
    world.gates.left("worker-9")
    again = world.gates.enter(ROUTE, "worker-8")
    assert again
    world.gates.leave(ROUTE, trial + 1_000_000, failed=False)  # nobody's: it decides nothing
    assert world.gates.state(ROUTE).circuit == "trying"
    world.gates.leave(ROUTE, again, failed=None)
    assert world.gates.state(ROUTE).circuit == "half-open"


async def test_on_hold_an_open_circuit_lets_nothing_through(world: World) -> None:
    await broken(world)
    await hold(world)
    await lapse(world)
    assert world.gates.enter(ROUTE) is None
    assert world.gates.state(ROUTE) == GateState(True, "half-open")
    await release(world)
    assert world.means.pauses.open(ROUTE)  # its circuit is not closed yet


async def test_questions_about_what_the_upstream_took_wait_and_tell_too() -> None:
    follow = FollowPolicy(every=10.0)
    world = World(a_route(circuit=CIRCUIT, follow=follow))
    await world.lease.renew()
    world.upstream.script = [Reply(202, headers=[(b"Location", b"/jobs/1")]), DOWN]
    process = await world.accepted()
    followed = await world.until(process.id, lambda process: process.state is State.FOLLOWING)
    for number in (2, 3):
        assert followed.due_at is not None
        world.clock.instant = followed.due_at
        world.executor.look(ROUTE)
        seen = followed.sequence
        followed = await world.until(process.id, lambda process, seen=seen: process.sequence > seen)  # type: ignore[misc]
        assert len(world.upstream.calls) == number
    assert world.gates.state(ROUTE).circuit == "open"
    assert followed.due_at is not None
    world.clock.instant = followed.due_at
    world.executor.look(ROUTE)
    await asyncio.sleep(0)
    assert len(world.upstream.calls) == 3
    world.upstream.script = [Reply(200)]
    world.gates._half_open(ROUTE)
    await world.ended(process.id)
    assert world.gates.state(ROUTE).circuit == "closed"
    world.gates.close()


async def test_after_a_hold_what_is_followed_is_asked_as_often_as_ever() -> None:
    world = World(a_route(follow=FollowPolicy(every=10.0, duration=60.0)))
    await world.lease.renew()
    world.upstream.script = [Reply(202, headers=[(b"Location", b"/jobs/1")])]
    followed = await world.until((await world.accepted()).id, lambda process: process.state is State.FOLLOWING)
    await hold(world)
    await later(world, 100)  # longer than it is followed
    await release(world)
    looked = await world.until(followed.id, lambda process: process.sequence > followed.sequence)
    assert (looked.due_at, len(world.upstream.calls)) == (world.clock.now() + 10_000, 2)
    world.clock.pass_(55)
    world.executor.wake(ROUTE, 0)
    last = await world.until(followed.id, lambda process: process.sequence > looked.sequence)
    assert last.due_at == NOON + 160_000  # not past its end
    world.gates.close()


async def test_how_long_it_is_followed_begins_when_the_upstream_took_it_whatever_was_paused_before() -> None:
    world = World(a_route(follow=FollowPolicy(every=10.0, duration=60.0)))
    await world.lease.renew()
    world.upstream.script = [Reply(202, headers=[(b"Location", b"/jobs/1")])]
    await hold(world)
    process = await world.accepted()
    await later(world, 100)
    await release(world)
    followed = await world.until(process.id, lambda process: process.state is State.FOLLOWING)
    shown = world.means.pauses.shown(followed, world.clock.now())
    assert (followed.due_at, shown.follow_until_at) == (NOON + 110_000, NOON + 160_000)
    world.clock.pass_(60)
    await world.supervisor.look()
    assert (await world.process(process.id)).reason == "follow-over"
    world.gates.close()
