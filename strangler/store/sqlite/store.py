"""The store ports over one SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from strangler.policy.standing import Order
from strangler.ports import ArchiveKind, Clock, Command, Commit, Lease, Shed, Verdict
from strangler.store.ids import first_id, id_bytes
from strangler.store.retention import ORPHAN_AGE, Part
from strangler.store.sealing import Sealer
from strangler.store.shedding import shed_with
from strangler.store.sqlite import command_rows, shedding, standing, sweeping
from strangler.store.sqlite.connection import Connection, open_writer, preparing
from strangler.store.sqlite.deliveries import SqliteDeliveries
from strangler.store.sqlite.exceptions import SqliteExceptions
from strangler.store.sqlite.forgetting_terms import Forgetting
from strangler.store.sqlite.health import Health, clear_probe, write_probe
from strangler.store.sqlite.library import Library
from strangler.store.sqlite.lock import OwnerLock
from strangler.store.sqlite.migrations import migrate
from strangler.store.sqlite.reader import SqliteReader
from strangler.store.sqlite.rows import Written, written
from strangler.store.sqlite.turn import Action
from strangler.store.sqlite.writer import GroupCommit, Writer
from strangler.store.standing import OrderKind

_SMALL = 4096  # bytes that an item without a body adds to the log, about
_SLACK = 1024  # empty pages, 4 MiB, that are always kept for what comes next
_BACK = 16_384  # pages that one sweep gives back at most, 64 MiB
_STEP = 512 * 1024  # bytes that a step of sweeping adds to the log, about


class SqliteStore(SqliteReader):
    """All store ports over one file. Made and used on one event loop; close it there too.

    Args:
        living: owners that live on while this store was away, and keep their leases; all others are gone, since
            whoever holds a lease here sends only while somebody owns the file.

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
        living: Collection[str] = (),
    ) -> None:
        self._sealer = sealer
        self._lock = OwnerLock(path)
        try:
            writing = _open_owned(path, library, living)
            super().__init__(path, library, sealer)
        except BaseException:
            self._lock.release()
            raise
        self._health = Health(path, disk_reserve, clock, self._start_probe)
        self._writer = Writer(writing, on_group_commit, self._health.failed)
        self._closing: asyncio.Future[None] | None = None
        self._forgetting = Forgetting()
        self._pace = sweeping.Pace()
        self._leavings = sweeping.Leavings()
        self.exceptions = SqliteExceptions(self._look, self._browse, self._do)
        self.deliveries = SqliteDeliveries(self._look, self._browse, self._there, self._write)

    # ProcessStore

    def commit(self, commit: Commit) -> asyncio.Future[Verdict]:
        """See `ProcessStore.commit`."""
        return self.submit(written(commit, self._sealer))

    def submit(self, item: Written) -> asyncio.Future[Verdict]:
        """A commit that is rows already."""
        return self._writer.submit(item, item.size)

    # Bodies

    def write_chunk(self, process_id: str, part: str, index: int, data: bytes) -> asyncio.Future[None]:
        """See `Bodies.write_chunk`."""
        statement = "INSERT OR REPLACE INTO chunk (process_id, part, number, data) VALUES (?, ?, ?, ?)"
        return self._write(statement, (id_bytes(process_id), part, index, data), _SMALL + len(data))

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

    async def sweep(self, now: int, limit: int) -> int:
        """See `Upkeep.sweep`."""
        past, forget_past = partial(sweeping.past, now), partial(sweeping.processes, now)
        swept = [await self._forget("past", past, forget_past, limit, leaves_chunks=True)]
        swept.append(await self._in_steps(partial(sweeping.keys, now), limit))
        swept.append(await self._in_steps(partial(sweeping.graves, now), limit))
        for part in Part:
            find, forget = partial(shedding.due, part, now), partial(shedding.parts, part, now)
            leaves = part is Part.BODIES
            swept.append(await self._forget(f"due {part:d}", find, forget, limit, leaves_chunks=leaves))
        swept.append(await self._sweep_leavings(limit))
        swept.append(await self._sweep_chunks(now, limit))
        await self._forgetting.sweep(now, self._look, self._do)  # hints, which are no rows that anybody counts
        if max(swept) < limit:
            await self._give_back()  # else what is empty is wanted again at once, and pages are moved for nothing
        return sum(swept)

    async def _forget(
        self,
        kind: str,
        find: sweeping.Find,
        forget: Callable[[Sequence[bytes]], Action],
        limit: int,
        *,
        leaves_chunks: bool,
    ) -> int:
        found, seconds = await self._find(kind, find, limit)
        swept = 0
        while swept < len(found):
            done = await self._do(forget(found[swept:]), _STEP)
            if leaves_chunks and not self._leavings.add(found[swept : swept + done]):
                self._pace.at_once("loose")
            swept += done
        if swept < limit:
            self._pace.stepped_over_much(kind, seconds)
        return swept

    async def _find(self, kind: str, find: sweeping.Find, limit: int) -> tuple[list[bytes], float]:
        """Look for processes beside what is written, if it is time, and the seconds that it took. Whoever asks tells
        the pace when all that was found is forgotten: a pause before would keep what a full disk did not let go."""
        if not self._pace.is_due(kind):
            return [], 0.0
        found: tuple[list[bytes], float] = await self._look(partial(sweeping.timed, partial(find, limit)))
        return found

    async def _sweep_leavings(self, limit: int) -> int:
        """Sweep the chunks of what was forgotten just now, or by a sweep that had more to do than it was to."""
        left, swept = self._leavings, 0
        while left.ids:
            some = left.ids[:limit]
            found = await self._look(partial(sweeping.with_chunks, some))
            swept += await self._forget_chunks(found, limit - swept)
            if swept >= limit:
                break  # there may be more: an id has many
            del left.ids[: len(some)]
        return swept

    async def _forget_chunks(self, process_ids: Sequence[bytes], limit: int) -> int:
        swept = 0
        for start in range(0, len(process_ids), sweeping.PROCESSES):
            some = process_ids[start : start + sweeping.PROCESSES]
            swept += await self._in_steps(partial(sweeping.chunks, some), limit - swept)
        return swept

    async def _sweep_chunks(self, now: int, limit: int) -> int:
        youngest = first_id(now - ORPHAN_AGE)
        loose, seconds = await self._find("loose", partial(sweeping.loose, youngest), limit)
        swept = await self._forget_chunks(loose, limit)
        if max(len(loose), swept) < limit:  # else there may be more: an id has many
            self._pace.stepped_over_much("loose", seconds)
        return swept

    async def _give_back(self) -> None:
        """Give back what is empty beyond some slack, which the next rows would only ask for again."""
        count, free = await self._scan(self._scans.pages)
        excess = free - max(_SLACK, count // 8)
        if excess > 0:
            await self._in_steps(sweeping.give_back, min(excess, _BACK))

    async def _in_steps(self, step: Callable[[int], Action], limit: int) -> int:
        """Repeat a step until there is no more to do, or as much as was asked for is done."""
        swept, more = 0, True
        while more and swept < limit:
            rows, more = await self._do(step(limit - swept), _STEP)
            swept += rows
        return swept

    async def shed(self, after: str | None, enough: int) -> Shed:
        """See `Shedding.shed`."""
        shed = await shed_with(self._oldest, self._forget_bodies, after, enough)
        await self._give_back()
        return shed

    async def _forget_bodies(self, process_ids: Sequence[bytes]) -> None:
        for start in range(0, len(process_ids), sweeping.PROCESSES):
            action = shedding.bodies(process_ids[start : start + sweeping.PROCESSES])
            while not await self._do(action, _STEP):
                pass

    # Archive

    async def save(self, kind: ArchiveKind, name: str, text: str) -> None:
        """See `Archive.save`."""
        await self._write("INSERT OR REPLACE INTO archive (kind, name, text) VALUES (?, ?, ?)", (kind, name, text))

    # Standing

    async def put_order(self, order: Order) -> None:
        """See `Standing.put_order`."""
        await self._do(partial(standing.put, order))

    async def remove_order(self, route: str, kind: OrderKind) -> None:
        """See `Standing.remove_order`."""
        await self._do(partial(standing.remove, route, kind))

    async def begin_pause(self, route: str, at: int) -> None:
        """See `Standing.begin_pause`."""
        await self._do(partial(standing.begin, route, at))

    async def end_pause(self, route: str, at: int) -> None:
        """See `Standing.end_pause`."""
        await self._do(partial(standing.end, route, at))

    async def sweep_pauses(self) -> int:
        """See `Standing.sweep_pauses`."""
        swept: int = await self._do(standing.forget)
        return swept

    # Audit

    async def begin_command(self, command: Command) -> int:
        """See `Audit.begin_command`."""
        number: int = await self._do(partial(command_rows.begin, command))
        return number

    async def end_command(self, number: int, at: int, outcome: str, detail: str | None) -> None:
        """See `Audit.end_command`."""
        await self._do(partial(command_rows.end, number, at, outcome, detail))

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

    async def close(self) -> None:
        """Write what waits, then close; twice is once."""
        if self._closing is None:
            self.close_reads()
            self._writer.stop()
            self._closing = asyncio.get_running_loop().run_in_executor(None, self._close)
        await asyncio.shield(self._closing)

    def _close(self) -> None:
        self.close_scans()
        self._writer.end()  # last: who closes last copies and removes the log
        self._lock.release()

    # Means

    def _do(self, action: Action, size: int = _SMALL) -> asyncio.Future[Any]:
        return self._writer.submit(action, size)

    def _write(self, statement: str, parameters: Sequence[Any], size: int = _SMALL) -> asyncio.Future[None]:
        return self._do(partial(_run, statement, parameters), size)


def _run(statement: str, parameters: Sequence[Any], connection: Connection) -> None:
    connection.run(statement, parameters)


def _open_owned(path: Path, library: Library, living: Collection[str]) -> Connection:
    """The writing connection of who holds the lock, with the schema up to date."""
    connection = open_writer(path, library)
    with preparing(connection, path):
        migrate(connection, path)
        # Whoever held a lease here is gone with the one who owned the file: a restart recovers at once.
        for (owner,) in connection.rows("SELECT owner FROM lease"):
            if owner not in living:
                connection.run("DELETE FROM lease WHERE owner = ?", (owner,))
    return connection
