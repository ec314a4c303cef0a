"""All that the file holds of a range of processes, table by table: many rows of one statement cost less than many
statements, and each range is one snapshot, short enough for the log to be cut in between."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from strangler.domain.events import Event
from strangler.store.ids import LAST, id_bytes, id_text
from strangler.store.ledger import Ledger, Now, Unreadable
from strangler.store.retention import Part
from strangler.store.sqlite import delivery_rows, exception_rows, rows
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded

Row = tuple[Any, ...]


class Step(NamedTuple):
    """A range of processes in the order of their ids."""

    ledgers: list[Ledger | Unreadable]
    strays: list[tuple[str, str]]  # rows of it whose process does not exist: table and process id
    upto: bytes  # the last id of the range: all processes up to it were read


class _Table(NamedTuple):
    """A table that belongs to processes."""

    name: str
    columns: str
    order: str = ""
    key: str = "process_id"

    among: str = "TRUE"  # which rows need a process

    def select(self) -> str:
        order = f"{self.key}, {self.order}" if self.order else self.key
        return (
            f"SELECT {self.key}, {self.columns} FROM {self.name} "  # noqa: S608
            f"WHERE {self.key} >= ? AND {self.key} <= ? ORDER BY {order}"
        )

    def strays(self) -> str:
        return (
            f"SELECT DISTINCT {self.key} FROM {self.name} "  # noqa: S608
            f"WHERE {self.key} >= ? AND {self.key} <= ? AND {self.among} "
            f"AND NOT EXISTS (SELECT 1 FROM process WHERE process.id = {self.name}.{self.key})"
        )


_PROCESS = (
    f"SELECT {rows.PROCESS_COLUMNS}, gone, retain_until_at FROM process "  # noqa: S608
    "WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?"
)
_KEYS = (
    f"SELECT process.id, {', '.join(f'held.{name}' for name in rows.KEY_COLUMNS.split(', '))} "  # noqa: S608
    "FROM process CROSS JOIN idempotency AS held ON held.scope = process.key_scope AND held.key = process.key_lookup "
    "WHERE process.id >= ? AND process.id <= ?"
)
_PROMISE = rows.PROCESS_COLUMNS.split(", ").index("promise")
_EVENT = _Table("event", "sequence, version, at, content, digest", "sequence")
_OUTBOX = _Table("outbox", rows.OUTBOX_COLUMNS, "seq", "aggregateid")
_REQUEST = _Table("request", rows.REQUEST_COLUMNS)
_CREDENTIAL = _Table("credential", "1")
_REPLY = _Table("reply", rows.REPLY_COLUMNS)
_ATTEMPT = _Table("attempt", rows.ATTEMPT_COLUMNS, "number")
_EVIDENCE = _Table("evidence", rows.EVIDENCE_COLUMNS, "seq")
_EXCEPTION = _Table("exception", exception_rows.COLUMNS, "seq", among="kind != 'integrity'")
"""A finding may be about what does not exist."""

_DELIVERY = _Table("delivery", delivery_rows.COLUMNS, "version, position")
_DELIVERY_LOG = _Table("delivery_attempt", delivery_rows.ATTEMPT_COLUMNS, "version, position, number")
_TABLES = (
    *(_EVENT, _OUTBOX, _REQUEST, _CREDENTIAL, _REPLY, _ATTEMPT, _EVIDENCE, _EXCEPTION, _DELIVERY, _DELIVERY_LOG),
)
# What no check looks at, where bodies are not read: header lists, what an attempt or a receiver said.
_NOTHING = "x'00000000'"
_LIGHT = (
    _EVENT,
    _OUTBOX,
    _REQUEST._replace(columns=f"method, x'', {_NOTHING}, size, digest, NULL"),
    _CREDENTIAL,
    _REPLY._replace(columns=f"attempt, status, x'', {_NOTHING}, size, digest, kept, NULL"),
    _ATTEMPT,
    *(_EXCEPTION, _DELIVERY, _DELIVERY_LOG),
)
_PROMISES = "SELECT name, text FROM archive WHERE kind = 'promise' AND name IN (SELECT value FROM json_each(?))"


def read(connection: Connection, low: bytes, high: bytes, limit: int, *, bodies: bool = True) -> Step:
    """The first ``limit`` processes of a range. Without ``bodies``, all is left out that only people want to see.

    What of a text is no UTF-8 any more comes as U+FFFD, which its digest, or its history, is not about.
    """
    try:
        return _read(connection, low, high, limit, bodies)
    except connection.library.dbapi.OperationalError:
        with connection.texts(partial(str, encoding="utf-8", errors="replace")):  # takes longer, for all of the range
            return _read(connection, low, high, limit, bodies)


def _read(connection: Connection, low: bytes, high: bytes, limit: int, bodies: bool) -> Step:
    with snapshot(connection):
        found = connection.rows(_PROCESS, (bytearray(low), bytearray(high), limit))
        upto = bytes(found[-1][0]) if len(found) == limit else high
        bounds = (bytearray(low), bytearray(upto))
        tables = _TABLES if bodies else _LIGHT
        belongings = {table.name: _grouped(connection.rows(table.select(), bounds)) for table in tables}
        others = [table for table in _TABLES if table.name not in belongings or table is _EXCEPTION]
        loose = strays(connection, low, upto, others)
        there = {row[0] for row in found}
        for table in tables:
            if table is not _EXCEPTION:
                loose += [(table.name, id_text(key)) for key in belongings[table.name].keys() - there]
        belongings["idempotency"] = _grouped(connection.rows(_KEYS, bounds))
        promises = _promises(connection, {row[_PROMISE] for row in found})
    return Step([_readable(row, belongings, promises) for row in found], loose, upto)


def _promises(connection: Connection, names: set[str]) -> set[str]:
    """Those of these promises that are on record, each with the text of which its name is the digest."""
    found = connection.rows(_PROMISES, (json.dumps([*names]),))
    return {name for name, text in found if hashlib.sha256(text.encode()).hexdigest() == name}


_STRAY_KEY = (
    "SELECT 1 FROM idempotency WHERE process_id = ?1 AND (expires_at IS NULL OR expires_at > ?2) "
    "AND NOT EXISTS (SELECT 1 FROM process WHERE process.id = ?1) LIMIT 1"
)
_CHUNK = "SELECT data FROM chunk WHERE process_id = ? AND part = ? AND number = ?"
_STRAY_KEYS = (
    "SELECT scope, key, expires_at, "
    "CASE WHEN NOT EXISTS (SELECT 1 FROM process WHERE process.id = process_id) THEN process_id END "
    "FROM idempotency WHERE (scope, key) > (CAST(? AS TEXT), CAST(? AS TEXT)) ORDER BY scope, key LIMIT ?"
)


def strays(
    connection: Connection, low: bytes, high: bytes, tables: Sequence[_Table] = _TABLES
) -> list[tuple[str, str]]:
    """Rows of a range whose process does not exist: table and process id."""
    bounds = (bytearray(low), bytearray(high))
    return [(table.name, id_text(key)) for table in tables for (key,) in connection.rows(table.strays(), bounds)]


class Keys(NamedTuple):
    """A part of the idempotency keys, in the order of scope and key."""

    strays: list[tuple[str, str]]  # those that have not lapsed, and whose process does not exist
    upto: tuple[bytes, bytes] | None  # as octets, whatever they are; None: these were the last ones


def keys(connection: Connection, above: tuple[bytes, bytes], limit: int, now: Now) -> Keys:
    """The first ``limit`` keys behind one; ``now`` is asked once they are read."""
    with guarded(connection), connection.texts(bytes):
        found = connection.rows(_STRAY_KEYS, (*above, limit))
    upto = (found[-1][0], found[-1][1]) if len(found) == limit else None
    instant = now()
    loose = [owner for _, _, until, owner in found if owner is not None and (until is None or until > instant)]
    return Keys([("idempotency", id_text(owner)) for owner in loose], upto)


def keys_of(connection: Connection, process_id: bytes, now: int) -> list[tuple[str, str]]:
    """A key that has not lapsed, of a process that does not exist. Goes through all keys."""
    with guarded(connection):
        found = connection.row(_STRAY_KEY, (bytearray(process_id), now))
    return [("idempotency", id_text(process_id))] if found is not None else []


def chunk(connection: Connection, process_id: str, part: str, number: int) -> bytes | None:
    """One chunk of a body, or none."""
    with guarded(connection):
        row = connection.row(_CHUNK, (id_bytes(process_id), part, number))
    return row[0] if row is not None else None


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """What is read inside is of one moment."""
    with guarded(connection):
        connection.run("BEGIN")
        try:
            yield
        finally:
            connection.run("COMMIT")


def after(process_id: bytes) -> bytes | None:
    """The id that follows next; None: it is the last one that there can be."""
    return (int.from_bytes(process_id, "big") + 1).to_bytes(16, "big") if process_id < LAST else None


def _grouped(found: list[Row]) -> dict[bytes, list[Row]]:
    """Rows without their first column, by that column."""
    groups: dict[bytes, list[Row]] = {}
    for row in found:
        group = groups.get(row[0])
        if group is None:
            groups[row[0]] = [row[1:]]
        else:
            group.append(row[1:])
    return groups


_Belongings = Mapping[str, Mapping[bytes, list[Row]]]


def _readable(row: Row, belongings: _Belongings, promises: set[str]) -> Ledger | Unreadable:
    try:
        return _ledger(row, belongings, promises)
    except (LookupError, ValueError, TypeError, struct.error) as error:
        return Unreadable(id_text(row[0]), f"{type(error).__name__}: {error}")


def _ledger(row: Row, belongings: _Belongings, promises: set[str]) -> Ledger:
    key, process = row[0], rows.process_of(row)
    name = process.id

    def all_of(table: str, made: Callable[[Row], Any]) -> tuple[Any, ...]:
        found = belongings.get(table, _NONE).get(key)
        return tuple([made(row) for row in found]) if found is not None else ()

    def one_of(table: str, made: Callable[[Row], Any]) -> Any:
        found = belongings[table].get(key)
        return made(found[0]) if found is not None else None

    return Ledger(
        process,
        row[-1],
        tuple([Event(name, *event) for event in belongings["event"].get(key, ())]),
        all_of("outbox", partial(rows.outbox_of, name)),
        one_of("request", rows.request_of),
        key in belongings["credential"],
        one_of("reply", rows.reply_of),
        all_of("attempt", rows.attempt_of),
        all_of("evidence", rows.evidence_of),
        all_of("exception", exception_rows.entry_of),
        one_of("idempotency", rows.key_of),
        all_of("delivery", delivery_rows.delivery_of),
        all_of("delivery_attempt", delivery_rows.attempt_of),
        Part(row[-2]),
        process.promise in promises,
    )


_NONE: Mapping[bytes, list[Row]] = {}
