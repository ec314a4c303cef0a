"""Deliveries in memory, and the rules that all stores share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState
from strangler.domain.process import Process
from strangler.ports import DeliveryKey, DeliveryQuery, DeliveryStep, DeliveryTotal, ReceiverPause

_COUNTED = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)


def key_of(delivery: Delivery) -> DeliveryKey:
    """What names a delivery."""
    return delivery.process_id, delivery.version, delivery.position


def wanted(delivery: Delivery, query: DeliveryQuery) -> bool:
    """Whether a delivery belongs into a list."""
    return (
        (query.receiver is None or delivery.receiver == query.receiver)
        and (query.url is None or delivery.url == query.url)
        and (not query.states or delivery.state in query.states)
        and (query.process_id is None or delivery.process_id == query.process_id)
        and (query.created_after is None or delivery.created_at >= query.created_after)
        and (query.created_before is None or delivery.created_at < query.created_before)
        and (query.before is None or key_of(delivery) < query.before)
    )


class MemoryDeliveries:
    """See `Deliveries`.

    Args:
        require_open: raises `StoreUnavailable` where the store is closed.
        process_of: a process that there is; None: there is none.
    """

    def __init__(self, require_open: Callable[[], None], process_of: Callable[[str], Process | None]) -> None:
        self._require_open = require_open
        self._process_of = process_of
        self._held: dict[str, dict[tuple[int, int], Delivery]] = {}  # by process
        self._pending: dict[DeliveryKey, Delivery] = {}
        self._logs: dict[DeliveryKey, list[DeliveryAttempt]] = {}
        self._pauses: dict[tuple[str, str | None], ReceiverPause] = {}

    # What commits write.

    def stale(self, step: DeliveryStep) -> bool:
        """Whether a delivery is no longer what a step starts from."""
        before = step.before
        found = self._held.get(before.process_id, {}).get((before.version, before.position))
        return found is None or found.sequence != before.sequence

    def write(self, delivery: Delivery) -> None:
        """A delivery as it stands by now."""
        self._held.setdefault(delivery.process_id, {})[delivery.version, delivery.position] = delivery
        if delivery.state is DeliveryState.PENDING:
            self._pending[key_of(delivery)] = delivery
        else:
            self._pending.pop(key_of(delivery), None)

    def step(self, step: DeliveryStep) -> None:
        """What became of a delivery."""
        self.write(step.after)
        if step.attempt is not None:
            self._logs.setdefault(key_of(step.after), []).append(step.attempt)
        if step.pauses is not None:
            self._pauses.setdefault((step.pauses.receiver, step.pauses.url), step.pauses)

    def of(self, process_id: str) -> tuple[Delivery, ...]:
        """All deliveries of a process."""
        found = self._held.get(process_id, {})
        return tuple(found[place] for place in sorted(found))

    def logs_of(self, process_id: str) -> tuple[DeliveryAttempt, ...]:
        """The attempts at all of them."""
        return tuple(attempt for one in self.of(process_id) for attempt in self._logs.get(key_of(one), ()))

    def forget(self, process_id: str) -> None:
        """Forget those of a process."""
        for delivery in self.of(process_id):
            self._logs.pop(key_of(delivery), None)
            self._pending.pop(key_of(delivery), None)
        self._held.pop(process_id, None)

    def forget_log(self, process_id: str) -> None:
        """Forget what was tried for those of a process."""
        for delivery in self.of(process_id):
            self._logs.pop(key_of(delivery), None)

    # Deliveries

    async def due(self, lane: str, now: int, limit: int) -> Sequence[Delivery]:
        """See `Deliveries.due`."""
        found = [
            (delivery.due_at, key_of(delivery), delivery)
            for delivery in self._pending.values()
            if delivery.lane == lane
            and delivery.due_at is not None
            and delivery.due_at <= now
            and not self._blocked(delivery)
        ]
        return [delivery for *_, delivery in sorted(found)[:limit]]

    def _blocked(self, delivery: Delivery) -> bool:
        return any(
            other.open and other.position == delivery.position and other.version < delivery.version
            for other in self._held[delivery.process_id].values()
        )

    async def processes(self, process_ids: Collection[str]) -> Mapping[str, Process]:
        """See `Deliveries.processes`."""
        found = {name: self._process_of(name) for name in process_ids}
        return {name: process for name, process in found.items() if process is not None}

    async def next_due(self, after: int) -> Mapping[str, int]:
        """See `Deliveries.next_due`."""
        earliest: dict[str, int] = {}
        for delivery in self._pending.values():
            if delivery.due_at is not None and delivery.due_at > after:
                earliest[delivery.lane] = min(delivery.due_at, earliest.get(delivery.lane, delivery.due_at))
        return earliest

    async def find(self, query: DeliveryQuery) -> Sequence[Delivery]:
        """See `Deliveries.find`."""
        found = [delivery for delivery in self._all() if wanted(delivery, query)]
        return sorted(found, key=key_of, reverse=True)[: query.limit]

    async def log(self, key: DeliveryKey) -> tuple[Delivery, Sequence[DeliveryAttempt]] | None:
        """See `Deliveries.log`."""
        found = self._held.get(key[0], {}).get(key[1:])
        return (found, tuple(self._logs.get(key, ()))) if found is not None else None

    async def totals(self) -> Sequence[DeliveryTotal]:
        """See `Deliveries.totals`."""
        totals: dict[tuple[str, DeliveryState], DeliveryTotal] = {}
        for delivery in self._all():
            if delivery.state not in _COUNTED:
                continue
            place = delivery.receiver, delivery.state
            total = totals.get(place, DeliveryTotal(*place, 0, None))
            dues = [due for due in (total.oldest_due_at, delivery.due_at) if due is not None]
            totals[place] = DeliveryTotal(*place, total.deliveries + 1, min(dues, default=None))
        return list(totals.values())

    async def pauses(self) -> Sequence[ReceiverPause]:
        """See `Deliveries.pauses`."""
        return list(self._pauses.values())

    async def pause(self, pause: ReceiverPause) -> None:
        """See `Deliveries.pause`."""
        self._require_open()
        self._pauses.setdefault((pause.receiver, pause.url), pause)

    async def resume(self, receiver: str, url: str | None) -> None:
        """See `Deliveries.resume`."""
        self._require_open()
        self._pauses.pop((receiver, url), None)

    def _all(self) -> Iterable[Delivery]:
        return (delivery for held in self._held.values() for delivery in held.values())
