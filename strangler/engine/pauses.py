"""When calls of each route were paused, as it is known in this worker, and the deadlines that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from strangler.domain import pause
from strangler.domain.pause import Pause
from strangler.domain.process import Process


class Pauses:
    """The pauses of all routes."""

    def __init__(self) -> None:
        self._by_route: dict[str, tuple[Pause, ...]] = {}

    def load(self, pauses: Iterable[Pause]) -> None:
        """These are all there are, of each route the earliest first."""
        by_route: dict[str, list[Pause]] = {}
        for one in pauses:
            by_route.setdefault(one.route, []).append(one)
        self._by_route = {route: tuple(some) for route, some in by_route.items()}

    def put(self, route: str, pauses: Iterable[Pause]) -> None:
        """These are all of one route."""
        self._by_route[route] = tuple(pauses)

    def of(self, route: str) -> Sequence[Pause]:
        """Those of a route, the earliest first."""
        return self._by_route.get(route, ())

    def all(self) -> list[Pause]:
        """Every pause there is."""
        return [one for some in self._by_route.values() for one in some]

    def open(self, route: str) -> bool:
        """Whether one of them goes on."""
        pauses = self.of(route)
        return bool(pauses) and pauses[-1].ended_at is None

    def begin(self, route: str, at: int) -> None:
        """Calls of a route are paused from an instant on, if they are not already."""
        earlier = self.of(route)
        if not self.open(route):
            # Clocks are set back now and then; pauses never overlap.
            at = max(at, earlier[-1].ended_at or 0) if earlier else at
            self.put(route, (*earlier, Pause(route, at)))

    def end(self, route: str, at: int) -> None:
        """They go on, if they were paused."""
        if self.open(route):
            *earlier, last = self.of(route)
            self.put(route, (*earlier, last._replace(ended_at=max(at, last.began_at))))

    def stood_still(self, process: Process, now: int) -> int:
        """For how many milliseconds the clock of a process has stood still, as far as is known at an instant."""
        return pause.stood_still(process, self.of(process.route), now)

    def over_at(self, process: Process, now: int) -> int:
        """When it is too late for a process, as far as is known at an instant."""
        pauses = self.of(process.route)
        return pause.over_at(process, pauses, now) if pauses else process.over_at

    def shown(self, process: Process, now: int) -> Process:
        """The process with its deadline as it stands at an instant, for whoever is shown it."""
        pauses = self.of(process.route)
        return pause.with_deadline(process, pauses, now) if pauses else process
