"""What every store does for those who keep the processes going, and when things grow old."""

from __future__ import annotations

from typing import Any

import pytest

from strangler.domain.process import Process, PublicState, State, Tombstone
from strangler.domain.steps import Cancel
from strangler.ports import Backlog, Commit, Evidence, InFlight, Lease, OpenException
from strangler.store import Store
from strangler.store.fsck import Report as Fsck
from strangler.store.retention import Part
from tests.store import builders as make
from tests.store.builders import CALLER, DAY, HOUR, NOON, RETAIN, FakeClock, after
from tests.store.test_conformance import done


async def test_what_is_due_comes_longest_due_first_and_only_of_its_route(store: Store) -> None:
    late = after(await done(store, make.accept(make.draft(NOON + 20))))
    early = after(await done(store, make.accept(make.draft(NOON + 10))))
    await done(store, make.accept(make.draft(NOON, route="other")))
    claimed = after(await done(store, make.claim(after(await done(store, make.accept())))))
    future = after(await done(store, make.postpone(claimed, NOON + 5000)))
    await done(store, make.claim(after(await done(store, make.accept()))))
    assert list(await store.due("submit-claim", NOON + 20, 10)) == [early, late]
    assert list(await store.due("submit-claim", NOON + 20, 1)) == [early]
    assert list(await store.due("submit-claim", NOON + 9, 10)) == []
    assert list(await store.due("submit-claim", NOON + 5000, 10)) == [early, late, future]
    assert list(await store.due("nothing", NOON + 5000, 10)) == []


async def test_what_was_never_sent_is_due_also_after_the_clock_was_set_back_and_nothing_else_is(store: Store) -> None:
    claimed = after(await done(store, make.claim(after(await done(store, make.accept())))))
    postponed = after(await done(store, make.postpone(claimed, NOON + 5)))
    followed_up = await followed(store, NOON + 5, NOON + DAY)
    received = [after(await done(store, make.accept(make.draft(NOON + number)))) for number in range(3)]
    await done(store, make.accept(make.draft(NOON, route="other")))
    since = after(await done(store, make.accept(make.draft(NOON - HOUR))))
    assert list(await store.due("submit-claim", NOON - HOUR, 10)) == [since, *received]
    assert list(await store.due("submit-claim", NOON - HOUR - 5000, 2)) == [since, received[0]]
    await done(store, make.claim(received[0]))
    assert list(await store.due("submit-claim", NOON - HOUR, 10)) == [since, *received[1:]]
    assert list(await store.due("submit-claim", NOON + 5, 10)) == [
        since,
        *received[1:],
        *in_order(postponed, followed_up),
    ]


def in_order(*processes: Process) -> list[Process]:
    return sorted(processes, key=lambda process: process.id)


async def test_a_postponed_process_is_due_again_at_its_instant(store: Store) -> None:
    claimed = await done(store, make.claim(after(await done(store, make.accept()))))
    postponed = await done(store, make.postpone(after(claimed), NOON + HOUR))
    assert list(await store.due("submit-claim", NOON + HOUR - 1, 10)) == []
    assert list(await store.due("submit-claim", NOON + HOUR, 10)) == [after(postponed)]
    await done(store, make.claim(after(postponed)))
    assert list(await store.due("submit-claim", NOON + HOUR, 10)) == []


async def test_the_next_instant_of_each_route_is_known(store: Store) -> None:
    assert await store.next_due(NOON) == {}
    for route, due_at in [("a", NOON), ("a", NOON + 30), ("a", NOON + 20), ("b", NOON + 7), ("c", NOON - 5)]:
        await done(store, make.accept(make.draft(due_at, route=route)))
    assert await store.next_due(NOON) == {"a": NOON + 20, "b": NOON + 7}
    assert await store.next_due(NOON - 6) == {"a": NOON, "b": NOON + 7, "c": NOON - 5}
    assert await store.next_due(NOON + 30) == {}


async def test_overdue_is_what_waits_past_its_deadline(store: Store) -> None:
    waiting = after(await done(store, make.accept(make.draft(deadline_at=NOON + 10))))
    await done(store, make.accept(make.draft(deadline_at=NOON + 11)))
    await done(store, make.claim(after(await done(store, make.accept(make.draft(deadline_at=NOON + 10))))))
    assert list(await store.overdue(NOON + 9, 10)) == []
    assert list(await store.overdue(NOON + 10, 10)) == [waiting]
    assert len(await store.overdue(NOON + 11, 1)) == 1


async def followed(store: Store, due_at: int, until_at: int, **fields: Any) -> Process:
    claimed = after(await done(store, make.claim(after(await done(store, make.accept(make.draft(**fields)))))))
    return after(await done(store, make.follow(claimed, due_at, until_at)))


async def test_what_is_followed_is_due_beside_what_waits_and_waits_for_nothing(store: Store) -> None:
    late = await followed(store, NOON + 20, NOON + DAY, body_size=7)
    early = await followed(store, NOON + 10, NOON + DAY)
    await followed(store, NOON + 5, NOON + DAY, route="other")
    waiting = after(await done(store, make.accept(make.draft(NOON + 15))))
    assert list(await store.due("submit-claim", NOON + 20, 10)) == [early, waiting, late]
    assert list(await store.due("submit-claim", NOON + 9, 10)) == []
    assert await store.next_due(NOON) == {"submit-claim": NOON + 10, "other": NOON + 5}
    assert await store.next_due(NOON + 15) == {"submit-claim": NOON + 20}
    assert await store.backlog() == {"submit-claim": Backlog(1, waiting.body_size)}
    assert InFlight("submit-claim", State.FOLLOWING, False, 2) in await store.census()
    assert InFlight("other", State.FOLLOWING, False, 1) in await store.census()
    again = after(await done(store, make.follow(early, NOON + HOUR, NOON + DAY)))
    assert list(await store.due("submit-claim", NOON + 10, 10)) == []
    await done(store, make.finish(again))
    assert list(await store.due("submit-claim", NOON + HOUR, 10)) == [waiting, late]


async def test_what_is_followed_is_overdue_when_it_has_been_followed_for_too_long(store: Store) -> None:
    process = await followed(store, NOON + 20, NOON + HOUR, deadline_at=NOON + 10)
    assert list(await store.overdue(NOON + HOUR - 1, 10)) == []
    assert list(await store.overdue(NOON + HOUR, 10)) == [process]
    await done(store, make.doubt(process))
    assert list(await store.overdue(NOON + HOUR, 10)) == []


async def asked_about(store: Store, due_at: int, **fields: Any) -> Process:
    claimed = after(await done(store, make.claim(after(await done(store, make.accept(make.draft(**fields)))))))
    return after(await done(store, make.doubt(claimed, settling=True, due_at=due_at)))


async def test_what_is_in_doubt_and_to_be_asked_about_is_due_and_waits_for_nothing(store: Store) -> None:
    late = await asked_about(store, NOON + 20, body_size=7, deadline_at=NOON + 1)
    early = await asked_about(store, NOON + 10)
    await asked_about(store, NOON + 5, route="other")
    waiting = after(await done(store, make.accept(make.draft(NOON + 15))))
    assert list(await store.due("submit-claim", NOON + 20, 10)) == [early, waiting, late]
    assert await store.next_due(NOON) == {"submit-claim": NOON + 10, "other": NOON + 5}
    assert list(await store.overdue(NOON + 19, 10)) == []
    assert await store.backlog() == {"submit-claim": Backlog(1, waiting.body_size)}
    assert InFlight("submit-claim", State.IN_DOUBT, True, 2) in await store.census()
    again = after(await done(store, make.probed(early, NOON + HOUR)))
    assert (again.probes, again.due_at) == (1, NOON + HOUR)
    assert await store.process(early.id) == again
    assert list(await store.due("submit-claim", NOON + 10, 10)) == []
    left = after(await done(store, make.doubt(again)))
    assert list(await store.due("submit-claim", NOON + HOUR, 10)) == [waiting, late]
    assert InFlight("submit-claim", State.IN_DOUBT, False, 1) in await store.census()
    assert left.public_state is PublicState.UNCONFIRMED


async def test_the_backlog_counts_what_waits_and_its_bytes(store: Store) -> None:
    assert await store.backlog() == {}
    await done(store, make.accept(make.draft(body_size=5)))
    claimed = await done(store, make.claim(after(await done(store, make.accept(make.draft(body_size=7))))))
    await done(store, make.accept(make.draft(route="other", body_size=11)))
    assert await store.backlog() == {"submit-claim": Backlog(1, 5), "other": Backlog(1, 11)}
    await done(store, make.postpone(after(claimed), NOON + DAY))
    assert (await store.backlog())["submit-claim"] == Backlog(2, 12)


async def test_the_census_counts_what_is_not_final_by_route_and_state(store: Store) -> None:
    assert list(await store.census()) == []
    await done(store, make.accept())
    await done(store, make.accept(make.draft(route="other")))
    claimed = after(await done(store, make.claim(after(await done(store, make.accept())))))
    waits = after(await done(store, make.claim(after(await done(store, make.accept())))))
    await done(store, make.postpone(waits, NOON + DAY))
    doubted = after(await done(store, make.claim(after(await done(store, make.accept())))))
    await done(store, make.doubt(doubted))
    ended = after(await done(store, make.claim(after(await done(store, make.accept())))))
    await done(store, make.finish(ended))
    assert claimed.state is State.PROCESSING
    assert sorted(await store.census()) == [
        InFlight("other", State.RECEIVED, False, 1),
        InFlight("submit-claim", State.IN_DOUBT, False, 1),
        InFlight("submit-claim", State.PROCESSING, False, 1),
        InFlight("submit-claim", State.RECEIVED, False, 1),
        InFlight("submit-claim", State.WAITING, False, 1),
    ]


async def test_orphans_are_under_way_and_nobody_holds_a_lease_for_them(store: Store) -> None:
    claimed = after(await done(store, make.claim(after(await done(store, make.accept())), owner="w-1")))
    other = after(await done(store, make.claim(after(await done(store, make.accept())), owner="w-2")))
    await done(store, make.accept())
    await store.renew(Lease("w-1", "boot-1", 1000))
    await store.renew(Lease("w-2", "boot-1", 2000))
    assert list(await store.orphans("boot-1", 999, 10)) == []
    assert list(await store.orphans("boot-1", 1000, 10)) == [claimed]
    assert {process.id for process in await store.orphans("boot-1", 2000, 10)} == {claimed.id, other.id}
    assert len(await store.orphans("boot-1", 2000, 1)) == 1
    await store.renew(Lease("w-1", "boot-1", 3000))
    assert list(await store.orphans("boot-1", 2000, 10)) == [other]


async def test_a_lease_of_another_boot_holds_nothing(store: Store) -> None:
    claimed = after(await done(store, make.claim(after(await done(store, make.accept())), owner="w-1")))
    await store.renew(Lease("w-1", "boot-1", 1000))
    assert list(await store.orphans("boot-2", 5, 10)) == [claimed]


async def test_who_resigns_leaves_orphans(store: Store) -> None:
    claimed = after(await done(store, make.claim(after(await done(store, make.accept())), owner="w-1")))
    await store.renew(Lease("w-1", "boot-1", 1000))
    await store.resign("w-1")
    await store.resign("nobody")
    assert list(await store.orphans("boot-1", 5, 10)) == [claimed]


async def test_texts_are_kept_by_kind_and_name(store: Store) -> None:
    await store.save("promise", "d1", "one")
    await store.save("promise", "d2", "zwei ünd ☃")
    await store.save("promise", "d1", "uno")
    await store.save("latency", "d1", "sketch")
    assert await store.load("promise") == {make.PROMISE: make.PROMISE_TEXT, "d1": "uno", "d2": "zwei ünd ☃"}
    assert await store.load("policy") == {}
    assert await store.load("latency") == {"d1": "sketch"}


# ── What grows old ───────────────────────────────────────────────────────────────────────────────────────────────────


async def finished_process(store: Store, key: str | None = None, **fields: Any) -> Commit:
    accepted = await done(store, make.accept(make.keyed(key) if key is not None else make.draft(**fields)))
    claimed = await done(store, make.claim(after(accepted), at=NOON))
    return await done(store, make.finish(after(claimed), at=NOON))


async def test_a_process_past_its_retention_becomes_a_tombstone_and_then_nothing(store: Store) -> None:
    process = after(await finished_process(store))
    kept_on = after(await done(store, make.accept()))
    assert await store.sweep(NOON + RETAIN - 1, 100) == 0
    assert await store.process(process.id) == process
    assert await store.sweep(NOON + RETAIN, 100) == 1
    grave = Tombstone(process.id, "/claim-submissions", CALLER, make.PROMISE, NOON + 2 * RETAIN)
    assert await store.process(process.id) == grave
    assert await store.events(process.id) == ()
    assert await store.request(process.id) is None
    assert await store.reply(process.id) is None
    with store.ledgers() as ledgers:
        assert [ledger.process for ledger in ledgers.all()] == [kept_on]
        assert list(ledgers.strays(lambda: NOON)) == []
    assert await store.sweep(NOON + 2 * RETAIN - 1, 100) == 0
    assert await store.sweep(NOON + 2 * RETAIN, 100) == 1
    assert await store.process(process.id) is None


async def test_a_tombstone_tells_of_which_process_it_was_another_try(store: Store) -> None:
    first = after(await finished_process(store))
    accepted = await done(store, make.accept(make.draft(parent_id=first.id)))
    await done(store, make.finish(after(await done(store, make.claim(after(accepted), at=NOON))), at=NOON))
    again = after(accepted)
    assert await store.forgotten_tries(first.id) == [], "it is still there"
    await store.sweep(NOON + RETAIN, 100)
    grave = await store.process(again.id)
    assert isinstance(grave, Tombstone)
    assert grave.parent_id == first.id
    assert await store.forgotten_tries(first.id) == [again.id]
    assert await store.forgotten_tries(again.id) == []
    assert await store.forgotten_tries("no id") == []


async def test_a_sweep_takes_no_more_than_it_is_told(store: Store) -> None:
    for _ in range(5):
        await finished_process(store)
    swept = []
    while rows := await store.sweep(NOON + RETAIN, 2):
        swept.append(rows)
    assert swept == [2, 2, 1]


async def test_a_process_that_a_person_has_to_look_at_is_kept(store: Store) -> None:
    process = after(await finished_process(store))
    await done(store, Commit(None, opens=OpenException(process.id, "late_reply", NOON, "x")))
    assert await store.sweep(NOON + RETAIN, 100) == 0
    assert await store.process(process.id) == process


async def test_retention_counts_anew_from_the_closing_of_an_exception(store: Store, clock: FakeClock) -> None:
    process = after(await finished_process(store))
    await done(store, Commit(None, opens=OpenException(process.id, "orphan", NOON, "x")))
    clock.instant = NOON + RETAIN + DAY
    note = Evidence(process.id, 1, "late_reply", clock.instant, None, (), b"")
    await done(store, Commit(None, evidence=note, closes=make.closing(clock.instant)))
    assert await store.sweep(NOON + 2 * RETAIN + DAY - 1, 100) == 0
    assert await store.sweep(NOON + 2 * RETAIN + DAY, 100) == 1


async def test_closing_nothing_keeps_the_retention_as_it_was(store: Store, clock: FakeClock) -> None:
    process = after(await finished_process(store))
    clock.instant = NOON + DAY
    note = Evidence(process.id, 1, "late_reply", clock.instant, None, (), b"")
    await done(store, Commit(None, evidence=note, closes=make.closing(clock.instant)))
    assert await store.sweep(NOON + RETAIN, 100) == 1


async def test_lapsed_keys_go_and_living_ones_stay(store: Store) -> None:
    lapsed = after(await finished_process(store, "old"))
    living = after(await done(store, make.accept(make.keyed("living"))))
    assert await store.sweep(NOON + DAY - 1, 100) == 0
    assert await store.sweep(NOON + DAY, 100) == 1
    assert await store.key(make.key_of(lapsed).scope, "old") is None
    assert await store.key(make.key_of(living).scope, "living") == make.key_of(living)
    assert await store.process(lapsed.id) == lapsed


async def test_chunks_of_no_process_are_swept_when_no_upload_can_last_so_long(store: Store) -> None:
    loose, named = make.make_id(NOON), make.draft(NOON)
    for process_id in (loose, named.id):
        for index in range(3):
            await store.write_chunk(process_id, "request", index, b"x")
    await done(store, make.accept(named))
    assert await store.sweep(NOON + DAY, 100) == 0
    assert await store.sweep(NOON + DAY + 1, 2) == 2
    assert await store.sweep(NOON + DAY + 1, 100) == 1
    assert await store.read_chunk(named.id, "request", 2) == b"x"
    with pytest.raises(KeyError):
        await store.read_chunk(loose, "request", 2)


async def test_the_chunks_of_a_process_go_after_it(store: Store) -> None:
    process = after(await finished_process(store))
    await store.write_chunk(process.id, "reply-1", 0, b"x")
    assert await store.sweep(NOON + RETAIN, 100) >= 2
    with pytest.raises(KeyError):
        await store.read_chunk(process.id, "reply-1", 0)


async def test_the_chunks_of_a_process_that_was_kept_for_minutes_go_with_it(store: Store) -> None:
    process = after(await finished_process(store, retain=HOUR))
    await store.write_chunk(process.id, "reply-1", 0, b"x")
    await store.sweep(NOON + DAY - 1, 100)
    with pytest.raises(KeyError):
        await store.read_chunk(process.id, "reply-1", 0)


async def test_a_cancelled_process_without_a_key_is_kept_for_its_retention(store: Store) -> None:
    cancelled = after(await done(store, make.withdraw(after(await done(store, make.accept())), Cancel(), at=NOON)))
    assert await store.sweep(NOON + RETAIN - 1, 100) == 0
    assert await store.process(cancelled.id) == cancelled
    assert await store.sweep(NOON + RETAIN, 100) == 1


async def finished_with_parts(store: Store, body: bytes = b"{}", **fields: Any) -> Process:
    """A final process that was answered, with evidence, of which parts are kept for less than itself."""
    parts = {"retain_bodies": HOUR, "retain_history": 2 * HOUR, "retain_deliveries": 3 * HOUR, **fields}
    accepted = after(await done(store, make.accept(make.draft(**parts))))
    claimed = after(await done(store, make.claim(accepted)))
    evidence = Evidence(claimed.id, 1, "sent", NOON, None, [(b":method", b"POST")], b"sent")
    await done(store, Commit(None, evidence=evidence))
    return after(await done(store, make.finish(claimed, at=NOON, answer=make.reply(body))))


def what_is_there(store: Store, process: Process) -> set[str]:
    with store.ledgers() as ledgers:
        ledger = ledgers.one(process.id)
        assert ledger is not None
        assert ledger.process == process
        assert [*Fsck(ledgers)] == []
        parts = {
            "request": ledger.request,
            "reply": ledger.reply,
            "evidence": ledger.evidence,
            "events": ledger.events,
            "outbox": ledger.outbox,
            "attempts": ledger.attempts,
        }
    return {name for name, part in parts.items() if part}


BODIES = {"request", "reply", "evidence"}
HISTORY = {"events", "outbox", "attempts"}


async def test_the_parts_of_a_process_are_forgotten_by_their_own_clocks_and_it_stays(store: Store) -> None:
    process = await finished_with_parts(store)
    other = await finished_with_parts(store, retain_bodies=None, retain_history=None, retain_deliveries=None)
    assert await store.sweep(NOON + HOUR - 1, 100) == 0
    assert what_is_there(store, process) == BODIES | HISTORY
    assert await store.sweep(NOON + HOUR, 100) == 1
    assert what_is_there(store, process) == HISTORY
    assert await store.reply(process.id) is None
    assert await store.request(process.id) is None
    assert await store.sweep(NOON + 2 * HOUR, 100) == 1
    assert what_is_there(store, process) == set()
    assert await store.events(process.id) == ()
    assert await store.sweep(NOON + 3 * HOUR, 100) == 1
    assert await store.sweep(NOON + 3 * HOUR, 100) == 0
    assert await store.process(process.id) == process
    assert what_is_there(store, other) == BODIES | HISTORY
    assert await store.sweep(NOON + RETAIN, 100) >= 2
    assert isinstance(await store.process(process.id), Tombstone)


async def test_nothing_is_forgotten_of_what_is_open_or_looked_at(store: Store) -> None:
    opened = after(await done(store, make.claim(after(await done(store, make.accept(make.draft(retain_bodies=1)))))))
    watched = await finished_with_parts(store)
    await done(store, Commit(None, opens=OpenException(watched.id, "late_reply", NOON, "x")))
    assert await store.sweep(NOON + DAY, 100) == 0
    assert await store.request(opened.id) is not None
    assert what_is_there(store, watched) == BODIES | HISTORY


async def test_the_clocks_of_the_parts_run_anew_with_that_of_the_process(store: Store, clock: FakeClock) -> None:
    process = await finished_with_parts(store)
    await done(store, Commit(None, opens=OpenException(process.id, "orphan", NOON, "x")))
    note = Evidence(process.id, 1, "late_reply", NOON, None, (), b"")
    await done(store, Commit(None, evidence=note, closes=make.closing(NOON + DAY)))
    assert await store.sweep(NOON + DAY + HOUR - 1, 100) == 0
    assert await store.sweep(NOON + DAY + HOUR, 100) == 1
    assert what_is_there(store, process) == HISTORY


async def test_a_sweep_takes_no_more_parts_than_it_is_told(store: Store) -> None:
    for _ in range(5):
        await finished_with_parts(store, retain_history=None, retain_deliveries=None)
    taken = 0
    while swept := await store.sweep(NOON + HOUR, 2):
        taken += swept
    assert taken == 5


async def test_a_long_body_is_forgotten_piece_by_piece(store: Store) -> None:
    accepted = after(await done(store, make.accept(make.draft(retain_bodies=HOUR))))
    claimed = after(await done(store, make.claim(accepted)))
    for number in range(20):
        await store.write_chunk(claimed.id, "reply-1", number, b"x")
    await done(store, make.finish(claimed, at=NOON))
    while await store.sweep(NOON + HOUR, 100):
        pass
    for number in range(20):
        with pytest.raises(KeyError):
            await store.read_chunk(claimed.id, "reply-1", number)
    with store.ledgers() as ledgers:
        ledger = ledgers.one(claimed.id)
        assert ledger is not None
        assert (ledger.request, ledger.reply, ledger.gone) == (None, None, Part.BODIES)
