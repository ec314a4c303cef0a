"""What people look at, put together: the queue, settling by hand, reconciliation. Made where the store is owned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from strangler.domain.delivery import parse_delivery_id
from strangler.engine.exceptions import ExceptionDesk, OpenCounts
from strangler.engine.gates import Gatekeeper
from strangler.engine.notify import Notifier
from strangler.engine.pauses import Pauses
from strangler.engine.reconcile import Reconciler
from strangler.engine.resolving import Resolving
from strangler.operations.api import exceptions, reconciliation, resolving
from strangler.operations.api.endpoint import Endpoint
from strangler.operations.telemetry import Telemetry
from strangler.policy.model import Promise
from strangler.ports import Clock, ExceptionEntry
from strangler.runtime.telling import Telling
from strangler.store import Store

_COUNT_EVERY = 5.0  # seconds


class Review:
    """Made on a running loop.

    Args:
        wake: look for due processes of a route at an instant.
    """

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        clock: Clock,
        pauses: Pauses,
        wake: Callable[[str, int], None],
        gates: Gatekeeper,
        telling: Telling,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._telling = telling
        self._counts = OpenCounts(store.exceptions)
        self._resolving = Resolving(store, notifier, clock, pauses, wake, lambda route: gates.held(route) is not None)
        self._desk = ExceptionDesk(store.exceptions, store, self._resolving, clock, pauses, self._redrive)
        self._reconciler = Reconciler(store.examiner, store.exceptions, clock, telemetry)
        telemetry.watch_exceptions(lambda: self._counts.latest)

    def endpoints(self, promise_of: Callable[[str], Promise | None]) -> Iterator[Endpoint]:
        """What operators ask, and do."""
        yield from exceptions.endpoints(self._desk)
        yield from resolving.endpoints(self._resolving, promise_of)
        yield from reconciliation.endpoints(self._reconciler)

    def works(self, reconcile_every: float | None) -> Iterator[Coroutine[Any, Any, None]]:
        """What goes on for ever. ``reconcile_every``: seconds; None: only when somebody asks."""
        yield self._count()
        if reconcile_every is not None:
            yield self._reconciler.every(reconcile_every)

    async def close(self) -> None:
        """Give up what is being examined."""
        await self._reconciler.close()

    async def _count(self) -> None:
        while True:
            await self._counts.look()
            await asyncio.sleep(_COUNT_EVERY)

    async def _redrive(self, entry: ExceptionEntry, who: str, why: str) -> str | None:
        """Try a receiver again; one that said that it is gone is no longer paused."""
        key = parse_delivery_id(entry.subject)
        found = await self._store.deliveries.log(key) if key is not None else None
        if key is None or found is None:
            return "there is no such delivery any more"
        delivery, _ = found
        if entry.kind == "receiver_gone":
            await self._telling.deliverer.resume(delivery.receiver, delivery.url, who, why)
        else:
            await self._telling.redriver.one(key, who, why)
        return None
