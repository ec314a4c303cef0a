"""One turn of the writer: what was waiting becomes durable by one transaction and one fsync.

First everything is written table by table. Should one item be impossible to write, all is rolled back and done again
item by item, each under a savepoint, so that it harms nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from strangler.domain.errors import InternalError, StoreUnavailable
from strangler.engine.failpoint import reach
from strangler.ports import Committed, KeyTaken, Stale, Verdict
from strangler.store.retention import CHUNKS_GONE
from strangler.store.sqlite import statements as sql
from strangler.store.sqlite.connection import Connection, is_failing_disk, is_trouble
from strangler.store.sqlite.health import clear_probe, write_probe
from strangler.store.sqlite.rows import Written, key_of
from strangler.store.sqlite.statements import NULL, Row, Statement

Action = Callable[[Connection], Any]
"""Something else that is written within the transaction; it may be run twice, the first time being rolled back."""

Item = Written | Action


@dataclass(frozen=True, slots=True)
class Failure:
    """What stands in place of a result."""

    error: Exception


def take_turn(connection: Connection, items: Sequence[Item]) -> list[Any]:
    """Write all items and have them on disk; their results, or `Failure` for those that could not be written.

    Raises:
        StoreUnavailable: the disk is full or failing; nothing of any item was kept.
    """
    try:
        return _together(connection, items)
    except Exception as error:
        _roll_back(connection)
        if is_trouble(connection.library, error):
            raise StoreUnavailable(str(error)) from error
    try:
        return _one_by_one(connection, items)
    except connection.library.dbapi.Error as error:
        _roll_back(connection)
        raise StoreUnavailable(str(error)) from error


def _roll_back(connection: Connection) -> None:
    if connection.raw.in_transaction:  # SQLite has rolled back by itself where the disk failed
        connection.run("ROLLBACK")


def _commit(connection: Connection) -> None:
    reach("before-commit")
    try:
        connection.run("COMMIT")
    except connection.library.dbapi.Error as error:
        _roll_back(connection)
        if is_failing_disk(error):
            _write_over(connection)
        raise
    reach("after-commit")


def _write_over(connection: Connection) -> None:
    """Write something of no meaning in the place of a commit that was written, and could not be brought to the disk.

    Nobody sees it, but whoever opens the store after a crash could find it whole in the log, when its client was told
    long ago that nothing was recorded. The log goes on behind the last commit that was seen, and each frame bears a
    checksum over all before it (sqlite.org/fileformat2.html, "The WAL File Format").
    """
    with suppress(connection.library.dbapi.Error):  # it is written, whether or not it comes to the disk in its turn
        connection.run("BEGIN IMMEDIATE")
        write_probe(connection)
        clear_probe(connection)
        connection.run("COMMIT")
    _roll_back(connection)


def _together(connection: Connection, items: Sequence[Item]) -> list[Any]:
    connection.run("BEGIN IMMEDIATE")
    results = _perform(connection, items, careful=False)
    _commit(connection)
    return results


def _one_by_one(connection: Connection, items: Sequence[Item]) -> list[Any]:
    connection.run("BEGIN IMMEDIATE")
    results: list[Any] = []
    for item in items:
        connection.run("SAVEPOINT item")
        try:
            results += _perform(connection, (item,), careful=True)
        except Exception as error:
            if is_trouble(connection.library, error):
                raise
            connection.run("ROLLBACK TO item")
            results.append(Failure(_defect(error)))
        connection.run("RELEASE item")
    _commit(connection)
    return results


def _defect(error: Exception) -> InternalError:
    defect = InternalError(f"it cannot be stored: {error}")
    defect.__cause__ = error
    return defect


def _perform(connection: Connection, items: Sequence[Item], *, careful: bool) -> list[Any]:
    results: list[Any] = [None] * len(items)
    wave = _Wave(connection, careful)
    for number, item in enumerate(items):
        if isinstance(item, Written):
            if not wave.takes(item):
                wave.write(results)
                wave = _Wave(connection, careful)
            wave.add(number, item)
        else:
            wave.write(results)
            wave = _Wave(connection, careful)
            results[number] = item(connection)
    wave.write(results)
    return results


class _Wave:
    """Commits that have nothing to do with each other, and so are written together."""

    def __init__(self, connection: Connection, careful: bool) -> None:
        self._connection = connection
        self._careful = careful  # ask first whether an id is new; otherwise a conflict says so
        self._commits: list[tuple[int, Written]] = []
        self._touched: set[object] = set()

    def takes(self, commit: Written) -> bool:
        return self._touched.isdisjoint(commit.touches)

    def add(self, number: int, commit: Written) -> None:
        self._commits.append((number, commit))
        self._touched.update(commit.touches)

    def write(self, results: list[Any]) -> None:
        """Write those in whose way nothing stands, and put down the verdict on each."""
        obstacles = self._obstacles() if self._commits else {}
        gathered: dict[Statement, list[Row]] = {}
        for number, commit in self._commits:
            verdict: Verdict | Failure | None = obstacles.get(number)
            if verdict is None:
                for statement, row in commit.rows:
                    gathered.setdefault(statement, []).append(row)
                verdict = Committed()
            results[number] = verdict
        for statement in sql.ORDER:
            if statement in gathered:
                self._run(statement, gathered[statement])

    def _run(self, statement: Statement, rows: list[Row]) -> None:
        for text, start, end in statement.slices(len(rows)):
            changed = self._connection.run(text, list(chain.from_iterable(rows[start:end])))
            if statement.every and changed != end - start:
                raise InternalError(f"{changed} rows of {end - start} were written: {statement.text}")

    def _ask(self, statement: Statement, rows: list[Row]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for text, start, end in statement.slices(len(rows)):
            found += self._connection.rows(text, list(chain.from_iterable(rows[start:end])))
        return found

    def _obstacles(self) -> dict[int, Verdict | Failure]:
        stale: list[Row] = []
        absent: list[Row] = []
        keyed: list[Row] = []
        delivered: list[Row] = []
        in_chunks: list[Row] = []
        for number, commit in self._commits:
            if commit.exists:
                absent.append((number, commit.process_id))
            elif commit.before is not None:
                stale.append((number, commit.process_id, *commit.before))
            elif self._careful:
                stale.append((number, commit.process_id, NULL, NULL))
            if commit.key is not None:
                keyed.append((number, *commit.key))
            if commit.delivery is not None:
                delivered.append((number, commit.process_id, *commit.delivery))
            if commit.chunks:
                in_chunks.append((number, commit.process_id, commit.chunks))
        obstacles: dict[int, Verdict | Failure] = {}
        for (number,) in self._ask(sql.IN_PIECES, in_chunks):
            obstacles[number] = Failure(StoreUnavailable(CHUNKS_GONE))
        for number, *held in self._ask(sql.TAKEN, keyed):
            obstacles[number] = KeyTaken(key_of(held))
        in_the_way = ((sql.STALE, stale), (sql.ABSENT, absent), (sql.DELIVERY_STALE, delivered))
        for statement, rows in in_the_way:
            for (number,) in self._ask(statement, rows):
                obstacles[number] = Stale()
        return obstacles
