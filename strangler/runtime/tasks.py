"""What goes on beside the rest, for as long as its OS process serves: none of it ends by a defect without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from strangler.engine.instrument import Instrument
from strangler.ports import StoreHealth

_LOOK_EVERY = 0.5  # seconds between two looks whether the store takes new work


class Tasks:
    """Tasks of one OS process, which end with it; a defect that ends one before is told by ``instrument``."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let it go on beside the rest."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def end(self) -> None:
        """Cancel what still goes on, and wait for its end."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._instrument.failed("task", error)


async def repeat(work: Callable[[], None], seconds: float, where: str, instrument: Instrument) -> None:
    """Do something again and again, for ever, with so many seconds in between.

    Args:
        where: the place under which its defects are told.
    """
    while True:
        try:
            work()
        except Exception as error:
            # A defect in one turn must not end all later ones.
            instrument.failed(where, error)
        await asyncio.sleep(seconds)


async def watch_refusal(store: StoreHealth, tell: Callable[[str | None], None]) -> None:
    """Tell why the store takes no new work, and that it does again (None), whenever that changes, for ever."""
    told: str | None = None
    while True:
        reason = store.refusal()
        if reason != told:
            told = reason
            tell(reason)
        await asyncio.sleep(_LOOK_EVERY)
