"""Parts of final processes that are forgotten before them, by the clock or by command, in steps as in `sweeping`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial

from strangler.store.retention import Part
from strangler.store.shedding import Candidate
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded
from strangler.store.sqlite.scans import ids_of
from strangler.store.sqlite.statements import Statement
from strangler.store.sqlite.sweeping import CHUNKS, PATIENCE, UNTOUCHED, in_pieces, some_chunks, still
from strangler.store.sqlite.turn import Action

_NAMES = {Part.BODIES: "bodies", Part.HISTORY: "history", Part.DELIVERIES: "deliveries"}


def _past(part: Part) -> str:
    name = _NAMES[part]
    return (
        f"retain_until_at - retain + retain_{name} <= ? AND retain_{name} IS NOT NULL "
        f"AND retain_until_at IS NOT NULL AND gone & {part:d} = 0 AND {UNTOUCHED}"
    )


_DUE = {
    part: f"SELECT id FROM process INDEXED BY process_{name}_until WHERE {_past(part)} LIMIT ?"  # noqa: S608
    for part, name in _NAMES.items()
}
_STILL_DUE = {
    part: Statement(f"SELECT id FROM process WHERE id IN (VALUES {{values}}) AND {_past(part)}", ("id",))  # noqa: S608
    for part in Part
}


def _delete(table: str, key: str = "process_id") -> Statement:
    return Statement(f"DELETE FROM {table} WHERE {key} IN (VALUES {{values}})", (key,))  # noqa: S608


_BELONGINGS = {
    Part.BODIES: (_delete("request"), _delete("reply"), _delete("evidence")),
    Part.HISTORY: (_delete("event"), _delete("outbox", "aggregateid"), _delete("attempt")),
    Part.DELIVERIES: (_delete("delivery_attempt"),),
}
_MARK = {
    part: Statement(f"UPDATE process SET gone = gone | {part:d} WHERE id IN (VALUES {{values}})", ("id",))  # noqa: S608
    for part in Part
}
_OLDEST = (
    "SELECT json_group_array(json_array(hex(id), size, sheds)) FROM (SELECT id, "  # noqa: S608
    "body_size + CASE WHEN result_kept THEN result_length ELSE 0 END + (SELECT COALESCE(sum(length(body)), 0) "
    "FROM evidence WHERE evidence.process_id = process.id) AS size, "
    f"retain_until_at IS NOT NULL AND gone & {Part.BODIES:d} = 0 AND {UNTOUCHED} AS sheds "
    "FROM process WHERE id > ? ORDER BY id LIMIT ?)"
)
_STILL_WITH_BODIES = Statement(
    "SELECT id FROM process WHERE id IN (VALUES {values}) AND retain_until_at IS NOT NULL "  # noqa: S608
    f"AND gone & {Part.BODIES:d} = 0 AND {UNTOUCHED}",
    ("id",),
)


def due(part: Part, now: int, limit: int, connection: Connection) -> list[bytes]:
    """Processes of which it is time to forget a part; looked for as `sweeping.past`."""
    return ids_of(_DUE[part], (now, limit), connection)


def parts(part: Part, now: int, process_ids: Sequence[bytes]) -> Action:
    """Forget a part of processes that were `due`, as far as they still are; chunks are swept as those that nobody
    reads any more."""
    return partial(in_pieces, partial(_lapsed, part, now), process_ids)


def _lapsed(part: Part, now: int, process_ids: Sequence[bytes], connection: Connection) -> None:
    _forget(part, still(_STILL_DUE[part], process_ids, connection, now), connection)


def _forget(part: Part, ids: Sequence[bytearray], connection: Connection) -> None:
    """Forget a part of these processes, all of it but chunks."""
    for statement in (*_BELONGINGS[part], _MARK[part]):
        for sql, start, end in statement.slices(len(ids)):
            connection.run(sql, ids[start:end])


def oldest(connection: Connection, after: bytes, limit: int) -> list[Candidate]:
    """So many processes behind one, in the order of their age."""
    with guarded(connection):
        ((text,),) = connection.rows(_OLDEST, (bytearray(after), limit))
    return [Candidate(bytes.fromhex(key), size, sheds == 1) for key, size, sheds in json.loads(text)]


def bodies(process_ids: Sequence[bytes]) -> Action:
    """Forget the bodies of these processes, as far as they have ended and nobody needs them any more."""
    return partial(_bodies, process_ids)


def _bodies(process_ids: Sequence[bytes], connection: Connection) -> bool:
    """Whether all of it is done; else there are pieces of long ones left, which nobody reads any more."""
    began = time.monotonic()
    _forget(Part.BODIES, still(_STILL_WITH_BODIES, process_ids, connection), connection)
    while some_chunks(process_ids, CHUNKS, connection):
        if time.monotonic() - began >= PATIENCE:
            return False
    return True
