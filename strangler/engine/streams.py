"""Streams: what changes, each public change once and in the order of its commit, for whoever follows it.

Nothing is kept for a reader but how far it has come. Who is slow is told later, from the history; who comes back after
a cut, or after a restart of the server, goes on where it was.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from strangler.domain.process import Process, PublicState
from strangler.engine.queries import public_versions
from strangler.engine.signals import Signals, Watch
from strangler.ports import ListQuery, ProcessStore, PublicChange

PAUSE = 0.25
"""Seconds between two looks at what changed for a caller: each costs a scan of all that was committed in between."""

_PAGE = 200
_OPEN = (PublicState.RECEIVED, PublicState.PROCESSING, PublicState.UNCONFIRMED)
_ENDED = sys.maxsize  # later than every event


class News(NamedTuple):
    """One change of one of a caller's processes."""

    process: Process  # as it was after the change
    newest: bool  # as it still is
    mark: str | None  # where to go on after it; None: where the one before said


class Batch(NamedTuple):
    """Some changes, in order; without any, a beat."""

    news: Sequence[News]
    mark: str | None  # where to go on after all of it; None: that cannot be said yet


class Streams:
    """What can be followed. Every stream may raise `StoreUnavailable`.

    A stream yields an empty batch every ``beat`` seconds, so that whoever writes can show that it is still there. It
    also looks at the store then: a signal that was lost costs that long at most, and not the truth.
    """

    def __init__(self, store: ProcessStore, signals: Signals) -> None:
        self._store = store
        self._signals = signals
        self._watches: set[Watch] = set()
        self.ended = False

    def end(self) -> None:
        """End all streams, and each that is begun from now on: the server is going away."""
        self.ended = True
        for watch in self._watches:
            watch.hear(_ENDED)

    async def of_process(self, process: Process, seen: int | None, beat: float) -> AsyncGenerator[Sequence[Process]]:
        """A process after each public change later than version ``seen``; None: as it is now, then each later one.

        Ends after the final version, and when the streams are ended, with what has changed by then.
        """
        if self.ended:
            return
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + beat
        with self._watching(self._signals.watch(process.id)) as watch:
            while True:
                found = await self._store.process(process.id)
                if not isinstance(found, Process):
                    return
                if seen is None or found.version > seen:
                    yield (found,) if seen is None else await self._versions(found, seen)
                    seen = found.version
                if found.final or self.ended:
                    return
                if not await watch.changed(found.sequence, beat_at - loop.time()):
                    beat_at = max(beat_at, loop.time()) + beat
                    yield ()

    async def of_callers(
        self, resource: str, callers: Collection[str], mark: str | None, beat: float
    ) -> AsyncGenerator[Batch]:
        """Each public change after ``mark`` of all processes of who goes by one of these hashes.

        Without a mark, and where one says nothing any more: first those that have not ended, as they are now. Ends only
        when the streams are ended.
        """
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + beat
        with self._watching(self._signals.watch_all()) as watch:
            known: dict[str, int] | None = None  # versions that were told of before the first look
            while not self.ended:
                looked_at = loop.time()
                page = await self._store.changes(resource, callers, mark)
                if mark is None or page is None:
                    page = page or await self._store.changes(resource, callers, None)
                    assert page is not None, "there always is a mark of this moment"
                    mark, known = page.mark, {}
                    async for batch in self._current(resource, callers, known):
                        yield Batch(batch, None)
                    continue
                news = await self._news(page.found, known or {})
                mark = page.mark
                if known is not None:
                    # Cut before the end of the first look, the client has to begin anew: it was not told everything.
                    yield Batch([one._replace(mark=None) for one in news], None if page.more else mark)
                elif news:
                    yield Batch(news, mark)
                if page.more:
                    continue
                known = None
                if not await watch.changed(0, beat_at - loop.time()):
                    beat_at = max(beat_at, loop.time()) + beat
                    yield Batch((), mark)
                elif not self.ended:
                    await asyncio.sleep(looked_at + PAUSE - loop.time())

    # Inside.

    @contextmanager
    def _watching(self, watch: Watch) -> Iterator[Watch]:
        with watch:
            self._watches.add(watch)
            try:
                yield watch
            finally:
                self._watches.discard(watch)

    async def _versions(self, found: Process, seen: int) -> Sequence[Process]:
        """The process after each public change later than ``seen``, up to what was found."""
        if found.version == seen + 1:
            return (found,)
        versions = public_versions(await self._store.events(found.id))
        return [*(version for version in versions if seen < version.version < found.version), found]

    async def _current(
        self, resource: str, callers: Collection[str], known: dict[str, int]
    ) -> AsyncGenerator[Sequence[News]]:
        """What has not ended, as it is now, page by page; ``known`` is given the versions."""
        for caller in sorted(callers):
            for state in _OPEN:
                query = ListQuery(resource, caller, state=state, limit=_PAGE)
                while page := await self._store.page(query):
                    fresh = [process for process in page if process.version > known.get(process.id, 0)]
                    known.update((process.id, process.version) for process in fresh)
                    if fresh:
                        yield [News(process, True, None) for process in fresh]
                    query = query._replace(before_id=page[-1].id)

    async def _news(self, changes: Sequence[PublicChange], known: dict[str, int]) -> list[News]:
        news: list[News] = []
        histories: dict[str, dict[int, Process]] = {}
        for change in changes:
            if change.version <= known.get(change.process_id, 0):
                continue
            versions = histories.get(change.process_id)
            if versions is None:
                versions = histories[change.process_id] = await self._history(change)
            if change.version in versions:  # else it is past its retention meanwhile
                newest = change.version == max(versions)
                news.append(News(versions[change.version], newest, change.mark))
        return news

    async def _history(self, change: PublicChange) -> dict[int, Process]:
        """A process by version, with that of a change at least, where it is still there."""
        found = await self._store.process(change.process_id)
        if not isinstance(found, Process):
            return {}
        if found.version == change.version:
            return {found.version: found}
        versions = {one.version: one for one in public_versions(await self._store.events(found.id))}
        return {**versions, found.version: found}
