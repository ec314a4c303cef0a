"""The exception queue in memory, and the rule of its lists that all stores share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from strangler.domain.delivery import Delivery
from strangler.domain.errors import StoreUnavailable
from strangler.domain.exceptions import ABOUT_DELIVERIES, DUE_AFTER, SETTLED_WITH_PROCESS, ExceptionKind
from strangler.ports import Closing, ExceptionEntry, ExceptionQuery, Note, OpenException


def listed(entry: ExceptionEntry, query: ExceptionQuery) -> bool:
    """Whether an exception belongs into a list; where its page begins is not looked at."""
    return (
        (query.state == "all" or (entry.closed_at is None) is (query.state == "open"))
        and (not query.kinds or entry.kind in query.kinds)
        and (query.owner is None or entry.owner == (query.owner or None))
        and (query.route is None or entry.route == query.route)
        and (query.process_id is None or entry.process_id == query.process_id)
        and (query.subject is None or entry.subject == query.subject)
    )


class MemoryExceptions:
    """See `Exceptions`.

    Args:
        route_of: the route of a process; empty where there is none.
        keep_on: the retention of a process counts from an instant, if it is final.
    """

    def __init__(self, route_of: Callable[[str | None], str], keep_on: Callable[[str, int], None]) -> None:
        self._route_of = route_of
        self._keep_on = keep_on
        self._entries: dict[int, ExceptionEntry] = {}
        self._notes: dict[int, list[Note]] = {}
        self._of: dict[str | None, list[int]] = {}
        self._numbers = count(1)
        self.closed = False  # the store is

    # What the store asks, within a commit or a sweep.

    def of(self, process_id: str) -> tuple[ExceptionEntry, ...]:
        """All exceptions of a process."""
        return tuple(self._entries[number] for number in self._of.get(process_id, ()))

    def watched(self, process_id: str) -> bool:
        """Whether a person still has to look at a process."""
        return any(entry.closed_at is None for entry in self.of(process_id))

    def write(self, exception: OpenException) -> bool:
        """Open an exception, unless the same is open."""
        same = (exception.kind, exception.subject)
        held = (self._entries[number] for number in self._of.get(exception.process_id, ()))
        if any(entry.closed_at is None and (entry.kind, entry.subject) == same for entry in held):
            return False
        number = next(self._numbers)
        self._entries[number] = ExceptionEntry(
            number,
            exception.process_id,
            exception.kind,
            exception.subject,
            self._route_of(exception.process_id),
            exception.at,
            exception.at + DUE_AFTER[exception.kind],
            exception.detail,
        )
        self._of.setdefault(exception.process_id, []).append(number)
        self._notes[number] = []
        return True

    def settle(self, process_id: str, closing: Closing) -> None:
        """Close what is settled with its process."""
        for entry in self.of(process_id):
            if entry.closed_at is None and entry.kind in SETTLED_WITH_PROCESS:
                self._close(entry, closing)

    def settle_delivery(self, delivery: Delivery, closing: Closing) -> None:
        """Close what is about a delivery."""
        for entry in self.of(delivery.process_id):
            if entry.closed_at is None and entry.kind in ABOUT_DELIVERIES and entry.subject == delivery.id:
                self._close(entry, closing)

    def forget(self, process_id: str) -> None:
        """All exceptions of a process, with their notes."""
        for number in self._of.pop(process_id, ()):
            del self._entries[number]
            del self._notes[number]

    def _close(self, entry: ExceptionEntry, closing: Closing) -> None:
        closed = entry._replace(closed_at=closing.at, closed_by=closing.who, action=closing.action)
        self._entries[entry.id] = closed
        self._notes[entry.id].append(Note(closing.at, closing.who, "closed", closing.why))
        if entry.process_id is not None:
            self._keep_on(entry.process_id, closing.at)

    # The port.

    async def open(self, exception: OpenException) -> bool:
        """See `Exceptions.open`."""
        self._require_open()
        return self.write(exception)

    async def page(self, query: ExceptionQuery) -> Sequence[ExceptionEntry]:
        """See `Exceptions.page`."""
        found = [entry for entry in self._entries.values() if listed(entry, query)]
        if query.state == "open":
            found.sort(key=_place)
            rest = [entry for entry in found if query.after is None or _place(entry) > query.after]
        else:
            found.reverse()
            rest = [entry for entry in found if query.after is None or entry.id < query.after[1]]
        return rest[: query.limit]

    async def one(self, exception_id: int) -> tuple[ExceptionEntry, Sequence[Note]] | None:
        """See `Exceptions.one`."""
        entry = self._entries.get(exception_id)
        return (entry, tuple(self._notes[exception_id])) if entry is not None else None

    async def claim(self, exception_id: int, at: int, who: str) -> bool:
        """See `Exceptions.claim`."""
        entry = self._standing(exception_id)
        if entry is None or entry.owner not in (None, who):
            return False
        if entry.owner is None:
            self._entries[exception_id] = entry._replace(owner=who)
            self._notes[exception_id].append(Note(at, who, "claimed", ""))
        return True

    async def release(self, exception_id: int, at: int, who: str, why: str) -> bool:
        """See `Exceptions.release`."""
        entry = self._standing(exception_id)
        if entry is None:
            return False
        if entry.owner is not None:
            self._entries[exception_id] = entry._replace(owner=None)
            self._notes[exception_id].append(Note(at, who, "released", why))
        return True

    async def note(self, exception_id: int, at: int, who: str, text: str) -> bool:
        """See `Exceptions.note`."""
        self._require_open()
        notes = self._notes.get(exception_id)
        if notes is None:
            return False
        note = Note(at, who, "noted", text)
        if note not in notes:
            notes.append(note)
        return True

    async def close(self, exception_id: int, closing: Closing) -> bool:
        """See `Exceptions.close`."""
        entry = self._standing(exception_id)
        if entry is not None:
            self._close(entry, closing)
            return True
        held = self._entries.get(exception_id)
        return held is not None and (held.closed_at, held.closed_by, held.action) == closing[:3]

    async def counts(self) -> Mapping[ExceptionKind, int]:
        """See `Exceptions.counts`."""
        return Counter(entry.kind for entry in self._entries.values() if entry.closed_at is None)

    def _standing(self, exception_id: int) -> ExceptionEntry | None:
        self._require_open()
        entry = self._entries.get(exception_id)
        return entry if entry is not None and entry.closed_at is None else None

    def _require_open(self) -> None:
        if self.closed:
            raise StoreUnavailable("the store is closed")


def _place(entry: ExceptionEntry) -> tuple[int, int]:
    return entry.due_at, entry.id
