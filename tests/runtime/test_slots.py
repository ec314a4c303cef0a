"""Slots are lent, asked back and lost: never more than the policy says, and nobody is forgotten."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from strangler.runtime.slots import Allotment, LentSlots

ROUTE = "claims"


class Party:
    """Workers that want slots of one route, and who lends them; what is said arrives in order, some time."""

    def __init__(self, workers: int, concurrency: int) -> None:
        self.concurrency = concurrency
        self.to_workers: dict[str, deque[tuple[Any, ...]]] = {}
        self.to_lender: dict[str, deque[tuple[Any, ...]]] = {}
        self.running: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.slots: dict[str, LentSlots] = {}
        self.allotment = Allotment(lambda owner, *message: self.to_workers[owner].append(message))
        for number in range(workers):
            self.join(f"w-{number}", workers)

    def join(self, owner: str, workers: int) -> None:
        self.to_workers[owner], self.to_lender[owner] = deque(), deque()
        self.running[owner] = self.waiting[owner] = 0
        self.slots[owner] = LentSlots(
            workers,
            lambda *message: self.to_lender[owner].append(message),
            lambda route: self.running[owner],
            lambda route: self.pump(owner),
            _nobody_looks,
        )
        self.allotment.hold(owner, ())

    def accept(self, owner: str) -> None:
        self.waiting[owner] += 1
        self.pump(owner)

    def pump(self, owner: str) -> None:
        slots = self.slots[owner]
        held = slots.held(ROUTE, self.concurrency)
        while self.running[owner] < held and self.waiting[owner]:
            self.running[owner] += 1
            self.waiting[owner] -= 1
        if self.waiting[owner]:
            slots.want(ROUTE, self.concurrency, self.waiting[owner])
        elif self.running[owner] < held:
            slots.spare(ROUTE)

    def end(self, owner: str) -> None:
        if self.running[owner]:
            self.running[owner] -= 1
            self.pump(owner)

    def hear(self, owner: str) -> None:
        """The oldest word on the way to a worker, and from it, arrives."""
        if self.to_lender[owner]:
            match self.to_lender[owner].popleft():
                case ("want", route, concurrency, number):
                    self.allotment.want(owner, route, concurrency, number)
                case ("give_back", route, number):
                    self.allotment.give_back(owner, route, number)
                case ("hold", held):
                    self.to_workers[owner].append(("held",))
                    self.allotment.hold(owner, held)
        if self.to_workers[owner]:
            match self.to_workers[owner].popleft():
                case ("lend", route, number):
                    self.slots[owner].lend(route, number)
                case ("recall", route):
                    self.slots[owner].recall(route)
                case ("held",):
                    self.slots[owner].heard()

    def die(self, owner: str) -> None:
        workers = len(self.slots)
        self.allotment.leave(owner)
        self.join(owner, workers)

    def renew(self, owner: str) -> None:
        """A worker begins a term of its lease: what it was lent before it is lent no longer."""
        self.to_lender[owner].append(("hold", self.slots[owner].restart()))
        self.pump(owner)

    def settle(self) -> None:
        """Everything that is on its way arrives, and every call ends."""
        while any(self.to_workers.values()) or any(self.to_lender.values()) or any(self.running.values()):
            for owner in self.slots:
                self.hear(owner)
                self.end(owner)


async def _nobody_looks(process_id: str) -> bool:
    raise AssertionError(process_id)


KINDS = st.sampled_from(["accept", "accept", "end", "hear", "hear", "die", "renew"])
ACTS = st.lists(st.tuples(KINDS, st.integers(0, 2)))


@given(ACTS, st.integers(1, 7))
def test_never_are_more_under_way_than_allowed_and_all_that_waits_is_done(
    acts: list[tuple[str, int]], concurrency: int
) -> None:
    party = Party(3, concurrency)
    for act, number in acts:
        getattr(party, act)(f"w-{number}")
        assert sum(party.running.values()) <= concurrency
    party.settle()
    assert not any(party.waiting.values())


def test_what_was_lent_to_who_begins_a_term_before_that_was_known_is_not_lent_once_more() -> None:
    party = Party(2, 4)
    party.slots["w-0"].want(ROUTE, 4, 4)
    party.allotment.want("w-0", ROUTE, 4, 4)  # it is heard, and the slots are on their way
    party.to_lender["w-0"].clear()
    party.renew("w-0")
    for _ in range(4):
        party.hear("w-0")
    assert party.slots["w-0"].held(ROUTE, 4) == 0
    for owner in ("w-0", "w-1"):
        for _ in range(4):
            party.accept(owner)
    for _ in range(4):
        party.hear("w-0")
        party.hear("w-1")
        assert sum(party.running.values()) <= 4
    assert sum(party.running.values()) == 4
    party.settle()


def test_what_one_does_not_use_goes_to_who_wants_it() -> None:
    party = Party(2, 4)
    party.slots["w-0"].want(ROUTE, 4, 4)
    party.hear("w-0")
    assert party.slots["w-0"].held(ROUTE, 4) == 4
    for _ in range(3):
        party.accept("w-1")
    for _ in range(3):
        party.hear("w-1")
        party.hear("w-0")
    assert party.running["w-1"] >= 1
    party.settle()


def test_under_another_policy_what_is_not_used_goes_back_first() -> None:
    party = Party(1, 8)
    party.slots["w-0"].want(ROUTE, 8, 8)
    party.hear("w-0")
    party.running["w-0"] = 2
    assert party.slots["w-0"].held(ROUTE, 3) == 2
    assert party.to_lender["w-0"] == deque([("give_back", ROUTE, 6)])


def test_nothing_is_lent_before_all_who_are_awaited_have_said_what_they_hold() -> None:
    told: list[tuple[Any, ...]] = []
    allotment = Allotment(lambda *message: told.append(message), ["a", "b"])
    allotment.hold("a", [(ROUTE, 4, 1)])
    allotment.want("a", ROUTE, 4, 4)
    assert told == []
    allotment.hold("b", [(ROUTE, 4, 2)])
    assert told == [("a", "lend", ROUTE, 1)]
    allotment.want("a", ROUTE, 4, 4)
    allotment.leave("b")
    assert told[-1] == ("a", "lend", ROUTE, 2)


def test_who_begins_anew_holds_no_more_than_it_uses() -> None:
    party = Party(1, 8)
    party.slots["w-0"].want(ROUTE, 8, 8)
    party.hear("w-0")
    party.running["w-0"] = 3
    assert party.slots["w-0"].restart() == [(ROUTE, 8, 3)]
    assert party.slots["w-0"].held(ROUTE, 8) == 3
