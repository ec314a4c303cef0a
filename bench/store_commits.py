"""How many acceptances a store commits, without a server: process, request with a 1 KB body, sealed credentials, event,
outbox row and key, each on disk before its committer goes on.

    taskset -c 1 python -m bench.store_commits --committers 64 --seconds 3 [--busy] [--prebuilt]

``--busy`` keeps the event loop spinning beside them, ``--prebuilt`` leaves the making of the commits out.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from strangler.config.system import SystemClock, SystemIds
from strangler.domain.exchange import Body, RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process
from strangler.domain.steps import Accept
from strangler.domain.transitions import apply
from strangler.ports import Commit
from strangler.runtime.serve import loop_factory
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer

CALLERS = 1000
DAY = 86_400_000
BODY = b'{"policyNumber": "P-1", "text": "' + b"x" * 960 + b'"}'
DIGEST = hashlib.sha256(BODY).digest()
HEADERS = tuple((b"X-Header-%d" % number, b"some value %d" % number) for number in range(8))
CREDENTIALS = ((3, b"Authorization", b"Bearer " + b"t" * 200),)
SLICE = 0.0002  # seconds that the busy loop spins at a time


def acceptance(number: int, clock: SystemClock, ids: SystemIds) -> Commit:
    """The commit of one acceptance with a key of its own."""
    now = clock.now()
    process_id = ids.process_id(now)
    caller = f"{number % CALLERS:064x}"
    draft = Process(
        id=process_id,
        route="submit-claim",
        type="ClaimSubmission",
        promise="a" * 64,
        base="https://claims.example",
        resource="/claim-submissions",
        method="POST",
        correlation_id="c" * 32,
        created_at=now,
        deadline_at=now + DAY,
        retain=30 * DAY,
        promised=True,
        caller=caller,
        key=process_id,
        key_scope=f"submit-claim\n{caller}",
        key_lookup=process_id,
        key_life=DAY,
        body_size=len(BODY),
    )
    request = RecordedRequest("POST", b"/claims", HEADERS, CREDENTIALS, Body(len(BODY), DIGEST, BODY))
    key = KeyRecord(f"submit-claim\n{caller}", process_id, DIGEST, process_id)
    return Commit(apply(None, Accept(draft), now), request=request, key=key)


async def measure(committers: int, seconds: float, *, busy: bool, prebuilt: bool) -> str:
    """Commit for so long; what came of it, as a line."""
    clock, ids = SystemClock(), SystemIds()
    turns: list[tuple[int, float]] = []
    waits: list[float] = []
    ready = [acceptance(number, clock, ids) for number in range(int(seconds * 25_000))] if prebuilt else []
    following: Callable[[], Commit] = ready.pop if prebuilt else lambda: acceptance(len(waits), clock, ids)
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "strangler.db"
        told = lambda size, lasted: turns.append((size, lasted))  # noqa: E731
        store = open_store(f"sqlite:///{path}", AesGcmSealer(b"k" * 32), clock, on_group_commit=told)
        began, cpu = time.perf_counter(), time.process_time()
        ending = began + seconds

        async def commit_on() -> None:
            while time.perf_counter() < ending:
                commit, at = following(), time.perf_counter()
                await store.commit(commit)
                waits.append(time.perf_counter() - at)

        async def spin() -> None:
            while time.perf_counter() < ending:
                until = time.perf_counter() + SLICE
                while time.perf_counter() < until:
                    pass
                await asyncio.sleep(0)

        await asyncio.gather(*(commit_on() for _ in range(committers)), *((spin(),) if busy else ()))
        lasted, used = time.perf_counter() - began, time.process_time() - cpu
        await store.close()
    waits.sort()
    lengths = sorted(length for _, length in turns)
    return (
        f"{committers} committers: {len(waits) / lasted:.0f}/s; {used / lasted:.2f} of a core, "
        f"{used / len(waits) * 1e6:.0f} µs of it each; {len(waits) / len(turns):.0f} per fsync, a turn takes "
        f"{lengths[len(turns) // 2] * 1e3:.1f} ms (99 %: {lengths[len(turns) * 99 // 100] * 1e3:.1f}); "
        f"waits {waits[len(waits) // 2] * 1e3:.1f} ms (99 %: {waits[len(waits) * 99 // 100] * 1e3:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--committers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--prebuilt", action="store_true")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        line = runner.run(measure(given.committers, given.seconds, busy=given.busy, prebuilt=given.prebuilt))
    print(line)


if __name__ == "__main__":
    main()
