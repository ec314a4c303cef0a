"""The exception queue in the file: written by the one who writes, read by everybody in a thread."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from strangler.domain.exceptions import ExceptionKind
from strangler.ports import Closing, ExceptionEntry, ExceptionQuery, Note, OpenException
from strangler.store.ids import asked_id
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.exception_rows import COLUMNS, entry_of, opening
from strangler.store.sqlite.reads import Look, json_row

_LISTED = COLUMNS.replace("process_id", "hex(process_id)")

_OPEN = (
    "INSERT OR IGNORE INTO exception (process_id, kind, opened_at, detail, subject, due_at, route) "
    "SELECT ?1, ?2, ?3, ?4, ?5, ?6, COALESCE((SELECT route FROM process WHERE id = ?1), '')"
)
_NOTE = (
    "INSERT INTO exception_note (exception, at, who, did, text) SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS "
    "(SELECT 1 FROM exception_note WHERE exception = ?1 AND at = ?2 AND who = ?3 AND did = ?4 AND text = ?5)"
)
_EXISTS = "SELECT 1 FROM exception WHERE seq = ?"
_STANDS = "SELECT owner, closed_at FROM exception WHERE seq = ?"
_OWNED = "UPDATE exception SET owner = ? WHERE seq = ?"
_KEEP_ON = (
    "UPDATE process SET retain_until_at = max(retain_until_at, ?2 + retain) WHERE retain_until_at IS NOT NULL "
    "AND id = (SELECT process_id FROM exception WHERE seq = ?1)"
)
_CLOSE = "UPDATE exception SET closed_at = ?2, closed_by = ?3, action = ?4 WHERE seq = ?1"
_CLOSED_AS = "SELECT 1 FROM exception WHERE seq = ?1 AND closed_at = ?2 AND closed_by = ?3 AND action = ?4"
_COUNTS = (
    "SELECT json_group_object(kind, number) FROM (SELECT kind, count(*) AS number FROM exception "
    "INDEXED BY exception_due WHERE closed_at IS NULL GROUP BY kind)"
)
_ONE = f"SELECT json_array({_LISTED}) FROM exception WHERE seq = ?"  # noqa: S608
_NOTES = (
    "SELECT json_group_array(json_array(at, who, did, text)) FROM "
    "(SELECT at, who, did, text FROM exception_note WHERE exception = ? ORDER BY seq)"
)


# ── What the one who writes does ─────────────────────────────────────────────────────────────────────────────────────


def _open(exception: OpenException, connection: Connection) -> bool:
    return connection.run(_OPEN, opening(exception)) == 1


def _claim(number: int, at: int, who: str, connection: Connection) -> bool:
    stands = connection.row(_STANDS, (number,))
    if stands is None or stands[1] is not None or stands[0] not in (None, who):
        return False
    if stands[0] is None:
        connection.run(_OWNED, (who, number))
        connection.run(_NOTE, (number, at, who, "claimed", ""))
    return True


def _release(number: int, at: int, who: str, why: str, connection: Connection) -> bool:
    stands = connection.row(_STANDS, (number,))
    if stands is None or stands[1] is not None:
        return False
    if stands[0] is not None:
        connection.run(_OWNED, (None, number))
        connection.run(_NOTE, (number, at, who, "released", why))
    return True


def _note(number: int, at: int, who: str, text: str, connection: Connection) -> bool:
    if connection.row(_EXISTS, (number,)) is None:
        return False
    connection.run(_NOTE, (number, at, who, "noted", text))
    return True


def _close(number: int, at: int, who: str, action: str, why: str, connection: Connection) -> bool:
    stands = connection.row(_STANDS, (number,))
    if stands is None or stands[1] is not None:
        return connection.row(_CLOSED_AS, (number, at, who, action)) is not None
    connection.run(_KEEP_ON, (number, at))
    connection.run(_CLOSE, (number, at, who, action))
    connection.run(_NOTE, (number, at, who, "closed", why))
    return True


# ── The queue ────────────────────────────────────────────────────────────────────────────────────────────────────────

Write = Callable[[Callable[[Connection], bool]], Awaitable[bool]]
"""Has something done by the one who writes."""


class SqliteExceptions:
    """See `Exceptions`.

    Args:
        scan: where the work that is due is looked for.
        browse: where people look around, who may wait.
    """

    def __init__(self, scan: Look, browse: Look, write: Write) -> None:
        self._scan = scan
        self._browse = browse
        self._write = write

    async def open(self, exception: OpenException) -> bool:
        """See `Exceptions.open`."""
        return await self._write(partial(_open, exception))

    async def page(self, query: ExceptionQuery) -> Sequence[ExceptionEntry]:
        """See `Exceptions.page`."""
        found = await self._browse(partial(json_row, *_page(query)))
        return [entry_of(row) for row in found]

    async def one(self, exception_id: int) -> tuple[ExceptionEntry, Sequence[Note]] | None:
        """See `Exceptions.one`."""
        row = await self._browse(partial(json_row, _ONE, (exception_id,)))
        if row is None:
            return None
        notes = await self._browse(partial(json_row, _NOTES, (exception_id,)))
        return entry_of(row), [Note(*note) for note in notes]

    async def claim(self, exception_id: int, at: int, who: str) -> bool:
        """See `Exceptions.claim`."""
        return await self._write(partial(_claim, exception_id, at, who))

    async def release(self, exception_id: int, at: int, who: str, why: str) -> bool:
        """See `Exceptions.release`."""
        return await self._write(partial(_release, exception_id, at, who, why))

    async def note(self, exception_id: int, at: int, who: str, text: str) -> bool:
        """See `Exceptions.note`."""
        return await self._write(partial(_note, exception_id, at, who, text))

    async def close(self, exception_id: int, closing: Closing) -> bool:
        """See `Exceptions.close`."""
        return await self._write(partial(_close, exception_id, *closing))

    async def counts(self) -> Mapping[ExceptionKind, int]:
        """See `Exceptions.counts`."""
        found: dict[ExceptionKind, int] = await self._scan(partial(json_row, _COUNTS, ()))
        return found


def _page(query: ExceptionQuery) -> tuple[str, list[Any]]:
    """A query for a page; `store.exceptions.listed` says the same of one exception."""
    conditions: list[str] = ["TRUE"]
    parameters: list[Any] = []
    if query.state != "all":
        conditions.append("closed_at IS NULL" if query.state == "open" else "closed_at IS NOT NULL")
    if query.kinds:
        conditions.append("kind IN (SELECT value FROM json_each(?))")
        parameters.append(json.dumps(list(query.kinds)))
    if query.process_id is not None:
        conditions.append("process_id = ?")
        parameters.append(asked_id(query.process_id))
    for column, value in (("owner", query.owner or None), ("route", query.route), ("subject", query.subject)):
        if value is not None:
            conditions.append(f"{column} = ?")
            parameters.append(value)
    if query.owner == "":
        conditions.append("owner IS NULL")
    order = "due_at, seq" if query.state == "open" else "seq DESC"
    if query.after is not None:
        conditions.append("(due_at, seq) > (?, ?)" if query.state == "open" else "seq < ?")
        parameters.extend(query.after if query.state == "open" else query.after[1:])
    parameters.append(query.limit)
    where = " AND ".join(conditions)
    return (
        f"SELECT json_group_array(json_array({_LISTED})) FROM (SELECT {COLUMNS} FROM exception "  # noqa: S608
        f"WHERE {where} ORDER BY {order} LIMIT ?)",
        parameters,
    )
