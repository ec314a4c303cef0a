"""What is read on the event loop: single rows by their key, some microseconds each."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from strangler.domain.errors import StoreUnavailable
from strangler.domain.events import Event
from strangler.domain.exchange import RecordedReply, RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process, Tombstone
from strangler.store.ids import id_bytes, id_text
from strangler.store.sealing import Sealer
from strangler.store.sqlite import rows
from strangler.store.sqlite.connection import Connection, is_trouble
from strangler.store.sqlite.packing import open_credentials

_PROCESS = f"SELECT {rows.PROCESS_COLUMNS} FROM process WHERE id = ?"  # noqa: S608
_TOMBSTONE = f"SELECT {rows.TOMBSTONE_COLUMNS} FROM tombstone WHERE id = ?"  # noqa: S608
_KEY = f"SELECT {rows.KEY_COLUMNS} FROM idempotency WHERE scope = ? AND key = ?"  # noqa: S608
_REQUEST = f"SELECT {rows.REQUEST_COLUMNS} FROM request WHERE process_id = ?"  # noqa: S608
_CREDENTIAL = "SELECT sealed FROM credential WHERE process_id = ?"
_REPLY = f"SELECT {rows.REPLY_COLUMNS} FROM reply WHERE process_id = ?"  # noqa: S608
_EVENTS = f"SELECT {rows.EVENT_COLUMNS} FROM event WHERE process_id = ? ORDER BY sequence"  # noqa: S608
_CHUNK = "SELECT data FROM chunk WHERE process_id = ? AND part = ? AND number = ?"
_SEQUENCE = "SELECT sequence FROM process WHERE id = ?"

_LOG = logging.getLogger("strangler.store")
_KNOWN = 4096  # processes that are kept as they were read, some 2 KiB each


@cache
def _processes(number: int) -> str:
    return f"SELECT {rows.PROCESS_COLUMNS} FROM process WHERE id IN ({', '.join('?' * number)})"  # noqa: S608


@contextmanager
def guarded(connection: Connection) -> Iterator[None]:
    """Turn what the disk or the file does wrong while reading into `StoreUnavailable`."""
    if connection.closed:
        raise StoreUnavailable("the store is closed")
    try:
        yield
    except connection.library.dbapi.Error as error:
        if is_trouble(connection.library, error):
            raise StoreUnavailable(str(error)) from error
        raise


Look = Callable[[Callable[[Connection], Any]], Awaitable[Any]]
"""Has something read in a thread, from the connection of that thread."""


def json_row(sql: str, parameters: Sequence[Any], connection: Connection) -> Any:
    """The value of a query for one row with one text, JSON; None: there is no row."""
    with guarded(connection):
        row = connection.row(sql, parameters)
    return json.loads(row[0]) if row is not None else None


class Reads:
    """Reads by key. What is no id in canonical form is no key of anything."""

    def __init__(self, connection: Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer
        self._damage = (connection.library.dbapi.Error, LookupError, ValueError, TypeError)
        self._unreadable: set[bytes] = set()  # processes that were told of
        self._known: dict[str, tuple[tuple[bytearray], Process]] = {}  # the one that was read first comes first

    def process(self, process_id: str) -> Process | Tombstone | None:
        """See `ProcessStore.process`."""
        known = self._known.get(process_id)
        if known is not None:
            # A process at a sequence never changes, so that alone tells whether what was read of one that is polled is
            # still true. Reading all of its columns takes three times as long.
            if self._row(_SEQUENCE, known[0]) == (known[1].sequence,):
                return known[1]
            del self._known[process_id]
        key = _key(process_id)
        if key is None:
            return None
        row = self._row(_PROCESS, key)
        if row is not None:
            process = rows.process_of(row)
            if len(self._known) >= _KNOWN:
                del self._known[next(iter(self._known))]
            self._known[process_id] = key, process
            return process
        row = self._row(_TOMBSTONE, key)
        return rows.tombstone_of(row) if row is not None else None

    def by_keys(self, keys: Sequence[bytes]) -> list[Process]:
        """The processes that there are of the 16 bytes of some ids, in any order: each costs half of one by itself.

        One that cannot be read is left out, and told in the log: it must not hold up all others.
        """
        try:
            with guarded(self._connection):
                found = self._connection.rows(_processes(len(keys)), [bytearray(key) for key in keys])
            return [rows.process_of(row) for row in found]
        except self._damage:
            return [process for key in keys if (process := self.by_key(key)) is not None]

    def by_key(self, key: bytes) -> Process | None:
        """A process by the 16 bytes of its id; None also for one that cannot be read."""
        try:
            row = self._row(_PROCESS, (bytearray(key),))
            return rows.process_of(row) if row is not None else None
        except self._damage as error:
            if key not in self._unreadable:
                self._unreadable.add(key)
                _LOG.error("%s cannot be read, and is left alone: %s; see `strangler fsck`", id_text(key), error)
            return None

    def unreadable_of(self, keys: Sequence[bytes]) -> int:
        """How many of these processes could not be read."""
        return len(self._unreadable.intersection(keys)) if self._unreadable else 0

    def key(self, scope: str, key: str) -> KeyRecord | None:
        """See `ProcessStore.key`."""
        row = self._row(_KEY, (scope, key))
        return rows.key_of(row) if row is not None else None

    def request(self, process_id: str) -> RecordedRequest | None:
        """See `ProcessStore.request`."""
        key = _key(process_id)
        row = self._row(_REQUEST, key) if key is not None else None
        if key is None or row is None:
            return None
        sealed = self._row(_CREDENTIAL, key)
        credentials = open_credentials(sealed[0], self._sealer, bytes(key[0])) if sealed is not None else ()
        return rows.request_of(row, credentials)

    def reply(self, process_id: str) -> tuple[int, RecordedReply] | None:
        """See `ProcessStore.reply`."""
        key = _key(process_id)
        row = self._row(_REPLY, key) if key is not None else None
        return rows.reply_of(row) if row is not None else None

    def events(self, process_id: str) -> Sequence[Event]:
        """See `ProcessStore.events`."""
        key = _key(process_id)
        if key is None:
            return ()
        with guarded(self._connection):
            return tuple(map(rows.event_of, self._connection.rows(_EVENTS, key)))

    def chunk(self, process_id: str, part: str, number: int) -> bytes | None:
        """One chunk, or none."""
        key = _key(process_id)
        row = self._row(_CHUNK, (*key, part, number)) if key is not None else None
        return row[0] if row is not None else None

    def _row(self, sql: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
        # As `guarded`, without the context manager, which costs a tenth of a read.
        connection = self._connection
        if connection.closed:
            raise StoreUnavailable("the store is closed")
        try:
            return connection.row(sql, parameters)
        except connection.library.dbapi.Error as error:
            if is_trouble(connection.library, error):
                raise StoreUnavailable(str(error)) from error
            raise


def _key(process_id: str) -> tuple[bytearray] | None:
    try:
        return (id_bytes(process_id),)
    except ValueError:
        return None
