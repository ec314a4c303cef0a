"""What changed for a caller after a mark, in the order of the commits; every store answers alike."""

from __future__ import annotations

import pytest

from strangler.domain.process import Process
from strangler.domain.steps import Claim, Postpone
from strangler.ports import Changes, Commit, Committed
from strangler.store import Store, marks
from tests.store import builders as make
from tests.store.builders import CALLER, NOON, RETAIN, FakeClock, after

RESOURCE = "/claim-submissions"


async def done(store: Store, commit: Commit) -> Process:
    assert await store.commit(commit) == Committed()
    return after(commit)


async def begin(store: Store) -> str:
    changes = await store.changes(RESOURCE, {CALLER}, None)
    assert changes is not None
    assert not changes.found
    assert not changes.more
    return changes.mark


async def look(store: Store, mark: str, caller: str = CALLER, resource: str = RESOURCE) -> Changes:
    changes = await store.changes(resource, {caller, "somebody-else"}, mark)
    assert changes is not None
    return changes


def versions(changes: Changes) -> list[tuple[str, int]]:
    return [(change.process_id, change.version) for change in changes.found]


async def test_public_changes_come_in_the_order_of_their_commits(store: Store) -> None:
    mark = await begin(store)
    first = await done(store, make.accept())
    second = await done(store, make.accept())
    second = await done(store, make.claim(second))
    first = await done(store, make.claim(first))
    second = await done(store, make.finish(second))
    changes = await look(store, mark)
    assert versions(changes) == [(first.id, 1), (second.id, 1), (second.id, 2), (first.id, 2), (second.id, 3)]
    assert not changes.more


async def test_a_look_goes_on_after_any_change_and_after_the_whole(store: Store) -> None:
    mark = await begin(store)
    process = await done(store, make.accept())
    await done(store, make.claim(process))
    changes = await look(store, mark)
    assert versions(await look(store, changes.found[0].mark)) == [(process.id, 2)]
    assert versions(await look(store, changes.found[1].mark)) == []
    assert versions(await look(store, changes.mark)) == []
    other = await done(store, make.accept())
    assert versions(await look(store, changes.mark)) == [(other.id, 1)]


async def test_what_is_no_public_change_is_passed_over_and_moves_the_mark(store: Store) -> None:
    process = await done(store, make.claim(await done(store, make.accept())))
    mark = await begin(store)
    process = await done(store, make.postpone(process, NOON + 5000))
    changes = await look(store, mark)
    assert versions(changes) == []
    assert changes.mark != mark
    await done(store, make.claim(process))
    assert versions(await look(store, changes.mark)) == []


async def test_of_several_events_of_one_commit_those_that_are_public_are_told(store: Store) -> None:
    mark = await begin(store)
    claimed = make.accept()
    assert claimed.change is not None
    change = claimed.change.then(Claim("worker-1"), NOON).then(Postpone(NOON + 5000, "connection refused"), NOON)
    assert [event.version for event in change.events] == [1, 2, 2]
    process = await done(store, claimed._replace(change=change))
    assert versions(await look(store, mark)) == [(process.id, 1), (process.id, 2)]


async def test_a_caller_hears_of_nobody_elses_processes_and_of_none_of_another_resource(store: Store) -> None:
    mark = await begin(store)
    await done(store, make.accept(make.draft(caller="d" * 64)))
    await done(store, make.accept(make.draft(caller=None)))
    await done(store, make.accept(make.draft(resource="/elsewhere")))
    mine = await done(store, make.accept())
    assert versions(await look(store, mark)) == [(mine.id, 1)]
    assert versions(await look(store, mark, "e" * 64)) == []


@pytest.mark.parametrize("mark", ["", "7", "0-ABCDEF01", "1-", "1-abcdef01", "-1-ABCDEF01", "1-ABCDEF0", "x" * 1000])
async def test_what_was_never_a_mark_says_nothing(store: Store, mark: str) -> None:
    await done(store, make.accept())
    assert await store.changes(RESOURCE, {CALLER}, mark) is None


async def test_the_mark_of_an_event_that_never_was_says_nothing(store: Store) -> None:
    await done(store, make.accept())
    mark = await begin(store)
    position, _, digest = mark.partition("-")
    assert await store.changes(RESOURCE, {CALLER}, f"{position}-{'0' * 8}") is None
    assert await store.changes(RESOURCE, {CALLER}, f"{int(position, 16) + 1:x}-{digest}") is None


async def test_a_mark_whose_number_was_given_to_another_event_says_nothing(store: Store, clock: FakeClock) -> None:
    process = await done(store, make.claim(await done(store, make.accept())))
    await done(store, make.finish(process))
    mark = await begin(store)
    clock.instant += 2 * RETAIN
    await store.sweep(clock.now(), 100)
    later = await done(store, make.accept())
    later = await done(store, make.claim(later))
    await done(store, make.finish(later))
    changes = await store.changes(RESOURCE, {CALLER}, mark)
    assert changes is None or versions(changes) == [(later.id, 1), (later.id, 2), (later.id, 3)]


async def test_much_is_looked_at_in_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "STEP", 2)
    mark = await begin(store)
    expected = [((await done(store, make.accept())).id, 1) for _ in range(5)]
    found: list[tuple[str, int]] = []
    more = True
    while more:
        changes = await look(store, mark)
        mark, more = changes.mark, changes.more
        found += versions(changes)
    assert found == expected


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks that lead back over two events at most."""
    monkeypatch.setattr(marks, "MOST", 2)


async def test_who_is_too_far_behind_begins_anew(short: None, store: Store) -> None:
    mark = await begin(store)
    for _ in range(2):
        await done(store, make.accept())
    changes = await look(store, mark)
    assert len(changes.found) == 2
    newest = await done(store, make.accept())
    assert await store.changes(RESOURCE, {CALLER}, mark) is None
    assert versions(await look(store, changes.mark)) == [(newest.id, 1)]
