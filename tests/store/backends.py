"""The stores that have to behave alike. A further one is added here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from strangler.store import Store
from strangler.store.memory import MemoryStore
from tests.store.builders import FakeClock

Opener = Callable[[Path, FakeClock], Store]


def _memory(_folder: Path, clock: FakeClock) -> Store:
    return MemoryStore(clock)


BACKENDS: dict[str, Opener] = {"memory": _memory}
