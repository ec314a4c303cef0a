"""The schema and how it came about: plain SQL files, applied once each, in order, by sqlite-utils.

The DDL is run as it stands in the file: what rebuilds a table (`transform`) would drop WITHOUT ROWID. The caller holds
the owner's lock, because `Migrations.apply` is not made for two that start at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from strangler.domain.errors import OperatorError
from strangler.store.sqlite.connection import APPLICATION_ID, Connection
from strangler.store.sqlite.library import Library

_SET = "strangler"
_FILES = (
    "0001_first.sql",
    "0002_follow.sql",
    "0003_carried.sql",
    "0004_delivery.sql",
    "0005_desk.sql",
    "0006_exceptions.sql",
    "0007_pauses.sql",
    "0008_probe.sql",
    "0009_retention.sql",
    "0010_credentials.sql",
    "0011_family.sql",
    "0012_given.sql",
)


def migrate(connection: Connection, path: Path) -> None:
    """Bring the schema up to date.

    Raises:
        OperatorError: the file is not ours, is of a newer release, or its schema is not what we made.
    """
    _require_ours(connection, path)
    database = Database(connection.raw, recursive_triggers=False, execute_plugins=False)
    migrations = _migrations()
    _refuse_newer([migration.name for migration in migrations.applied(database)], path)
    migrations.apply(database)
    _require_schema(connection, path)


def require_current(connection: Connection, path: Path) -> None:
    """Refuse a file that is not ours, or whose schema is of another release; nothing is written.

    Raises:
        OperatorError: it is not.
    """
    if connection.row("PRAGMA application_id") != (APPLICATION_ID,):
        raise OperatorError(f"{path} is not a store of strangler")
    if connection.rows("SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'"):
        rows = connection.rows("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (_SET,))
        applied = {name for (name,) in rows}
        _refuse_newer(applied, path)
        if missing := [name for name in map(_stem, _FILES) if name not in applied]:
            raise OperatorError(
                f"{path} was written by an earlier release (it has no {missing[0]}): `strangler serve` brings it up to "
                "date, and so does `strangler store hold`, which sends nothing"
            )
    _require_schema(connection, path)


def _refuse_newer(applied: Iterable[str], path: Path) -> None:
    if unknown := sorted(set(applied) - set(map(_stem, _FILES))):
        raise OperatorError(f"{path} was written by a newer release (it has {unknown[-1]}); use that one")


def _migrations() -> Migrations:
    migrations = Migrations(_SET)
    for name in _FILES:
        migrations(name=_stem(name))(_runner(name))
    return migrations


def _stem(name: str) -> str:
    return Path(name).stem


def _runner(name: str) -> Callable[[Any], None]:
    def run(database: Any) -> None:
        for statement in statements(name):
            database.conn.execute(statement)

    return run


def statements(name: str) -> Iterator[str]:
    """The statements of a file of the schema, one by one: `executescript` would commit what runs."""
    text = files(__package__).joinpath("schema", name).read_text("utf-8")
    collected = ""
    for line in text.splitlines(keepends=True):
        collected += line
        if sqlite3.complete_statement(collected):
            yield collected.strip()
            collected = ""


def _require_ours(connection: Connection, path: Path) -> None:
    """Mark an empty file as ours, before there is a table in it; refuse any other that is not marked."""
    if connection.row("PRAGMA application_id") == (APPLICATION_ID,):
        return
    if connection.rows("SELECT name FROM sqlite_schema LIMIT 1"):
        raise OperatorError(f"{path} is a SQLite database, but not one of strangler; it is left as it is")
    connection.rows(f"PRAGMA application_id = {APPLICATION_ID}")


def _require_schema(connection: Connection, path: Path) -> None:
    """Compare the schema in the file with what its statements make of an empty one; what others added may stay."""
    expected = _schema(connection.library, _FILES)
    if differing := sorted(name for name, _ in expected - set(connection.rows(_SCHEMA))):
        raise OperatorError(f"{path}: its schema is not the one of this release: {', '.join(differing)}")


@cache
def _schema(library: Library, names: tuple[str, ...]) -> frozenset[tuple[Any, ...]]:
    """What the statements of these files make of an empty file."""
    pattern = Connection(library, library.dbapi.connect(":memory:", isolation_level=None))
    try:
        for name in names:
            for statement in statements(name):
                pattern.rows(statement)
        return frozenset(pattern.rows(_SCHEMA))
    finally:
        pattern.close()


_SCHEMA = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
