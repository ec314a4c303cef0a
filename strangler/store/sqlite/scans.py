"""Reads that may take long: lists and what keeps the processes going. They run in a thread with its own connection.

A thread gets the interpreter's lock back row by row, beside a busy event loop one switch interval each. So each scan
yields one row with one text: ids, or JSON. The rows themselves are then read by their keys on the loop, where each is
judged again, because it may have changed in between.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from strangler.domain.process import SET_BACK, State
from strangler.ports import Backlog, Changes, InFlight, ListQuery, PublicChange
from strangler.store import marks
from strangler.store.ids import asked_id, first_id, id_text
from strangler.store.sqlite.conditions import bears, in_public_state
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded, json_row
from strangler.store.sqlite.standing import GOES_ON, STOOD_STILL

_ID_LENGTH = 16
_NUMBERS = 2**63 - 1  # no row has a higher one

_DUE = (
    "SELECT id FROM (SELECT id FROM process INDEXED BY process_due WHERE route = ?1 AND due_at <= ?2 "
    "AND state != 'following' AND state != 'in_doubt' ORDER BY due_at LIMIT ?3) UNION ALL "
    "SELECT id FROM (SELECT id FROM process INDEXED BY process_due WHERE route = ?1 AND due_at > ?4 "
    "AND due_at <= (SELECT CASE WHEN max(id) > ?5 THEN 9223372036854775807 ELSE 0 END FROM process) "
    "AND state != 'following' AND state != 'in_doubt' AND state = 'received' ORDER BY due_at LIMIT ?3)"
)
"""The second half is what was never sent, after the clock was set back: the newest process is then of an instant that
lies ahead. While none is, its range is empty; else all that is put off would be read for nothing."""

_FOLLOW_DUE = (
    "SELECT id FROM process INDEXED BY process_followed WHERE route = ? AND due_at <= ? AND state = 'following' "
    "ORDER BY due_at LIMIT ?"
)
_PROBE_DUE = (
    "SELECT id FROM process INDEXED BY process_probed WHERE route = ? AND due_at <= ? AND state = 'in_doubt' "
    "ORDER BY due_at LIMIT ?"
)
_OVERDUE = (
    "SELECT id FROM process INDEXED BY process_due WHERE due_at IS NOT NULL "  # noqa: S608
    f"AND state != 'following' AND state != 'in_doubt' AND deadline_at <= ?1 AND {GOES_ON} "
    f"AND deadline_at + {STOOD_STILL} <= ?1 ORDER BY deadline_at LIMIT ?2"
)
_FOLLOW_OVER = (
    "SELECT id FROM process INDEXED BY process_follow_over "  # noqa: S608
    "WHERE follow_until_at <= ?1 AND state = 'following' "
    f"AND {GOES_ON} AND follow_until_at + {STOOD_STILL} <= ?1 ORDER BY follow_until_at LIMIT ?2"
)
_ORPHANS = (
    "SELECT id FROM process INDEXED BY process_under_way WHERE state = 'processing' AND NOT EXISTS "
    "(SELECT 1 FROM lease WHERE lease.owner = process.owner AND lease.boot_id = ? AND lease.until > ?) LIMIT ?"
)
_ROUTES = (
    "WITH RECURSIVE routes (route) AS ("
    "SELECT min(route) FROM process WHERE due_at IS NOT NULL "
    "AND state != 'following' AND state != 'in_doubt' UNION ALL "
    "SELECT (SELECT min(route) FROM process WHERE due_at IS NOT NULL "
    "AND state != 'following' AND state != 'in_doubt' AND process.route > routes.route) "
    "FROM routes WHERE routes.route IS NOT NULL) "
)
"""From route to route by the index, however many processes wait for each."""

_NEXT_DUE = _ROUTES + (  # noqa: S608
    "SELECT json_group_object(route, due_at) FROM (SELECT route, (SELECT min(due_at) FROM process "
    "WHERE process.route = routes.route AND process.due_at > ? "
    "AND state != 'following' AND state != 'in_doubt') AS due_at "
    "FROM routes WHERE route IS NOT NULL) WHERE due_at IS NOT NULL"
)
_NEXT_LOOK = (
    "SELECT json_group_object(route, due_at) FROM (SELECT route, min(due_at) AS due_at FROM process "
    "INDEXED BY process_followed WHERE state = 'following' AND due_at > ? GROUP BY route)"
)
_NEXT_PROBE = (
    "SELECT json_group_object(route, due_at) FROM (SELECT route, min(due_at) AS due_at FROM process "
    "INDEXED BY process_probed WHERE state = 'in_doubt' AND due_at > ? GROUP BY route)"
)
_BACKLOG = (
    "SELECT json_group_array(json_array(route, processes, bytes)) FROM (SELECT route, count(*) AS processes, "
    "sum(body_size) AS bytes FROM process INDEXED BY process_due "
    "WHERE due_at IS NOT NULL AND state != 'following' AND state != 'in_doubt' GROUP BY route)"
)
_CENSUS = (
    "SELECT json_group_array(json_array(route, state, settling, processes)) FROM ("
    "SELECT route, state, 0 AS settling, count(*) AS processes FROM process INDEXED BY process_due "
    "WHERE due_at IS NOT NULL AND state != 'following' AND state != 'in_doubt' GROUP BY route, state UNION ALL "
    "SELECT route, state, 0, count(*) FROM process INDEXED BY process_followed "
    "WHERE state = 'following' GROUP BY route UNION ALL "
    "SELECT route, state, 0, count(*) FROM process INDEXED BY process_under_way "
    "WHERE state = 'processing' GROUP BY route UNION ALL "
    "SELECT route, state, 1, count(*) FROM process INDEXED BY process_probed "
    "WHERE state = 'in_doubt' AND due_at IS NOT NULL GROUP BY route UNION ALL "
    "SELECT route, state, settling, count(*) FROM process WHERE state = 'in_doubt' AND due_at IS NULL AND id IN "
    "(SELECT process_id FROM exception WHERE kind = 'in_doubt' AND closed_at IS NULL) GROUP BY route, settling)"
)
"""Each part by an index over what is open: what waits, is followed, is under way, is to be asked about, has to be
settled by a person."""

_LAST_EVENT = "SELECT rowid, hex(digest) FROM event WHERE rowid > ? AND rowid <= ? ORDER BY rowid DESC LIMIT 1"
_CHANGES = (
    "SELECT json_group_array(json_array(hex(process_id), version, position, digest)) FROM (SELECT "
    "event.process_id, event.version, event.rowid AS position, hex(event.digest) AS digest "
    "FROM event CROSS JOIN process ON process.id = event.process_id WHERE event.rowid > ? AND event.rowid <= ? "
    "AND process.resource = ? AND process.caller IN (SELECT value FROM json_each(?)) AND NOT EXISTS "
    "(SELECT 1 FROM event AS earlier WHERE earlier.process_id = event.process_id "
    "AND earlier.sequence = event.sequence - 1 AND earlier.version = event.version) ORDER BY event.rowid)"
)
"""One thread writes, so the rows of events are numbered in the order of the commits."""

_ARCHIVE = "SELECT json_group_object(name, text) FROM archive WHERE kind = ?"


class Scans:
    """Scans over one connection, each in one step."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(self, query: ListQuery) -> list[bytes]:
        """Ids of a page."""
        text, parameters = _page(query)
        return self._ids(text, parameters)

    def due(self, route: str, now: int, limit: int) -> list[bytes]:
        """Ids of what may be claimed, then of what is to be looked after, then of what is to be asked about."""
        asked, ahead = (route, now, limit), now + SET_BACK
        return (
            self._ids(_DUE, (*asked, ahead, first_id(ahead)))
            + self._ids(_FOLLOW_DUE, asked)
            + self._ids(_PROBE_DUE, asked)
        )

    def overdue(self, now: int, limit: int) -> list[bytes]:
        """Ids of what waits past its deadline, then of what has been followed for too long."""
        return self._ids(_OVERDUE, (now, limit)) + self._ids(_FOLLOW_OVER, (now, limit))

    def orphans(self, boot_id: str, boottime: int, limit: int) -> list[bytes]:
        """Ids of what is under way and nobody's."""
        return self._ids(_ORPHANS, (boot_id, boottime, limit))

    def next_due(self, after: int) -> dict[str, int]:
        """See `Upkeep.next_due`."""
        found: dict[str, int] = self._json(_NEXT_DUE, (after,))
        for looks in (_NEXT_LOOK, _NEXT_PROBE):
            for route, due_at in self._json(looks, (after,)).items():
                found[route] = min(due_at, found.get(route, due_at))
        return found

    def backlog(self) -> dict[str, Backlog]:
        """See `Upkeep.backlog`."""
        return {route: Backlog(processes, size) for route, processes, size in self._json(_BACKLOG, ())}

    def census(self) -> list[InFlight]:
        """See `Upkeep.census`."""
        return [
            InFlight(route, State(state), settling == 1, processes)
            for route, state, settling, processes in self._json(_CENSUS, ())
        ]

    def changes(self, resource: str, callers: Collection[str], after: str | None) -> Changes | None:
        """See `ProcessStore.changes`."""
        newest = self._last_event(0, _NUMBERS)
        if after is None:
            return Changes((), marks.write(*newest), more=False)
        mark = marks.read(after)
        if mark is None or newest[0] - mark.position > marks.MOST:
            return None
        if mark.position and not self._last_event(mark.position - 1, mark.position)[1].startswith(mark.digest):
            return None  # forgotten, and its number perhaps given to another
        position = mark.position
        while position < newest[0]:
            upto = min(newest[0], position + marks.STEP)
            last = self._last_event(position, upto)
            if last[0]:
                found = self._json(_CHANGES, (position, last[0], resource, json.dumps(sorted(callers))))
                changes = [
                    PublicChange(id_text(bytes.fromhex(key)), version, marks.write(number, digest))
                    for key, version, number, digest in found
                ]
                return Changes(changes, marks.write(*last), more=last[0] < newest[0])
            position = upto
        return Changes((), after, more=False)

    def _last_event(self, above: int, upto: int) -> tuple[int, str]:
        """Number and digest of the last event of a range; 0 where it is empty."""
        with guarded(self._connection):
            row = self._connection.row(_LAST_EVENT, (above, upto))
        return (row[0], row[1]) if row is not None else (0, "")

    def archive(self, kind: str) -> dict[str, str]:
        """See `Archive.load`."""
        found: dict[str, str] = self._json(_ARCHIVE, (kind,))
        return found

    def pages(self) -> tuple[int, int]:
        """Pages of the file, and how many of them hold nothing."""
        with guarded(self._connection):
            ((count,),) = self._connection.rows("PRAGMA page_count")
            ((free,),) = self._connection.rows("PRAGMA freelist_count")
        return count, free

    def _ids(self, sql: str, parameters: Sequence[Any]) -> list[bytes]:
        return ids_of(sql, parameters, self._connection)

    def _json(self, sql: str, parameters: Sequence[Any]) -> Any:
        return json_row(sql, parameters, self._connection)


def ids_of(sql: str, parameters: Sequence[Any], connection: Connection) -> list[bytes]:
    """What a query finds of ids, in one text: a row costs more than what is in it."""
    with guarded(connection):
        ((text,),) = connection.rows(f"SELECT group_concat(hex(id), '') FROM ({sql})", parameters)  # noqa: S608
    return split_ids(text)


def split_ids(text: str | None) -> list[bytes]:
    """Ids from their hexadecimal digits, one after the other."""
    data = bytes.fromhex(text or "")
    return [data[start : start + _ID_LENGTH] for start in range(0, len(data), _ID_LENGTH)]


def _page(query: ListQuery) -> tuple[str, list[Any]]:
    """A query for the ids of a page; `listing.listed` says the same of one process."""
    conditions = ["caller = ?", "resource = ?"]
    parameters: list[Any] = [query.caller, query.resource]
    for condition, value in (
        ("correlation_id = ?", query.correlation_id),
        ("key = ?", query.key),
        ("created_at > ?", query.created_after),
        ("created_at < ?", query.created_before),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    if query.before_id is not None:
        conditions.append("id < ?")
        parameters.append(asked_id(query.before_id))
    if query.state is not None:
        conditions.append(in_public_state(query.state, parameters))
    if query.status is not None:
        conditions.append(bears(query.status, query.status_means, parameters))
    parameters.append(query.limit)
    text = f"SELECT id FROM process INDEXED BY process_caller WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"  # noqa: S608
    return text, parameters
