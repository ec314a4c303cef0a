"""Reading for operators: on a connection and a thread of its own, so that nobody's traffic waits behind a search."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.domain.process import is_id
from strangler.ports import AuditQuery, Carried, Recorded, Search
from strangler.store.ids import asked_id, id_text
from strangler.store.sqlite import command_rows
from strangler.store.sqlite.connection import Connection, open_reader
from strangler.store.sqlite.ledgers import SqliteLedgers
from strangler.store.sqlite.library import Library
from strangler.store.sqlite.searching import Page, Searching

_Read = TypeVar("_Read")


class DeskReads:
    """Opens its connection when somebody first asks."""

    def __init__(self, path: Path, library: Library) -> None:
        self._path = path
        self._library = library
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-desk")

    def read(self, read: Callable[[Connection], _Read]) -> Awaitable[_Read]:
        """What is read, in the thread, from its connection.

        Raises:
            StoreUnavailable: the file cannot be opened.
        """
        return asyncio.get_running_loop().run_in_executor(self._thread, self._on_thread, read)

    def page(self, search: Search) -> Awaitable[Page]:
        """The ids of a page; still to be judged."""
        return self.read(lambda connection: Searching(connection).page(search))

    def commands(self, query: AuditQuery) -> Awaitable[Sequence[Recorded]]:
        """See `Audit.commands`."""
        return self.read(partial(command_rows.listed, query))

    def carried(self, process_id: str) -> Awaitable[Carried | None]:
        """See `Desk.carried`."""
        return self.read(partial(_carried, process_id))

    def forgotten_tries(self, process_id: str) -> Awaitable[Sequence[str]]:
        """See `Desk.forgotten_tries`."""
        return self.read(partial(_forgotten_tries, process_id))

    def close(self) -> None:
        """Wait for what is being read, and close; blocks."""
        self._thread.shutdown()
        if self._connection is not None:
            self._connection.close()

    def _on_thread(self, read: Callable[[Connection], _Read]) -> _Read:
        if self._connection is None:
            try:
                self._connection = open_reader(self._path, self._library)
            except OperatorError as error:
                raise StoreUnavailable(str(error)) from error
        return read(self._connection)


def _carried(process_id: str, connection: Connection) -> Carried | None:
    ledger = SqliteLedgers(connection).one(process_id) if is_id(process_id) else None
    if ledger is None:
        return None
    return Carried(ledger.attempts, ledger.evidence, ledger.exceptions, ledger.sealed, ledger.retain_until_at)


def _forgotten_tries(process_id: str, connection: Connection) -> Sequence[str]:
    found = connection.rows("SELECT id FROM tombstone WHERE parent_id = ? ORDER BY id", (asked_id(process_id),))
    return [id_text(key) for (key,) in found]
