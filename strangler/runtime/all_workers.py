"""All workers at once, as supervision and operators see them."""

from __future__ import annotations

from strangler.runtime.hub import Hub


class AllWorkers:
    """Whoever claims what is due, as `supervise` sees them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def restock(self) -> None:
        """See `Executes.restock`."""
        for route, waiting in (await self._hub.store.backlog()).items():
            lane = self._hub.lanes.of(route)
            lane.waiting, lane.waiting_bytes = waiting.processes, waiting.body_bytes
        self._hub.tell_all("restock")

    def wake(self, route: str, due_at: int) -> None:
        """See `Executes.wake`."""
        self._hub.wake(route, due_at)
