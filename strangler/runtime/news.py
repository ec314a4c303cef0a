"""What workers are told of what the others did."""

from __future__ import annotations

from collections.abc import Callable

from strangler.engine.lanes import Lanes
from strangler.engine.signals import Signals


class CountedLanes(Lanes):
    """Lanes that say whose count has changed."""

    def __init__(self, counted: Callable[[str], None]) -> None:
        super().__init__()
        self._counted = counted

    def count(self, route: str, step: int, body_size: int) -> None:
        """See `Lanes.count`."""
        super().count(route, step, body_size)
        self._counted(route)


class ToldSignals(Signals):
    """Signals for the workers: nobody waits here."""

    def __init__(self, tell: Callable[[str, int], None]) -> None:
        super().__init__()
        self._tell = tell

    def hear(self, process_id: str, sequence: int) -> None:
        """See `Signals.hear`."""
        self._tell(process_id, sequence)


class News:
    """What one worker is going to be told at the end of this turn of the loop."""

    __slots__ = ("due", "signals")

    def __init__(self) -> None:
        self.signals: list[tuple[str, int]] = []
        self.due: set[str] = set()
