"""The file as `fsck` reads it: in steps of some processes, each a snapshot of its own, so that the log can be cut."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process
from strangler.store.ids import id_bytes, id_text
from strangler.store.ledger import Ledger, Unreadable
from strangler.store.sqlite import delivery_rows, exception_rows, rows
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded

_STEP = 50  # processes of one snapshot

_PROCESS = f"SELECT {rows.PROCESS_COLUMNS}, retain_until_at FROM process "  # noqa: S608
_AFTER = _PROCESS + "WHERE id > ? ORDER BY id LIMIT ?"
_ONE = _PROCESS + "WHERE id = ?"
_STRAYS = (
    *((name, "process_id", "TRUE") for name in ("request", "credential", "reply", "event", "attempt", "evidence")),
    *((name, "process_id", "TRUE") for name in ("delivery", "delivery_attempt")),
    ("exception", "process_id", "kind != 'integrity'"),  # a finding may be about what does not exist
    ("outbox", "aggregateid", "TRUE"),
    ("idempotency", "process_id", "expires_at IS NULL"),
)


class SqliteLedgers:
    """See `Ledgers`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def damage(self) -> Iterator[str]:
        """See `Ledgers.damage`. Indexes are compared with their tables, too: a lost entry would be a lost process."""
        with guarded(self._connection):
            found = self._connection.rows("PRAGMA integrity_check(20)")
        return (text for (text,) in found if text != "ok")

    def all(self) -> Iterator[Ledger | Unreadable]:
        """See `Ledgers.all`."""
        last = bytearray()
        while True:
            with self._snapshot():
                found = self._connection.rows(_AFTER, (last, _STEP))
                step = [self._read(row) for row in found]
            yield from step
            if len(found) < _STEP:
                return
            last = bytearray(found[-1][0])

    def one(self, process_id: str) -> Ledger | None:
        """See `Ledgers.one`."""
        with self._snapshot():
            row = self._connection.row(_ONE, (id_bytes(process_id),))
            return self._ledger(row) if row is not None else None

    def chunk(self, process_id: str, part: str, index: int) -> bytes | None:
        """See `Ledgers.chunk`."""
        with guarded(self._connection):
            row = self._connection.row(
                "SELECT data FROM chunk WHERE process_id = ? AND part = ? AND number = ?",
                (id_bytes(process_id), part, index),
            )
        return row[0] if row is not None else None

    def strays(self) -> Iterator[tuple[str, str]]:
        """See `Ledgers.strays`."""
        for table, column, among in _STRAYS:
            with guarded(self._connection):
                found = self._connection.rows(
                    f"SELECT DISTINCT {column} FROM {table} WHERE {among} AND NOT EXISTS "  # noqa: S608
                    f"(SELECT 1 FROM process WHERE process.id = {table}.{column})"
                )
            for (process_id,) in found:
                yield table, id_text(process_id)

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        with guarded(self._connection):
            self._connection.run("BEGIN")
            try:
                yield
            finally:
                self._connection.run("COMMIT")

    def _read(self, row: tuple[Any, ...]) -> Ledger | Unreadable:
        try:
            return self._ledger(row)
        except (LookupError, ValueError, TypeError, struct.error) as error:
            return Unreadable(id_text(row[0]), f"{type(error).__name__}: {error}")

    def _ledger(self, row: tuple[Any, ...]) -> Ledger:
        process = rows.process_of(row)
        key = (bytearray(row[0]),)
        request = self._connection.row(f"SELECT {rows.REQUEST_COLUMNS} FROM request WHERE process_id = ?", key)  # noqa: S608
        reply = self._connection.row(f"SELECT {rows.REPLY_COLUMNS} FROM reply WHERE process_id = ?", key)  # noqa: S608
        return Ledger(
            process,
            row[-1],
            tuple(map(rows.event_of, self._of("event", rows.EVENT_COLUMNS, key, "sequence"))),
            tuple(map(rows.outbox_of, self._of("outbox", rows.OUTBOX_COLUMNS, key, "seq", "aggregateid"))),
            rows.request_of(request) if request is not None else None,
            self._connection.row("SELECT 1 FROM credential WHERE process_id = ?", key) is not None,
            rows.reply_of(reply) if reply is not None else None,
            tuple(map(rows.attempt_of, self._of("attempt", rows.ATTEMPT_COLUMNS, key, "number"))),
            tuple(map(rows.evidence_of, self._of("evidence", rows.EVIDENCE_COLUMNS, key, "seq"))),
            tuple(map(exception_rows.entry_of, self._of("exception", exception_rows.COLUMNS, key, "seq"))),
            self._key(process),
            tuple(
                map(delivery_rows.delivery_of, self._of("delivery", delivery_rows.COLUMNS, key, "version, position"))
            ),
            tuple(
                map(
                    delivery_rows.attempt_of,
                    self._of("delivery_attempt", delivery_rows.ATTEMPT_COLUMNS, key, "version, position, number"),
                )
            ),
        )

    def _of(
        self, table: str, columns: str, key: tuple[bytearray], order: str, column: str = "process_id"
    ) -> list[tuple[Any, ...]]:
        return self._connection.rows(f"SELECT {columns} FROM {table} WHERE {column} = ? ORDER BY {order}", key)  # noqa: S608

    def _key(self, process: Process) -> KeyRecord | None:
        if process.key_scope is None or process.key_lookup is None:
            return None
        row = self._connection.row(
            f"SELECT {rows.KEY_COLUMNS} FROM idempotency WHERE scope = ? AND key = ?",  # noqa: S608
            (process.key_scope, process.key_lookup),
        )
        return rows.key_of(row) if row is not None else None
