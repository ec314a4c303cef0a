"""From a store URL to a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strangler.domain.errors import OperatorError
from strangler.ports import Clock
from strangler.store import Store
from strangler.store.ledger import Ledgers
from strangler.store.memory import MemoryStore
from strangler.store.sealing import Sealer
from strangler.store.sqlite.connection import Connection, open_reader
from strangler.store.sqlite.copying import copy
from strangler.store.sqlite.foreign import why_foreign
from strangler.store.sqlite.ledgers import SqliteLedgers
from strangler.store.sqlite.library import Library, choose_library
from strangler.store.sqlite.lock import OwnerLock
from strangler.store.sqlite.measuring import measure
from strangler.store.sqlite.migrations import require_current
from strangler.store.sqlite.store import SqliteStore
from strangler.store.sqlite.writer import GroupCommit
from strangler.store.usage import Usage

MEMORY = "memory:"


def store_path(url: str) -> Path | None:
    """The absolute path of the SQLite file that a URL names (``sqlite:///relative``, ``sqlite:////absolute``);
    None for ``memory:``.

    Raises:
        OperatorError: it is no URL of a store that there is, or could be.
    """
    if url == MEMORY:
        return None
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgres", "postgresql") and separator:
        raise OperatorError(f"--store: {scheme} is not available yet; use sqlite:///strangler.db, or memory:")
    if scheme != "sqlite" or not rest.startswith("/") or len(rest) == 1 or rest.endswith("/"):
        raise OperatorError(
            f"--store: {_without_password(url)!r} is not a store; "
            "expected sqlite:///relative.db, sqlite:////absolute.db or memory:"
        )
    path = Path(rest[1:]).absolute()
    if path.is_dir():
        raise OperatorError(f"--store: {path} is a folder; a store is a file in one, such as {path / 'strangler.db'}")
    if (why := why_foreign(path)) is not None:
        raise OperatorError(f"--store: {path} is not a store of strangler: {why}. It is left as it is")
    return path


def _without_password(url: str) -> str:
    """A mistyped URL as it may be shown: what stands before an @ may hold a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if separator and "@" in rest else url


def open_store(
    url: str,
    sealer: Sealer,
    clock: Clock,
    *,
    on_group_commit: GroupCommit | None = None,
    disk_reserve: int = 0,
    library: Library | None = None,
) -> Store:
    """Open the store that a URL names. Called, used and closed on one event loop.

    Args:
        url: as `store_path` takes it.
        sealer: seals the credentials of recorded requests.
        clock: the time.
        on_group_commit: told on the event loop of each transaction: items in it, seconds until it was on disk.
        disk_reserve: bytes that have to stay free on the disk; below it no new work is recorded.
        library: the SQLite to use; None: the soundest that is installed.

    Raises:
        OperatorError: the URL names no store, or one that is in use or not ours.
    """
    path = store_path(url)
    if path is None:
        return MemoryStore()
    chosen = library if library is not None else choose_library()
    return SqliteStore(path, chosen, sealer, clock, on_group_commit=on_group_commit, disk_reserve=disk_reserve)


@contextmanager
def open_ledgers(url: str) -> Iterator[Ledgers]:
    """A read-only view over a store that a server may be using.

    Raises:
        OperatorError: the URL names no store with a file of ours.
    """
    with _reading(url) as (connection, _):
        yield SqliteLedgers(connection)


def usage_of(url: str, now: int) -> Iterator[Usage]:
    """What fills a store that a server may be using; see `measure`.

    Raises:
        OperatorError: the URL names no store with a file of ours.
    """
    with _reading(url) as (connection, path):
        yield from measure(connection, path, now)


def back_up(url: str, target: Path) -> int:
    """Copy a store that a server may be using; the size of the copy in bytes.

    Raises:
        OperatorError: the URL names no store with a file of ours, or the copy cannot be made.
        StoreUnavailable: the store cannot be read.
    """
    with _reading(url) as (connection, _):
        return copy(connection, target)


def is_in_use(url: str) -> bool:
    """Whether somebody owns the store that a URL names.

    Raises:
        OperatorError: it names none with a file, or it cannot be said.
    """
    path = store_path(url)
    if path is None or not path.exists():
        raise OperatorError(f"{path or url}: there is no such store; --store names the one that `serve` has")
    return OwnerLock.held(path)


@contextmanager
def _reading(url: str) -> Iterator[tuple[Connection, Path]]:
    path = store_path(url)
    if path is None:
        raise OperatorError(f"{url} is gone with the process that had it; there is nothing to read")
    connection = open_reader(path, choose_library())
    try:
        require_current(connection, path)
        yield connection, path
    finally:
        connection.close()
