"""The stores that have to behave alike. A further one is added here and nowhere else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from strangler.store import Store
from strangler.store.memory import MemoryStore
from strangler.store.open import open_store
from strangler.store.remote.host import Host
from strangler.store.remote.store import RemoteStore
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.store import SqliteStore
from tests.store.builders import FakeClock

Opener = Callable[[Path, FakeClock], Store]


def _memory(_folder: Path, _clock: FakeClock) -> Store:
    return MemoryStore()


def _sqlite(folder: Path, clock: FakeClock) -> Store:
    return open_store(f"sqlite:///{folder}/strangler.db", AesGcmSealer(b"k" * 32), clock)


def _sqlite_of_python(folder: Path, clock: FakeClock) -> Store:
    """Over the library that this Python links, which is often an old one."""
    library = choose_library("sqlite3.dbapi2")
    return open_store(f"sqlite:///{folder}/strangler.db", AesGcmSealer(b"k" * 32), clock, library=library)


_BY_THE_OWNER = (
    "exceptions",
    "deliveries",
    "shed",
    "put_order",
    "remove_order",
    "begin_pause",
    "end_pause",
    "sweep_pauses",
    "begin_command",
    "end_command",
)


class _Served(RemoteStore):
    """A store in the hands of another, which ends with it and does itself what no worker asks of it."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        library, sealer = choose_library(), AesGcmSealer(b"k" * 32)
        path = folder / "strangler.db"
        self._owner = SqliteStore(path, library, sealer, clock)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "socket"))
        listener.listen()
        host = Host(self._owner)
        self._serving = asyncio.ensure_future(asyncio.get_running_loop().create_unix_server(host.guest, sock=listener))
        super().__init__(path, library, sealer, str(folder / "socket"))
        for name in _BY_THE_OWNER:
            setattr(self, name, getattr(self._owner, name))

    async def close(self) -> None:
        await super().close()
        server = await self._serving
        server.close()
        await self._owner.close()


def _remote(folder: Path, clock: FakeClock) -> Store:
    return _Served(folder, clock)


BACKENDS: dict[str, Opener] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "sqlite-of-python": _sqlite_of_python,
    "remote": _remote,
}
