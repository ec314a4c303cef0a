"""Slots over all workers: of each route no more are lent than its `call.concurrency`.

Who owns the store lends them (`Allotment`); a worker keeps what it was lent (`LentSlots`), so that a call that finds a
slot costs no question. What a worker does not use is asked back as soon as another one wants more than is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Tell = Callable[..., None]

_BLOCK = 4  # a worker asks for so many parts of what would be its even share


class _Lent:
    """The slots of one route."""

    __slots__ = ("by_owner", "concurrency", "recalled", "wanted")

    def __init__(self) -> None:
        self.concurrency = 0
        self.by_owner: dict[str, int] = {}
        self.wanted: dict[str, int] = {}  # in the order in which they asked
        self.recalled: set[str] = set()  # owners that know that somebody else could use what they do not


class Allotment:
    """What is lent to whom. It says how much with ``tell(owner, *message)``.

    Args:
        awaited: owners who hold slots that an earlier allotment lent, and have yet to say how many: until then, or
            until they have left, nothing is lent.
    """

    def __init__(self, tell: Tell, awaited: Iterable[str] = ()) -> None:
        self._tell = tell
        self._awaited = set(awaited)
        self._behind: set[str] = set()  # owners that have yet to load the policy in force
        self._routes: dict[str, _Lent] = {}

    def hold(self, owner: str, held: Iterable[tuple[str, int, int]], *, behind: bool = False) -> None:
        """A worker says all that it holds: (route, concurrency, slots); whatever else it was lent is back.

        Args:
            behind: it may not know yet what is promised, and is lent nothing more before it is `ready`.
        """
        self._take_back(owner)
        if behind:
            self._behind.add(owner)
        for route, concurrency, number in held:
            lent = self._of(route)
            lent.concurrency = concurrency
            lent.by_owner[owner] = number
        self._awaited.discard(owner)
        self._lend_all()

    def ready(self, owner: str) -> None:
        """A worker knows the policy in force: what it wanted meanwhile it is lent."""
        self._behind.discard(owner)
        self._lend_all()

    def want(self, owner: str, route: str, concurrency: int, number: int) -> None:
        """A worker could use more, under the policy that it knows."""
        lent = self._of(route)
        lent.concurrency = concurrency
        lent.wanted[owner] = number
        self._lend(route, lent)

    def give_back(self, owner: str, route: str, number: int) -> None:
        """A worker has no use for so many."""
        lent = self._of(route)
        lent.by_owner[owner] = max(0, lent.by_owner.get(owner, 0) - number)
        lent.recalled.discard(owner)
        self._lend(route, lent)

    def leave(self, owner: str) -> None:
        """A worker is gone, or can no longer send: what it held is free."""
        self._take_back(owner)
        self._awaited.discard(owner)
        self._behind.discard(owner)
        self._lend_all()

    def _of(self, route: str) -> _Lent:
        return self._routes.setdefault(route, _Lent())

    def _take_back(self, owner: str) -> None:
        for lent in self._routes.values():
            lent.by_owner.pop(owner, None)
            lent.wanted.pop(owner, None)
            lent.recalled.discard(owner)

    def _lend_all(self) -> None:
        for route, lent in self._routes.items():
            self._lend(route, lent)

    def _lend(self, route: str, lent: _Lent) -> None:
        if self._awaited:
            return
        free = lent.concurrency - sum(lent.by_owner.values())
        for owner, number in [wish for wish in lent.wanted.items() if wish[0] not in self._behind]:
            if free <= 0:
                break
            given = min(number, free)
            free -= given
            del lent.wanted[owner]
            lent.by_owner[owner] = lent.by_owner.get(owner, 0) + given
            self._tell(owner, "lend", route, given)
        unfilled = lent.wanted.keys() - self._behind
        for owner, held in lent.by_owner.items():
            if held and owner not in lent.recalled and unfilled - {owner}:
                lent.recalled.add(owner)
                self._tell(owner, "recall", route)


class _Held:
    """What a worker knows of the slots of one route."""

    __slots__ = ("asked", "concurrency", "recalled", "slots")

    def __init__(self) -> None:
        self.concurrency = 0
        self.slots = 0
        self.asked = False  # more were asked for, and not lent yet
        self.recalled = False  # somebody else could use what is not used here


class LentSlots:
    """The `Slots` of one worker among several.

    Args:
        tell: says something to whoever lends.
        running: how many calls of a route are under way here.
        lent: told after there are more of a route.
        ask_to_look: whether no other worker asks about a process now.
    """

    def __init__(
        self,
        workers: int,
        tell: Tell,
        running: Callable[[str], int],
        lent: Callable[[str], Any],
        ask_to_look: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._workers = workers
        self._ask_to_look = ask_to_look
        self._tell = tell
        self._running = running
        self._lent = lent
        self._routes: dict[str, _Held] = {}
        self._unheard = 0  # times that this worker said what it holds, and was not heard yet

    def held(self, route: str, concurrency: int) -> int:
        """See `Slots.held`."""
        held = self._routes.get(route)
        if held is None:
            held = self._routes[route] = _Held()
        if held.concurrency != concurrency:
            # Under another policy the sum is another one: what is not used goes back before more is asked for.
            held.concurrency = concurrency
            self._give_back(route, held)
            held.asked = False
        return min(held.slots, concurrency)

    def want(self, route: str, concurrency: int, number: int) -> None:
        """See `Slots.want`."""
        room = concurrency - self.held(route, concurrency)
        held = self._routes[route]
        if held.asked or room <= 0:
            return
        held.asked = True
        block = max(1, number, concurrency // (self._workers * _BLOCK))
        self._tell("want", route, concurrency, min(block, room))

    def spare(self, route: str) -> None:
        """See `Slots.spare`."""
        held = self._routes.get(route)
        if held is not None and held.recalled:
            held.recalled = False
            self._give_back(route, held)

    async def begin_look(self, process_id: str) -> bool:
        """See `Slots.begin_look`."""
        return await self._ask_to_look(process_id)

    def end_look(self, process_id: str) -> None:
        """See `Slots.end_look`."""
        self._tell("end_look", process_id)

    def lend(self, route: str, number: int) -> None:
        """There are so many more."""
        if self._unheard:
            return  # lent before this worker was heard, which gave it back
        held = self._routes[route]
        held.slots += number
        held.asked = False
        self._lent(route)

    def recall(self, route: str) -> None:
        """Somebody else wants what is not used here."""
        held = self._routes.get(route)
        if held is not None:
            # What is used now goes back when there is nothing more to do with it here.
            held.recalled = not self._give_back(route, held)

    def greet(self) -> list[tuple[str, int, int]]:
        """As `restart`, on a new connection: nothing is on its way to this worker."""
        held = self.restart()
        self._unheard = 0
        return held

    def restart(self) -> list[tuple[str, int, int]]:
        """Whoever lends knows nothing of this worker, or took back all: (route, concurrency, slots in use) of each.

        What is lent until it has `heard` of that is counted neither here nor there.
        """
        self._unheard += 1
        for route, held in self._routes.items():
            held.slots = self._running(route)
            held.asked = held.recalled = False
        return [(route, held.concurrency, held.slots) for route, held in self._routes.items()]

    def heard(self) -> None:
        """Whoever lends knows what this worker said that it holds."""
        self._unheard = max(0, self._unheard - 1)

    def _give_back(self, route: str, held: _Held) -> bool:
        unused = held.slots - self._running(route)
        if unused <= 0:
            return False
        held.slots -= unused
        self._tell("give_back", route, unused)
        return True
