"""What fills the file, read in steps of some processes, each a short snapshot, so that a server goes on beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.stepping import snapshot
from strangler.store.usage import AGES, OLDER, Cell, File, Usage

_STEP = 2000  # processes
_ROW = 40  # bytes of numbers, ids and the like, about

_UPTO = "SELECT max(id), count(*) FROM (SELECT id FROM process WHERE id > ? ORDER BY id LIMIT ?)"
_AGE = " ".join(f"WHEN ? - process.created_at <= {limit} THEN '{name}'" for name, limit in AGES)
_ALIKE = f"process.route, CASE {_AGE} ELSE '{OLDER}' END, process.retain_until_at IS NOT NULL"
# Lengths of what is large; `length` of a blob reads none of it.
_LENGTHS = {
    "request": "length(target) + length(headers) + COALESCE(length(data), 0)",
    "credential": "length(sealed)",
    "reply": "length(headers) + COALESCE(length(data), 0)",
    "chunk": "length(data)",
    "event": "length(content) + 32",
    "attempt": "length(attempt.owner) + COALESCE(length(detail), 0)",
    "evidence": "length(headers) + length(body)",
    "exception": "length(detail)",
    "delivery": "length(told) + length(receiver)",
    "delivery_attempt": "length(delivery_attempt.head)",
}
_KEYS = {"outbox": "aggregateid"}
_LENGTHS["outbox"] = "length(payload) + 48"
_OF_PROCESSES = {
    "process": f"SELECT {_ALIKE}, count(*), "  # noqa: S608
    "sum(length(base) + length(promise) + length(resource) + length(correlation_id) + length(head) + 200) "
    "FROM process WHERE id > ? AND id <= ? GROUP BY 1, 2, 3",
    **{
        table: f"SELECT {_ALIKE}, count(*), sum({length} + {_ROW}) FROM process "  # noqa: S608
        f"CROSS JOIN {table} ON {table}.{_KEYS.get(table, 'process_id')} = process.id "
        "WHERE process.id > ? AND process.id <= ? GROUP BY 1, 2, 3"
        for table, length in _LENGTHS.items()
    },
}
_OTHERS = {
    "idempotency": "SELECT count(*), sum(length(scope) + length(key) + length(fingerprint) + 24) FROM idempotency",
    "tombstone": "SELECT count(*), sum(length(resource) + length(promise) + 90) FROM tombstone",
    "lookup": "SELECT count(*), count(*) * 32 FROM lookup",
    "command": "SELECT count(*), sum(length(who) + length(what) + length(subject) + 40) FROM command",
    "archive": "SELECT count(*), sum(length(name) + length(text)) FROM archive",
}


def measure(connection: Connection, path: Path, now: int) -> Iterator[Usage]:
    """The sums, again and again, each time over some more processes; the last ones are over all."""
    usage = Usage(_file(connection, path))
    last = bytearray()
    while True:
        with snapshot(connection):
            ((upto, count),) = connection.rows(_UPTO, (last, _STEP))
            if count == 0:
                break
            bounds = (*[now] * len(AGES), last, bytearray(upto))
            for table, text in _OF_PROCESSES.items():
                usage.add(
                    Cell(table, route, age, ended == 1, rows, size)
                    for route, age, ended, rows, size in connection.rows(text, bounds)
                )
        last = bytearray(upto)
        yield usage
    for table, text in _OTHERS.items():
        with snapshot(connection):
            ((rows, size),) = connection.rows(text)
        usage.others[table] = rows, size or 0
    yield usage


def _file(connection: Connection, path: Path) -> File:
    with snapshot(connection):
        sizes = [connection.rows(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")]
    count, free, page = sizes
    log = Path(f"{path}-wal")
    return File(str(path), count * page, free * page, os.stat(log).st_size if log.exists() else 0)
