"""Any order of making, trying, pausing, putting back, crashing and sweeping deliveries: a store says what a dictionary
says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from strangler.domain.delivery import (
    FINAL_STATES,
    TABLE,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Hold,
    Missed,
    Redrive,
    Release,
    Spared,
    Subscription,
    Taken,
    Transition,
    Tried,
    apply,
    write_subscriptions,
)
from strangler.domain.process import PublicState
from strangler.domain.retry import Backoff
from strangler.domain.steps import Cancel
from strangler.ports import (
    Closing,
    Commit,
    Committed,
    DeliveryQuery,
    DeliveryStep,
    OpenException,
    ReceiverPause,
    Stale,
)
from strangler.store.fsck import Report
from tests.store import builders as make
from tests.store.backends import BACKENDS
from tests.store.builders import DAY, HOUR, after
from tests.store.driven import FEW, MANY, DrivenStore

PICK = st.integers(0, 1_000_000)
WISHES = (
    Subscription("a"),
    Subscription("a", None, FINAL_STATES | {PublicState.PROCESSING}),
    Subscription("b"),
    Subscription("named", "https://one.example/x"),
    Subscription("named", "https://two.example/x"),
)
BACKOFF = Backoff(initial=1.0, factor=3.0, max=3600.0, jitter="none")
LANES = ("a", "b", "named https://one.example", "named https://two.example")
LOGGED = {Taken: Tried.DELIVERED, Missed: Tried.REFUSED, Spared: Tried.OURS}

Key = tuple[str, int, int]


class DeliveryMachine(DrivenStore):
    """Drives one kind of store."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[Key, Delivery] = {}
        self.logs: dict[Key, list[DeliveryAttempt]] = {}
        self.past: list[Delivery] = []  # deliveries as they once were
        self.retained: dict[str, int] = {}
        self.asked: set[str] = set()  # of dead letters, those that somebody has to look at
        self.pauses: dict[tuple[str, str | None], ReceiverPause] = {}

    def require(self) -> None:
        with self.store.ledgers() as ledgers:
            assert [str(finding) for finding in Report(ledgers, lambda: self.now)] == []
            assert [*ledgers.strays(lambda: self.now)] == []
        for key, delivery in self.held.items():
            found = self.result_of(self.store.deliveries.log(key))
            assert found == (delivery, tuple(self.logs.get(key, ())))

    # Means

    def made(self, commit: Commit) -> Commit:
        """A change was committed, and with it its deliveries."""
        assert self.all_of(commit) == [Committed()]
        assert commit.change is not None
        for delivery in commit.change.deliveries:
            self.held[delivery[:3]] = delivery
        if commit.end is not None:
            self.retained[commit.change.process.id] = commit.end.retain_until_at
        return commit

    def step(self, delivery: Delivery, transition: Transition) -> Commit:
        made = apply(delivery, transition, self.now)
        outcome, opens, closes = LOGGED.get(type(transition)), None, None
        attempt = None
        if outcome is not None:
            attempt = DeliveryAttempt(*delivery[:3], made.tries, self.now, 3, outcome, "192.0.2.1", 500, None, b"\xff")
        if made.state is DeliveryState.DEAD:
            opens = OpenException(delivery.process_id, "dead_delivery", self.now, "500", delivery.id)
        if isinstance(transition, Redrive):
            closes = Closing(self.now, "ann", "redrive", "again")
        return Commit(None, opens=opens, delivery=DeliveryStep(delivery, made, attempt, None, closes))

    def take(self, commit: Commit) -> None:
        """A step was committed."""
        step = commit.delivery
        assert step is not None
        key = step.before[:3]
        self.past.append(step.before)
        self.held[key] = step.after
        if step.attempt is not None:
            self.logs.setdefault(key, []).append(step.attempt)
        if step.closes is not None and step.before.id in self.asked:
            self.asked.discard(step.before.id)
            self._keep(step.after.process_id, self.now)
        if commit.opens is not None:
            self.asked.add(step.before.id)
        if step.after.ended_at is not None:
            self._keep(step.after.process_id, step.after.ended_at)

    def _keep(self, process_id: str, at: int) -> None:
        if process_id in self.retained:
            self.retained[process_id] = max(self.retained[process_id], at + DAY)

    def transition(self, delivery: Delivery, choice: int) -> Transition:
        ways: list[Transition] = [
            Taken(),
            Missed("it answered 500", BACKOFF, 3, 0.0),
            Missed("it answered 503", BACKOFF, 3, 0.0, 5000),
            Spared("ours", self.now + choice % HOUR),
            Hold("paused"),
            Release(),
            Redrive(),
        ]
        legal = [way for way in ways if type(way) in TABLE[delivery.state]]
        return legal[choice % len(legal)]

    # Rules

    @rule(wishes=st.lists(st.sampled_from(WISHES), min_size=1, max_size=3, unique=True), claimed=st.booleans())
    def end_a_process(self, wishes: list[Subscription], claimed: bool) -> None:
        draft = make.draft(self.now, retain=DAY, subscriptions=write_subscriptions(wishes))
        process = after(self.made(make.accept(draft)))
        if not claimed:
            self.made(make.withdraw(process, Cancel(), at=self.now))
            return
        process = after(self.made(make.claim(process, at=self.now)))
        self.made(make.finish(process, at=self.now))

    @rule(picks=st.lists(st.tuples(PICK, PICK), min_size=1, max_size=8, unique_by=lambda pick: pick[0]))
    def go_on(self, picks: list[tuple[int, int]]) -> None:
        """Some deliveries go on, all of them at once."""
        commits: dict[Key, Commit] = {}
        for number, choice in picks if self.held else ():
            delivery = [*self.held.values()][number % len(self.held)]
            commits[delivery[:3]] = self.step(delivery, self.transition(delivery, choice))
        for commit, verdict in zip(commits.values(), self.all_of(*commits.values()), strict=True):
            assert verdict == Committed()
            self.take(commit)

    @rule(number=PICK, choice=PICK)
    def come_too_late(self, number: int, choice: int) -> None:
        if self.past:
            delivery = self.past[number % len(self.past)]
            assert self.all_of(self.step(delivery, self.transition(delivery, choice))) == [Stale()]

    @rule(receiver=st.sampled_from(("a", "named")), url=st.sampled_from((None, "https://one.example/x")))
    def pause(self, receiver: str, url: str | None) -> None:
        pause = ReceiverPause(receiver, url, self.now, "ann", "why not")
        self.result_of(self.store.deliveries.pause(pause))
        self.pauses.setdefault((receiver, url), pause)

    @rule(receiver=st.sampled_from(("a", "named")), url=st.sampled_from((None, "https://one.example/x")))
    def resume(self, receiver: str, url: str | None) -> None:
        self.result_of(self.store.deliveries.resume(receiver, url))
        self.pauses.pop((receiver, url), None)

    @rule(milliseconds=st.sampled_from([1, 1000, HOUR, DAY, 3 * DAY]))
    def wait(self, milliseconds: int) -> None:
        self.clock.instant += milliseconds

    @rule()
    def sweep(self) -> None:
        self.result_of(self.store.sweep(self.now, 1000))
        busy = {key[0] for key, delivery in self.held.items() if delivery.open or delivery.id in self.asked}
        gone = {process_id for process_id, until in self.retained.items() if until <= self.now} - busy
        for key in [key for key in self.held if key[0] in gone]:
            del self.held[key]
            self.logs.pop(key, None)
        for process_id in gone:
            del self.retained[process_id]

    # What always holds

    @invariant()
    def everybody_sees_what_is_there(self) -> None:
        async def read() -> dict[str, Any]:
            deliveries = self.store.deliveries
            return {
                "all": [*await deliveries.find(DeliveryQuery(limit=1000))],
                "stuck": [*await deliveries.find(DeliveryQuery(states=[DeliveryState.HELD, DeliveryState.DEAD]))],
                "due": {lane: [*await deliveries.due(lane, self.now, 1000)] for lane in LANES},
                "next": dict(await deliveries.next_due(self.now)),
                "totals": {(one.receiver, one.state): one[2:] for one in await deliveries.totals()},
                "pauses": {*await deliveries.pauses()},
            }

        assert self.result_of(read()) == self._expected()

    def _expected(self) -> dict[str, Any]:
        newest = sorted(self.held.values(), key=lambda one: one[:3], reverse=True)
        pending = [one for one in newest if one.due_at is not None]
        due = [one for one in pending if (one.due_at or 0) <= self.now and not self._blocked(one)]
        counted = [one for one in newest if one.state is not DeliveryState.DELIVERED]
        places = {(one.receiver, one.state) for one in counted}
        return {
            "all": newest,
            "stuck": [one for one in newest if one.state in (DeliveryState.HELD, DeliveryState.DEAD)][:50],
            "due": {
                lane: sorted((one for one in due if one.lane == lane), key=lambda one: (one.due_at, one[:3]))
                for lane in LANES
            },
            "next": {
                lane: min(later)
                for lane in LANES
                if (later := [one.due_at or 0 for one in pending if one.lane == lane and (one.due_at or 0) > self.now])
            },
            "totals": {
                place: (
                    sum((one.receiver, one.state) == place for one in counted),
                    min((one.due_at or 0 for one in pending if (one.receiver, one.state) == place), default=None),
                )
                for place in places
            },
            "pauses": {*self.pauses.values()},
        }

    def _blocked(self, delivery: Delivery) -> bool:
        return any(
            other.open
            and (other.process_id, other.position) == (delivery.process_id, delivery.position)
            and other.version < delivery.version
            for other in self.held.values()
        )


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_deliveries_are_what_a_dictionary_says(backend: str) -> None:
    machine = type("Machine", (DeliveryMachine,), {"backend": backend})
    run_state_machine_as_test(machine, settings=FEW)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", list(BACKENDS))
def test_deliveries_are_what_a_dictionary_says_at_length(backend: str) -> None:
    machine = type("Machine", (DeliveryMachine,), {"backend": backend})
    run_state_machine_as_test(machine, settings=MANY)
