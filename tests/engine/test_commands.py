"""Cancelling: only what was not sent, and exactly once. Progress: public, and nothing but a word."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from strangler.domain.errors import InternalError, StoreUnavailable
from strangler.domain.process import Effect, Process, State
from strangler.domain.steps import Claim, Doubt, Postpone
from strangler.ports import Commit, Stale, Verdict
from tests.gateway.scene import SENT, Scene, finish


async def test_what_was_not_sent_is_cancelled_without_effect_and_everybody_is_told() -> None:
    scene = Scene()
    process = await scene.process(key="k1", key_scope="s", key_lookup="k1")
    with scene.signals.watch(process.id) as watch:
        cancelled = await scene.commands.cancel(process)

        assert await watch.changed(process.sequence, 0)
    assert cancelled is not None
    assert (cancelled.state, cancelled.effect) == (State.CANCELLED, Effect.NONE)
    assert await scene.store.process(process.id) == cancelled
    assert [values[0].process for name, values in scene.instrument.told if name == "changed"] == [cancelled]


async def test_a_cancelled_process_is_forgotten_after_its_retention() -> None:
    scene = Scene()
    process = await scene.process()
    await scene.commands.cancel(process)

    scene.clock.pass_(process.retain / 1000 - 1)
    assert await scene.store.sweep(scene.clock.now(), 10) == 0
    scene.clock.pass_(2)
    assert await scene.store.sweep(scene.clock.now(), 10) == 1


async def test_what_waits_for_its_next_attempt_and_surely_did_nothing_is_cancelled() -> None:
    scene = Scene()
    process = await scene.process(*SENT, Postpone(scene.clock.now() + 1000, "429"))

    cancelled = await scene.commands.cancel(process)

    assert cancelled is not None
    assert cancelled.state is State.CANCELLED


@pytest.mark.parametrize("transitions", [SENT, (*SENT, Doubt("interrupted", settling=True))])
async def test_what_is_with_the_legacy_system_is_not_cancelled(transitions: Any) -> None:
    scene = Scene()
    process = await scene.process(*transitions)

    assert await scene.commands.cancel(process) is None
    assert await scene.store.process(process.id) == process


async def test_what_ended_stays_as_it_is() -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish())

    assert await scene.commands.cancel(process) == process


async def test_who_is_slower_than_the_sender_is_told_so() -> None:
    scene = Scene()
    read_before = await scene.process()
    await scene.goes_on(read_before, Claim("worker-1"))

    assert await scene.commands.cancel(read_before) is None


async def test_who_is_slower_than_another_canceller_gets_what_that_one_got() -> None:
    scene = Scene()
    read_before = await scene.process()
    first = await scene.commands.cancel(read_before)

    assert await scene.commands.cancel(read_before) == first


async def test_where_the_store_refuses_nothing_changes_and_nobody_is_told() -> None:
    scene = Scene()
    process = await scene.process()
    scene.store.refuses = lambda commit: True

    with pytest.raises(StoreUnavailable):
        await scene.commands.cancel(process)
    assert await scene.store.process(process.id) == process
    assert scene.instrument.told == []


async def test_a_client_that_hangs_up_meanwhile_keeps_nobody_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    process = await scene.process()
    on_disk = asyncio.Event()
    commit = scene.store.commit

    async def slowly(change: Commit) -> Verdict:
        await on_disk.wait()
        return await commit(change)

    monkeypatch.setattr(scene.store, "commit", slowly)
    asked = asyncio.ensure_future(scene.commands.cancel(process))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    with scene.signals.watch(process.id) as watch:
        on_disk.set()

        assert await watch.changed(process.sequence, 5)
    assert asked.cancelled()
    assert [name for name, _ in scene.instrument.told] == ["changed"]


async def test_a_store_that_calls_the_newest_stale_is_a_defect_and_no_endless_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()
    process = await scene.process()

    def stale(commit: Commit) -> asyncio.Future[Verdict]:
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        verdict.set_result(Stale())
        return verdict

    monkeypatch.setattr(scene.store, "commit", stale)

    with pytest.raises(InternalError):
        await scene.commands.cancel(process)


# ── Progress ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_progress_is_public_and_everybody_is_told() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    with scene.signals.watch(process.id) as watch:
        told = await scene.commands.report(process.id, "ASSESSING", "with the assessor")
        assert await watch.changed(process.sequence, 0)
    assert isinstance(told, Process)
    assert (told.state, told.status, told.reason) == (State.PROCESSING, "ASSESSING", "with the assessor")
    assert told.version == process.version + 1
    assert await scene.store.process(process.id) == told
    assert [one.status for one in await scene.queries.history(process.id)] == [None, None, "ASSESSING"]


async def test_the_same_progress_is_told_once() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    told = await scene.commands.report(process.id, "ASSESSING", None)
    assert await scene.commands.report(process.id, "ASSESSING", None) == told
    assert await scene.store.process(process.id) == told


async def test_what_ended_does_not_go_on() -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish())
    assert await scene.commands.report(process.id, "ASSESSING", None) == process
    assert await scene.commands.report("01a3185c-5000-7000-8000-00000000ffff", "ASSESSING", None) is None


async def test_progress_that_meets_the_end_half_way_leaves_the_end_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    commit = scene.store.commit

    async def slower(given: Commit) -> Verdict:
        monkeypatch.undo()
        await scene.goes_on(process, finish())
        return await commit(given)

    monkeypatch.setattr(scene.store, "commit", slower)
    told = await scene.commands.report(process.id, "ASSESSING", None)
    assert isinstance(told, Process)
    assert (told.state, told.status) == (State.COMPLETED, None)


async def test_progress_that_cannot_be_recorded_is_not_told() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    scene.store.refuses = lambda commit: True
    with pytest.raises(StoreUnavailable):
        await scene.commands.report(process.id, "ASSESSING", None)
    assert await scene.store.process(process.id) == process


async def test_what_nobody_was_promised_is_promised_once_and_no_client_sees_a_change() -> None:
    scene = Scene()
    process = await scene.process(*SENT, promised=False)

    promised = await scene.commands.promise(process)

    assert (promised.promised, promised.version, promised.state) == (True, process.version, process.state)
    assert await scene.store.process(process.id) == promised
    assert await scene.commands.promise(process) == promised, "who is slower finds it promised"
    assert await scene.commands.promise(promised) == promised
    assert await scene.store.process(process.id) == promised


async def test_what_ended_meanwhile_is_promised_no_more() -> None:
    scene = Scene()
    process = await scene.process(*SENT, promised=False)
    ended = await scene.goes_on(process, finish())

    assert await scene.commands.promise(process) == ended
    assert await scene.store.process(process.id) == ended


async def test_a_promise_that_the_store_cannot_record_is_none() -> None:
    scene = Scene()
    process = await scene.process(*SENT, promised=False)
    scene.store.refuses = lambda commit: True

    with pytest.raises(StoreUnavailable):
        await scene.commands.promise(process)
    assert await scene.store.process(process.id) == process
