"""The log of commands, as rows."""

from __future__ import annotations

from typing import Any

from strangler.domain.process import is_id
from strangler.ports import AuditQuery, Command, Recorded
from strangler.store.ids import id_bytes, id_text
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded

_BEGIN = (
    "INSERT INTO command (at, who, what, subject, why, process_id, given) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING number"
)
_END = "INSERT OR IGNORE INTO command_end (number, at, outcome, detail) VALUES (?, ?, ?, ?)"
_LIST = (
    "SELECT number, command.at, who, what, subject, why, process_id, given, command_end.at, outcome, detail "
    "FROM command LEFT JOIN command_end USING (number) WHERE number < :before "
    "AND (:who IS NULL OR who = :who) AND (:what IS NULL OR what = :what) ORDER BY number DESC LIMIT :limit"
)
_OF_PROCESS = (
    "SELECT number, command.at, who, what, subject, why, process_id, given, command_end.at, outcome, detail "
    "FROM command INDEXED BY command_process LEFT JOIN command_end USING (number) WHERE process_id = :process "
    "AND number < :before AND (:who IS NULL OR who = :who) AND (:what IS NULL OR what = :what) "
    "ORDER BY number DESC LIMIT :limit"
)
_NUMBERS = 2**63 - 1


def begin(command: Command, connection: Connection) -> int:
    """Write a command; its number."""
    process_id = None if command.process_id is None else id_bytes(command.process_id)
    ((number,),) = connection.rows(_BEGIN, (*command[:5], process_id, command.given))
    return int(number)


def end(number: int, at: int, outcome: str, detail: str | None, connection: Connection) -> None:
    """Write what a command came to."""
    connection.run(_END, (number, at, outcome, detail))


def listed(query: AuditQuery, connection: Connection) -> list[Recorded]:
    """A page of commands."""
    values: dict[str, Any] = {
        "before": query.before if query.before is not None else _NUMBERS,
        "who": query.who,
        "what": query.what,
        "limit": query.limit,
    }
    sql = _LIST
    if query.process_id is not None:
        if not is_id(query.process_id):
            return []
        sql, values["process"] = _OF_PROCESS, id_bytes(query.process_id)
    with guarded(connection):
        return [_recorded(row) for row in connection.rows(sql, values)]


def _recorded(row: tuple[Any, ...]) -> Recorded:
    number, at, who, what, subject, why, process_id, given, ended_at, outcome, detail = row
    about = None if process_id is None else id_text(process_id)
    return Recorded(number, Command(at, who, what, subject, why, about, given), ended_at, outcome, detail)
