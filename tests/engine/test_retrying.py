"""What stands in the way of trying a process again, and what the new one is like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from strangler.domain.exchange import Body, RecordedRequest
from strangler.domain.process import Effect, Process, State, Tombstone
from strangler.engine.retrying import Obstacle, Retries, again, obstacle
from strangler.policy.model import Route
from tests.domain.drafts import a_draft
from tests.engine.world import NOON, Reply, World, a_route

REQUEST = RecordedRequest("POST", b"/claims", (), (), Body(2, b"d" * 32, b"{}"))


def ended(**fields: Any) -> Process:
    draft = a_draft(
        retain=0,
        promised=False,
        state=State.REJECTED,
        effect=Effect.NONE,
        key="k",
        key_scope="s",
        key_lookup="k",
        caller_name="broker-a",
        subscriptions='[["broker-a",null]]',
        business_references='{"policyNumber":"P-1"}',
        had_credentials=False,
    )
    return draft._replace(**fields)


@pytest.fixture
def route() -> Route:
    return a_route()


def test_what_surely_did_nothing_is_tried_again(route: Route) -> None:
    assert obstacle(ended(), REQUEST, route) is None


@pytest.mark.parametrize("state", [State.RECEIVED, State.PROCESSING, State.WAITING, State.FOLLOWING, State.IN_DOUBT])
def test_what_has_not_ended_is_never_tried_beside_itself(route: Route, state: State) -> None:
    found = obstacle(ended(state=state, effect=None), REQUEST, route)
    assert found is not None
    assert not found.forceable


def test_what_nobody_can_send_is_not_tried_whoever_says_so(route: Route) -> None:
    shed = REQUEST._replace(body=REQUEST.body._replace(data=None, kept=False))
    for found in (
        obstacle(ended(), REQUEST, None),
        obstacle(ended(), None, route),
        obstacle(ended(effect=Effect.APPLIED), shed, route),
    ):
        assert found is not None
        assert not found.forceable


def test_all_risks_are_told_at_once_to_who_may_take_them(route: Route) -> None:
    found = obstacle(ended(effect=Effect.UNKNOWN, had_credentials=True), REQUEST, route)
    assert found is not None
    assert found.forceable
    assert "second time" in found.why
    assert "credentials" in found.why


@pytest.mark.parametrize(
    ("had", "said"),
    [
        (True, "its client's credentials went when it ended"),
        (None, "an older release accepted it, and did not keep whether its client gave credentials"),
    ],
)
def test_what_had_credentials_or_may_have_had_some_is_not_sent_without_them(
    route: Route, had: bool | None, said: str
) -> None:
    lost = ended(had_credentials=had)
    found = obstacle(lost, REQUEST, route)
    assert found is not None
    assert said in found.why
    assert found.forceable
    assert obstacle(lost, REQUEST, replace(route, call=replace(route.call, credentials="drop"))) is None


def test_what_it_was_tried_again_as_stands_in_the_way_as_it_does_itself(route: Route) -> None:
    nothing = ended()._replace(id="01a1f000-0000-7000-8000-000000000002")
    assert obstacle(ended(), REQUEST, route, [nothing]) is None
    for state in (State.RECEIVED, State.WAITING, State.IN_DOUBT):
        open_one = nothing._replace(state=state, effect=None)
        found = obstacle(ended(), REQUEST, route, [nothing, open_one])
        assert found is not None
        assert not found.forceable
        assert open_one.id in found.why
    for effect in (Effect.APPLIED, Effect.UNKNOWN):
        found = obstacle(ended(), REQUEST, route, [nothing._replace(effect=effect)])
        assert found is not None
        assert found.forceable
        assert nothing.id in found.why
        assert "second time" in found.why


def test_a_caller_who_gave_no_credentials_misses_none(route: Route) -> None:
    assert obstacle(ended(caller="c" * 32), REQUEST, route) is None


def test_a_route_that_sends_no_credentials_of_clients_misses_none(route: Route) -> None:
    process = ended(had_credentials=True)
    assert obstacle(process, REQUEST, route) is not None
    dropping = replace(route, call=replace(route.call, credentials="drop"))
    assert obstacle(process, REQUEST, dropping) is None
    serving = replace(route, call=replace(route.call, set_headers=(("Authorization", "Bearer service"),)))
    assert obstacle(process, REQUEST, serving) is None


def test_the_new_one_is_of_the_same_caller_under_todays_promise_and_without_the_key(route: Route) -> None:
    old = ended(caller="c" * 32, had_credentials=True)
    new = again(old, route, "01a1f000-0000-7000-8000-000000000002", NOON + 5000, "beef")
    assert (new.parent_id, new.caller, new.caller_name, new.subscriptions) == (
        old.id,
        old.caller,
        "broker-a",
        old.subscriptions,
    )
    assert (new.promise, new.revision, new.created_at) == (route.promise.digest, "beef", NOON + 5000)
    assert new.deadline_at == NOON + 5000 + 86_400_000
    assert new.had_credentials, "it goes without them, and so would the next"
    assert (new.key, new.key_scope, new.key_lookup) == (None, None, None)
    assert new.state is State.RECEIVED
    assert new.promised, "it is repeated until its deadline where it surely did nothing"


async def test_what_else_was_made_of_a_request_stands_in_the_way_although_the_first_one_is_forgotten() -> None:
    world = World(kept_for(1.0))
    await world.lease.renew()
    world.upstream.script = [Reply(422), Reply(422), Reply(200)]
    retries = retries_of(world)
    first = await world.ended((await world.accepted()).id)
    world.load(kept_for(3600.0))
    second, third = await tried_again(world, retries, first), await tried_again(world, retries, first)
    assert (second.effect, third.effect) == (Effect.NONE, Effect.APPLIED)
    await forgotten(world, first)
    found = await retries.retry(second.id, force=False)
    assert isinstance(found, Obstacle)
    assert third.id in found.why


async def test_it_stands_in_the_way_however_many_tries_between_the_two_are_forgotten() -> None:
    world = World(kept_for(1.0))
    await world.lease.renew()
    world.upstream.script = [*[Reply(422)] * 4, Reply(200)]
    retries = retries_of(world)
    first = await world.ended((await world.accepted()).id)
    second, third = await tried_again(world, retries, first), await tried_again(world, retries, first)
    world.load(kept_for(3600.0))
    of_second, of_third = await tried_again(world, retries, second), await tried_again(world, retries, third)
    assert (of_second.effect, of_third.effect) == (Effect.NONE, Effect.APPLIED)
    await forgotten(world, first, second, third)
    found = await retries.retry(of_second.id, force=False)
    assert isinstance(found, Obstacle)
    assert of_third.id in found.why


async def test_what_the_first_one_may_have_done_stands_in_the_way_of_its_second_and_its_third() -> None:
    world = World()
    await world.lease.renew()
    world.upstream.script = [Reply(500), Reply(422)]
    retries = retries_of(world)
    first = await world.ended((await world.accepted()).id)
    assert first.effect is Effect.UNKNOWN
    found = await retries.retry(first.id, force=False)
    assert found == Obstacle(
        "nobody knows what it did in the legacy system: once more could be a second time", forceable=True
    )
    second = await tried_again(world, retries, first, force=True)
    third = await tried_again(world, retries, second, force=True)
    for surely_nothing in (second, third):
        assert surely_nothing.effect is Effect.NONE
        found = await retries.retry(surely_nothing.id, force=False)
        assert isinstance(found, Obstacle)
        assert found.why.count("second time") == 1
        assert first.id in found.why
    assert len(world.upstream.sent) == 3


async def test_what_is_tried_again_is_told_to_who_follows_and_counted_while_it_waits() -> None:
    world = World()
    await world.lease.renew()
    world.upstream.script = [Reply(422)]
    retries = retries_of(world)
    first = await world.ended((await world.accepted()).id)
    world.store.slow = lambda commit: commit.attempt is not None  # its claim is not on disk yet
    with world.signals.watch_all() as watch:
        new = await retries.retry(first.id, force=False)
        assert isinstance(new, Process)
        assert await watch.changed(0, 5.0)
        assert world.lanes.of(new.route).waiting == 1
    world.store.flushed.set()
    await world.ended(new.id)
    assert world.lanes.of(new.route).waiting == 0


def retries_of(world: World) -> Retries:
    """What makes new processes of old ones there."""
    store = world.store
    return Retries(
        *(store, store, store, store, world.notifier, world.clock, world.means.ids),
        route_of=world.routes.get,
        revision=lambda: None,
        wake=world.executor.wake,
    )


async def tried_again(world: World, retries: Retries, process: Process, *, force: bool = False) -> Process:
    """What was made of a process, ended."""
    new = await retries.retry(process.id, force=force)
    assert isinstance(new, Process)
    world.clock.pass_(0.001)
    return await world.ended(new.id)


async def forgotten(world: World, *processes: Process) -> None:
    """What is kept for a second is no longer there."""
    world.clock.pass_(1)
    await world.store.sweep(world.clock.now(), 10)
    for process in processes:
        assert isinstance(await world.store.process(process.id), Tombstone)


def kept_for(seconds: float) -> Route:
    """A route whose processes are forgotten so long after their end."""
    route = a_route()
    process = replace(route.process, retain=seconds)
    return replace(route, process=process, promise=replace(route.promise, process=process, digest=f"{seconds}"))
