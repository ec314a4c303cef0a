"""What is counted, as plain integers and lists: counting costs a fraction of a microsecond, all else is the scrape's.

Every series of a route hangs on one `RouteSeries`, so that the number of routes bounds the number of series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from strangler.domain.delivery import DeliveryState, Tried
from strangler.domain.exchange import AttemptOutcome
from strangler.domain.problem import TITLES
from strangler.domain.process import FINAL, State

ACKNOWLEDGEMENT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
COMPLETION = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
ATTEMPT = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
DELIVERY = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 120.0, 600.0, 3600.0, 14400.0, 86400.0)
PASSTHROUGH = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds of the buckets, in seconds; of `BATCH` in changes."""

NO_ROUTE = "(none)"
OTHER = "(other)"
"""Label values where there is no name of the policy; no route can be called so."""

MAX_ROUTES = 2000
"""Routes with series of their own; those beyond share `OTHER`."""

IN_FLIGHT = tuple(state for state in State if state not in FINAL)
ANSWERS = tuple(Tried)
STUCK = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
ENDS = tuple(state for state in State if state in FINAL)
OUTCOMES = tuple(AttemptOutcome)
CODES = frozenset(TITLES)
RUNS = ("finished", "stopped", "failed")
RESOURCES = ("process", "status", "result", "history", "list", "events", "socket")
LIMITED = ("accepts", "polls")
CIRCUIT_STATES = ("closed", "open", "half-open", "trying")
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "client_left", "other")

_CLIENT_LEFT = STATUS_CLASSES.index("client_left")
_OTHER_CLASS = STATUS_CLASSES.index("other")
STATUS_CLASS = tuple(
    _CLIENT_LEFT if status == 499 else status // 100 - 1 if 100 <= status < 600 else _OTHER_CLASS
    for status in range(1000)
)
"""The index in `STATUS_CLASSES` of every status of three digits."""


class Histogram:
    """How often a value fell into which bucket, and the sum of all of them."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to the bucket below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class RouteSeries:
    """All that is counted of one route."""

    __slots__ = (
        "accepted",
        "acknowledgement",
        "attempt_seconds",
        "attempts",
        "completion",
        "doubts",
        "ended",
        "in_flight",
        "late",
        "limited",
        "passed",
        "passthrough",
        "polls",
        "recording",
        "refused",
        "replayed",
        "unconfirmed",
        "would_refuse",
    )

    def __init__(self) -> None:
        self.recording = False  # it makes, or has made, processes
        self.accepted = 0
        self.replayed = 0
        self.refused: dict[str, int] = {}
        self.would_refuse: dict[str, int] = {}
        self.limited = dict.fromkeys(LIMITED, 0)
        self.in_flight = dict.fromkeys(IN_FLIGHT, 0)
        self.unconfirmed = 0
        self.ended = dict.fromkeys(ENDS, 0)
        self.doubts = 0
        self.attempts = dict.fromkeys(OUTCOMES, 0)
        self.late = [0, 0]  # kept as evidence, settled the process
        self.polls = dict.fromkeys((*RESOURCES, OTHER), 0)
        self.passed = [0] * len(STATUS_CLASSES)
        self.acknowledgement = Histogram(ACKNOWLEDGEMENT)
        self.completion = Histogram(COMPLETION)
        self.attempt_seconds = Histogram(ATTEMPT)
        self.passthrough = Histogram(PASSTHROUGH)


class ReceiverSeries:
    """All that is counted of one receiver of callbacks."""

    __slots__ = ("dead", "delivered", "delivery", "tried")

    def __init__(self) -> None:
        self.tried = dict.fromkeys(ANSWERS, 0)
        self.delivered = 0
        self.dead = 0
        self.delivery = Histogram(DELIVERY)


class Receivers(dict[str, ReceiverSeries]):
    """Series by the name of the receiver; made when it is first named, kept when it leaves the policy."""

    def __missing__(self, name: str) -> ReceiverSeries:
        label = name if name in self or len(self) < MAX_ROUTES else OTHER
        return self.setdefault(label, ReceiverSeries())


class ReconcileSeries:
    """All that is counted of reconciliation."""

    __slots__ = ("ended_at", "findings", "runs")

    def __init__(self) -> None:
        self.runs = dict.fromkeys(RUNS, 0)
        self.findings = 0  # of the last one that finished
        self.ended_at: int | None = None


class Routes(dict[str, RouteSeries]):
    """Series by the name of the route; made when it is first named, kept when it leaves the policy."""

    def __missing__(self, name: str) -> RouteSeries:
        label = name or NO_ROUTE
        if label not in self and len(self) >= MAX_ROUTES:
            label = OTHER
        return self.setdefault(label, RouteSeries())
