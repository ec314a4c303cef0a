"""Which files a policy is read from, and reading them with the stamps by which a change shows."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_ENDINGS = (".yaml", ".yml")


class Stamp(NamedTuple):
    """What changes when a file does."""

    modified: int  # nanoseconds since the Unix epoch
    size: int
    inode: int


Stamps = dict[str, Stamp | None]
"""By absolute path; None: there is no such file, or it cannot be looked at."""


def stamp(path: str) -> Stamp | None:
    """The stamp of a file; a link is followed, so that a link that is turned to another file shows as well."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a path cannot hold everything that a text can
        return None
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def policy_files(paths: Iterable[Path]) -> list[str]:
    """The policy files that ``paths`` name, as absolute paths, each once: files, and what folders hold at any depth.

    In a folder these are the names that end in .yaml or .yml and do not begin with a dot. What does not exist is
    named all the same, so that reading it says so.
    """
    found: dict[str, None] = {}
    for path in paths:
        absolute = os.path.abspath(path)
        for name in _within(absolute) if os.path.isdir(absolute) else (absolute,):
            found.setdefault(name)
    return list(found)


def _within(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        # Names with a dot are how editors and Kubernetes keep the versions that are not to be read.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(_ENDINGS) and not name.startswith("."):
                yield os.path.join(parent, name)


class Reading:
    """Reads files for one load, and remembers what it read."""

    def __init__(self, kept: Mapping[str, bytes] | None = None) -> None:
        """``kept``: contents to use in place of what lies under these paths."""
        self._kept = kept or {}
        self.sources: dict[str, bytes] = {}
        """What was read and is no secret, by absolute path."""
        self.stamps: Stamps = {}
        self.digests: dict[str, str] = {}
        """Of what was read and is no secret, by absolute path: SHA-256, hex."""

    def read(self, path: str, most: int, *, secret: bool = False) -> bytes:
        """The content of a file, by its absolute path; ``most`` bytes of it and one more where it is longer.

        Raises:
            OSError: it cannot be read.
        """
        # Before reading: a change in between is then seen as one later, not missed.
        self.stamps[path] = stamp(path)
        data = self._kept.get(path)
        if data is None:
            if "\0" in path:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            with open(path, "rb") as file:
                data = file.read(most + 1)
        if not secret:
            self.sources[path] = data
            self.digests[path] = hashlib.sha256(data).hexdigest()
        return data

    def look(self, path: str) -> Stamp | None:
        """Note a file that others are going to read; None: it cannot be read."""
        self.stamps[path] = found = stamp(path)
        return found if found is not None and os.access(path, os.R_OK) else None


def why(error: OSError) -> str:
    """Why a file cannot be read, in the system's words."""
    return error.strerror or type(error).__name__
