"""The writer: one thread, the only one that writes and checkpoints.

It takes what waits, all of it up to a limit, writes it by one transaction and tells all who wait by one call into the
event loop. There is no delay on purpose: while one turn is on its way to the disk, the next one gathers.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from strangler.domain.errors import StoreUnavailable
from strangler.store.sqlite.connection import BUSY_TIMEOUT, Connection
from strangler.store.sqlite.turn import Failure, Item, take_turn

_ITEMS = 256  # of one turn
_BYTES = 4 * 1024 * 1024  # of one turn
_CHECKPOINT_BYTES = 8 * 1024 * 1024  # of the log, about, after which it is copied into the database …
_CHECKPOINT_TURNS = 512  # … or after so many turns: each rewrites some pages of indexes
_IDLE = 30.0  # seconds without work, after which the log is cut; a log that has its length is written faster

GroupCommit = Callable[[int, float], None]


class _Waiting(NamedTuple):
    """One item and who waits for it."""

    future: asyncio.Future[Any]
    item: Item
    size: int


class Writer:
    """Runs from its making until `stop`; then its connection is closed."""

    def __init__(
        self, connection: Connection, on_group_commit: GroupCommit | None, on_trouble: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._on_group_commit = on_group_commit
        self._on_trouble = on_trouble
        self._queue: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._submitted: list[_Waiting] = []  # in this turn of the event loop
        self._taken: deque[_Waiting] = deque()  # from the queue, by the thread, and not yet written
        self._going = True
        self._stopped = False
        self._bytes = 0  # written since the last checkpoint
        self._turns = 0
        self._uncut = False  # something lies in the log
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, item: Item, size: int) -> asyncio.Future[Any]:
        """Have an item written. Who no longer waits for the future neither undoes nor delays it.

        Called on the event loop. The future raises `StoreUnavailable` where it could not be written.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._stopped:
            future.set_exception(StoreUnavailable("the store is closed"))
            return future
        if not self._submitted:
            # What one turn of the loop submits is handed over as one: the thread that a first item wakes would want the
            # interpreter's lock back in the middle of the turn, and write a batch of few.
            loop.call_soon(self._hand_over)
        self._submitted.append(_Waiting(future, item, size))
        return future

    def stop(self) -> None:
        """Take nothing more; what waits is written."""
        self._stopped = True
        self._hand_over()

    def _hand_over(self) -> None:
        if self._submitted:
            self._queue.put(self._submitted)
            self._submitted = []

    def end(self) -> None:
        """Close once what waits is written; blocks."""
        self._queue.put(None)
        self._thread.join()

    # On the thread

    def _run(self) -> None:
        while self._going or self._taken:
            batch = self._gather()
            if batch:
                self._turn(batch)
                self._checkpoint()
            elif self._going:
                self._cut_log()
        self._cut_log()
        self._connection.close()

    def _gather(self) -> list[_Waiting]:
        """What waits, as much of it as one turn takes. Nothing: for a while there was nothing to do, or it is over."""
        with suppress(queue.Empty):
            if self._going and not self._taken:
                self._take(self._queue.get(timeout=_IDLE if self._uncut else None))
            while self._going:
                self._take(self._queue.get_nowait())
        batch: list[_Waiting] = []
        size = 0
        while self._taken and len(batch) < _ITEMS and size < _BYTES:
            waiting = self._taken.popleft()
            batch.append(waiting)
            size += waiting.size
        self._bytes += size
        return batch

    def _take(self, submitted: list[_Waiting] | None) -> None:
        if submitted is None:
            self._going = False  # nothing comes after it
        else:
            self._taken.extend(submitted)

    def _turn(self, batch: list[_Waiting]) -> None:
        began = time.perf_counter()
        self._turns += 1
        self._uncut = True
        try:
            results = take_turn(self._connection, [waiting.item for waiting in batch])
        except Exception as error:  # whatever it is: who waits is told, and the next turn begins anew
            self._on_trouble(str(error))
            results = [Failure(StoreUnavailable(str(error))) for _ in batch]
            self._tell(batch, results, None)
        else:
            self._tell(batch, results, time.perf_counter() - began)

    def _tell(self, batch: list[_Waiting], results: list[Any], seconds: float | None) -> None:
        """Tell who waits; ``seconds``: how long the commit took, None: there was none."""

        def settle() -> None:
            for waiting, result in zip(batch, results, strict=True):
                if waiting.future.done():
                    continue  # who waited was cancelled
                if isinstance(result, Failure):
                    waiting.future.set_exception(result.error)
                else:
                    waiting.future.set_result(result)
            if self._on_group_commit is not None and seconds is not None:
                self._on_group_commit(len(batch), seconds)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            batch[0].future.get_loop().call_soon_threadsafe(settle)

    def _checkpoint(self) -> None:
        """Copy the log into the database when enough has come together: never waits for a reader."""
        if self._bytes >= _CHECKPOINT_BYTES or self._turns >= _CHECKPOINT_TURNS:
            self._bytes = self._turns = 0
            self._copy_log("PASSIVE")

    def _cut_log(self) -> None:
        """Copy all of the log and cut its file to nothing; only if no reader is in the way."""
        self._connection.rows("PRAGMA busy_timeout = 0")
        self._uncut = not self._copy_log("TRUNCATE")
        self._connection.rows(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")

    def _copy_log(self, mode: str) -> bool:
        try:
            row = self._connection.row(f"PRAGMA wal_checkpoint({mode})")
        except self._connection.library.dbapi.Error as error:
            # All of it is durable in the log all the same; the next one tries again.
            self._on_trouble(str(error))
            return False
        return row is not None and row[0] == 0
