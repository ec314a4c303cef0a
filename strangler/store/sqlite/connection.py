"""Connections to the file, as the writer, the readers and `fsck` need them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from strangler.domain.errors import OperatorError
from strangler.store.durable import sync_folder
from strangler.store.sqlite.library import Library

APPLICATION_ID = 0x53545247  # "STRG", in the header of the file
PAGE_SIZE = 4096
BUSY_TIMEOUT = 5000  # milliseconds; nobody else writes, but somebody may look in with the sqlite3 shell
_CACHE = 32 * 1024  # KiB
_READ_CACHE = 16 * 1024  # KiB at most of a connection that reads: processes that are polled lie pages apart
_JOURNAL_LIMIT = 64 * 1024 * 1024
_STATEMENTS = 1024  # prepared ones kept per connection

# sqlite.org/rescode.html: what the disk or the file does, and not what one of our rows holds.
_TROUBLE = frozenset({3, 5, 6, 7, 8, 10, 11, 13, 14, 26})  # PERM BUSY LOCKED NOMEM READONLY IOERR CORRUPT FULL …

_IOERR = 10


class Connection:
    """One connection with one cursor; each call runs one statement to its end, so that no snapshot stays open."""

    def __init__(self, library: Library, raw: Any) -> None:
        self.library = library
        self.raw = raw
        self.closed = False
        self._cursor = raw.cursor()

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        found: list[tuple[Any, ...]] = self._cursor.execute(sql, parameters).fetchall()
        return found

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The only row of a query, or none."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement that yields no rows; how many rows it changed."""
        self._cursor.execute(sql, parameters)
        return int(self._cursor.rowcount)

    @contextmanager
    def texts(self, made: Callable[[bytes], Any]) -> Iterator[None]:
        """Inside, a text is what ``made`` makes of its octets; else one that is no UTF-8 is an error."""
        self.raw.text_factory = made
        try:
            yield
        finally:
            self.raw.text_factory = str

    def close(self) -> None:
        """Close it; a statement that still runs is given up."""
        self.closed = True
        self._cursor.close()
        self.raw.close()


def is_trouble(library: Library, error: BaseException) -> bool:
    """Whether an error says that the store cannot work right now, rather than that one row cannot be written."""
    return isinstance(error, library.dbapi.Error) and getattr(error, "sqlite_errorcode", 1) & 0xFF in _TROUBLE


def is_failing_disk(error: BaseException) -> bool:
    """Whether an error says that the disk could not do what it was told (SQLITE_IOERR), not that it is full."""
    return getattr(error, "sqlite_errorcode", 1) & 0xFF == _IOERR


def open_writer(path: Path, library: Library) -> Connection:
    """The one connection that writes and checkpoints.

    Raises:
        OperatorError: there is no such folder, or the file is no SQLite database that can be written.
    """
    try:
        _create(path)
        connection = _connect(path, library, "rw")
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from error
    with preparing(connection, path):
        _prepare_writer(connection, path)
    return connection


@contextmanager
def preparing(connection: Connection, path: Path) -> Iterator[None]:
    """While a connection that was just opened is made ready: where that fails, it is closed.

    Raises:
        OperatorError: the database refused something.
    """
    try:
        yield
    except BaseException as error:
        connection.close()
        if isinstance(error, connection.library.dbapi.Error):
            raise OperatorError(f"{path}: {error}") from error
        raise


def _create(path: Path) -> None:
    """An empty file that only its owner may read: requests lie in it. SQLite gives its other files the same mode."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
    sync_folder(path.parent)


def _prepare_writer(connection: Connection, path: Path) -> None:
    connection.rows(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.rows(f"PRAGMA page_size = {PAGE_SIZE}")
    connection.rows("PRAGMA auto_vacuum = INCREMENTAL")  # both count only before the first table is made
    mode = connection.row("PRAGMA journal_mode = WAL")
    if mode != ("wal",):
        raise OperatorError(f"{path}: no write-ahead log here ({mode}); the file has to be on a local disk")
    # FULL, not NORMAL: what a 202 promised is on disk, also when the power fails.
    connection.rows("PRAGMA synchronous = FULL")
    connection.rows("PRAGMA wal_autocheckpoint = 0")  # the writer does it, after it has told who waits
    connection.rows(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT}")
    connection.rows("PRAGMA temp_store = MEMORY")
    connection.rows(f"PRAGMA cache_size = -{_CACHE}")
    pages = os.environ.get("STRANGLER_SQLITE_MAX_PAGES")
    if pages is not None:  # for tests: a disk that is full at so many pages
        connection.rows(f"PRAGMA max_page_count = {int(pages)}")


def open_reader(path: Path, library: Library) -> Connection:
    """A connection that can neither write nor checkpoint.

    Raises:
        OperatorError: there is no such file, or it is no SQLite database.
    """
    if not path.is_file():
        raise OperatorError(f"{path}: there is no such file; --store names the one that `serve` has")
    connection = _connect(path, library, "ro")
    with preparing(connection, path):
        connection.rows(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        connection.rows("PRAGMA query_only = ON")
        connection.rows(f"PRAGMA cache_size = -{_READ_CACHE}")
        connection.rows("PRAGMA wal_autocheckpoint = 0")
        connection.rows("SELECT count(*) FROM sqlite_schema")
    return connection


def _connect(path: Path, library: Library, mode: str) -> Connection:
    try:
        raw = library.dbapi.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            isolation_level=None,  # we say BEGIN and COMMIT
            check_same_thread=False,  # each is used by one thread at a time, not always the one that opened it
            cached_statements=_STATEMENTS,
        )
    except library.dbapi.Error as error:
        raise OperatorError(f"{path}: {error}") from error
    return Connection(library, raw)
