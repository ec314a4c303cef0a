"""What a route's processes have lately taken, and from that an honest Retry-After.

A histogram with logarithmic buckets (after DDSketch: Masson, Rim, Lee, VLDB 2019) whose counts decay, so that it
follows a route whose latency changes. Small enough to be kept over restarts as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_RATIO = 1.1  # neighbouring buckets differ by a tenth, so an estimate is off by a twentieth at most
_LOG = math.log(_RATIO)
_FLOOR = 0.01  # seconds; what is quicker is as quick
_MEMORY = 1000.0  # observations after which an old one counts for 1/e

RETRY_AFTER_MIN = 1
RETRY_AFTER_MAX = 300
RETRY_AFTER_UNKNOWN = 3  # nothing observed yet
RETRY_AFTER_UNCONFIRMED = 30  # a person is to settle it


class LatencySketch:
    """A decaying histogram of durations in seconds."""

    def __init__(self) -> None:
        self._counts: dict[int, float] = {}
        self._total = 0.0
        self._weight = 1.0  # of the next observation; grows instead of all counts shrinking

    def observe(self, seconds: float) -> None:
        """Count one process that took so long from acceptance to its end."""
        bucket = math.floor(math.log(max(seconds, _FLOOR) / _FLOOR) / _LOG)
        self._counts[bucket] = self._counts.get(bucket, 0.0) + self._weight
        self._total += self._weight
        self._weight *= 1 + 1 / _MEMORY
        if self._weight > 1e9:
            self._rescale()

    def quantile(self, fraction: float, longer_than: float = 0.0) -> float | None:
        """The duration within which ``fraction`` ends, of those that took longer than ``longer_than`` seconds.

        None where none did.
        """
        left = {b: count for b, count in self._counts.items() if _upper(b) > longer_than}
        total = sum(left.values())
        if total <= 0:
            return None
        reached = 0.0
        for bucket in sorted(left):
            reached += left[bucket]
            if reached >= fraction * total:
                return _upper(bucket)
        return _upper(max(left))

    def to_json(self) -> dict[str, object]:
        """The sketch as plain values."""
        self._rescale()
        return {"counts": {str(b): round(c, 4) for b, c in self._counts.items() if c >= 1e-4}}

    @classmethod
    def from_json(cls, kept: Mapping[str, object]) -> LatencySketch:
        """A sketch from what `to_json` gave.

        Raises:
            ValueError: it is nothing that `to_json` gave.
        """
        sketch = cls()
        counts = kept.get("counts")
        if not isinstance(counts, dict):
            raise ValueError("a sketch is a mapping with counts")
        sketch._counts = {int(b): float(c) for b, c in counts.items()}
        sketch._total = sum(sketch._counts.values())
        return sketch

    def _rescale(self) -> None:
        self._counts = {b: c / self._weight for b, c in self._counts.items()}
        self._total /= self._weight
        self._weight = 1.0


def _upper(bucket: int) -> float:
    return float(_FLOOR * _RATIO ** (bucket + 1))


def retry_after(sketch: LatencySketch | None, elapsed: float, *, unconfirmed: bool = False) -> int:
    """Seconds after which it is worth asking again, for a process that has run ``elapsed`` seconds.

    The median of what processes that ran so long still took: a client that obeys comes back about when it ends, and
    seldom more often than a few times.
    """
    if unconfirmed:
        return RETRY_AFTER_UNCONFIRMED
    end = sketch.quantile(0.5, elapsed) if sketch is not None else None
    if end is None:
        # Nothing is known, or it has outlasted all that was seen: come back after a fraction of what it ran already.
        wait = max(float(RETRY_AFTER_UNKNOWN), elapsed / 4)
    else:
        wait = end - elapsed
    return min(RETRY_AFTER_MAX, max(RETRY_AFTER_MIN, math.ceil(wait)))
