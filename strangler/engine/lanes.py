"""One lane per route: what waits, what runs, and what is due next. Bookkeeping only; `execute` acts on it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

from strangler.domain.process import Process
from strangler.domain.transitions import Change
from strangler.engine.instrument import QueueReading
from strangler.policy.model import CallPolicy

STOCK = 512
"""Due processes that a lane holds in memory; what is beyond lies in the store."""

_PACE_MEMORY = 0.1  # weight of the newest call in the running mean
_RETRY_AFTER_MAX = 300


class Lane:
    """The recorded calls of one route on this worker."""

    __slots__ = (
        "_claiming",
        "_ready",
        "_ready_ids",
        "coming",
        "coming_bytes",
        "pace",
        "route",
        "running",
        "stocked",
        "waiting",
        "waiting_bytes",
    )

    def __init__(self, route: str) -> None:
        self.route = route
        self.running = 0  # claims and calls under way
        self.waiting = 0  # processes that wait for a claim, in memory or in the store only
        self.waiting_bytes = 0  # of their request bodies
        self.coming = 0  # processes that are being committed here, and are going to wait
        self.coming_bytes = 0
        self.pace = 0.0  # seconds that a call lately took, as a running mean; 0: none ended yet
        self.stocked = False  # the store may hold due processes that are not in memory
        self._ready: deque[Process] = deque()
        self._ready_ids: set[str] = set()
        self._claiming: set[str] = set()

    def expect(self, step: int, body_size: int) -> None:
        """One process more (1) is about to wait, or one less (-1): its commit came to something."""
        self.coming += step
        self.coming_bytes += step * body_size

    def offer(self, process: Process) -> None:
        """A process is due. Where too many are, it is left to the store, in whose order they come."""
        if self.stocked or len(self._ready) >= STOCK:
            self.stocked = True
        else:
            self._hold(process)

    def stock(self, due: Iterable[Process], *, more: bool) -> None:
        """Take what the store says is due."""
        for process in due:
            self._hold(process)
        self.stocked = self.stocked or more

    def _hold(self, process: Process) -> None:
        if process.id not in self._ready_ids and process.id not in self._claiming:
            self._ready.append(process)
            self._ready_ids.add(process.id)

    @property
    def ready(self) -> bool:
        """Whether there is one to `take`."""
        return bool(self._ready)

    def take(self) -> Process:
        """The process that has been due longest, of those in memory; `claimed` says that its claim is settled."""
        process = self._ready.popleft()
        self._ready_ids.discard(process.id)
        self._claiming.add(process.id)
        return process

    def claimed(self, process_id: str) -> None:
        """The claim of a process that was taken is settled, one way or the other."""
        self._claiming.discard(process_id)

    def idle_for(self, slots: int) -> bool:
        """Whether a new process can start at once in one of so many slots, past nobody who waits."""
        return self.running < slots and not self._ready and not self.stocked

    @property
    def wanting(self) -> int:
        """How many more slots could be used, as far as is known here."""
        return len(self._ready) or int(self.stocked)

    def measured(self, seconds: float) -> None:
        """A call ended after so long."""
        self.pace = seconds if self.pace == 0.0 else self.pace + _PACE_MEMORY * (seconds - self.pace)

    def retry_after(self, call: CallPolicy) -> int:
        """Seconds until a place in the queue is likely, from the measured backlog."""
        # A tenth of the queue has to go before it is worth coming back.
        share = max(1, self.waiting // 10)
        return min(_RETRY_AFTER_MAX, max(1, math.ceil(share * (self.pace or 1.0) / max(1, call.concurrency))))

    def reading(self, now: int) -> QueueReading:
        """What stands here, for the metrics."""
        oldest = self._ready[0].due_at if self._ready else None
        age = max(0.0, (now - oldest) / 1000) if oldest is not None else 0.0
        return QueueReading(self.waiting, self.waiting_bytes, self.running, age)


class AllSlots:
    """The `Slots` of a worker that is the only one: as many as the policy says."""

    def held(self, route: str, concurrency: int) -> int:
        """See `Slots.held`."""
        return concurrency

    def want(self, route: str, concurrency: int, number: int) -> None:
        """See `Slots.want`: there are no more."""

    def spare(self, route: str) -> None:
        """See `Slots.spare`: nobody else could use them."""

    async def begin_look(self, process_id: str) -> bool:
        """See `Slots.begin_look`: there is nobody else."""
        return True

    def end_look(self, process_id: str) -> None:
        """See `Slots.end_look`."""


class Lanes:
    """All lanes of this worker; they keep count of what waits by seeing every committed change."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    def of(self, route: str) -> Lane:
        """The lane of a route."""
        lane = self._lanes.get(route)
        if lane is None:
            lane = self._lanes[route] = Lane(route)
        return lane

    def all(self) -> list[Lane]:
        """Every lane there is."""
        return list(self._lanes.values())

    def observe(self, change: Change) -> None:
        """Count what a committed change did to the queue of its route."""
        waited = change.before is not None and change.before.queued
        waits = change.process.queued
        if waited == waits:
            return
        self.count(change.process.route, 1 if waits else -1, change.process.body_size)

    def count(self, route: str, step: int, body_size: int) -> None:
        """One process more (1) or less (-1) waits."""
        lane = self.of(route)
        lane.waiting += step
        lane.waiting_bytes += step * body_size

    def readings(self, now: int) -> Mapping[str, QueueReading]:
        """What waits and runs, by route."""
        return {lane.route: lane.reading(now) for lane in self.all()}
