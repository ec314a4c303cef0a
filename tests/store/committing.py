"""Run as a program: commits acceptances and claims to a store, and prints the id of each that was acknowledged.

Usage: python -m tests.store.committing FILE COUNT CONCURRENCY [BODY_BYTES]
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from strangler.config.system import SystemClock, SystemIds
from strangler.domain.errors import StoreUnavailable
from strangler.domain.steps import Accept
from strangler.domain.transitions import apply
from strangler.ports import Commit, Committed
from strangler.store import Store
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from tests.store import builders as make


def say(line: str) -> None:
    """One write, so that a line is there whole or not at all."""
    os.write(1, f"{line}\n".encode())


async def live(store: Store, count: int, body: bytes) -> None:
    """Accept, claim and finish processes one after the other; a full disk is told, and ends it."""
    clock, ids = SystemClock(), SystemIds()
    for _ in range(count):
        now = clock.now()
        process_id = ids.process_id(now)
        draft = make.keyed(process_id, now, id=process_id, body_size=len(body))
        accepted = Commit(apply(None, Accept(draft), now), request=make.request(body), key=make.key_of(draft))
        try:
            assert await store.commit(accepted) == Committed()
            say(f"accepted {process_id}")
            claimed = make.claim(make.after(accepted), at=now)
            assert await store.commit(claimed) == Committed()
            say(f"claimed {process_id}")
            assert await store.commit(make.finish(make.after(claimed), at=now)) == Committed()
            say(f"finished {process_id}")
        except StoreUnavailable as error:
            say(f"unavailable {store.refusal()} ({error})")
            return


async def main(file: str, count: int, concurrency: int, size: int) -> None:
    store = open_store(f"sqlite:///{file}", AesGcmSealer(b"k" * 32), SystemClock())
    await make.promise(store)
    say("open")
    await asyncio.gather(*(live(store, count, b"x" * size) for _ in range(concurrency)))
    say("end")
    await store.close()


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond RLIMIT_FSIZE then fails with EFBIG
    given = [*sys.argv[1:], "9"]
    asyncio.run(main(given[0], int(given[1]), int(given[2]), int(given[3])))
