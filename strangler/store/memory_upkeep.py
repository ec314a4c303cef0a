"""What the store in memory holds, and what is swept of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process, Tombstone
from strangler.ports import Backlog, InFlight, Lease, Shed
from strangler.store.deliveries import MemoryDeliveries
from strangler.store.entry import Entry
from strangler.store.exceptions import MemoryExceptions
from strangler.store.ids import time_of
from strangler.store.retention import ORPHAN_AGE, Part, body_bytes, tombstone
from strangler.store.standing import MemoryStanding


class MemoryUpkeep(MemoryStanding):
    """Dictionaries, and `Upkeep` and `Shedding` over them."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, Entry] = {}
        self._tombstones: dict[str, Tombstone] = {}
        self._keys: dict[tuple[str, str], KeyRecord] = {}
        self.exceptions = MemoryExceptions(self._route_of, self._keep_on)
        self.deliveries = MemoryDeliveries(self._require_open, self._process_of)
        self._chunks: dict[str, dict[tuple[str, int], bytes]] = {}
        self._leases: dict[str, Lease] = {}
        self._waiting: dict[str, Process] = {}  # those that are due some time
        self._under_way: dict[str, Process] = {}

    # Upkeep

    async def renew(self, lease: Lease) -> None:
        """See `Upkeep.renew`."""
        self._require_open()
        self._leases[lease.owner] = lease

    async def resign(self, owner: str) -> None:
        """See `Upkeep.resign`."""
        self._require_open()
        self._leases.pop(owner, None)

    async def due(self, route: str, now: int, limit: int) -> Sequence[Process]:
        """See `Upkeep.due`."""
        found = [(due, process) for due, process in self._due() if process.route == route and process.is_due(now)]
        return [process for _, process in sorted(found, key=lambda pair: (pair[0], pair[1].id))[:limit]]

    async def next_due(self, after: int) -> Mapping[str, int]:
        """See `Upkeep.next_due`."""
        earliest: dict[str, int] = {}
        for due, process in self._due():
            if due > after:
                earliest[process.route] = min(due, earliest.get(process.route, due))
        return earliest

    async def overdue(self, now: int, limit: int) -> Sequence[Process]:
        """See `Upkeep.overdue`."""
        found = [process for _, process in self._due() if self._is_over(process, now)]
        return found[:limit]

    async def sweep_pauses(self) -> int:
        """See `Standing.sweep_pauses`."""
        return self.forget_pauses(entry.process.created_at for entry in self._entries.values())

    async def orphans(self, boot_id: str, boottime: int, limit: int) -> Sequence[Process]:
        """See `Upkeep.orphans`."""
        held = {owner for owner, lease in self._leases.items() if lease.boot_id == boot_id and lease.until > boottime}
        return [process for process in self._under_way.values() if process.owner not in held][:limit]

    async def backlog(self) -> Mapping[str, Backlog]:
        """See `Upkeep.backlog`."""
        waiting: dict[str, Backlog] = {}
        for _, process in self._due():
            if not process.queued:
                continue
            before = waiting.get(process.route, Backlog(0, 0))
            waiting[process.route] = Backlog(before.processes + 1, before.body_bytes + process.body_size)
        return waiting

    async def census(self) -> Sequence[InFlight]:
        """See `Upkeep.census`."""
        processes = (entry.process for entry in self._entries.values())
        open_ = ((p.route, p.state, p.settling) for p in processes if not p.final)
        return [InFlight(*kind, count) for kind, count in Counter(open_).items()]

    def _due(self) -> Iterator[tuple[int, Process]]:
        for process in self._waiting.values():
            if process.due_at is not None:
                yield process.due_at, process

    async def sweep(self, now: int, limit: int) -> int:
        """See `Upkeep.sweep`."""
        self._require_open()
        untouched = [entry for entry in self._entries.values() if self._untouched(entry)]
        past = [entry for entry in untouched if entry.retain_until_at is not None and entry.retain_until_at <= now][
            :limit
        ]
        chunks = 0
        for entry in past:
            assert entry.retain_until_at is not None
            chunks += len(self._chunks.pop(entry.process.id, ()))
            self._tombstones[entry.process.id] = tombstone(entry.process, entry.retain_until_at)
            del self._entries[entry.process.id]
            self.exceptions.forget(entry.process.id)
            self.deliveries.forget(entry.process.id)
        keys = [place for place, held in self._keys.items() if held.expires_at is not None and held.expires_at <= now][
            :limit
        ]
        for place in keys:
            del self._keys[place]
        graves = [grave.id for grave in self._tombstones.values() if grave.until_at <= now][:limit]
        for process_id in graves:
            del self._tombstones[process_id]
        parts = [(entry, part) for entry in untouched for part in Part if entry.is_due(part, now)][:limit]
        for entry, part in parts:
            self._forget_part(entry, part)
        return len(past) + chunks + len(keys) + len(graves) + len(parts) + self._sweep_chunks(now, limit)

    def _untouched(self, entry: Entry) -> bool:
        """Whether it has ended, and nobody is going to look at it, or is to be told of it any more."""
        name = entry.process.id
        return (
            entry.retain_until_at is not None
            and not self.exceptions.watched(name)
            and not any(delivery.open for delivery in self.deliveries.of(name))
        )

    def _forget_part(self, entry: Entry, part: Part) -> None:
        entry.forget(part)
        if part is Part.BODIES:
            self._chunks.pop(entry.process.id, None)
        elif part is Part.DELIVERIES:
            self.deliveries.forget_log(entry.process.id)

    def _sweep_chunks(self, now: int, limit: int) -> int:
        loose = [
            (process_id, place)
            for process_id, chunks in self._chunks.items()
            if process_id not in self._entries and time_of(process_id) < now - ORPHAN_AGE
            for place in chunks
        ][:limit]
        for process_id, place in loose:
            del self._chunks[process_id][place]
            if not self._chunks[process_id]:
                del self._chunks[process_id]
        return len(loose)

    # Shedding

    async def sheddable(self, after: str | None, enough: int) -> Shed:
        """See `Shedding.sheddable`."""
        return self._shed(after, enough, really=False)

    async def shed(self, after: str | None, enough: int) -> Shed:
        """See `Shedding.shed`."""
        self._require_open()
        return self._shed(after, enough, really=True)

    def _shed(self, after: str | None, enough: int, *, really: bool) -> Shed:
        place, processes, freed = after, 0, 0
        for name in sorted(self._entries):
            if freed >= enough:
                return Shed(processes, freed, place)
            if after is not None and name <= after:
                continue
            place, entry = name, self._entries[name]
            if self._untouched(entry) and Part.BODIES not in entry.gone:
                processes += 1
                freed += body_bytes(entry.process) + sum(len(evidence.body) for evidence in entry.evidence)
                if really:
                    self._forget_part(entry, Part.BODIES)
        return Shed(processes, freed, None)

    def _route_of(self, process_id: str | None) -> str:
        entry = self._entries.get(process_id) if process_id is not None else None
        return entry.process.route if entry is not None else ""

    def _process_of(self, process_id: str) -> Process | None:
        entry = self._entries.get(process_id)
        return entry.process if entry is not None else None

    def _keep_on(self, process_id: str, at: int) -> None:
        entry = self._entries.get(process_id)
        if entry is not None and entry.retain_until_at is not None:
            entry.retain_until_at = max(entry.retain_until_at, at + entry.process.retain)
