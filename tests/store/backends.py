"""The stores that have to behave alike. A further one is added here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from strangler.store import Store
from strangler.store.memory import MemoryStore
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.library import choose_library
from tests.store.builders import FakeClock

Opener = Callable[[Path, FakeClock], Store]


def _memory(_folder: Path, clock: FakeClock) -> Store:
    return MemoryStore(clock)


def _sqlite(folder: Path, clock: FakeClock) -> Store:
    return open_store(f"sqlite:///{folder}/strangler.db", AesGcmSealer(b"k" * 32), clock)


def _sqlite_of_python(folder: Path, clock: FakeClock) -> Store:
    """Over the library that this Python links, which is often an old one."""
    library = choose_library("sqlite3.dbapi2")
    return open_store(f"sqlite:///{folder}/strangler.db", AesGcmSealer(b"k" * 32), clock, library=library)


BACKENDS: dict[str, Opener] = {"memory": _memory, "sqlite": _sqlite, "sqlite-of-python": _sqlite_of_python}
