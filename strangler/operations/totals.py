"""The counts of several workers as one: what each counted, as plain values, and the sum of all."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from strangler.engine.instrument import QueueReading
from strangler.operations.metrics import Counts
from strangler.operations.series import Histogram, RouteSeries

_ONE_PLACE = frozenset({"in_flight", "unconfirmed"})
"""What is counted where all commits are seen: a worker that is killed would take a part of it along."""


class Snapshot(NamedTuple):
    """What one worker counted. Plain values only: dictionaries, lists, text and numbers."""

    routes: dict[str, dict[str, Any]]
    defects: dict[str, int]
    lines_dropped: int
    streams: dict[str, int]
    running: dict[str, tuple[int, float]]  # by route the calls under way, and the age of the longest due


def snapshot(counts: Counts) -> Snapshot:
    """What a worker counted up to now."""
    readings = counts.readings
    routes = {
        name: {field: _plain(getattr(route, field)) for field in RouteSeries.__slots__ if field not in _ONE_PLACE}
        for name, route in counts.routes.items()
    }
    running = {route: (reading.running, reading.oldest_age) for route, reading in readings.queues().items()}
    return Snapshot(routes, dict(counts.defects), readings.lines_dropped(), dict(readings.streams()), running)


class Totals:
    """Adds up. ``own`` are the counts of the place where all commits are seen."""

    def __init__(self, own: Counts) -> None:
        self._own = own
        self._latest: dict[str, Snapshot] = {}
        self._gone = Counts("", 0)  # by workers that are gone: a counter never falls
        self._gone_dropped = 0

    def heard(self, owner: str, counted: Snapshot) -> None:
        """A worker says what it counted up to now."""
        self._latest[owner] = counted

    def departed(self, owner: str) -> None:
        """A worker is gone; what it counted stays."""
        last = self._latest.pop(owner, None)
        if last is not None:
            _add(self._gone, last)
            self._gone_dropped += last.lines_dropped

    def counts(self) -> Counts:
        """All together, at this moment."""
        total = self._own.twin()
        for name, route in self._own.routes.items():
            total.routes[name].in_flight |= route.in_flight
            total.routes[name].unconfirmed = route.unconfirmed
        workers = list(self._latest.values())
        own, gone = snapshot(self._own), snapshot(self._gone)
        for counted in (own, gone, *workers):
            _add(total, counted)
        dropped = own.lines_dropped + self._gone_dropped + sum(counted.lines_dropped for counted in workers)
        streams: Counter[str] = Counter()
        for counted in workers:
            streams.update(counted.streams)
        queues = self.queues()
        readings = total.readings
        readings.queues = lambda: queues
        readings.streams = lambda: streams
        readings.deliveries = self._own.readings.deliveries
        readings.exceptions = self._own.readings.exceptions
        readings.wal = self._own.readings.wal
        readings.standing = self._own.readings.standing
        readings.memory = self._own.readings.memory
        readings.draining = self._own.readings.draining
        readings.lines_dropped = lambda: dropped
        return total

    def queues(self) -> dict[str, QueueReading]:
        """What waits is counted in one place, what runs by each worker, as of its last word."""
        queues = dict(self._own.readings.queues())
        for counted in self._latest.values():
            for route, (running, age) in counted.running.items():
                known = queues.get(route, QueueReading(0, 0, 0, 0.0))
                queues[route] = known._replace(running=known.running + running, oldest_age=max(known.oldest_age, age))
        return queues


def _add(counts: Counts, other: Snapshot) -> None:
    for name, fields in other.routes.items():
        route = counts.routes[name]
        for field, value in fields.items():
            setattr(route, field, _sum(getattr(route, field), value))
    for place, count in other.defects.items():
        counts.defects[place] = counts.defects.get(place, 0) + count


def _plain(value: Any) -> Any:
    match value:
        case Histogram():
            return [list(value.counts), value.sum]
        case dict():
            return {str(key): count for key, count in value.items()}
        case list():
            return list(value)
        case _:
            return value


def _sum(mine: Any, other: Any) -> Any:
    match mine:
        case Histogram():
            mine.counts = [a + b for a, b in zip(mine.counts, other[0], strict=True)]
            mine.sum += other[1]
            return mine
        case dict():
            for key, count in other.items():
                mine[key] = mine.get(key, 0) + count
            return mine
        case list():
            return [a + b for a, b in zip(mine, other, strict=True)]
        case bool():
            return mine or other
        case _:
            return mine + other
