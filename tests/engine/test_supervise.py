"""Supervision: what is nobody's is found, what is somebody's is left alone, and no failure ends the looking."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Fault, FaultKind
from strangler.domain.process import Process, State, Tombstone
from strangler.engine import supervise
from strangler.engine.supervise import Supervisor
from tests.engine.world import Gate, World, a_route

LOST = Fault(FaultKind.INTERRUPTED, "connection reset")


class Woken:
    """Who executes; keeps what it is told falls due."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    async def restock(self) -> None:
        """Nothing waits."""

    def wake(self, route: str, due_at: int) -> None:
        self.told.append((route, due_at))


class Facts:
    """An instrument that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, object]] = []

    def note(self, name: str, level: str, reason: str = "", **_: object) -> None:
        self.told.append((name, level, reason))

    def failed(self, what: str, error: Exception) -> None:
        self.told.append((what, "defect", str(error)))


async def test_a_worker_that_has_just_thawed_does_not_take_its_own_calls_for_orphans(world: World) -> None:
    world.upstream.script = [gate := Gate()]
    accepted = await world.accepted()
    await gate.reached.wait()
    world.clock.pass_(16)  # its lease has run out
    await world.supervisor.look()
    assert (await world.process(accepted.id)).state is State.PROCESSING
    await world.lease.renew()
    await world.supervisor.look()
    gate.open.set()
    assert (await world.ended(accepted.id)).state is State.COMPLETED


async def test_the_repeat_of_a_call_that_another_worker_left_is_waited_for() -> None:
    world = World(a_route(on_in_doubt="retry", attempts=2))
    await world.lease.renew()
    world.upstream.script = [gate := Gate(LOST)]
    accepted = await world.accepted()
    await gate.reached.wait()
    world.clock.pass_(16)
    world.restart("worker-2")
    await world.lease.renew()
    woken = Woken()
    await Supervisor(world.means, woken, world.concluder).look()
    waiting = await world.process(accepted.id)
    assert waiting.state is State.WAITING
    assert woken.told == [(waiting.route, waiting.due_at)]


async def test_what_is_past_its_retention_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_SWEEP_EVERY", 0.0)
    monkeypatch.setattr(supervise, "_SWEEP_BATCH", 2)
    ended = [await world.ended((await world.accepted()).id) for _ in range(5)]
    world.clock.pass_(ended[0].retain / 1000)
    sweeping = asyncio.create_task(world.supervisor.sweep())
    while not all([isinstance(await world.store.process(process.id), Tombstone) for process in ended]):
        await asyncio.sleep(0)
    sweeping.cancel()


async def test_neither_a_store_that_cannot_answer_nor_a_defect_ends_the_looking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_LOOK_EVERY", 0.0)
    failures: list[Exception] = [StoreUnavailable("the disk is gone"), ValueError("a defect")]
    looked = asyncio.Event()

    async def overdue(*_: Any) -> Sequence[Process]:
        if failures:
            raise failures.pop(0)
        looked.set()
        return ()

    monkeypatch.setattr(world.store, "overdue", overdue)
    facts: Any = Facts()
    watching = asyncio.create_task(
        Supervisor(world.means._replace(instrument=facts), world.executor, world.concluder).watch()
    )
    await looked.wait()
    watching.cancel()
    assert facts.told == [
        ("supervision_waits", "warning", "the disk is gone"),
        ("supervise", "defect", "a defect"),
    ]
