"""The counts of a server, and their exposition in the text format of Prometheus."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from strangler.domain.exceptions import KINDS, ExceptionKind
from strangler.engine.instrument import QueueReading, StandingReading
from strangler.operations import catalogue, series
from strangler.operations.catalogue import Family
from strangler.operations.series import Histogram, Receivers, ReceiverSeries, ReconcileSeries, Routes, RouteSeries
from strangler.ports import DeliveryTotal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MAX_PLACES = 100


class Readings:
    """What is read at the moment of a scrape, and not counted as it happens."""

    def __init__(self) -> None:
        self.queues: Callable[[], Mapping[str, QueueReading]] = dict
        self.streams: Callable[[], Mapping[str, int]] = dict
        self.deliveries: Callable[[], Iterable[DeliveryTotal]] = tuple
        self.exceptions: Callable[[], Mapping[ExceptionKind, int]] = dict
        self.standing: Callable[[], Mapping[str, StandingReading]] = dict
        self.memory: Callable[[], int] = lambda: 0
        self.wal: Callable[[], int | None] = lambda: None
        self.draining: Callable[[], bool] = lambda: False
        self.lines_dropped: Callable[[], int] = lambda: 0


class _Read(NamedTuple):
    """The readings of one scrape."""

    queues: Mapping[str, QueueReading]
    wal: int | None
    draining: bool
    lines_dropped: int
    streams: Mapping[str, int]
    deliveries: Sequence[DeliveryTotal] = ()
    exceptions: Mapping[ExceptionKind, int] = MappingProxyType({})
    standing: Mapping[str, StandingReading] = MappingProxyType({})
    short_of_memory: int = 0


class Counts(Collector):
    """All counts of a server."""

    def __init__(self, version: str, started_at: int) -> None:
        self.routes = Routes()
        self.receivers = Receivers()
        self.reconcile = ReconcileSeries()
        self.batch = Histogram(series.BATCH)
        self.commit = Histogram(series.COMMIT)
        self.refusing = False
        self.reloads = 0
        self.reload_failures = 0
        self.policy_stale = False
        self.policy_routes = 0
        self.revision = ""
        self.defects: dict[str, int] = {}
        self.readings = Readings()
        self._version = version
        self._started_at = started_at
        self._read = _Read({}, None, False, 0, {})

    def twin(self) -> Counts:
        """Other counts of the same server: what one place alone knows is taken over, the rest begins at nought."""
        twin = Counts(self._version, self._started_at)
        twin.batch, twin.commit, twin.refusing = self.batch, self.commit, self.refusing
        twin.receivers, twin.reconcile = self.receivers, self.reconcile
        twin.reloads, twin.reload_failures = self.reloads, self.reload_failures
        twin.policy_stale, twin.policy_routes, twin.revision = self.policy_stale, self.policy_routes, self.revision
        return twin

    def name_routes(self, names: Collection[str], recording: Collection[str]) -> None:
        """Begin the series of routes at nought, so that the first request is an increase."""
        for name in names:
            self.routes[name].recording |= name in recording

    def defect(self, place: str) -> None:
        """Count one exception that nobody expected."""
        if place not in self.defects and len(self.defects) >= _MAX_PLACES:
            place = series.OTHER
        self.defects[place] = self.defects.get(place, 0) + 1

    def read(self) -> None:
        """Take the readings of this moment; on the event loop, before `collect`."""
        readings = self.readings
        self._read = _Read(
            dict(readings.queues()),
            readings.wal(),
            readings.draining(),
            readings.lines_dropped(),
            dict(readings.streams()),
            tuple(readings.deliveries()),
            dict(readings.exceptions()),
            dict(readings.standing()),
            readings.memory(),
        )

    def collect(self) -> Iterator[Metric]:
        """Every family with its samples. May run in a thread: a series is read while it grows, never half written."""
        # One step for all threads, so that a new route does not disturb it.
        routes = sorted(self.routes.items(), key=lambda item: item[0])
        recording = [(name, route) for name, route in routes if route.recording]
        yield from _accepting(routes, recording)
        yield from _processes(routes, recording)
        yield from _calling(recording)
        yield from _queues(self._read.queues)
        yield from _standing(self._read.standing)
        yield from _telling(sorted(self.receivers.items()), self._read.deliveries, time.time())
        yield from _passing(routes)
        yield from self._store()
        yield from self._desk()
        yield from self._policy()
        yield from self._server()

    def _store(self) -> Iterator[Metric]:
        yield _histograms(catalogue.BATCH, [((), self.batch)])
        yield _histograms(catalogue.COMMIT, [((), self.commit)])
        if self._read.wal is not None:
            yield _one(catalogue.WAL, self._read.wal)
        yield _one(catalogue.REFUSING, self.refusing)

    def _desk(self) -> Iterator[Metric]:
        exceptions, reconcile = self._read.exceptions, self.reconcile
        yield _values(catalogue.EXCEPTIONS, (((kind,), exceptions.get(kind, 0)) for kind in KINDS))
        yield _values(catalogue.RECONCILE_RUNS, (((name,), count) for name, count in reconcile.runs.items()))
        ended_at = [] if reconcile.ended_at is None else [reconcile.ended_at / 1000]
        yield _values(catalogue.RECONCILE_FINDINGS, [((), reconcile.findings) for _ in ended_at])
        yield _values(catalogue.RECONCILE_ENDED, [((), at) for at in ended_at])

    def _policy(self) -> Iterator[Metric]:
        yield _one(catalogue.RELOADS, self.reloads)
        yield _one(catalogue.RELOAD_FAILURES, self.reload_failures)
        yield _one(catalogue.POLICY_STALE, self.policy_stale)
        yield _one(catalogue.POLICY_ROUTES, self.policy_routes)
        yield _values(catalogue.POLICY_INFO, [((self.revision,), 1)] if self.revision else [])

    def _server(self) -> Iterator[Metric]:
        yield _values(catalogue.STREAMS, (((kind,), count) for kind, count in sorted(self._read.streams.items())))
        yield _one(catalogue.SHORT_OF_MEMORY, self._read.short_of_memory)
        yield _one(catalogue.DRAINING, self._read.draining)
        yield _values(catalogue.DEFECTS, (((place,), count) for place, count in list(self.defects.items())))
        yield _one(catalogue.LINES_DROPPED, self._read.lines_dropped)
        yield _values(catalogue.BUILD, [((self._version, platform.python_version()), 1)])
        yield _one(catalogue.STARTED, self._started_at / 1000)


class Exposition:
    """A registry of this server alone, and its text."""

    def __init__(self, counts: Counts) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(counts)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text of all metrics, as of the last `Counts.read`."""
        return generate_latest(self._registry)


_Named = list[tuple[str, RouteSeries]]


def _accepting(routes: _Named, recording: _Named) -> Iterator[Metric]:
    yield _values(catalogue.ACCEPTED, (((name,), route.accepted) for name, route in recording))
    yield _values(catalogue.REPLAYED, (((name,), route.replayed) for name, route in recording))
    yield _values(
        catalogue.REFUSED,
        (((name, code), count) for name, route in routes for code, count in list(route.refused.items())),
    )
    yield _values(
        catalogue.WOULD_REFUSE,
        (((name, code), count) for name, route in routes for code, count in list(route.would_refuse.items())),
    )
    yield _values(
        catalogue.LIMITED,
        (((name, kind), count) for name, route in recording for kind, count in route.limited.items()),
    )
    yield _histograms(catalogue.ACKNOWLEDGEMENT, [((name,), route.acknowledgement) for name, route in recording])


def _processes(routes: _Named, recording: _Named) -> Iterator[Metric]:
    yield _values(
        catalogue.PROCESSES,
        (((name, state), count) for name, route in recording for state, count in route.in_flight.items()),
    )
    yield _values(catalogue.UNCONFIRMED, (((name,), route.unconfirmed) for name, route in recording))
    yield _values(catalogue.DOUBTS, (((name,), route.doubts) for name, route in recording))
    yield _values(
        catalogue.ENDED,
        (((name, state), count) for name, route in recording for state, count in route.ended.items()),
    )
    yield _histograms(catalogue.COMPLETION, [((name,), route.completion) for name, route in recording])
    yield _values(
        catalogue.POLLS,
        (
            ((name, resource), count)
            for name, route in routes
            for resource, count in route.polls.items()
            if count or (route.recording and resource != series.OTHER)
        ),
    )


def _calling(recording: _Named) -> Iterator[Metric]:
    yield _values(
        catalogue.ATTEMPTS,
        (((name, outcome), count) for name, route in recording for outcome, count in route.attempts.items()),
    )
    yield _histograms(catalogue.ATTEMPT_SECONDS, [((name,), route.attempt_seconds) for name, route in recording])
    yield _values(
        catalogue.LATE_REPLIES,
        (
            ((name, settled), route.late[index])
            for name, route in recording
            for index, settled in enumerate(("no", "yes"))
        ),
    )


def _queues(queues: Mapping[str, QueueReading]) -> Iterator[Metric]:
    readings = sorted(queues.items())
    yield _values(catalogue.QUEUE_PROCESSES, (((name,), queue.waiting) for name, queue in readings))
    yield _values(catalogue.QUEUE_BYTES, (((name,), queue.waiting_bytes) for name, queue in readings))
    yield _values(catalogue.QUEUE_AGE, (((name,), queue.oldest_age) for name, queue in readings))
    yield _values(catalogue.RUNNING, (((name,), queue.running) for name, queue in readings))


def _standing(standing: Mapping[str, StandingReading]) -> Iterator[Metric]:
    readings = sorted(standing.items())
    yield _values(catalogue.HELD, (((name,), reading.held) for name, reading in readings))
    yield _values(
        catalogue.CIRCUIT,
        (
            ((name, state), reading.circuit == state)
            for name, reading in readings
            if reading.circuit is not None
            for state in series.CIRCUIT_STATES
        ),
    )
    yield _values(
        catalogue.ORDERED, (((name, reading.mode), 1) for name, reading in readings if reading.mode is not None)
    )


def _telling(
    receivers: list[tuple[str, ReceiverSeries]], deliveries: Sequence[DeliveryTotal], now: float
) -> Iterator[Metric]:
    yield _values(
        catalogue.DELIVERY_ATTEMPTS,
        (((name, answer), count) for name, receiver in receivers for answer, count in receiver.tried.items()),
    )
    yield _values(
        catalogue.DELIVERIES_ENDED,
        (
            ((name, state), count)
            for name, receiver in receivers
            for state, count in (("delivered", receiver.delivered), ("dead", receiver.dead))
        ),
    )
    yield _histograms(catalogue.DELIVERY_SECONDS, [((name,), receiver.delivery) for name, receiver in receivers])
    counted = {(total.receiver, state): 0 for total in deliveries for state in series.STUCK}
    counted |= {(total.receiver, total.state): total.deliveries for total in deliveries}
    yield _values(catalogue.DELIVERIES, sorted(counted.items()))
    yield _values(
        catalogue.DELIVERY_AGE,
        (
            ((total.receiver,), max(0.0, now - total.oldest_due_at / 1000))
            for total in deliveries
            if total.oldest_due_at is not None
        ),
    )


def _passing(routes: _Named) -> Iterator[Metric]:
    # A route that records passes something through only now and then: its series begin with the first.
    passing = [(name, route) for name, route in routes if any(route.passed) or not route.recording]
    yield _values(
        catalogue.PASSED,
        (
            ((name, series.STATUS_CLASSES[index]), count)
            for name, route in passing
            for index, count in enumerate(route.passed)
            if count or 0 < index < 5
        ),
    )
    yield _histograms(catalogue.PASSTHROUGH, [((name,), route.passthrough) for name, route in passing])


def _one(family: Family, value: float) -> Metric:
    return _values(family, [((), value)])


def _values(family: Family, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    made = (CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily)(
        family.name, family.help, labels=family.labels
    )
    for labels, value in values:
        made.add_metric(labels, float(value))
    return made


def _histograms(family: Family, histograms: Iterable[tuple[tuple[str, ...], Histogram]]) -> Metric:
    made = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    names = [*(repr(bound) for bound in family.buckets), "+Inf"]
    for labels, histogram in histograms:
        counts = list(histogram.counts)
        below = 0
        buckets = []
        for name, count in zip(names, counts, strict=True):
            below += count
            buckets.append((name, below))
        made.add_metric(labels, buckets, histogram.sum)
    return made
