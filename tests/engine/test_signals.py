"""Signals: no change between the read and the wait is missed, and waiting is cheap."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from strangler.engine.signals import Signals, Watch

LONG = 60.0


async def test_a_change_between_the_read_and_the_wait_is_not_missed() -> None:
    signals = Signals()
    with signals.watch("p") as watch:
        seen = 1  # read
        signals.hear("p", 2)

        assert await watch.changed(seen, LONG)


async def test_a_waiter_is_woken_by_a_later_change() -> None:
    signals = Signals()
    with signals.watch("p") as watch:
        waiting = asyncio.ensure_future(watch.changed(1, LONG))
        await asyncio.sleep(0)
        signals.hear("p", 2)

        assert await waiting


async def test_what_was_read_already_wakes_nobody() -> None:
    signals = Signals()
    with signals.watch("p") as watch:
        signals.hear("p", 2)

        assert not await watch.changed(2, 0.001)


async def test_a_change_of_another_process_wakes_nobody() -> None:
    signals = Signals()
    with signals.watch("p") as watch:
        signals.hear("q", 9)

        assert not await watch.changed(1, 0.001)


async def test_an_announcement_that_runs_ahead_of_the_store_wakes_once_and_again_when_it_is_repeated() -> None:
    signals = Signals()
    with signals.watch("p") as watch:
        signals.hear("p", 2)
        assert await watch.changed(1, LONG)
        assert not await watch.changed(1, 0.001)  # the store still has 1: no spinning

        signals.hear("p", 2)
        assert await watch.changed(1, LONG)


async def test_an_old_announcement_does_not_end_a_wait() -> None:
    signals = Signals()
    with signals.watch("p") as watch:
        waiting = asyncio.ensure_future(watch.changed(5, LONG))
        await asyncio.sleep(0)
        signals.hear("p", 4)
        await asyncio.sleep(0)
        assert not waiting.done()
        signals.hear("p", 6)

        assert await waiting


async def test_nothing_is_left_behind_by_waiters_that_went_away() -> None:
    signals = Signals()
    with signals.watch("p") as one, signals.watch("p"):
        waiting = asyncio.ensure_future(one.changed(1, LONG))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        signals.hear("p", 2)

    assert signals.watches == {}


async def test_a_thousand_waiters_of_one_process_are_woken_by_one_signal() -> None:
    signals = Signals()

    async def wait(watch: Watch) -> bool:
        with watch:
            return await watch.changed(1, LONG)

    waiting = [asyncio.ensure_future(wait(signals.watch("p"))) for _ in range(1000)]
    await asyncio.sleep(0)
    signals.hear("p", 2)

    assert all(await asyncio.gather(*waiting))


async def test_a_waiter_that_was_woken_leaves_no_timer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_at, timers = loop.call_at, []

    def remember(*arguments: Any) -> asyncio.TimerHandle:
        timers.append(call_at(*arguments))
        return timers[-1]

    monkeypatch.setattr(loop, "call_at", remember)
    signals = Signals()
    with signals.watch("p") as watch:
        waiting = asyncio.ensure_future(watch.changed(1, LONG))
        await asyncio.sleep(0)
        signals.hear("p", 2)
        await waiting

    assert [timer.cancelled() for timer in timers] == [True]


async def test_who_waits_is_let_go_at_the_end_and_nobody_waits_after_it() -> None:
    signals = Signals()
    with signals.watch("p") as watch:
        waiting = asyncio.ensure_future(watch.changed(1, 60.0))
        await asyncio.sleep(0)
        signals.end()
        assert not await waiting
        assert not await watch.changed(1, 60.0)
