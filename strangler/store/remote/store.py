"""The store ports in an OS process that does not own the file: it reads for itself and has others write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from strangler.domain.transitions import Change
from strangler.ports import ArchiveKind, Commit, Committed, Lease, Verdict
from strangler.store.remote.frames import Message
from strangler.store.remote.link import Link
from strangler.store.remote.messages import is_there, pack_item, told_of, unpack_verdict
from strangler.store.sealing import Sealer
from strangler.store.sqlite.library import Library
from strangler.store.sqlite.reader import SqliteReader
from strangler.store.sqlite.rows import written

_AWAY = "the process that owns the store is away; it is going to be started again"


class RemoteStore(SqliteReader):
    """See `WorkerStore`. Made, used and closed on one event loop. The file is there already.

    What had no answer when the connection broke is asked again: a commit that finds itself written counts as committed,
    and all else may be done twice.

    Args:
        socket: path of the socket of who owns the file.
        hello: what is said first on each connection.
        on_message: told what the owner of the file says beside its answers.

    Raises:
        OperatorError: there is no such file, or it is no SQLite database.
    """

    def __init__(
        self,
        path: Path,
        library: Library,
        sealer: Sealer,
        socket: str,
        *,
        hello: Callable[[], Sequence[Message]] = tuple,
        on_message: Callable[[Message], None] = lambda message: None,
        on_down: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(path, library, sealer)
        self._sealer = sealer
        self._reason: str | None = None
        self._closing: asyncio.Future[None] | None = None
        self.link = Link(socket, hello, on_message, on_down)

    def commit(self, commit: Commit) -> asyncio.Future[Verdict]:
        """See `ProcessStore.commit`."""
        item = written(commit, self._sealer)
        change = commit.change
        told = tuple(told_of(change)) if change is not None else None
        within = tuple(commit.within) if commit.within is not None else None
        return self.link.ask("commit", pack_item(item), told, within, settle=partial(self._judged, change))

    def _judged(self, change: Change | None, value: Any, again: bool) -> Verdict:
        """The verdict on a commit. One that was sent again stands in its own way, if it was written the first time."""
        verdict = unpack_verdict(value)
        if not again or isinstance(verdict, Committed) or change is None:
            return verdict
        if is_there(self._reads.process(change.process.id), change):
            last = change.events[-1]
            if any(event.digest == last.digest for event in self._reads.events(last.process_id)):
                return Committed()
        return verdict

    def write_chunk(self, process_id: str, part: str, index: int, data: bytes) -> asyncio.Future[None]:
        """See `Bodies.write_chunk`."""
        return self.link.ask("call", "write_chunk", (process_id, part, index, data))

    async def discard_chunks(self, process_id: str, part: str) -> None:
        """See `Bodies.discard_chunks`."""
        await self.link.ask("call", "discard_chunks", (process_id, part))

    async def renew(self, lease: Lease) -> int | None:
        """See `Upkeep.renew`."""
        since: int | None = await self.link.ask("call", "renew", tuple(lease))
        return since

    async def resign(self, owner: str) -> None:
        """See `Upkeep.resign`."""
        await self.link.ask("call", "resign", (owner,))

    async def sweep(self, now: int, limit: int) -> int:
        """See `Upkeep.sweep`."""
        swept: int = await self.link.ask("call", "sweep", (now, limit))
        return swept

    async def save(self, kind: ArchiveKind, name: str, text: str) -> None:
        """See `Archive.save`."""
        await self.link.ask("call", "save", (kind, name, text))

    def refusal(self) -> str | None:
        """See `StoreHealth.refusal`."""
        if self._closing is not None:
            return "the store is closed"
        return self._reason if self.link.up else _AWAY

    def refuses(self, reason: str | None) -> None:
        """Whoever owns the file says whether new work may be recorded."""
        self._reason = reason

    async def close(self) -> None:
        """Have recorded what waits, then close; twice is once."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self.link.close()
        self.close_reads()
        await asyncio.to_thread(self.close_scans)
