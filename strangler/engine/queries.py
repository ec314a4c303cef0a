"""Reading processes: one, its reply, its public history, a caller's list, and waiting until one changes."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from strangler.domain.events import Event
from strangler.domain.exchange import RecordedReply, RecordedRequest
from strangler.domain.process import Effect, Process, State, Tombstone
from strangler.engine.signals import Signals
from strangler.ports import Clock, ListQuery, ProcessStore

_ENDED = 4096  # processes, some 2 KiB each


class Page(NamedTuple):
    """A part of a list."""

    processes: Sequence[Process]
    more: bool  # there are older ones


class Queries:
    """What can be asked. Every method may raise `StoreUnavailable`."""

    def __init__(self, store: ProcessStore, signals: Signals, clock: Clock) -> None:
        self._store = store
        self._signals = signals
        self._clock = clock
        self._ended: dict[str, tuple[int, Process]] = {}  # until when surely kept; the one read first comes first

    async def find(self, process_id: str) -> Process | Tombstone | None:
        """One process, or what is left of it.

        One that ended never changes, and no store forgets it before its retention is over: until then the last ones
        that were read are answered for without asking again.
        """
        known = self._ended.get(process_id)
        if known is not None:
            if self._clock.now() < known[0]:
                return known[1]
            del self._ended[process_id]
        found = await self._store.process(process_id)
        if isinstance(found, Process) and found.finished_at is not None:
            if len(self._ended) >= _ENDED:
                del self._ended[next(iter(self._ended))]
            self._ended[process_id] = found.finished_at + found.retain, found
        return found

    async def find_when(self, process: Process, settled: Callable[[Process], bool], seconds: float) -> Process:
        """The process as soon as ``settled`` holds of it, or as it is when so many seconds are over.

        Wakes by signal. A signal that was lost costs the rest of the time, and not the truth: at the end the store is
        asked once more.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        with self._signals.watch(process.id) as watch:
            while True:
                found = await self._store.process(process.id)
                if not isinstance(found, Process):
                    return process
                process = found
                if settled(process) or loop.time() >= deadline or self._signals.ended:
                    return process
                await watch.changed(process.sequence, deadline - loop.time())

    async def reply(self, process_id: str) -> tuple[int, RecordedReply] | None:
        """The attempt number and the recorded reply of a process that ended with one."""
        return await self._store.reply(process_id)

    async def request(self, process_id: str) -> RecordedRequest | None:
        """The recorded request."""
        return await self._store.request(process_id)

    async def history(self, process_id: str) -> Sequence[Process]:
        """The process as it was after each public change, the first one first."""
        return public_versions(await self._store.events(process_id))

    async def page(self, query: ListQuery, callers: Collection[str]) -> Page:
        """Newest first, the processes of whoever goes by one of these hashes; ``query.caller`` is not looked at."""
        pages = [
            await self._store.page(query._replace(caller=caller, limit=query.limit + 1)) for caller in sorted(callers)
        ]
        found = pages[0] if len(pages) == 1 else list(heapq.merge(*pages, key=_newest, reverse=True))
        return Page(found[: query.limit], len(found) > query.limit)


def public_versions(events: Iterable[Event]) -> list[Process]:
    """The process after each change that a client could see, rebuilt from its history."""
    versions: list[Process] = []
    fields: dict[str, Any] = {}
    version = 0
    for event in events:
        fields.update(json.loads(event.content)["set"])
        fields.update(sequence=event.sequence, head=event.digest)
        if event.version != version:
            version = event.version
            effect = fields.get("effect")
            versions.append(Process(**{**fields, "state": State(fields["state"]), "effect": effect and Effect(effect)}))
    return versions


def _newest(process: Process) -> str:
    return process.id
