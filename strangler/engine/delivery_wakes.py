"""When lanes are looked into again: of several wishes for one lane the earliest counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from strangler.engine.delivery_lanes import DeliveryLane
from strangler.ports import Clock


class Wakes:
    """Instants at which lanes are woken.

    Args:
        woken: what is done with a lane then.
    """

    def __init__(self, clock: Clock, woken: Callable[[DeliveryLane], None]) -> None:
        self._clock = clock
        self._do = woken
        self._set: dict[str, tuple[int, asyncio.TimerHandle]] = {}
        self._stopped = False

    def __contains__(self, lane: str) -> bool:
        """Whether a lane is going to be woken."""
        return lane in self._set

    def at(self, lane: DeliveryLane, due_at: int) -> None:
        """Wake a lane at an instant, if not before."""
        if self._stopped:
            return
        known = self._set.get(lane.name)
        if known is not None:
            if known[0] <= due_at:
                return
            known[1].cancel()
            lane.timed = True  # the later one is not forgotten
        seconds = max(0.0, (due_at - self._clock.now()) / 1000)
        self._set[lane.name] = (due_at, asyncio.get_running_loop().call_later(seconds, self._wake, lane))

    def stop(self) -> None:
        """Wake nobody any more."""
        self._stopped = True
        for _, handle in self._set.values():
            handle.cancel()
        self._set.clear()

    def _wake(self, lane: DeliveryLane) -> None:
        del self._set[lane.name]
        self._do(lane)
