"""The order of the commits, for the store in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from strangler.domain.events import Event
from strangler.domain.transitions import Change
from strangler.store import marks


class Commits:
    """The last `marks.MOST` events in the order in which they were committed."""

    def __init__(self) -> None:
        self._events: deque[tuple[Event, bool]] = deque(maxlen=marks.MOST)  # and whether it is public
        self._count = 0

    def add(self, change: Change) -> None:
        """A change was committed."""
        version = change.before.version if change.before is not None else 0
        for event in change.events:
            self._events.append((event, event.version != version))
            self._count += 1
            version = event.version

    def newest(self) -> str:
        """The mark of the last event."""
        return self._mark(self._count)

    def later(self, after: str) -> Iterator[tuple[str, Event, bool]] | None:
        """The events after a mark, each with its own mark and whether it is public; None: the mark says nothing."""
        mark = marks.read(after)
        if mark is None or not self._count - len(self._events) <= mark.position <= self._count:
            return None
        if after != self._mark(mark.position):
            return None
        return self._from(mark.position)

    def _from(self, position: int) -> Iterator[tuple[str, Event, bool]]:
        start = position - (self._count - len(self._events))
        for number, (event, public) in enumerate(islice(self._events, start, None), position + 1):
            yield marks.write(number, _digest(event)), event, public

    def _mark(self, position: int) -> str:
        index = position - (self._count - len(self._events)) - 1
        return marks.write(position, _digest(self._events[index][0]) if index >= 0 else "")


def _digest(event: Event) -> str:
    return event.digest.hex().upper()
