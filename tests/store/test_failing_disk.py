"""A disk that takes what is written and cannot keep it: who was told that nothing is recorded was told the truth."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.store import SqliteStore
from tests.store import builders as make
from tests.store.builders import FakeClock, after
from tests.store.test_conformance import done
from tests.store.test_crash import ROOT, recorded

COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]

FAILING_SYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int sync_by(const char *name, int descriptor) {
    if (access(getenv("FAILING"), F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(descriptor);
}
int fsync(int descriptor) { return sync_by("fsync", descriptor); }
int fdatasync(int descriptor) { return sync_by("fdatasync", descriptor); }
"""
"""In the place of the C library's; fails while there is a file by the name of $FAILING."""


@pytest.fixture
def failing_sync(tmp_path: Path) -> Path:
    if sys.platform != "linux" or shutil.which(COMPILER) is None:
        pytest.skip(f"no Linux or no {COMPILER} here: that a failing fsync brings nothing back is NOT shown")
    source, library = tmp_path / "failing_sync.c", tmp_path / "failing_sync.so"
    source.write_text(FAILING_SYNC)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    opened = open_store(f"sqlite:///{tmp_path}/s.db", AesGcmSealer(b"k" * 32), clock)
    assert isinstance(opened, SqliteStore)
    await make.promise(opened)
    yield opened
    await opened.close()


def test_what_was_refused_because_the_disk_failed_does_not_come_back_after_a_crash(
    tmp_path: Path, failing_sync: Path
) -> None:
    file, flag = tmp_path / "strangler.db", tmp_path / "failing"
    ran = subprocess.run(
        [sys.executable, "-m", "tests.store.unsynced", file, flag],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(failing_sync), "FAILING": str(flag)},
    )
    told = [line.split() for line in ran.stdout.splitlines()]
    assert [word for word, _ in told] == ["kept", "refused", "refused"]
    assert [*recorded(file)] == [process_id for word, process_id in told if word == "kept"]


@pytest.mark.parametrize("code", ["SQLITE_IOERR", "SQLITE_FULL"])
async def test_the_store_goes_on_as_before(store: SqliteStore, code: str) -> None:
    error = store_error(code)

    class Failing(Connection):
        def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
            if sql == "COMMIT" and not failed:
                failed.append(sql)
                raise error
            return super().run(sql, parameters)

    failed: list[str] = []
    refused = make.accept()
    connection = store._writer._connection
    store._writer._connection = Failing(connection.library, connection.raw)
    with pytest.raises(StoreUnavailable):
        await store.commit(refused)
    assert await store.process(after(refused).id) is None
    kept = await done(store, make.accept())
    assert await store.process(after(kept).id) == after(kept)


def store_error(code: str) -> Exception:
    error = choose_library().dbapi.OperationalError("disk I/O error")
    error.sqlite_errorcode = getattr(sqlite3, code)
    return error
