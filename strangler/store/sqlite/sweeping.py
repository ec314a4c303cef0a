"""What is forgotten, in small steps, each an item of a turn, so that no acceptance waits long for it."""

from __future__ import annotations

from functools import partial
from typing import Any

from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.scans import split_ids
from strangler.store.sqlite.statements import Statement
from strangler.store.sqlite.turn import Action

PROCESSES = 16  # of one step
ROWS = 256  # keys or tombstones of one step
CHUNKS = 8  # of one step, 2 MiB: every page of a large value is visited when it is deleted
PAGES = 16  # given back to the file system in one step

UNTOUCHED = (
    "NOT EXISTS (SELECT 1 FROM exception WHERE exception.process_id = process.id AND closed_at IS NULL) AND NOT EXISTS "
    "(SELECT 1 FROM delivery WHERE delivery.process_id = process.id AND delivery.state IN ('pending', 'held'))"
)
"""Nobody is going to look at it, and nobody is to be told of it any more."""

_PAST = (
    "SELECT group_concat(hex(id), '') FROM (SELECT id FROM process INDEXED BY process_retention "  # noqa: S608
    f"WHERE retain_until_at <= ? AND {UNTOUCHED} LIMIT ?)"
)
_BURY = Statement(
    "INSERT OR REPLACE INTO tombstone (id, resource, caller, promise, until_at) "
    "SELECT id, resource, caller, promise, retain_until_at + retain FROM process WHERE id IN (VALUES {values})",
    ("id",),
)
_BELONGINGS = (
    Statement(
        "DELETE FROM exception_note WHERE exception IN "
        "(SELECT seq FROM exception WHERE process_id IN (VALUES {values}))",
        ("process_id",),
    ),
    *(
        Statement(f"DELETE FROM {table} WHERE process_id IN (VALUES {{values}})", ("process_id",))  # noqa: S608
        for table in (
            *("request", "credential", "reply", "event", "attempt", "evidence", "exception"),
            *("delivery", "delivery_attempt"),
        )
    ),
    Statement("DELETE FROM outbox WHERE aggregateid IN (VALUES {values})", ("aggregateid",)),
    Statement("DELETE FROM process WHERE id IN (VALUES {values})", ("id",)),
)
_LAPSED = (
    "DELETE FROM idempotency WHERE (scope, key) IN "
    "(SELECT scope, key FROM idempotency INDEXED BY idempotency_expiry WHERE expires_at <= ? LIMIT ?)"
)
_GRAVES = "DELETE FROM tombstone WHERE id IN (SELECT id FROM tombstone WHERE until_at <= ? LIMIT ?)"
_CHUNKS = (
    "DELETE FROM chunk WHERE rowid IN (SELECT rowid FROM chunk WHERE process_id = ?1 LIMIT ?2) "
    "AND NOT EXISTS (SELECT 1 FROM process WHERE id = ?1)"
)


def processes(now: int, limit: int) -> Action:
    """Forget processes past their retention; their chunks are swept as those of no process."""
    return partial(_processes, now, limit)


def _processes(now: int, limit: int, connection: Connection) -> int:
    ((text,),) = connection.rows(_PAST, (now, limit))
    past = [bytearray(process_id) for process_id in split_ids(text)]
    for statement in (_BURY, *_BELONGINGS):
        for sql, start, end in statement.slices(len(past)):
            connection.run(sql, past[start:end])
    return len(past)


def keys(now: int, limit: int) -> Action:
    """Forget keys that have lapsed."""
    return partial(_delete, _LAPSED, (now, limit))


def graves(now: int, limit: int) -> Action:
    """Forget tombstones."""
    return partial(_delete, _GRAVES, (now, limit))


def chunks(process_id: bytes, limit: int) -> Action:
    """Forget chunks of a process that does not exist."""
    return partial(_delete, _CHUNKS, (bytearray(process_id), limit))


def give_back(pages: int) -> Action:
    """Give empty pages back to the file system."""
    return partial(_give_back, pages)


def _delete(statement: str, parameters: tuple[Any, ...], connection: Connection) -> int:
    return connection.run(statement, parameters)


def _give_back(pages: int, connection: Connection) -> int:
    return len(connection.rows(f"PRAGMA incremental_vacuum({pages:d})"))
