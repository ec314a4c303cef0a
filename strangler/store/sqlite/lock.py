"""One process owns the file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from strangler.domain.errors import OperatorError


class InUse(OperatorError):
    """Another process holds the store."""


class OwnerLock:
    """A lock file beside the database, held until `release`; the kernel lets go of it when its holder dies.

    Raises:
        InUse: another process holds it.
        OperatorError: the lock file cannot be opened.
    """

    def __init__(self, database: Path) -> None:
        path = database.with_name(database.name + ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperatorError(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise InUse(
                f"{database} is in use by another strangler (process {holder}); "
                "one process owns a store: stop that one, or give this one another --store"
            ) from error
        # The file stays when it is released: who unlinks a lock file lets two hold locks on two files of one name.
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    @staticmethod
    def held(database: Path) -> bool:
        """Whether somebody holds it right now.

        Raises:
            OperatorError: the lock file cannot be opened.
        """
        try:
            OwnerLock(database).release()
        except InUse:
            return True
        return False

    def release(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
