"""A store of any kind that Hypothesis drives, crashes and opens again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from strangler.ports import Commit, Verdict
from strangler.store import Store
from tests.store import builders as make
from tests.store.backends import BACKENDS
from tests.store.builders import FakeClock

T = TypeVar("T")

# Programs crash here and not the machine: what lies in memory outlives them, and no disk is waited for.
MEMORY = Path("/dev/shm")

FEW = settings(max_examples=12, stateful_step_count=30, suppress_health_check=list(HealthCheck), database=None)
MANY = settings(FEW, max_examples=120, stateful_step_count=60)


class DrivenStore(RuleBasedStateMachine):
    """A store in a folder of its own; whoever says what has to be in it adds the rules."""

    backend = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.folder = self._fresh()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.store = self._open()

    def _fresh(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="strangler-driven-", dir=MEMORY if MEMORY.is_dir() else None))

    def _open(self) -> Store:
        async def opened() -> Store:
            store = BACKENDS[self.backend](self.folder, self.clock)
            await make.promise(store)
            return store

        return self.result_of(opened())

    def result_of(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of work on the loop."""
        # `Runner.run` would change the handler of SIGINT there and back each time, which takes longer than most reads.
        return self.runner.get_loop().run_until_complete(work)

    def all_of(self, *commits: Commit) -> list[Verdict]:
        """The verdicts on commits that are handed in at once."""

        async def verdicts() -> list[Verdict]:
            return await asyncio.gather(*(self.store.commit(commit) for commit in commits))

        return self.result_of(verdicts())

    def require(self) -> None:
        """Compare the whole store with what has to be in it, in the end."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Compare, and leave nothing behind."""
        try:
            self.require()
        finally:
            self.result_of(self.store.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    @property
    def now(self) -> int:
        """The instant."""
        return self.clock.instant

    @precondition(lambda self: self.backend != "memory")
    @rule()
    def crash(self) -> None:
        """What lies on the disk at this moment is all that the next one finds."""
        folder = self._fresh()
        for file in self.folder.glob("strangler.db*"):
            if not file.name.endswith(("-shm", ".lock")):
                shutil.copy(file, folder)
        self.result_of(self.store.close())
        shutil.rmtree(self.folder)
        self.folder = folder
        self.store = self._open()
