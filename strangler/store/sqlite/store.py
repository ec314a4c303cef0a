"""The store ports over one SQLite file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.domain.exchange import RecordedReply, RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process, State, Tombstone
from strangler.domain.transitions import Event
from strangler.ports import Backlog, Clock, Commit, InFlight, Lease, ListQuery, Verdict
from strangler.store.ids import id_bytes
from strangler.store.ledger import Ledgers
from strangler.store.listing import listed
from strangler.store.retention import ORPHAN_AGE
from strangler.store.sealing import Sealer
from strangler.store.sqlite import sweeping
from strangler.store.sqlite.connection import Connection, open_reader, open_writer
from strangler.store.sqlite.health import Health, clear_probe, write_probe
from strangler.store.sqlite.ledgers import SqliteLedgers
from strangler.store.sqlite.library import Library
from strangler.store.sqlite.lock import OwnerLock
from strangler.store.sqlite.migrations import migrate
from strangler.store.sqlite.reads import Reads
from strangler.store.sqlite.rows import written
from strangler.store.sqlite.scans import Scans
from strangler.store.sqlite.turn import Action
from strangler.store.sqlite.writer import GroupCommit, Writer

_Found = TypeVar("_Found")

_SMALL = 512  # bytes that an item without a body counts for
_BREATH = 32  # rows read in one go on the event loop
_SLACK = 1024  # empty pages, 4 MiB, that are always kept for what comes next
_STEPS = 64  # of giving pages back in one sweep


class SqliteStore:
    """All store ports over one file. Made and used on one event loop; close it there too.

    Raises:
        OperatorError: the file is another's, is in use, or cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        library: Library,
        sealer: Sealer,
        clock: Clock,
        *,
        on_group_commit: GroupCommit | None = None,
        disk_reserve: int = 0,
    ) -> None:
        self._path = path
        self._clock = clock
        self._sealer = sealer
        self._library = library
        self._lock = OwnerLock(path)
        try:
            writing = _open_owned(path, library)
            self._reading = open_reader(path, library)
            self._scanning = open_reader(path, library)
        except BaseException:
            self._lock.release()
            raise
        self._reads = Reads(self._reading, sealer)
        self._scans = Scans(self._scanning)
        self._scanner = ThreadPoolExecutor(1, thread_name_prefix="store-scan")
        self._health = Health(path, disk_reserve, clock, self._start_probe)
        self._writer = Writer(writing, on_group_commit, self._health.failed)
        self._closing: asyncio.Future[None] | None = None

    @property
    def location(self) -> str:
        """The absolute path of the file."""
        return str(self._path)

    @property
    def software(self) -> str:
        """Which SQLite it is."""
        return self._library.name

    # ProcessStore

    def commit(self, commit: Commit) -> asyncio.Future[Verdict]:
        """See `ProcessStore.commit`."""
        item = written(commit, self._sealer, self._clock.now())
        return self._writer.submit(item, item.size)

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

    # Bodies

    def write_chunk(self, process_id: str, part: str, index: int, data: bytes) -> asyncio.Future[None]:
        """See `Bodies.write_chunk`."""
        statement = "INSERT OR REPLACE INTO chunk (process_id, part, number, data) VALUES (?, ?, ?, ?)"
        return self._write(statement, (id_bytes(process_id), part, index, data), _SMALL + len(data))

    async def read_chunk(self, process_id: str, part: str, index: int) -> bytes:
        """See `Bodies.read_chunk`."""
        data = self._reads.chunk(process_id, part, index)
        if data is None:
            raise KeyError(f"{process_id} {part} {index}")
        return data

    async def discard_chunks(self, process_id: str, part: str) -> None:
        """See `Bodies.discard_chunks`."""
        await self._write("DELETE FROM chunk WHERE process_id = ? AND part = ?", (id_bytes(process_id), part))

    # Upkeep

    async def renew(self, lease: Lease) -> None:
        """See `Upkeep.renew`."""
        await self._write("INSERT OR REPLACE INTO lease (owner, boot_id, until) VALUES (?, ?, ?)", lease)

    async def resign(self, owner: str) -> None:
        """See `Upkeep.resign`."""
        await self._write("DELETE FROM lease WHERE owner = ?", (owner,))

    async def due(self, route: str, now: int, limit: int) -> Sequence[Process]:
        """See `Upkeep.due`."""
        found = await self._found(
            partial(self._scans.due, route, now, limit),
            lambda process: process.due_at is not None and process.due_at <= now,
        )
        return sorted(found, key=lambda process: (process.due_at, process.id))

    async def next_due(self, after: int) -> Mapping[str, int]:
        """See `Upkeep.next_due`."""
        return await self._scan(partial(self._scans.next_due, after))

    async def overdue(self, now: int, limit: int) -> Sequence[Process]:
        """See `Upkeep.overdue`."""
        return await self._found(partial(self._scans.overdue, now, limit), lambda process: process.due_at is not None)

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

    async def sweep(self, now: int, limit: int) -> int:
        """See `Upkeep.sweep`."""
        swept = await self._in_steps(lambda size: sweeping.processes(now, size), limit, sweeping.PROCESSES)
        swept += await self._in_steps(lambda size: sweeping.keys(now, size), limit, sweeping.ROWS)
        swept += await self._in_steps(lambda size: sweeping.graves(now, size), limit, sweeping.ROWS)
        swept += await self._sweep_chunks(now, limit)
        await self._give_back()
        return swept

    async def _sweep_chunks(self, now: int, limit: int) -> int:
        youngest = (now - ORPHAN_AGE).to_bytes(6, "big") + bytes(10)
        swept = 0
        for process_id in await self._scan(partial(self._scans.loose, youngest, limit)):
            step = partial(sweeping.chunks, process_id)
            swept += await self._in_steps(step, limit - swept, sweeping.CHUNKS)
        return swept

    async def _give_back(self) -> None:
        """Give back what is empty beyond some slack, which the next rows would only ask for again."""
        count, free = await self._scan(self._scans.pages)
        excess = free - max(_SLACK, count // 8)
        for _ in range(min(_STEPS, excess // sweeping.PAGES)):
            await self._do(sweeping.give_back(sweeping.PAGES))

    async def _in_steps(self, step: Callable[[int], Action], limit: int, size: int) -> int:
        """Repeat a step until it finds less than it may take, or as much as was asked for has gone."""
        swept = 0
        while swept < limit:
            most = min(size, limit - swept)
            taken: int = await self._do(step(most))
            swept += taken
            if taken < most:
                break
        return swept

    # Archive

    async def save(self, kind: Literal["promise", "latency"], name: str, text: str) -> None:
        """See `Archive.save`."""
        await self._write("INSERT OR REPLACE INTO archive (kind, name, text) VALUES (?, ?, ?)", (kind, name, text))

    async def load(self, kind: Literal["promise", "latency"]) -> Mapping[str, str]:
        """See `Archive.load`."""
        return await self._scan(partial(self._scans.archive, kind))

    # StoreHealth and the rest

    def refusal(self) -> str | None:
        """See `StoreHealth.refusal`."""
        return "the store is closed" if self._closing is not None else self._health.refusal()

    def _start_probe(self) -> None:
        def cleared(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and future.exception() is None:
                self._health.mended()

        def wrote(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and future.exception() is None:
                self._do(clear_probe).add_done_callback(cleared)

        self._do(write_probe).add_done_callback(wrote)

    def wal_size(self) -> int:
        """Bytes of the write-ahead log's file."""
        try:
            return os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return 0

    @contextmanager
    def ledgers(self) -> Iterator[Ledgers]:
        """A read-only view over all of it, on a connection of its own."""
        connection = open_reader(self._path, self._library)
        try:
            yield SqliteLedgers(connection)
        finally:
            connection.close()

    async def close(self) -> None:
        """Write what waits, then close; twice is once."""
        if self._closing is None:
            self._reading.close()
            self._writer.stop()
            self._closing = asyncio.get_running_loop().run_in_executor(None, self._close)
        await asyncio.shield(self._closing)

    def _close(self) -> None:
        self._scanner.shutdown()
        self._scanning.close()
        self._writer.join()  # last, so that its closing copies and removes the log
        self._lock.release()

    # Means

    def _do(self, action: Action, size: int = _SMALL) -> asyncio.Future[Any]:
        return self._writer.submit(action, size)

    def _write(self, statement: str, parameters: Sequence[Any], size: int = _SMALL) -> asyncio.Future[None]:
        return self._do(partial(_run, statement, parameters), size)

    def _scan(self, scan: Callable[[], _Found]) -> Awaitable[_Found]:
        if self._closing is not None:
            raise StoreUnavailable("the store is closed")
        return asyncio.get_running_loop().run_in_executor(self._scanner, scan)

    async def _found(self, scan: Callable[[], list[bytes]], still: Callable[[Process], bool]) -> list[Process]:
        """The processes that a scan names and that are still what it looked for."""
        found = []
        for number, key in enumerate(await self._scan(scan), 1):
            process = self._reads.by_key(key)
            if process is not None and still(process):
                found.append(process)
            if number % _BREATH == 0:
                await asyncio.sleep(0)
        return found


def _run(statement: str, parameters: Sequence[Any], connection: Connection) -> None:
    connection.run(statement, parameters)


def _open_owned(path: Path, library: Library) -> Connection:
    """The writing connection of who holds the lock, with the schema up to date."""
    connection = open_writer(path, library)
    try:
        migrate(connection, path)
        # Whoever held a lease here no longer owns the file, and so no longer sends: a restart recovers at once.
        connection.run("DELETE FROM lease")
    except library.dbapi.Error as error:
        connection.close()
        raise OperatorError(f"{path}: {error}") from error
    except OperatorError:
        connection.close()
        raise
    return connection
