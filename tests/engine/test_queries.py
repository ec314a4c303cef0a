"""Reading: public history, lists, and waiting for a change."""

from __future__ import annotations

import asyncio

import pytest

from strangler.domain.process import Effect, Process, PublicState, State, Tombstone
from strangler.domain.steps import Claim, Doubt, Postpone, Resume
from strangler.ports import ListQuery
from tests.gateway import jumping
from tests.gateway.scene import ALICE, BOB, SENT, R, Scene, finish


def is_final(process: Process) -> bool:
    return process.final


async def test_a_waiter_gets_the_process_as_soon_as_it_is_settled() -> None:
    scene = Scene()
    process = await scene.process()
    waiting = asyncio.ensure_future(scene.queries.find_when(process, is_final, 60))
    await scene.watched()

    process = await scene.goes_on(process, Claim("w"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await scene.goes_on(process, finish())

    assert (await waiting).state is State.COMPLETED


async def test_a_change_just_before_the_wait_is_not_missed() -> None:
    scene = Scene()
    read_before = await scene.process()
    await scene.commands.cancel(read_before)

    assert (await scene.queries.find_when(read_before, is_final, 60)).state is State.CANCELLED


def test_when_the_time_is_over_the_process_comes_as_it_is() -> None:
    async def work() -> Process:
        scene = Scene()
        process = await scene.process(*SENT)
        return await scene.queries.find_when(process, is_final, 30)

    process, took = jumping.run(work())

    assert process.state is State.PROCESSING
    assert 30 <= took < 31


def test_a_lost_signal_costs_time_and_not_the_truth() -> None:
    async def work() -> Process:
        scene = Scene()
        process = await scene.process(*SENT)
        waiting = asyncio.ensure_future(scene.queries.find_when(process, is_final, 30))
        await scene.watched()
        scene.signals.watches.clear()  # whoever announces reaches nobody
        scene.signals.watches[process.id] = set()
        await scene.goes_on(process, finish())
        return await waiting

    process, took = jumping.run(work())

    assert process.final
    assert 30 <= took < 31


async def test_one_that_ended_is_read_once_and_known_until_its_retention_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene, asked = Scene(), []
    read = scene.store.process

    async def counted(process_id: str) -> Process | Tombstone | None:
        asked.append(process_id)
        return await read(process_id)

    monkeypatch.setattr(scene.store, "process", counted)
    process = await scene.process(*SENT)
    assert await scene.queries.find(process.id) == process
    ended = await scene.goes_on(process, finish())

    assert [await scene.queries.find(process.id) for _ in range(3)] == [ended] * 3
    assert asked == [process.id] * 2, "while it ran, and once after its end"

    scene.clock.pass_(ended.retain // 1000)
    await scene.store.sweep(scene.clock.now(), 10)

    assert isinstance(await scene.queries.find(process.id), Tombstone)


async def test_of_those_that_ended_only_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strangler.engine.queries._ENDED", 2)
    scene = Scene()
    ended = [await scene.process(*SENT, finish()) for _ in range(4)]

    for process in [*ended, *reversed(ended)]:
        assert await scene.queries.find(process.id) == process


async def test_a_process_that_vanished_while_it_was_waited_for_is_told_as_it_was() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    process = await scene.goes_on(process, finish())
    scene.clock.pass_(31 * 86_400)
    await scene.store.sweep(scene.clock.now(), 10)
    assert isinstance(await scene.queries.find(process.id), Tombstone)

    assert await scene.queries.find_when(process, lambda process: False, 60) == process


async def test_the_public_history_is_what_a_client_could_see() -> None:
    scene = Scene()
    begun = scene.clock.now()
    process = await scene.process(Claim("w"), Postpone(begun + 5, "refused"), Claim("w"))
    scene.clock.pass_(2)
    process = await scene.goes_on(process, Doubt("interrupted", settling=True))
    process = await scene.goes_on(process, Resume(scene.clock.now()))
    process = await scene.goes_on(process, Claim("w"))
    scene.clock.pass_(3)
    process = await scene.goes_on(process, Doubt("interrupted again", settling=False))
    process = await scene.goes_on(process, finish(State.FAILED, Effect.UNKNOWN, reason="upstream-timeout"))

    versions = await scene.queries.history(process.id)

    assert [(one.version, one.public_state, one.updated_at - begun, one.reason) for one in versions] == [
        (1, PublicState.RECEIVED, 0, None),
        (2, PublicState.PROCESSING, 0, None),
        (3, PublicState.UNCONFIRMED, 5000, "interrupted again"),
        (4, PublicState.FAILED, 5000, "upstream-timeout"),
    ]
    assert versions[-1] == process


async def test_a_list_of_one_who_goes_by_two_hashes_is_newest_first_over_both() -> None:
    scene = Scene()
    processes = []
    for number in range(6):
        scene.clock.pass_(1)
        processes.append(await scene.process(by=ALICE if number % 2 else BOB))
    newest_first = [process.id for process in reversed(processes)]
    callers = {process.caller or "" for process in processes}
    query = ListQuery(R, "", limit=4)

    first = await scene.queries.page(query, callers)
    second = await scene.queries.page(query._replace(before_id=first.processes[-1].id), callers)

    assert [process.id for process in first.processes] == newest_first[:4]
    assert first.more
    assert [process.id for process in second.processes] == newest_first[4:]
    assert not second.more
