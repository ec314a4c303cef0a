"""What the processes of each route have lately taken, kept over restarts, and the Retry-After that follows from it."""

from __future__ import annotations

import json
import math

from strangler.domain.latency import RETRY_AFTER_MAX, LatencySketch, retry_after
from strangler.domain.process import Process, PublicState, State
from strangler.ports import Archive

_PAUSED = 30  # seconds


class Latencies:
    """The latency sketches of all routes."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._sketches: dict[str, LatencySketch] = {}
        self._changed: set[str] = set()

    async def load(self) -> None:
        """Take up what an earlier run kept; what is no sketch is left out, it is guidance and no truth.

        Raises:
            StoreUnavailable: the archive cannot be read.
        """
        for route, text in (await self._archive.load("latency")).items():
            try:
                self._sketches[route] = LatencySketch.from_json(json.loads(text))
            except ValueError:
                continue

    async def save(self) -> None:
        """Keep what was learnt since the last time; to be called every minute or so, and at the end.

        Raises:
            StoreUnavailable: the archive cannot be written; the rest is kept the next time.
        """
        for route in sorted(self._changed):
            # Off the list before it is written, so that what is observed meanwhile counts as changed.
            self._changed.discard(route)
            try:
                await self._archive.save("latency", route, json.dumps(self._sketches[route].to_json()))
            except BaseException:
                self._changed.add(route)
                raise

    def observe(self, route: str, seconds: float) -> None:
        """A process of a route took so long from its acceptance to its end."""
        sketch = self._sketches.get(route)
        if sketch is None:
            sketch = self._sketches[route] = LatencySketch()
        sketch.observe(seconds)
        self._changed.add(route)

    def retry_after(self, process: Process, now: int, *, paused: bool = False) -> int:
        """Seconds, 1 to 300, after which it is worth asking for a process that is not final.

        Never before the next attempt is due. ``paused``: calls of its route are; nobody knows for how long.
        """
        unconfirmed = process.public_state is PublicState.UNCONFIRMED
        elapsed = max(0, now - process.created_at) / 1000
        seconds = retry_after(self._sketches.get(process.route), elapsed, unconfirmed=unconfirmed)
        if paused and process.state is not State.PROCESSING:
            seconds = max(seconds, _PAUSED)
        if process.state is State.WAITING and process.due_at is not None and process.due_at > now:
            return min(RETRY_AFTER_MAX, max(seconds, math.ceil((process.due_at - now) / 1000)))
        return seconds
