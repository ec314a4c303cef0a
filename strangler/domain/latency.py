"""What a route's processes have lately taken, and from that an honest Retry-After.

A histogram with logarithmic buckets (after DDSketch: Masson, Rim, Lee, VLDB 2019) whose counts decay, so that it
follows a route whose latency changes. Small enough to be kept over restarts as JSON.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

_RATIO = 1.1  # neighbouring buckets differ by a tenth, so an estimate is off by a twentieth at most
_LOG = math.log(_RATIO)
_FLOOR = 0.01  # seconds; what is quicker is as quick
_BUCKETS = 210  # up to 50 days; what is slower is as slow
_MEMORY = 1000.0  # observations after which an old one counts for 1/e
_SMEAR = (1 / 16, 2 / 16, 3 / 16, 4 / 16, 3 / 16, 2 / 16, 1 / 16)  # an observation says as much of its neighbours
_REBUILD = 0.05  # share of what is known that has to be new before the guidance is computed anew

RETRY_AFTER_MIN = 1
RETRY_AFTER_MAX = 300
RETRY_AFTER_UNKNOWN = 3  # nothing observed yet
RETRY_AFTER_UNCONFIRMED = 30  # a person is to settle it

# Found by trying on lognormal, narrow, two-humped and heavy-tailed routes (tests/domain/test_latency.py): with these a
# client that obeys asks less than four times where the median is 4 s and the slowest percent takes over 30 s, and is
# late by less than 15 % of what the process took.
_STEP = 0.17  # share of the time that it has run by which it is worth asking again, while ends are frequent
_FREQUENT = 0.67  # ends per survivor and e-fold of time from which on ends are frequent
_LIKELY = 0.5  # chance of having ended at which it is worth asking in any case


class LatencySketch:
    """A decaying histogram of durations in seconds, and when it is worth asking for one that still runs."""

    def __init__(self) -> None:
        self._counts = [0.0] * _BUCKETS
        self._total = 0.0
        self._weight = 1.0  # of the next observation; grows instead of all counts shrinking
        self._new = 0.0  # weight observed since the guidance was computed
        self._ended: list[float] = []  # share that ended before each bucket; empty: to be computed
        self._frequent: list[int] = []  # by bucket, the first one from there on in which ends are frequent

    def observe(self, seconds: float) -> None:
        """Count one process that took so long from acceptance to its end."""
        self._counts[min(_BUCKETS - 1, int(_place(seconds)))] += self._weight
        self._total += self._weight
        self._new += self._weight
        self._weight *= 1 + 1 / _MEMORY
        if self._weight > 1e9:
            self._rescale()

    def next_look(self, elapsed: float) -> float | None:
        """How many seconds after acceptance it is worth asking for a process that still runs after ``elapsed``.

        As soon as ends are frequent, or it is as likely as not to have ended, but not before a fair share of the time
        that it ran already has gone by once more. None where nothing is known: nothing was observed, or it has
        outlasted all that was.
        """
        if self._total <= 0:
            return None
        if not self._ended or self._new > _REBUILD * self._total:
            self._compute()
        place = _place(elapsed)
        bucket = int(place)
        if bucket >= _BUCKETS:
            return None
        ended, after = self._ended[bucket], self._ended[bucket + 1]
        alive = 1 - ended - (after - ended) * (place - bucket)
        if alive < 1e-6:
            return None
        likely = bisect_left(self._ended, 1 - alive * (1 - _LIKELY)) - 1
        start = min(self._frequent[bucket], likely)
        return max(_middle(start) if start > bucket else 0.0, elapsed * (1 + _STEP))

    def to_json(self) -> dict[str, object]:
        """The sketch as plain values."""
        self._rescale()
        return {"counts": {str(b): round(c, 4) for b, c in enumerate(self._counts) if c >= 1e-4}}

    @classmethod
    def from_json(cls, kept: object) -> LatencySketch:
        """A sketch from what `to_json` gave.

        Raises:
            ValueError: it is nothing that `to_json` gave.
        """
        sketch = cls()
        counts = kept.get("counts") if isinstance(kept, dict) else None
        if not isinstance(counts, dict):
            raise ValueError("a sketch is a mapping with counts")
        for name, count in counts.items():
            bucket = int(name)
            if not (0 <= bucket < _BUCKETS and isinstance(count, int | float) and 0 <= count < 1e12):
                raise ValueError(f"bucket {name} is none of a sketch")
            sketch._counts[bucket] = float(count)
        sketch._total = sum(sketch._counts)
        return sketch

    def _compute(self) -> None:
        """Smear the counts, so that few observations do not look like certainties, and derive the guidance."""
        reach = len(_SMEAR) // 2
        share = [0.0] * _BUCKETS
        for bucket, count in enumerate(self._counts):
            if count:
                for offset, part in enumerate(_SMEAR, bucket - reach):
                    share[min(_BUCKETS - 1, max(0, offset))] += part * count / self._total
        self._ended = [0.0, *accumulate(share)]
        self._frequent = [_BUCKETS] * _BUCKETS
        following = _BUCKETS
        for bucket in range(_BUCKETS - 1, -1, -1):
            alive = 1 - self._ended[bucket] - share[bucket] / 2
            if share[bucket] > _FREQUENT * _LOG * alive:
                following = bucket
            self._frequent[bucket] = following
        self._new = 0.0

    def _rescale(self) -> None:
        self._counts = [count / self._weight for count in self._counts]
        self._total /= self._weight
        self._new /= self._weight
        self._weight = 1.0


def _place(seconds: float) -> float:
    """Where a duration stands among the buckets: the bucket, and how far into it."""
    return math.log(max(seconds, _FLOOR) / _FLOOR) / _LOG


def _middle(bucket: int) -> float:
    """The middle of a bucket in seconds."""
    return float(_FLOOR * _RATIO ** (bucket + 0.5))


def retry_after(sketch: LatencySketch | None, elapsed: float, *, unconfirmed: bool = False) -> int:
    """Seconds after which it is worth asking again, for a process that has run ``elapsed`` seconds: 1 to 300."""
    if unconfirmed:
        return RETRY_AFTER_UNCONFIRMED
    look = sketch.next_look(elapsed) if sketch is not None else None
    wait = max(float(RETRY_AFTER_UNKNOWN), elapsed / 4) if look is None else look - elapsed
    return min(RETRY_AFTER_MAX, max(RETRY_AFTER_MIN, math.floor(wait + 0.5)))
