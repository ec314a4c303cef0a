"""What is forgotten, in small steps, each an item of a turn, so that no acceptance waits long for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from strangler.store.retention import Part
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.scans import ids_of
from strangler.store.sqlite.statements import Statement
from strangler.store.sqlite.turn import Action

Find = Callable[[int, Connection], list[bytes]]
"""Finds so many processes at most."""

PATIENCE = 0.006  # seconds that one step takes, about: so long an acceptance waits for it at most
PROCESSES = 64  # looked at in one go within a step
ROWS = 256  # keys or tombstones
CHUNKS = 8  # 2 MiB: every page of a large value is visited when it is deleted
PAGES = 16  # given back to the file system
LEAVINGS = 100_000  # processes, 5 MB
_LONG = 0.02  # seconds of a look after which there is a pause …
_SPARING = 100  # … of so many times as long
_WAITING = 10  # seconds that count as one, where a look only waits


class Step(NamedTuple):
    """What a step came to."""

    rows: int
    more: bool  # there may be more to do


class Pace:
    """When to look for what can be forgotten: looks that step over much, and find little, take a hundredth of the time
    of a processor at most, and a tenth of the time where they wait for a disk."""

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}  # by what is looked for

    def is_due(self, kind: str) -> bool:
        """Whether it is time to look for something."""
        return time.monotonic() >= self._not_before.get(kind, 0.0)

    def at_once(self, kind: str) -> None:
        """There is something of it to find."""
        self._not_before.pop(kind, None)

    def stepped_over_much(self, kind: str, seconds: float) -> None:
        """A look took so long, see `timed`, and found less than was asked for."""
        if seconds >= _LONG:
            self._not_before[kind] = time.monotonic() + _SPARING * seconds


def timed(find: Callable[[Connection], list[bytes]], connection: Connection) -> tuple[list[bytes], float]:
    """What a look finds, and the seconds that it took: of the processor, or a tenth of all where it waited for a cold
    disk, for as long as it lasts nothing else is looked for."""
    began, worked = time.monotonic(), time.thread_time()
    found = find(connection)
    return found, max(time.thread_time() - worked, (time.monotonic() - began) / _WAITING)


UNTOUCHED = (
    "NOT EXISTS (SELECT 1 FROM exception WHERE exception.process_id = process.id AND closed_at IS NULL) AND NOT EXISTS "
    "(SELECT 1 FROM delivery WHERE delivery.process_id = process.id AND delivery.state IN ('pending', 'held'))"
)
"""Nobody is going to look at it, and nobody is to be told of it any more."""

_PAST = f"SELECT id FROM process INDEXED BY process_retention WHERE retain_until_at <= ? AND {UNTOUCHED} LIMIT ?"  # noqa: S608
_STILL_PAST = Statement(
    f"SELECT id FROM process WHERE id IN (VALUES {{values}}) AND retain_until_at <= ? AND {UNTOUCHED}",  # noqa: S608
    ("id",),
)
_BURY = Statement(
    "INSERT OR REPLACE INTO tombstone (id, resource, caller, promise, until_at, parent_id) "
    "SELECT id, resource, caller, promise, retain_until_at + retain, parent_id FROM process "
    "WHERE id IN (VALUES {values})",
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
_UNREAD = Statement(
    "SELECT process_id FROM chunk WHERE process_id IN (VALUES {values}) AND NOT EXISTS "  # noqa: S608
    f"(SELECT 1 FROM process WHERE process.id = chunk.process_id AND gone & {Part.BODIES:d} = 0) LIMIT 1",
    ("process_id",),
)
_WITH_CHUNKS = Statement(
    "SELECT v.column1 AS id FROM (VALUES {values}) AS v "
    "WHERE EXISTS (SELECT 1 FROM chunk WHERE chunk.process_id = v.column1)",
    ("id",),
)
_LOOSE = (
    "WITH RECURSIVE owners (id) AS (SELECT min(process_id) FROM chunk UNION ALL "  # noqa: S608
    "SELECT (SELECT min(process_id) FROM chunk WHERE process_id > owners.id) FROM owners WHERE owners.id IS NOT NULL) "
    "SELECT owners.id FROM owners LEFT JOIN process ON process.id = owners.id "
    f"WHERE gone & {Part.BODIES:d} OR (process.id IS NULL AND owners.id < ?) LIMIT ?"
)
_CHUNKS = "DELETE FROM chunk WHERE rowid IN (SELECT rowid FROM chunk WHERE process_id = ? LIMIT ?)"


def past(now: int, limit: int, connection: Connection) -> list[bytes]:
    """Processes past their retention. Not looked for by the one who writes: who is held is stepped over, and may be
    many."""
    return ids_of(_PAST, (now, limit), connection)


def processes(now: int, process_ids: Sequence[bytes]) -> Action:
    """Forget processes that were `past` their retention; whoever does that sweeps their chunks, see `Leavings`."""
    return partial(in_pieces, partial(_bury, now), process_ids)


def _bury(now: int, process_ids: Sequence[bytes], connection: Connection) -> None:
    ids = still(_STILL_PAST, process_ids, connection, now)
    for statement in (_BURY, *_BELONGINGS):
        for sql, start, end in statement.slices(len(ids)):
            connection.run(sql, ids[start:end])


def still(
    statement: Statement, process_ids: Sequence[bytes], connection: Connection, *parameters: int
) -> list[bytearray]:
    """Those of which that holds which did when they were looked for."""
    ids = [bytearray(process_id) for process_id in process_ids]
    slices = statement.slices(len(ids))
    return [
        bytearray(key) for sql, start, end in slices for (key,) in connection.rows(sql, (*ids[start:end], *parameters))
    ]


def keys(now: int, limit: int) -> Action:
    """Forget keys that have lapsed."""
    return partial(in_time, partial(_lapsed, _LAPSED, now), limit, ROWS)


def graves(now: int, limit: int) -> Action:
    """Forget tombstones."""
    return partial(in_time, partial(_lapsed, _GRAVES, now), limit, ROWS)


def _lapsed(statement: str, now: int, most: int, connection: Connection) -> int:
    return connection.run(statement, (now, most))


class Leavings:
    """Whose bodies were forgotten just now, and may have chunks left: a look at all that has chunks takes long in a
    large store, and is made at the start and every now and then, for what a crash has left."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []

    def add(self, process_ids: Sequence[bytes]) -> bool:
        """Remember these; False: there are too many, and the look at all has to find them."""
        if len(self.ids) + len(process_ids) > LEAVINGS:
            return False
        self.ids += process_ids
        return True


def with_chunks(process_ids: Sequence[bytes], connection: Connection) -> list[bytes]:
    """Those of them that have chunks."""
    ids = [bytearray(process_id) for process_id in process_ids]
    slices = _WITH_CHUNKS.slices(len(ids))
    return [found for sql, start, end in slices for found in ids_of(sql, ids[start:end], connection)]


def loose(before: bytes, limit: int, connection: Connection) -> list[bytes]:
    """Ids that have chunks and are those of a process whose bodies are forgotten, or, below one, of no process."""
    return ids_of(_LOOSE, (bytearray(before), limit), connection)


def chunks(process_ids: Sequence[bytes], limit: int) -> Action:
    """Forget chunks of processes that do not exist, or whose bodies are forgotten."""
    return partial(in_time, partial(some_chunks, process_ids), limit, CHUNKS)


def some_chunks(process_ids: Sequence[bytes], most: int, connection: Connection) -> int:
    """Forget so many of these chunks, of one process after the other; how many there were."""
    ids = [bytearray(process_id) for process_id in process_ids]
    done = 0
    for sql, start, end in _UNREAD.slices(len(ids)):
        while done < most and (held := connection.row(sql, ids[start:end])) is not None:
            done += connection.run(_CHUNKS, (bytearray(held[0]), most - done))
    return done


def give_back(pages: int) -> Action:
    """Give so many empty pages back to the file system."""
    return partial(in_time, _give_back, pages, PAGES)


def _give_back(most: int, connection: Connection) -> int:
    connection.rows(f"PRAGMA incremental_vacuum({most:d})")
    return most


def in_pieces(
    forget: Callable[[Sequence[bytes], Connection], None], process_ids: Sequence[bytes], connection: Connection
) -> int:
    """Forget something of some processes, until it has taken long enough; of how many that is done."""
    began, done = time.monotonic(), 0
    while done < len(process_ids):
        piece = process_ids[done : done + PROCESSES]
        forget(piece, connection)
        done += len(piece)
        if time.monotonic() - began >= PATIENCE:
            break
    return done


def in_time(work: Callable[[int, Connection], int], limit: int, size: int, connection: Connection) -> Step:
    """Do a piece of work again and again, until there is no more of it, as much as was asked for is done, or it has
    taken long enough; the piece is told how much it may do, and says how much it did."""
    began, done = time.monotonic(), 0
    while done < limit:
        most = min(size, limit - done)
        taken = work(most, connection)
        done += taken
        if taken < most:
            return Step(done, more=False)
        if time.monotonic() - began >= PATIENCE:
            break
    return Step(done, more=True)
