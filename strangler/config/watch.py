"""Watching every file that a policy was read from, and whether a table that was loaded anew may take over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from strangler.config.files import Stamp, Stamps, policy_files, stamp
from strangler.policy.model import Table

STILL = 0.3
"""Seconds for which nothing may have changed, before a change counts: who writes a file in pieces is let finish."""

INTERVAL = 0.2
"""Seconds between two looks, so that a change is picked up within a second."""


class Watcher:
    """Decides from what is seen of the files when to load them again. Time and stamps are arguments."""

    def __init__(self, seen: Mapping[str, Stamp | None]) -> None:
        """``seen``: the stamps under which the files were read last."""
        self._settled = dict(seen)
        self._last = self._settled
        self._since = 0.0

    def poll(self, now: float, stamps: Mapping[str, Stamp | None]) -> bool:
        """Whether it is time to load again: something is not as it was read, and has been still for `STILL`.

        ``now`` is in seconds of any clock that goes forward; ``stamps`` is what is there now, of all files. Says so
        once for each change.
        """
        if stamps != self._last:
            self._last, self._since = dict(stamps), now
        if self._last == self._settled or now - self._since < STILL:
            return False
        self._settled = self._last
        return True

    def read(self, seen: Mapping[str, Stamp | None]) -> None:
        """The files were read again, under these stamps, whatever came of it."""
        self._settled = dict(seen)


def look(paths: Iterable[Path], read: Iterable[str]) -> Stamps:
    """The stamps of all policy files that ``paths`` name now, and of whatever else was ``read`` along with them."""
    return {path: stamp(path) for path in (*policy_files(paths), *read)}


async def watch(
    paths: Sequence[Path],
    seen: Mapping[str, Stamp | None],
    reload: Callable[[], Awaitable[Mapping[str, Stamp | None] | None]],
    *,
    interval: float = INTERVAL,
) -> None:
    """Call ``reload`` whenever a file has changed, until cancelled.

    ``seen`` and what ``reload`` returns are the stamps of what was read, or looked for (`Loaded.stamps`,
    `PolicyErrors.stamps`); None: nothing is known to be read, and it is tried again after the next change.
    """
    loop = asyncio.get_running_loop()
    watcher = Watcher(seen)
    known = set(seen)
    while True:
        await asyncio.sleep(interval)
        stamps = await asyncio.to_thread(look, paths, known)
        if watcher.poll(loop.time(), stamps):
            read = await reload()
            if read is not None:
                known = set(read)
                watcher.read(read)


def refusal(current: Table, candidate: Table, *, explicit: bool) -> str | None:
    """Why a table that loads may still not take over; None: it may.

    By a mere change on disk not every route may go: that is more often an accident than meant. Asked for explicitly
    (by signal or request), it may.
    """
    if not explicit and current.routes and not candidate.routes:
        return "the change on disk would lose every route; ask for a reload if it is meant"
    return None
