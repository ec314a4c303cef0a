"""Which SQLite is used, and whether it is sound.

Every SQLite from 3.7.0 to 3.51.2 can lose committed pages when two connections write or checkpoint one WAL file at the
same instant; 3.51.3 mended it, and so did 3.50.7 and 3.44.6 (sqlite.org/wal.html, "The WAL-reset bug"). CPython often
links an older one, so the wheel of pysqlite3, which brings its own, comes first; sqlite-utils chooses alike. One
connection alone writes and checkpoints here, whatever the version; `sound` decides whether anybody else may.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from strangler.domain.errors import OperatorError

_OLDEST = (3, 38, 0)  # STRICT tables (3.37), UPDATE … FROM (3.33) and JSON without an extension (3.38)


@dataclass(frozen=True, slots=True)
class Library:
    """A DB-API module over SQLite, pysqlite3 or sqlite3; both have the same interface."""

    dbapi: Any
    version: tuple[int, int, int]

    @property
    def sound(self) -> bool:
        """Whether several connections may write and checkpoint one file."""
        return is_sound(self.version)

    @property
    def name(self) -> str:
        """For people: the version, and what is to be known of it."""
        number = ".".join(map(str, self.version))
        return f"SQLite {number}" if self.sound else f"SQLite {number} (older than 3.51.3: no other program may write)"


def is_sound(version: tuple[int, int, int]) -> bool:
    """Whether a version of SQLite has the WAL-reset defect mended."""
    if version[:2] == (3, 50):
        return version >= (3, 50, 7)
    if version[:2] == (3, 44):
        return version >= (3, 44, 6)
    return version >= (3, 51, 3)


def choose_library(*names: str) -> Library:
    """The first module of ``names`` that is installed (default: pysqlite3, then the one of Python).

    Raises:
        OperatorError: it is too old for the schema.
    """
    for name in names or ("pysqlite3.dbapi2", "sqlite3.dbapi2"):
        try:
            dbapi = importlib.import_module(name)
        except ImportError:
            continue
        if dbapi.sqlite_version_info < _OLDEST:
            raise OperatorError(f"SQLite {dbapi.sqlite_version} is too old; install pysqlite3, or SQLite 3.38 or newer")
        return Library(dbapi, dbapi.sqlite_version_info)
    raise OperatorError("this Python has no SQLite module; install pysqlite3")
