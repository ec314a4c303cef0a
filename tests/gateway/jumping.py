"""An event loop whose time jumps: where nothing is left to do but wait, the wait is over at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


class _Selector(selectors.SelectSelector):
    """Asks what is ready, and lets the loop's time jump instead of waiting."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            self.loop.jumped += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """See above."""

    def __init__(self) -> None:
        self.jumped = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """The loop's time: that of the machine, and all the jumps."""
        return super().time() + self.jumped


def run(work: Coroutine[Any, Any, Value]) -> tuple[Value, float]:
    """What a coroutine returns, and how many seconds it took on the loop's own clock."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        loop = runner.get_loop()
        begun = loop.time()
        return runner.run(work), loop.time() - begun
