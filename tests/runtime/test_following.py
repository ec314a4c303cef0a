"""All workers run one policy, in whatever order they come to load what they are asked to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from strangler.config.load import Loaded, load_policy
from strangler.runtime.following import Following
from strangler.store.remote.host import Guest
from tests.engine.world import Silent
from tests.harness.waiting import eventually
from tests.runtime.test_orders import POLICY


class FakeWorker:
    """Keeps the policy that it prepared last, and tells its number when the test says so."""

    owner = "worker"

    def __init__(self) -> None:
        self.following: Following
        self.asked: list[tuple[int, str]] = []  # what it is to prepare: number and revision
        self.prepared: tuple[int, str] | None = None
        self.runs: str | None = None

    def tell(self, *message: Any) -> None:
        """See `Guest.tell`."""
        match message:
            case ("prepare", number, revision, _, _):
                self.asked.append((number, revision))
            case ("switch", number, prepared):
                fits = self.prepared is not None and self.prepared[0] == prepared
                if fits and self.prepared is not None:
                    self.runs, self.prepared = self.prepared[1], None
                asyncio.get_running_loop().call_soon(self.following.answered, number, fits)

    async def load(self, place: int = 0) -> None:
        """Be ready with one of those that were asked for."""
        await eventually(lambda: len(self.asked) > place, what="it is asked to load")
        self.prepared = self.asked.pop(place)
        self.following.answered(self.prepared[0], [])


def loaded(folder: Path, name: str) -> Loaded:
    """A policy with a route of this name."""
    path = folder / f"{name}.yaml"
    path.write_text(POLICY.replace("name: claims", f"name: {name}"))
    return load_policy([path], {}, lease=15.0, public_url=True)


def a_worker() -> FakeWorker:
    """One that follows."""
    worker = FakeWorker()
    worker.following = Following(lambda: [cast(Guest, worker)], Silent())
    return worker


async def test_a_reload_that_was_overtaken_by_a_worker_that_came_back_is_in_force_there_before_it_is_answered(
    tmp_path: Path,
) -> None:
    worker = a_worker()
    before, after = loaded(tmp_path, "before"), loaded(tmp_path, "after")
    worker.following.current = before
    bring = asyncio.create_task(worker.following.bring(cast(Guest, worker)))
    prepare = asyncio.create_task(worker.following.prepare(after))
    await eventually(lambda: len(worker.asked) == 2, what="it is asked for both")
    await worker.load(1)
    assert await prepare == []
    await worker.load()
    await bring
    assert worker.runs == before.table.revision
    switch = asyncio.create_task(worker.following.switch())
    await worker.load()
    await switch
    assert worker.runs == after.table.revision


async def test_a_worker_that_starts_runs_what_is_in_force_also_where_a_reload_came_between_and_was_refused(
    tmp_path: Path,
) -> None:
    worker = a_worker()
    before, refused = loaded(tmp_path, "before"), loaded(tmp_path, "refused")
    worker.following.current = before
    bring = asyncio.create_task(worker.following.bring(cast(Guest, worker)))
    prepare = asyncio.create_task(worker.following.prepare(refused))
    await eventually(lambda: len(worker.asked) == 2, what="it is asked for both")
    worker.following.answered(worker.asked.pop(0)[0], [])  # and in the same moment it is ready with the other one
    await worker.load()
    await prepare
    await worker.load()
    await bring
    assert worker.runs == before.table.revision
