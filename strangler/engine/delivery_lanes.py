"""One lane per receiver, or per origin of one whose callers name the URL: what is ready, what is under way, how wide it
is. Bookkeeping only; `deliver` acts on it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from strangler.domain.delivery import Delivery, receiver_of_lane
from strangler.domain.process import Process
from strangler.policy.callback_url import parse_callback_url
from strangler.policy.limit import take
from strangler.policy.model import Rate
from strangler.policy.receivers import Receiver
from strangler.ports import DeliveryKey

STOCK = 128
"""Deliveries that are due which a lane takes from the store at a time."""

IN_HAND = 2
"""Deliveries in hand for each call that may be under way: those that are being sent, and those that a receiver took and
whose end is on its way to the disk. So many are at most sent again after a kill."""

NARROWED_AFTER = 5
"""Failures in a row after which a lane is narrowed: one call at a time, until one succeeds."""

_LONGEST_SPARE = 60_000  # milliseconds between two tries while the fault is our own
_FIRST_SPARE = 1_000
_LONGEST_LEFT_OUT = 600_000  # milliseconds between two tries of a delivery that a defect of ours breaks …
_FIRST_LEFT_OUT = 5_000  # … but for the second one, which is the next look's


class Ready(NamedTuple):
    """A delivery that can be sent."""

    delivery: Delivery
    told: Process | None = None  # the process, where it is at hand as it is told; else it is read when that is sent


class DeliveryLane:
    """What is sent in one lane."""

    __slots__ = (
        "_calls",
        "_full_at",
        "_in_hand",
        "_left_out",
        "_ready",
        "_ready_keys",
        "_settled",
        "_spares",
        "failures",
        "name",
        "not_before",
        "receiver",
        "stocking",
        "timed",
        "unknown",
        "warned",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.receiver = receiver_of_lane(name)
        self.unknown = False  # the store may hold what is due and not in memory
        self.timed = True  # nobody knows when the next one falls due
        self.stocking = False  # the store is being asked
        self.failures = 0  # of the receiver, in a row
        self.not_before = 0  # the receiver asked for peace until this instant, or a fault of ours is waited for
        self.warned = False  # it was said that nobody knows how to reach the receiver
        self._spares = 0  # faults of our own in a row
        self._full_at: float | None = None  # milliseconds: when the whole of its rate is there again
        self._ready: deque[Ready] = deque()
        self._ready_keys: set[DeliveryKey] = set()
        self._calls = 0
        self._in_hand: set[DeliveryKey] = set()
        self._settled: set[DeliveryKey] = set()  # since the store was last asked
        self._left_out: dict[DeliveryKey, tuple[int, int]] = {}  # how often a defect broke it, and until when

    def room(self, concurrency: int) -> bool:
        """Whether one more call may begin."""
        width = 1 if self.narrowed else concurrency
        return self._calls < width and len(self._in_hand) < IN_HAND * width

    @property
    def narrowed(self) -> bool:
        """Whether the receiver has failed too often in a row."""
        return self.failures >= NARROWED_AFTER

    def pass_at(self, rate: Rate, now: int) -> int:
        """Count one call, if the rate has room for it: 0. Else the instant at which it has."""
        taken = take(rate, self._full_at, now)
        self._full_at = taken.full_at
        if taken.reading.allowed:
            return 0
        window = rate.seconds * 1000
        return max(now + 1, math.ceil(taken.full_at + window / rate.requests - window))

    def idle(self, now: int) -> bool:
        """Whether nothing is under way, nothing is known to be due, and nothing has to be remembered."""
        busy = self._in_hand or self._ready or self.stocking or self.unknown
        return not busy and self.not_before <= now and (self._full_at is None or self._full_at <= now)

    def begin_stocking(self) -> None:
        """The store is going to be asked; what is settled from now on may still be in its answer."""
        self.unknown = False
        self.stocking = True
        self._settled.clear()

    @property
    def wanted(self) -> int:
        """Deliveries to ask the store for: it still has as due what is in hand."""
        return STOCK + len(self._in_hand) + len(self._left_out)

    def news(self, due: Iterable[Delivery], now: int) -> list[Delivery]:
        """What the store says is due, but for what is known better here."""
        known = self._ready_keys | self._in_hand | self._settled
        known.update(key for key, (_, until) in self._left_out.items() if until > now)
        return [delivery for delivery in due if delivery[:3] not in known]

    def stock(self, due: Iterable[Delivery], processes: Mapping[str, Process], now: int) -> None:
        """Take what the store says is due; ``processes``, by id, are those that were read of what it tells of."""
        for delivery in self.news(due, now):
            process = processes.get(delivery.process_id)
            told = process is not None and process.version == delivery.version
            self._add(delivery[:3], Ready(delivery, process if told else None))
        self.stocking = False

    def offer(self, ready: Ready) -> bool:
        """Take one that was committed just now; False: what the store says is due comes first, or there is no room."""
        if self.unknown or self.stocking or len(self._ready) >= STOCK:
            return False
        key = ready.delivery[:3]
        if key not in self._ready_keys and key not in self._in_hand:  # else a look into the store was faster
            self._add(key, ready)
        return True

    def _add(self, key: DeliveryKey, ready: Ready) -> None:
        self._ready.append(ready)
        self._ready_keys.add(key)

    @property
    def ready(self) -> bool:
        """Whether something can be taken."""
        return bool(self._ready)

    def take(self) -> Ready:
        """The one that has been due longest; `hung_up` and `settled` have to follow."""
        taken = self._ready.popleft()
        key = taken.delivery[:3]
        self._ready_keys.discard(key)
        self._in_hand.add(key)
        self._calls += 1
        return taken

    def hung_up(self) -> None:
        """The call for one that was taken is over."""
        self._calls -= 1

    def settled(self, delivery: Delivery) -> None:
        """What became of one that was taken is on disk, or is not going to be."""
        key = delivery[:3]
        self._in_hand.discard(key)
        if self.stocking:
            self._settled.add(key)

    def leave_out(self, delivery: Delivery, now: int) -> None:
        """A defect of ours broke it: others go on without it, for longer each time; it may have been told already.

        Where that is so of more than can be remembered, the lane rests.
        """
        key = delivery[:3]
        times, _ = self._left_out.pop(key, (0, 0))
        wait = min(_LONGEST_LEFT_OUT, _FIRST_LEFT_OUT << min(times - 1, 16)) if times else 0
        self._left_out[key] = times + 1, now + wait
        if len(self._left_out) > STOCK:
            del self._left_out[next(iter(self._left_out))]
            self.not_before = max(self.not_before, now + self.spare())

    def call_again(self) -> None:
        """Somebody wants it called now."""
        self.not_before = 0
        self._left_out.clear()

    def in_hand(self, delivery: Delivery) -> bool:
        """Whether a delivery is being sent, or was, and its end is not on disk yet."""
        return delivery[:3] in self._in_hand

    def drop_ready(self) -> None:
        """Forget what is ready: the store knows it."""
        self._ready.clear()
        self._ready_keys.clear()

    def answered(self, well: bool) -> None:
        """The receiver answered, or did not."""
        self.failures = 0 if well else self.failures + 1
        self._spares = 0

    def spare(self) -> int:
        """A fault of our own: milliseconds to wait before the next try of this lane, longer each time."""
        self._spares += 1
        return min(_LONGEST_SPARE, _FIRST_SPARE << min(self._spares - 1, 16))


def reaches(receiver: Receiver, lane: str) -> bool:
    """Whether what is in a lane can be sent by today's policy: a receiver may have got, or lost, its URL."""
    origin = lane.partition(" ")[2]
    if not origin:
        return receiver.url is not None
    url = parse_callback_url(origin)
    return any(allowed.covers(url) for allowed in receiver.allow)
