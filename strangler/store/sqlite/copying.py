"""A copy of the file while it is in use: a store of its own, of one moment."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from strangler.domain.errors import OperatorError
from strangler.store.durable import sync_folder
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded


def copy(connection: Connection, target: Path) -> int:
    """Copy what one read sees into a new file; its size in bytes.

    It is one read from begin to end, because one that begins anew whenever somebody writes would never end. The copy
    has its name only when all of it is on the disk.

    Raises:
        OperatorError: there is such a file already, or it cannot be written.
        StoreUnavailable: the store cannot be read.
    """
    draft = target.with_name(f"{target.name}.part")
    try:
        if target.exists():
            raise OperatorError(f"{target} is there already; a backup replaces nothing")
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise OperatorError(f"{draft}: {error.strerror}") from error
    try:
        _copied(connection, draft)
        _name(draft, target)
        sync_folder(target.parent)
        return target.stat().st_size
    except OSError as error:
        raise OperatorError(f"{target}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _copied(connection: Connection, draft: Path) -> None:
    into = connection.library.dbapi.connect(str(draft))
    try:
        with guarded(connection):
            connection.raw.backup(into)
        # One file, nothing beside it: the log of a copy would have to be copied along.
        into.execute("PRAGMA journal_mode = DELETE")
        into.commit()
    except connection.library.dbapi.Error as error:
        raise OperatorError(f"{draft}: {error}") from error
    finally:
        into.close()
    with open(draft, "rb") as file:
        os.fsync(file.fileno())


def _name(draft: Path, target: Path) -> None:
    try:
        os.link(draft, target)  # unlike a rename it refuses to replace
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS) or target.exists():
            raise
        draft.rename(target)  # a file system without hard links
