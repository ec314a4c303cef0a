"""The reading half of the store ports over one SQLite file: in the process that owns the file, and in its workers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from strangler.domain.errors import StoreUnavailable
from strangler.domain.events import Event
from strangler.domain.exchange import RecordedReply, RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.pause import Pause
from strangler.domain.process import Process, State, Tombstone
from strangler.policy.standing import Order
from strangler.ports import (
    ArchiveKind,
    AuditQuery,
    Backlog,
    Carried,
    Changes,
    Found,
    InFlight,
    ListQuery,
    Recorded,
    Search,
    Shed,
)
from strangler.store.desk import sought
from strangler.store.ids import id_text
from strangler.store.ledger import Ledgers
from strangler.store.listing import listed
from strangler.store.sealing import Sealer
from strangler.store.shedding import Candidate, shed_with
from strangler.store.sqlite import standing
from strangler.store.sqlite.connection import Connection, open_reader
from strangler.store.sqlite.desk_reads import DeskReads
from strangler.store.sqlite.examiner import SqliteExaminer
from strangler.store.sqlite.ledgers import SqliteLedgers
from strangler.store.sqlite.library import Library
from strangler.store.sqlite.reads import Reads
from strangler.store.sqlite.scans import Scans
from strangler.store.sqlite.shedding import oldest

_Found = TypeVar("_Found")

_BREATH = 32  # rows read in one go on the event loop


class SqliteReader:
    """Reads, over connections that can neither write nor checkpoint. Made and used on one event loop.

    Raises:
        OperatorError: there is no such file, or it is no SQLite database.
    """

    def __init__(self, path: Path, library: Library, sealer: Sealer) -> None:
        self._path = path
        self._library = library
        self._reading = open_reader(path, library)
        try:
            self._scanning = open_reader(path, library)
        except BaseException:
            self._reading.close()
            raise
        self._reads = Reads(self._reading, sealer)
        self._scans = Scans(self._scanning)
        self._scanner = ThreadPoolExecutor(1, thread_name_prefix="store-scan")
        self._desk = DeskReads(path, library)

    @property
    def location(self) -> str:
        """The absolute path of the file."""
        return str(self._path)

    @property
    def software(self) -> str:
        """Which SQLite it is."""
        return self._library.name

    # ProcessStore

    async def process(self, process_id: str) -> Process | Tombstone | None:
        """See `ProcessStore.process`."""
        return self._reads.process(process_id)

    async def key(self, scope: str, key: str) -> KeyRecord | None:
        """See `ProcessStore.key`."""
        return self._reads.key(scope, key)

    async def request(self, process_id: str) -> RecordedRequest | None:
        """See `ProcessStore.request`."""
        return self._reads.request(process_id)

    async def reply(self, process_id: str) -> tuple[int, RecordedReply] | None:
        """See `ProcessStore.reply`."""
        return self._reads.reply(process_id)

    async def events(self, process_id: str) -> Sequence[Event]:
        """See `ProcessStore.events`."""
        return self._reads.events(process_id)

    async def page(self, query: ListQuery) -> Sequence[Process]:
        """See `ProcessStore.page`."""
        found = await self._found(partial(self._scans.page, query), lambda process: listed(process, query))
        return sorted(found, key=lambda process: process.id, reverse=True)

    async def changes(self, resource: str, callers: Collection[str], after: str | None) -> Changes | None:
        """See `ProcessStore.changes`."""
        return await self._scan(partial(self._scans.changes, resource, callers, after))

    # Bodies

    async def read_chunk(self, process_id: str, part: str, index: int) -> bytes:
        """See `Bodies.read_chunk`."""
        data = self._reads.chunk(process_id, part, index)
        if data is None:
            raise KeyError(f"{process_id} {part} {index}")
        return data

    # Upkeep

    async def due(self, route: str, now: int, limit: int) -> Sequence[Process]:
        """See `Upkeep.due`."""
        asked = limit
        while True:
            keys = await self._scan(partial(self._scans.due, route, now, asked))
            found = await self._still(keys, lambda process: process.is_due(now))
            if len(keys) < asked or len(found) >= limit:
                break
            # Some were claimed meanwhile, or cannot be read; a short answer would say that nothing is behind them.
            asked = limit + self._reads.unreadable_of(keys)
        return sorted(found, key=lambda process: (process.due_at, process.id))

    async def next_due(self, after: int) -> Mapping[str, int]:
        """See `Upkeep.next_due`."""
        return await self._scan(partial(self._scans.next_due, after))

    async def overdue(self, now: int, limit: int) -> Sequence[Process]:
        """See `Upkeep.overdue`."""
        return await self._found(
            partial(self._scans.overdue, now, limit),
            lambda process: process.due_at is not None and process.over_at <= now,
        )

    async def orphans(self, boot_id: str, boottime: int, limit: int) -> Sequence[Process]:
        """See `Upkeep.orphans`."""
        scan = partial(self._scans.orphans, boot_id, boottime, limit)
        return await self._found(scan, lambda process: process.state is State.PROCESSING)

    async def backlog(self) -> Mapping[str, Backlog]:
        """See `Upkeep.backlog`."""
        return await self._scan(self._scans.backlog)

    async def census(self) -> Sequence[InFlight]:
        """See `Upkeep.census`."""
        return await self._scan(self._scans.census)

    # Shedding

    async def sheddable(self, after: str | None, enough: int) -> Shed:
        """See `Shedding.sheddable`."""

        async def nothing(_: Sequence[bytes]) -> None:
            pass

        return await shed_with(self._oldest, nothing, after, enough)

    def _oldest(self, after: bytes, limit: int) -> Awaitable[list[Candidate]]:
        return self._scan(partial(oldest, self._scanning, after, limit))

    # Archive

    async def load(self, kind: ArchiveKind) -> Mapping[str, str]:
        """See `Archive.load`."""
        return await self._scan(partial(self._scans.archive, kind))

    # Standing

    async def orders(self) -> Sequence[Order]:
        """See `Standing.orders`."""
        return await self._look(standing.orders)

    async def pauses(self) -> Sequence[Pause]:
        """See `Standing.pauses`."""
        return await self._look(standing.pauses)

    # Desk and Audit

    async def search(self, search: Search) -> Found:
        """See `Desk.search`."""
        page = await self._at_desk().page(search)
        found: list[Process] = []
        before, looked = page.before, page.looked
        for number, key in enumerate(page.ids, 1):
            process = self._reads.by_key(key)
            if process is not None and sought(process, search):
                found.append(process)
            if len(found) == search.limit and number < len(page.ids):
                before, looked = key, number
                break
            if number % _BREATH == 0:
                await asyncio.sleep(0)
        return Found(found, looked, None if before is None else id_text(before))

    async def carried(self, process_id: str) -> Carried | None:
        """See `Desk.carried`."""
        return await self._at_desk().carried(process_id)

    async def forgotten_tries(self, process_id: str) -> Sequence[str]:
        """See `Desk.forgotten_tries`."""
        return await self._at_desk().forgotten_tries(process_id)

    async def commands(self, query: AuditQuery) -> Sequence[Recorded]:
        """See `Audit.commands`."""
        return await self._at_desk().commands(query)

    # The rest

    def wal_size(self) -> int:
        """Bytes of the write-ahead log's file."""
        try:
            return os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return 0

    def examiner(self) -> SqliteExaminer:
        """Somebody to look through all of it, once."""
        return SqliteExaminer(self._path)

    @contextmanager
    def ledgers(self) -> Iterator[Ledgers]:
        """A read-only view over all of it, on a connection of its own."""
        connection = open_reader(self._path, self._library)
        try:
            yield SqliteLedgers(connection)
        finally:
            connection.close()

    def close_reads(self) -> None:
        """Read single rows no more, and begin no scan."""
        self._reading.close()

    def close_scans(self) -> None:
        """Wait for the scans under way, and close what they read from; blocks."""
        self._scanner.shutdown()
        self._scanning.close()
        self._desk.close()

    def _at_desk(self) -> DeskReads:
        if self._reading.closed:
            raise StoreUnavailable("the store is closed")
        return self._desk

    def _browse(self, read: Callable[[Connection], _Found]) -> Awaitable[_Found]:
        return self._at_desk().read(read)

    def _look(self, read: Callable[[Connection], _Found]) -> Awaitable[_Found]:
        return self._scan(partial(read, self._scanning))

    def _scan(self, scan: Callable[[], _Found]) -> Awaitable[_Found]:
        if self._reading.closed:
            raise StoreUnavailable("the store is closed")
        return asyncio.get_running_loop().run_in_executor(self._scanner, scan)

    async def _found(self, scan: Callable[[], list[bytes]], still: Callable[[Process], bool]) -> list[Process]:
        """The processes that a scan names and that are still what it looked for."""
        return await self._still(await self._scan(scan), still)

    async def _still(self, keys: Sequence[bytes], still: Callable[[Process], bool]) -> list[Process]:
        """The processes of these keys that are still what was looked for."""
        return [process for process in await self._there(keys) if still(process)]

    async def _there(self, keys: Sequence[bytes]) -> list[Process]:
        """The processes of these keys that there are, in any order."""
        found: list[Process] = []
        for start in range(0, len(keys), _BREATH):
            found += self._reads.by_keys(keys[start : start + _BREATH])
            await asyncio.sleep(0)
        return found
