"""Commits while the disk takes what is written and cannot keep it; then dies. What it was told goes to stdout.

    python -m tests.store.unsynced FILE FLAG

While FLAG is there each fsync fails: see `test_failing_disk`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from strangler.domain.errors import StoreUnavailable
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from tests.store import builders as make
from tests.store.builders import FakeClock, after


async def main(file: str, flag: Path) -> None:
    store = open_store(f"sqlite:///{file}", AesGcmSealer(b"k" * 32), FakeClock())
    await make.promise(store)
    for failing in (False, True, True):
        if failing:
            flag.touch()
        commit = make.accept()
        try:
            await store.commit(commit)
            print("kept", after(commit).id, flush=True)
        except StoreUnavailable:
            print("refused", after(commit).id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
