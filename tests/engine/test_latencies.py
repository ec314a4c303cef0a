"""Latencies of all routes: kept over restarts, and never in the way."""

from __future__ import annotations

from typing import Literal

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.steps import Doubt, Postpone
from strangler.engine.latencies import Latencies
from strangler.store.memory import MemoryStore
from tests.gateway.scene import SENT, Scene


async def test_what_was_learnt_outlives_a_restart() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    for _ in range(100):
        scene.latencies.observe(process.route, 50.0)
    await scene.latencies.save()

    later = Latencies(scene.store)
    fresh = later.retry_after(process, process.created_at)
    await later.load()

    assert fresh == 3
    assert later.retry_after(process, process.created_at) == scene.latencies.retry_after(process, process.created_at)
    assert later.retry_after(process, process.created_at) > 30


async def test_only_what_changed_is_saved() -> None:
    archive = _Counting()
    latencies = Latencies(archive)
    latencies.observe("a", 1.0)
    latencies.observe("b", 1.0)
    await latencies.save()
    latencies.observe("b", 1.0)
    await latencies.save()
    await latencies.save()

    assert archive.saved == ["a", "b", "b"]


async def test_what_could_not_be_saved_is_saved_the_next_time() -> None:
    archive = _Counting()
    archive.refuses = True
    latencies = Latencies(archive)
    latencies.observe("a", 1.0)
    with pytest.raises(StoreUnavailable):
        await latencies.save()
    archive.refuses = False
    await latencies.save()

    assert archive.saved == ["a"]


async def test_a_kept_text_that_is_no_sketch_is_left_out_and_the_others_count() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    for name, text in (
        ("a", "{"),
        ("b", '{"counts": {"x": 1}}'),
        ("c", "[]"),
        (process.route, '{"counts": {"95": 9}}'),
    ):
        await scene.store.save("latency", name, text)

    await scene.latencies.load()

    assert scene.latencies.retry_after(process, process.created_at) > 30


async def test_the_guidance_is_that_of_the_route_and_of_how_long_the_process_has_run() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    for _ in range(100):
        scene.latencies.observe("another-route", 1.0)
        scene.latencies.observe(process.route, 100.0)

    early = scene.latencies.retry_after(process, process.created_at)
    late = scene.latencies.retry_after(process, process.created_at + 95_000)

    assert early > 60
    assert late < 30


async def test_a_process_that_waits_for_its_next_attempt_is_not_asked_for_before_that() -> None:
    scene = Scene()
    process = await scene.process(*SENT, Postpone(scene.clock.now() + 60_500, "429"))

    assert scene.latencies.retry_after(process, scene.clock.now()) == 61
    assert scene.latencies.retry_after(process, scene.clock.now() + 61_000) < 61


async def test_the_next_attempt_may_be_far_away_and_retry_after_is_not() -> None:
    scene = Scene()
    process = await scene.process(*SENT, Postpone(scene.clock.now() + 86_400_000, "429"))

    assert scene.latencies.retry_after(process, scene.clock.now()) == 300


async def test_while_unconfirmed_it_is_at_least_30() -> None:
    scene = Scene()
    process = await scene.process(*SENT, Doubt("interrupted", settling=False))

    assert scene.latencies.retry_after(process, scene.clock.now()) == 30


async def test_a_clock_that_was_set_back_does_no_harm() -> None:
    scene = Scene()
    process = await scene.process(*SENT)

    assert scene.latencies.retry_after(process, process.created_at - 3_600_000) == 3


class _Counting(MemoryStore):
    """An archive that keeps count, and refuses if told to."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[str] = []
        self.refuses = False

    async def save(self, kind: Literal["promise", "latency"], name: str, text: str) -> None:
        if self.refuses:
            raise StoreUnavailable("the disk is full")
        self.saved.append(name)
        await super().save(kind, name, text)
