"""The store of `memory:`, which forgets everything at the end: for trying things out, and for tests.

What it answers is what the SQLite store answers; the conformance tests in tests/store hold both to it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from strangler.domain.errors import StoreUnavailable
from strangler.domain.events import Event
from strangler.domain.exchange import RecordedReply, RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process, State, Tombstone
from strangler.domain.transitions import Change
from strangler.ports import (
    ArchiveKind,
    AuditQuery,
    Carried,
    Changes,
    Command,
    Commit,
    Committed,
    DeliveryStep,
    End,
    Found,
    KeyTaken,
    ListQuery,
    PublicChange,
    Recorded,
    Search,
    Stale,
    Verdict,
)
from strangler.store.commits import Commits
from strangler.store.desk import commanded, sought
from strangler.store.entry import Entry
from strangler.store.examining import MemoryExaminer
from strangler.store.ledger import Ledger, Ledgers, Now
from strangler.store.listing import listed
from strangler.store.memory_upkeep import MemoryUpkeep
from strangler.store.retention import CHUNKS_GONE, subject


class MemoryStore(MemoryUpkeep):
    """All store ports over dictionaries."""

    location = "memory:"
    software = "memory"

    def __init__(self) -> None:
        super().__init__()
        self._commits = Commits()
        self._archive: defaultdict[ArchiveKind, dict[str, str]] = defaultdict(dict)
        self._recorded: list[Recorded] = []

    # ProcessStore

    def commit(self, commit: Commit) -> asyncio.Future[Verdict]:
        """See `ProcessStore.commit`."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(StoreUnavailable("the store is closed"))
        else:
            obstacle = self._obstacle(commit)
            if obstacle is None and self._lacks_chunks(commit):
                future.set_exception(StoreUnavailable(CHUNKS_GONE))
            else:
                future.set_result(obstacle if obstacle is not None else self._write(commit))
        return future

    def _lacks_chunks(self, commit: Commit) -> bool:
        chunks = commit.request.body.chunks if commit.request is not None else 0
        return bool(chunks) and chunks != sum(part == "request" for part, _ in self._chunks.get(subject(commit), {}))

    def _obstacle(self, commit: Commit) -> Stale | KeyTaken | None:
        entry = self._entries.get(subject(commit))
        change = commit.change
        if commit.delivery is not None and self.deliveries.stale(commit.delivery):
            return Stale()
        if change is None:
            return None if entry is not None else Stale()
        if (entry and _token(entry.process)) != (change.before and _token(change.before)):
            return Stale()
        if commit.key is not None:
            held = self._keys.get((commit.key.scope, commit.key.key))
            if held is not None and (held.expires_at is None or held.expires_at > change.process.created_at):
                return KeyTaken(held)
        return None

    def _write(self, commit: Commit) -> Committed:
        if commit.change is not None:
            self._write_change(commit.change)
        entry = self._entries[subject(commit)]
        if commit.request is not None:
            entry.request = commit.request
        if commit.key is not None:
            self._keys[commit.key.scope, commit.key.key] = commit.key
        if commit.attempt is not None:
            begun = entry.attempts.get(commit.attempt.number, commit.attempt)
            entry.attempts[commit.attempt.number] = commit.attempt._replace(started_at=begun.started_at)
        if commit.reply is not None:
            entry.reply = commit.reply
        if commit.end is not None:
            self._write_end(entry, commit.end)
        if commit.evidence is not None:
            entry.evidence.append(commit.evidence)
        if commit.closes is not None:
            self.exceptions.settle(entry.process.id, commit.closes)
        if commit.opens is not None:
            self.exceptions.write(commit.opens)
        if commit.delivery is not None:
            self._write_delivery(commit.delivery)
        return Committed()

    def _write_delivery(self, step: DeliveryStep) -> None:
        self.deliveries.step(step)
        if step.closes is not None:
            self.exceptions.settle_delivery(step.before, step.closes)
        if step.after.ended_at is not None:
            self._keep_on(step.after.process_id, step.after.ended_at)

    def _write_change(self, change: Change) -> None:
        process = change.process
        entry = self._entries.setdefault(process.id, Entry(process))
        entry.process = process
        self._commits.add(change)
        entry.events.extend(change.events)
        entry.outbox.extend(change.outbox)
        for delivery in change.deliveries:
            self.deliveries.write(delivery)
        self._waiting.pop(process.id, None)
        self._under_way.pop(process.id, None)
        if process.due_at is not None:
            self._waiting[process.id] = process
        elif process.state is State.PROCESSING:
            self._under_way[process.id] = process

    def _write_end(self, entry: Entry, end: End) -> None:
        process = entry.process
        entry.retain_until_at = end.retain_until_at
        if entry.request is not None:
            entry.request = entry.request._replace(credentials=())
        if end.key_expires_at is not None and process.key_scope is not None and process.key_lookup is not None:
            held = self._keys.get((process.key_scope, process.key_lookup))
            if held is not None and held.process_id == process.id:
                self._keys[held.scope, held.key] = held._replace(expires_at=end.key_expires_at)

    async def process(self, process_id: str) -> Process | Tombstone | None:
        """See `ProcessStore.process`."""
        entry = self._entries.get(process_id)
        return entry.process if entry is not None else self._tombstones.get(process_id)

    async def key(self, scope: str, key: str) -> KeyRecord | None:
        """See `ProcessStore.key`."""
        return self._keys.get((scope, key))

    async def request(self, process_id: str) -> RecordedRequest | None:
        """See `ProcessStore.request`."""
        entry = self._entries.get(process_id)
        return entry.request if entry is not None else None

    async def reply(self, process_id: str) -> tuple[int, RecordedReply] | None:
        """See `ProcessStore.reply`."""
        entry = self._entries.get(process_id)
        return entry.reply if entry is not None else None

    async def events(self, process_id: str) -> Sequence[Event]:
        """See `ProcessStore.events`."""
        entry = self._entries.get(process_id)
        return tuple(entry.events) if entry is not None else ()

    async def page(self, query: ListQuery) -> Sequence[Process]:
        """See `ProcessStore.page`."""
        found = [entry.process for entry in self._entries.values() if listed(entry.process, query)]
        return sorted(found, key=_id, reverse=True)[: query.limit]

    async def changes(self, resource: str, callers: Collection[str], after: str | None) -> Changes | None:
        """See `ProcessStore.changes`."""
        newest = self._commits.newest()
        if after is None:
            return Changes((), newest, more=False)
        events = self._commits.later(after)
        if events is None:
            return None
        found = []
        for mark, event, public in events:
            entry = self._entries.get(event.process_id)
            if public and entry is not None and entry.process.caller in callers and entry.process.resource == resource:
                found.append(PublicChange(event.process_id, event.version, mark))
        return Changes(found, newest, more=False)

    # Bodies

    def write_chunk(self, process_id: str, part: str, index: int, data: bytes) -> asyncio.Future[None]:
        """See `Bodies.write_chunk`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(StoreUnavailable("the store is closed"))
        else:
            self._chunks.setdefault(process_id, {})[part, index] = bytes(data)
            future.set_result(None)
        return future

    async def read_chunk(self, process_id: str, part: str, index: int) -> bytes:
        """See `Bodies.read_chunk`."""
        return self._chunks[process_id][part, index]

    async def discard_chunks(self, process_id: str, part: str) -> None:
        """See `Bodies.discard_chunks`."""
        self._require_open()
        chunks = self._chunks.get(process_id, {})
        for place in [place for place in chunks if place[0] == part]:
            del chunks[place]

    # Archive

    async def save(self, kind: ArchiveKind, name: str, text: str) -> None:
        """See `Archive.save`."""
        self._require_open()
        self._archive[kind][name] = text

    async def load(self, kind: ArchiveKind) -> Mapping[str, str]:
        """See `Archive.load`."""
        return dict(self._archive[kind])

    # Desk and Audit

    async def search(self, search: Search) -> Found:
        """See `Desk.search`."""
        found = [entry.process for entry in self._entries.values() if sought(entry.process, search)]
        page = sorted(found, key=_id, reverse=True)[: search.limit]
        return Found(page, len(self._entries), page[-1].id if len(found) > len(page) else None)

    async def forgotten_tries(self, process_id: str) -> Sequence[str]:
        """See `Desk.forgotten_tries`."""
        self._require_open()
        return sorted(grave.id for grave in self._tombstones.values() if grave.parent_id == process_id)

    async def carried(self, process_id: str) -> Carried | None:
        """See `Desk.carried`."""
        ledger = self.one(process_id)
        if ledger is None:
            return None
        return Carried(ledger.attempts, ledger.evidence, ledger.exceptions, ledger.sealed, ledger.retain_until_at)

    async def begin_command(self, command: Command) -> int:
        """See `Audit.begin_command`."""
        self._require_open()
        number = len(self._recorded) + 1
        self._recorded.append(Recorded(number, command))
        return number

    async def end_command(self, number: int, at: int, outcome: str, detail: str | None) -> None:
        """See `Audit.end_command`."""
        self._require_open()
        begun = self._recorded[number - 1]
        if begun.ended_at is None:
            self._recorded[number - 1] = begun._replace(ended_at=at, outcome=outcome, detail=detail)

    async def commands(self, query: AuditQuery) -> Sequence[Recorded]:
        """See `Audit.commands`."""
        return [one for one in reversed(self._recorded) if commanded(one, query)][: query.limit]

    # StoreHealth and the rest

    def refusal(self) -> str | None:
        """See `StoreHealth.refusal`."""
        return "the store is closed" if self._closed else None

    def wal_size(self) -> int:
        """Bytes of the write-ahead log: there is none."""
        return 0

    async def close(self) -> None:
        """Take no more commits."""
        self._closed = self.exceptions.closed = True

    # Ledgers

    def examiner(self) -> MemoryExaminer:
        """Somebody to look through all of it, once."""
        return MemoryExaminer(self)

    @contextmanager
    def ledgers(self) -> Iterator[Ledgers]:
        """A view over all that is kept."""
        yield self

    def damage(self) -> Iterator[str]:
        """See `Ledgers.damage`."""
        return iter(())

    def all(self) -> Iterator[Ledger]:
        """See `Ledgers.all`."""
        for process_id in sorted(self._entries):
            yield self._ledger(self._entries[process_id])

    def one(self, process_id: str) -> Ledger | None:
        """See `Ledgers.one`."""
        entry = self._entries.get(process_id)
        return self._ledger(entry) if entry is not None else None

    def chunk(self, process_id: str, part: str, index: int) -> bytes | None:
        """See `Ledgers.chunk`."""
        return self._chunks.get(process_id, {}).get((part, index))

    def strays(self, now: Now) -> Iterator[tuple[str, str]]:
        """See `Ledgers.strays`."""
        for held in self._keys.values():
            if held.process_id not in self._entries and (held.expires_at is None or held.expires_at > now()):
                yield "idempotency", held.process_id

    def _ledger(self, entry: Entry) -> Ledger:
        process = entry.process
        keyed = process.key_scope is not None and process.key_lookup is not None
        held = self._keys.get((process.key_scope or "", process.key_lookup or "")) if keyed else None
        ledger = entry.ledger(held, self.exceptions.of(process.id))
        deliveries, log = self.deliveries.of(process.id), self.deliveries.logs_of(process.id)
        return ledger._replace(deliveries=deliveries, delivery_log=log)


def _token(process: Process) -> tuple[int, int]:
    return process.sequence, process.fence


def _id(process: Process) -> str:
    return process.id
