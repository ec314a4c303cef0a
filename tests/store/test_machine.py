"""Any order of accepting, claiming, failing, ending, crashing and sweeping: the store says what a dictionary says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from strangler.domain.exceptions import SETTLED_WITH_PROCESS, ExceptionKind
from strangler.domain.exchange import AttemptOutcome
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Effect, Process, State, Tombstone
from strangler.domain.steps import Cancel, Doubt, Expire, Finish, Resume
from strangler.ports import (
    Backlog,
    Commit,
    Committed,
    Evidence,
    KeyTaken,
    Lease,
    ListQuery,
    OpenException,
    Stale,
    Verdict,
)
from strangler.store.fsck import Report
from tests.store import builders as make
from tests.store.backends import BACKENDS
from tests.store.builders import CALLER, DAY, HOUR, after
from tests.store.driven import FEW, MANY, DrivenStore

ROUTES = ("a", "b")
OWNERS = ("w-1", "w-2")
KEYS = (None, None, "k-1", "k-2", "k-3")
PICK = st.integers(0, 1_000_000)


class Model:
    """What has to be in the store, by plain dictionaries."""

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}
        self.tombstones: dict[str, Tombstone] = {}
        self.keys: dict[tuple[str, str], KeyRecord] = {}
        self.open: dict[str, set[str]] = {}
        self.evidence: dict[str, int] = {}
        self.retained: dict[str, int] = {}

    def verdict(self, commit: Commit) -> Verdict:
        """What the store has to say."""
        if commit.change is None:
            evidence = commit.evidence
            assert evidence is not None
            return Committed() if evidence.process_id in self.processes else Stale()
        before, process = commit.change.before, commit.change.process
        stored = self.processes.get(process.id)
        if (stored and (stored.sequence, stored.fence)) != (before and (before.sequence, before.fence)):
            return Stale()
        if commit.key is not None:
            held = self.keys.get((commit.key.scope, commit.key.key))
            if held is not None and (held.expires_at is None or held.expires_at > process.created_at):
                return KeyTaken(held)
        return Committed()

    def take(self, commit: Commit, now: int) -> None:
        """It was committed."""
        if commit.change is not None:
            process = commit.change.process
            self.processes[process.id] = process
            if commit.key is not None:
                self.keys[commit.key.scope, commit.key.key] = commit.key
            if commit.end is not None:
                self.retained[process.id] = commit.end.retain_until_at
                place = (process.key_scope or "", process.key_lookup or "")
                held = self.keys.get(place)
                if held is not None and held.process_id == process.id:
                    self.keys[place] = held._replace(expires_at=commit.end.key_expires_at)
        if commit.evidence is not None:
            process_id = commit.evidence.process_id
            self.evidence[process_id] = self.evidence.get(process_id, 0) + 1
        if commit.closes is not None:
            self._close(commit, now)
        if commit.opens is not None:
            self.open.setdefault(commit.opens.process_id, set()).add(commit.opens.kind)

    def _close(self, commit: Commit, now: int) -> None:
        process_id = commit.change.process.id if commit.change is not None else (commit.evidence or [""])[0]
        settled = self.open.get(process_id, set()) & {*SETTLED_WITH_PROCESS}
        self.open.get(process_id, set()).difference_update(settled)
        if settled and process_id in self.retained:
            until = now + self.processes[process_id].retain
            self.retained[process_id] = max(self.retained[process_id], until)

    def sweep(self, now: int) -> None:
        for process_id, until in list(self.retained.items()):
            if until <= now and not self.open.get(process_id):
                process = self.processes.pop(process_id)
                del self.retained[process_id]
                self.evidence.pop(process_id, None)
                until_at, parent = until + process.retain, process.parent_id
                left = Tombstone(process_id, process.resource, process.caller, process.promise, until_at, parent)
                self.tombstones[process_id] = left
        for place, held in list(self.keys.items()):
            if held.expires_at is not None and held.expires_at <= now:
                del self.keys[place]
        for process_id, grave in list(self.tombstones.items()):
            if grave.until_at <= now:
                del self.tombstones[process_id]


class StoreMachine(DrivenStore):
    """Drives one kind of store."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.past: list[Process] = []  # processes as they once were
        self.leases: dict[str, int] = {}

    def require(self) -> None:
        with self.store.ledgers() as ledgers:
            assert [str(finding) for finding in Report(ledgers, lambda: self.now)] == []
            kept = {ledger.process.id: ledger for ledger in ledgers.all()}
        assert {process_id: ledger.process for process_id, ledger in kept.items()} == self.model.processes
        assert {name: len(ledger.evidence) for name, ledger in kept.items() if ledger.evidence} == self.model.evidence
        self._require_reads()

    def _require_reads(self) -> None:
        async def read() -> None:
            for process_id, process in self.model.processes.items():
                events = await self.store.events(process_id)
                assert len(events) == process.sequence
                request = await self.store.request(process_id)
                assert request is not None
                assert bool(request.credentials) is not process.final
            for process_id, grave in self.model.tombstones.items():
                assert await self.store.process(process_id) == grave
            for (scope, key), held in self.model.keys.items():
                assert await self.store.key(scope, key) == held

        self.result_of(read())

    # Means

    def commit(self, *commits: Commit) -> None:
        """Commit all of these at once; each verdict is what the model says, in their order."""
        for commit, verdict in zip(commits, self.all_of(*commits), strict=True):
            assert verdict == self.model.verdict(commit), commit
            if verdict == Committed():
                if commit.change is not None and commit.change.before is not None:
                    self.past.append(commit.change.before)
                self.model.take(commit, self.now)

    def pick(self, number: int, *states: State) -> Process | None:
        found = [process for process in self.model.processes.values() if process.state in states]
        return found[number % len(found)] if found else None

    def acceptance(self, key: str | None, route: str) -> Commit:
        fields = {"route": route, "deadline_at": self.now + 2 * HOUR, "retain": DAY}
        if key is None:
            return make.accept(make.draft(self.now, **fields))
        return make.accept(make.keyed(key, self.now, **fields, promised=False))

    def going_on(self, process: Process, choice: int) -> Commit | None:
        """A legal next commit of a process, if there is one."""
        now = self.now
        if not process.promised and not process.final and choice % 3 == 0:
            return make.promised(process, at=now)
        match process.state:
            case State.RECEIVED | State.WAITING:
                return make.claim(process, OWNERS[choice % 2], at=now)
            case State.PROCESSING:
                ways: list[Callable[[], Commit]] = [
                    lambda: make.finish(process, at=now),
                    lambda: make.finish(process, State.REJECTED, Effect.NONE, at=now),
                    lambda: make.doubt(process, at=now),
                    lambda: make.doubt(process, settling=True, due_at=now + choice % HOUR, at=now),
                    lambda: make.postpone(process, now + choice % HOUR, at=now),
                    lambda: self._repeat(process),
                    lambda: make.follow(process, now + choice % HOUR, now + DAY, at=now),
                    lambda: make.report(process, f"STEP-{choice % 3}", at=now),
                ]
                return ways[choice % len(ways)]()
            case State.FOLLOWING:
                ways = [
                    lambda: make.finish(process, at=now),
                    lambda: make.follow(process, now + choice % HOUR, process.follow_until_at or 0, at=now),
                    lambda: make.report(process, f"STEP-{choice % 3}", at=now),
                    lambda: make.doubt(process, at=now),
                ]
                return ways[choice % len(ways)]()
            case State.IN_DOUBT if process.settling:
                ways = [
                    lambda: make.probed(process, now + choice % HOUR, at=now),
                    lambda: make.doubt(process, at=now),
                    lambda: make.finish(process, at=now),
                    lambda: Commit(make.step(process, Resume(now + choice % HOUR, not process.repeated), now)),
                ]
                return ways[choice % len(ways)]()
            case State.IN_DOUBT:
                change = make.step(process, Finish(State.FAILED, Effect.UNKNOWN, reason="by hand"), now)
                return Commit(change, end=make.end_of(change.process, now), closes=make.closing(now))
            case _:
                return None

    def _repeat(self, process: Process) -> Commit:
        """In doubt, and to be repeated: one commit, as the engine makes it."""
        change = make.step(process, Doubt("cut", True), self.now).then(Resume(self.now + 500), self.now)
        return Commit(change, attempt=make.ended(process, self.now, AttemptOutcome.INTERRUPTED))

    # Rules

    @rule(key=st.sampled_from(KEYS), route=st.sampled_from(ROUTES))
    def accept(self, key: str | None, route: str) -> None:
        self.commit(self.acceptance(key, route))

    @rule(number=PICK, choice=PICK)
    def go_on(self, number: int, choice: int) -> None:
        process = self.pick(number, State.RECEIVED, State.WAITING, State.PROCESSING, State.FOLLOWING, State.IN_DOUBT)
        commit = self.going_on(process, choice) if process is not None else None
        if commit is not None:
            self.commit(commit)

    @rule(number=PICK, expire=st.booleans())
    def withdraw(self, number: int, expire: bool) -> None:
        process = self.pick(number, State.RECEIVED, State.WAITING)
        if process is not None and process.cancellable:
            self.commit(make.withdraw(process, Expire() if expire else Cancel("changed my mind"), at=self.now))

    @rule(number=PICK, choice=PICK)
    def come_too_late(self, number: int, choice: int) -> None:
        if self.past:
            commit = self.going_on(self.past[number % len(self.past)], choice)
            if commit is not None:
                self.commit(commit)

    @rule(number=PICK)
    def accept_again(self, number: int) -> None:
        process = self.pick(number, *State)
        if process is not None:
            self.commit(make.accept(make.draft(self.now, id=process.id)))

    @rule(number=PICK, closes=st.booleans(), kind=st.sampled_from(("late_reply", "orphan")))
    def hear_late(self, number: int, closes: bool, kind: ExceptionKind) -> None:
        process = self.pick(number, State.COMPLETED, State.REJECTED, State.FAILED)
        process_id = process.id if process is not None else make.make_id(self.now)
        evidence = Evidence(process_id, 1, "late_reply", self.now, 200, (), b"late")
        opens = None if closes else OpenException(process_id, kind, self.now, "late")
        closing = make.closing(self.now) if closes else None
        self.commit(Commit(None, evidence=evidence, opens=opens, closes=closing))

    @rule(numbers=st.lists(PICK, min_size=2, max_size=12), keys=st.lists(st.sampled_from(KEYS), max_size=6))
    def do_much_at_once(self, numbers: list[int], keys: list[str | None]) -> None:
        """One turn: acceptances, whole lives, and some who lose a race."""
        commits = [self.acceptance(key, ROUTES[0]) for key in keys]
        commits += [claim for commit in commits[::2] if (claim := self.going_on(after(commit), 0)) is not None]
        for number in numbers:
            process = self.pick(
                number, State.RECEIVED, State.WAITING, State.PROCESSING, State.FOLLOWING, State.IN_DOUBT
            )
            commit = self.going_on(process, number) if process is not None else None
            if commit is not None:
                commits.append(commit)
        self.commit(*commits)

    @rule(milliseconds=st.sampled_from([1, 1000, HOUR, DAY, 3 * DAY]))
    def wait(self, milliseconds: int) -> None:
        self.clock.instant += milliseconds

    @rule()
    def sweep(self) -> None:
        self.result_of(self.store.sweep(self.now, 1000))
        self.model.sweep(self.now)
        self.past = [process for process in self.past if process.id in self.model.processes]

    @rule(owner=st.sampled_from(OWNERS), until=st.integers(1, 3))
    def renew(self, owner: str, until: int) -> None:
        self.result_of(self.store.renew(Lease(owner, self.clock.boot_id, until)))
        self.leases[owner] = until

    @precondition(lambda self: self.backend != "memory")
    @rule()
    def crash(self) -> None:
        super().crash()
        self.leases.clear()

    # What always holds

    @invariant()
    def every_process_is_as_it_was_left(self) -> None:
        async def read() -> None:
            for process in list(self.model.processes.values())[-5:]:
                assert await self.store.process(process.id) == process

        self.result_of(read())

    @invariant()
    def upkeep_sees_what_is_there(self) -> None:
        async def read() -> dict[str, Any]:
            return {
                "due": {route: set(await self.store.due(route, self.now, 1000)) for route in ROUTES},
                "overdue": set(await self.store.overdue(self.now, 1000)),
                "orphans": set(await self.store.orphans(self.clock.boot_id, 1, 1000)),
                "next": dict(await self.store.next_due(self.now)),
                "backlog": dict(await self.store.backlog()),
                "page": list(await self.store.page(ListQuery("/claim-submissions", CALLER, limit=1000))),
            }

        assert self.result_of(read()) == self._expected()

    def _expected(self) -> dict[str, Any]:
        waiting = [process for process in self.model.processes.values() if process.due_at is not None]
        by_route = {route: [process for process in waiting if process.route == route] for route in ROUTES}
        later = {route: [p.due_at for p in found if (p.due_at or 0) > self.now] for route, found in by_route.items()}
        held = {owner for owner, until in self.leases.items() if until > 1}
        return {
            "due": {route: {p for p in found if (p.due_at or 0) <= self.now} for route, found in by_route.items()},
            "overdue": {process for process in waiting if process.over_at <= self.now},
            "orphans": {
                process
                for process in self.model.processes.values()
                if process.state is State.PROCESSING and process.owner not in held
            },
            "next": {route: min(instants) for route, instants in later.items() if instants},
            "backlog": {
                route: Backlog(len(queued), sum(process.body_size for process in queued))
                for route, found in by_route.items()
                if (queued := [process for process in found if process.queued])
            },
            "page": sorted(self.model.processes.values(), key=lambda process: process.id, reverse=True),
        }


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_the_store_says_what_a_dictionary_says(backend: str) -> None:
    run_state_machine_as_test(type("Machine", (StoreMachine,), {"backend": backend}), settings=FEW)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", list(BACKENDS))
def test_the_store_says_what_a_dictionary_says_at_length(backend: str) -> None:
    run_state_machine_as_test(type("Machine", (StoreMachine,), {"backend": backend}), settings=MANY)
